package schemas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// testRegistry is a fake registry that counts requests by method and path.
type testRegistry struct {
	fake   *srfake.Registry
	server *httptest.Server
	mu     sync.Mutex
	counts map[string]int
	gate   chan struct{} // requests wait for it, where it is set
}

func newTestRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{fake: srfake.New(), counts: map[string]int{}}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.counts[req.Method+" "+req.URL.Path]++
		gate := r.gate
		r.mu.Unlock()
		if gate != nil {
			<-gate
		}
		r.fake.Handler().ServeHTTP(w, req)
	}))
	t.Cleanup(r.fake.Close)
	t.Cleanup(r.server.Close)
	return r
}

func (r *testRegistry) count(request string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[request]
}

func (r *testRegistry) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.counts {
		n += c
	}
	return n
}

func newClient(t *testing.T, url string, opts ...RegistryOption) *Registry {
	t.Helper()
	r, err := NewRegistry(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// testClock stands still until it is moved.
type testClock struct{ at atomic.Int64 }

func (c *testClock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *testClock) advance(d time.Duration) { c.at.Add(int64(d)) }

func TestRegistryRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := newTestRegistry(t)
	sender := newClient(t, server.server.URL, WithAutoRegister())
	receiver := newClient(t, server.server.URL)
	want := LedgerEntry{Marks: []LedgerMark{{Kind: "DONE", Time: time.UnixMilli(5).UTC()}}}
	codec, other := NewCodec(sender), NewCodec(receiver)
	for range 3 {
		value, err := codec.Encode(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		var got LedgerEntry
		if err := other.Decode(ctx, value, &got, ""); err != nil || len(got.Marks) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := server.total(); n != 2 {
		t.Errorf("%d requests instead of one to register and one to read: %v", n, server.counts)
	}
	if !server.fake.SubjectExists("parley.LedgerEntry") {
		t.Error("the subject is not the full name")
	}
	// A type's name survives the registry.
	stop, err := codec.Encode(ctx, AgentStop{})
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := ParseFrame(stop)
	schema, err := receiver.Schema(ctx, id)
	if err != nil || MessageType(schema) != "agent.stop" || FullName(schema) != "parley.AgentStop" {
		t.Errorf("the schema came back as %v, %v", schema, err)
	}
	wantReason(t, other.Decode(ctx, stop, new(AgentStop), "agent.ack"), streaming.ReasonContract)
	// Who may not register finds what others have.
	if got, err := receiver.ID(ctx, AgentStop{}.Schema()); err != nil || got != id {
		t.Errorf("lookup gives %d, %v; want %d", got, err, id)
	}
}

func TestRegistryAsksOncePerUnknownID(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.gate = make(chan struct{})
	clock := &testClock{}
	r := newClient(t, server.server.URL, WithClock(clock), WithNegativeTTL(time.Minute))
	errs := make(chan error)
	for range 50 {
		go func() { _, err := r.Schema(context.Background(), 42); errs <- err }()
	}
	for server.count("GET /schemas/ids/42") == 0 {
		time.Sleep(time.Millisecond)
	}
	close(server.gate)
	for range 50 {
		wantReason(t, <-errs, streaming.ReasonSchema)
	}
	for range 1000 {
		_, err := r.Schema(context.Background(), 42)
		wantReason(t, err, streaming.ReasonSchema)
	}
	if n := server.count("GET /schemas/ids/42"); n != 1 {
		t.Errorf("%d requests instead of 1", n)
	}
	clock.advance(time.Minute - 1)
	_, _ = r.Schema(context.Background(), 42)
	if n := server.count("GET /schemas/ids/42"); n != 1 {
		t.Errorf("%d requests before the answer is old", n)
	}
	clock.advance(1)
	_, _ = r.Schema(context.Background(), 42)
	if n := server.count("GET /schemas/ids/42"); n != 2 {
		t.Errorf("%d requests instead of 2 after the answer is old", n)
	}
	// It has appeared meanwhile.
	clock.advance(time.Minute)
	server.fake.SeedSchema("parley.Ack", 1, 42, sr.Schema{Schema: textOf(t, Ack{})})
	if schema, err := r.Schema(context.Background(), 42); err != nil || FullName(schema) != "parley.Ack" {
		t.Errorf("%v, %v", schema, err)
	}
}

func textOf(t *testing.T, m Message) string {
	t.Helper()
	text, err := SchemaText(m.Schema())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// No registry has these, so none is asked.
func TestRegistryIDsOutOfRange(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	r := newClient(t, server.server.URL)
	for _, id := range []int{-1, 1 << 31, 1<<32 - 1} {
		_, err := r.Schema(context.Background(), id)
		wantReason(t, err, streaming.ReasonSchema)
	}
	if n := server.total(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestRegistryUnregisteredSchema(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := newTestRegistry(t)
	r := newClient(t, server.server.URL)
	codec := NewCodec(r)
	for range 3 {
		_, err := codec.Encode(ctx, Ack{})
		wantReason(t, err, streaming.ReasonSchema)
	}
	if n := server.total(); n != 1 {
		t.Errorf("%d requests instead of 1", n)
	}
	// To register ends the memory of the no.
	id, err := r.Register(ctx, Ack{}.Schema())
	if err != nil {
		t.Fatal(err)
	}
	value, err := codec.Encode(ctx, Ack{})
	if got, _, _ := ParseFrame(value); err != nil || got != id {
		t.Errorf("ID %d instead of %d, %v", got, id, err)
	}
	if again, err := r.Register(ctx, Ack{}.Schema()); err != nil || again != id {
		t.Errorf("registered again as %d, %v", again, err)
	}
	_, err = r.Register(ctx, mustParse(`"string"`))
	wantReason(t, err, streaming.ReasonSchema)
}

// answer is a server that answers every request alike.
func answer(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// An outage or a wrong address is never a message's fault.
func TestRegistryUnavailable(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, url := range map[string]string{
		"down":                  closed.URL,
		"no such path":          answer(t, 404, `<html>not found</html>`),
		"no such path, in JSON": answer(t, 404, `{"error_code":404,"message":"HTTP 404 Not Found"}`),
		"refuses the caller":    answer(t, 401, `{"error_code":401,"message":"who are you"}`),
		"forbids":               answer(t, 403, ``),
		"too many requests":     answer(t, 429, ``),
		"broken":                answer(t, 500, `{"error_code":50001,"message":"store"}`),
		"away":                  answer(t, 503, strings.Repeat("x", 1<<20)),
		"another kind of site":  answer(t, 200, `<html>welcome</html>`),
		"another kind of API":   answer(t, 200, `{}`),
	} {
		for what, ask := range map[string]func(*Registry) error{
			"schema":   func(r *Registry) error { _, err := r.Schema(context.Background(), 1); return err },
			"lookup":   func(r *Registry) error { _, err := r.Lookup(context.Background(), Ack{}.Schema()); return err },
			"register": func(r *Registry) error { _, err := r.Register(context.Background(), Ack{}.Schema()); return err },
		} {
			r := newClient(t, url)
			err := ask(r)
			var down *RegistryUnavailableError
			if !errors.As(err, &down) || down.URL != url {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			if !strings.HasPrefix(err.Error(), "schema registry "+url+" cannot be reached: ") || len(err.Error()) > 2048 {
				t.Errorf("%s, %s: text of %d bytes: %.300s", name, what, len(err.Error()), err)
			}
			if reason, ok := ErrorReason(err); ok {
				t.Errorf("%s, %s: has reason %s", name, what, reason)
			}
			// It is not remembered: the next message asks anew.
			if r.byID.m.Load() != nil || len(r.unknownIDs.m) > 0 || len(r.unknown.m) > 0 {
				t.Errorf("%s, %s: an outage is remembered", name, what)
			}
		}
	}
}

// Some registries answer an unknown ID without the API's own code. That they
// are registries shows elsewhere.
func TestRegistryNotFoundWithoutCode(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/subjects" {
			_, _ = io.WriteString(w, `[]`)
			return
		}
		http.NotFound(w, req)
	}))
	t.Cleanup(s.Close)
	_, err := newClient(t, s.URL+"/api").Schema(context.Background(), 1)
	wantReason(t, err, streaming.ReasonSchema)
	_, err = newClient(t, s.URL).Schema(context.Background(), 1)
	if _, ok := ErrorReason(err); ok {
		t.Errorf("a wrong path is a message's fault: %v", err)
	}
}

func TestRegistryRefusals(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		answer(t, 409, `{"error_code":409,"message":"incompatible"}`),
		answer(t, 422, `{"error_code":42201,"message":"invalid"}`),
	} {
		r := newClient(t, url, WithAutoRegister())
		_, err := NewCodec(r).Encode(context.Background(), Ack{})
		wantReason(t, err, streaming.ReasonSchema)
	}
}

func TestRegistryUnusableSchemas(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]sr.Schema{
		"not Avro":        {Schema: `syntax = "proto3";`, Type: sr.TypeProtobuf},
		"JSON schema":     {Schema: `{"type":"string"}`, Type: sr.TypeJSON},
		"does not parse":  {Schema: `{"type":"record","name":"x","fields":[{"name":"y","type":"Nowhere"}]}`},
		"bad field names": {Schema: `{"type":"record","name":"x","fields":[{"name":"1","type":"int"}]}`},
	} {
		server := newTestRegistry(t)
		server.fake.SeedSchema("x", 1, 5, s)
		r := newClient(t, server.server.URL)
		for range 3 {
			_, err := r.Schema(context.Background(), 5)
			if err == nil {
				t.Errorf("%s: taken", name)
				break
			}
			wantReason(t, err, streaming.ReasonSchema)
		}
		if n := server.total(); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestRegistryReferences(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.fake.SeedSchema("test.Point", 1, 1, sr.Schema{Schema: `{"type":"record","name":"test.Point","fields":[{"name":"x","type":"int"}]}`})
	server.fake.SeedSchema("test.Line", 1, 2, sr.Schema{
		Schema:     `{"type":"record","name":"test.Line","fields":[{"name":"a","type":"test.Point"},{"name":"b","type":"test.Point"}]}`,
		References: []sr.SchemaReference{{Name: "test.Point", Subject: "test.Point", Version: 1}},
	})
	codec := NewCodec(newClient(t, server.server.URL))
	name, v, err := codec.DecodeAny(context.Background(), AppendFrame(nil, 2, []byte{2, 4}))
	if err != nil || name != "test.Line" || fmt.Sprint(v) != "map[a:map[x:1] b:map[x:2]]" {
		t.Errorf("%s, %v, %v", name, v, err)
	}
}

// Two versions of a name do not meet: neither the outer one nor a nested one.
func TestRegistryVersionsOfAName(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	for i, typ := range []string{"int", "string"} {
		server.fake.SeedSchema("test.Outer", i+1, i+1, sr.Schema{Schema: `{"type":"record","name":"test.Outer","fields":[
			{"name":"a","type":{"type":"record","name":"Inner","fields":[{"name":"x","type":"` + typ + `"}]}},
			{"name":"b","type":"Inner"}]}`})
	}
	codec := NewCodec(newClient(t, server.server.URL))
	for id, want := range map[int]string{1: "map[a:map[x:1] b:map[x:1]]", 2: "map[a:map[x:A] b:map[x:A]]"} {
		payload := map[int][]byte{1: {2, 2}, 2: {2, 'A', 2, 'A'}}[id]
		if _, v, err := codec.DecodeAny(context.Background(), AppendFrame(nil, id, payload)); err != nil || fmt.Sprint(v) != want {
			t.Errorf("ID %d: %v, %v", id, v, err)
		}
	}
}

// The caller who began a request goes; the others still get its answer.
func TestRegistryCallerLeaves(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.fake.SeedSchema("parley.Ack", 1, 7, sr.Schema{Schema: textOf(t, Ack{})})
	server.gate = make(chan struct{})
	r := newClient(t, server.server.URL)
	ctx, cancel := context.WithCancelCause(context.Background())
	first, second := make(chan error), make(chan error)
	go func() { _, err := r.Schema(ctx, 7); first <- err }()
	for server.count("GET /schemas/ids/7") == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { _, err := r.Schema(context.Background(), 7); second <- err }()
	why := errors.New("revoked")
	cancel(why)
	err := <-first
	if _, ok := ErrorReason(err); ok || !errors.Is(err, why) {
		t.Errorf("who leaves gets %v", err)
	}
	close(server.gate)
	if err := <-second; err != nil {
		t.Errorf("who stays gets %v", err)
	}
	if n := server.total(); n != 1 {
		t.Errorf("%d requests instead of 1", n)
	}
}

func TestRegistryTimeout(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.gate = make(chan struct{})
	t.Cleanup(func() { close(server.gate) })
	r := newClient(t, server.server.URL, WithRegistryTimeout(20*time.Millisecond))
	_, err := r.Schema(context.Background(), 7)
	var down *RegistryUnavailableError
	if !errors.As(err, &down) {
		t.Errorf("a registry that hangs: %v", err)
	}
}

func TestNewRegistryURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "registry:8081", "ftp://registry", "http://", "http://user:secret@%zz", "://"} {
		if _, err := NewRegistry(url); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	var user, password string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ = req.BasicAuth()
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	r := newClient(t, strings.Replace(s.URL, "http://", "http://me:secret@", 1))
	_, err := r.Schema(context.Background(), 1)
	if user != "me" || password != "secret" || err == nil || strings.Contains(err.Error()+r.URL(), "secret") {
		t.Errorf("sent %s:%s, error %v", user, password, err)
	}
}

func TestCachesAreBounded(t *testing.T) {
	t.Parallel()
	cow := cowMap[int, int]{limit: 10}
	for i := range 100 {
		cow.put(i, i)
		if v, ok := cow.get(i); !ok || v != i {
			t.Fatalf("%d is lost at once", i)
		}
	}
	if n := len(*cow.m.Load()); n != 10 {
		t.Errorf("%d entries instead of 10", n)
	}
	now := time.Unix(0, 0)
	negative := expiringErrors[int]{limit: 10}
	for i := range 100 {
		negative.put(i, io.EOF, now, now.Add(time.Second))
		if len(negative.m) > 10 || negative.get(i, now) == nil {
			t.Fatalf("after %d: %d entries", i, len(negative.m))
		}
	}
	if negative.get(99, now.Add(time.Second)) != nil {
		t.Error("an old answer is given")
	}
}

func BenchmarkRegistryHit(b *testing.B) {
	fake := srfake.New()
	defer fake.Close()
	r, err := NewRegistry(fake.URL(), WithAutoRegister())
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	id, err := r.ID(b.Context(), Ack{}.Schema())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Schema(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}
