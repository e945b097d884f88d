package schemas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// outage is a registry that can be away: connections to it end.
type outage struct {
	fake *srfake.Registry
	away atomic.Bool
	url  string
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{fake: srfake.New()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if o.away.Load() {
			panic(http.ErrAbortHandler)
		}
		o.fake.Handler().ServeHTTP(w, req)
	}))
	t.Cleanup(o.fake.Close)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	_, down := errors.AsType[*RegistryUnavailableError](err)
	if _, fault := ErrorReason(err); !down || fault {
		t.Errorf("%v is taken for the message's fault", err)
	}
}

// A process that starts while the registry is away encodes and decodes what was
// encoded and decoded before, by the folder that they share. What it does not
// know waits for the registry.
func TestSchemaCacheOutlivesTheRegistry(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	o := newOutage(t)
	before := NewCodec(newClient(t, o.url, WithAutoRegister(), WithSchemaCache(dir, nil)))
	value, err := before.Encode(ctx, AgentStop{Reason: "r"}) // and never reads it
	if err != nil {
		t.Fatal(err)
	}

	o.away.Store(true)
	for name, opts := range map[string][]RegistryOption{"registers": {WithAutoRegister()}, "looks up": nil} {
		t.Run(name, func(t *testing.T) {
			codec := NewCodec(newClient(t, o.url, append(opts, WithSchemaCache(dir, nil))...))
			again, err := codec.Encode(ctx, AgentStop{Reason: "r"})
			if err != nil || !bytes.Equal(again, value) {
				t.Fatalf("%x instead of %x, %v", again, value, err)
			}
			var got AgentStop
			if err := codec.Decode(ctx, value, &got, TypeAgentStop); err != nil || got.Reason != "r" {
				t.Fatalf("%+v, %v", got, err)
			}
			_, err = codec.Encode(ctx, Ack{})
			wantUnavailable(t, err)
			wantUnavailable(t, codec.Decode(ctx, AppendFrame(nil, 99, value[frameSize:]), &got, ""))
			_, err = newClient(t, o.url, WithSchemaCache(dir, nil)).Register(ctx, AgentStop{}.Schema())
			wantUnavailable(t, err)
		})
	}
	// Another registry's IDs mean something else.
	other := newOutage(t)
	other.away.Store(true)
	_, err = newClient(t, other.url, WithSchemaCache(dir, nil)).Schema(ctx, 1)
	wantUnavailable(t, err)

	// As long as the registry answers, its word counts.
	o.away.Store(false)
	if schema, err := newClient(t, o.url, WithSchemaCache(dir, nil)).Schema(ctx, 99); err == nil {
		t.Errorf("the registry does not know it, and it is %v", schema)
	}
}

// A schema that refers to others is remembered whole.
func TestSchemaCacheOfReferences(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	o := newOutage(t)
	client, err := sr.NewClient(sr.URLs(o.url))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateSchema(ctx, "x.First", sr.Schema{Schema: `{"type":"record","name":"x.First","fields":[]}`}); err != nil {
		t.Fatal(err)
	}
	s, err := client.CreateSchema(ctx, "x.Second", sr.Schema{
		Schema:     `{"type":"record","name":"x.Second","fields":[{"name":"f","type":"x.First"}]}`,
		References: []sr.SchemaReference{{Name: "x.First", Subject: "x.First", Version: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := newClient(t, o.url, WithSchemaCache(dir, nil)).Schema(ctx, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	o.away.Store(true)
	got, err := newClient(t, o.url, WithSchemaCache(dir, nil)).Schema(ctx, s.ID)
	if err != nil || got.Fingerprint() != want.Fingerprint() {
		t.Errorf("%v instead of %v, %v", got, want, err)
	}
}

// A file that is not as it was written is no fact. The registry's next answer
// replaces it.
func TestSchemaCacheIgnoresWhatIsDamaged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, damage := range map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"another ID":   func(b []byte) []byte { return bytes.Replace(b, []byte(`"id":1`), []byte(`"id":2`), 1) },
		"another text": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("reason"), []byte("season")) },
		"nothing":      func([]byte) []byte { return []byte("{}") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, o := t.TempDir(), newOutage(t)
			use := func(log *slog.Logger) (encode, decode error) {
				codec := NewCodec(newClient(t, o.url, WithAutoRegister(), WithSchemaCache(dir, log)))
				_, encode = codec.Encode(ctx, AgentStop{})
				return encode, codec.Decode(ctx, AppendFrame(nil, 1, []byte{0}), new(AgentStop), "")
			}
			if encode, decode := use(nil); encode != nil || decode != nil {
				t.Fatal(encode, decode)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
			if err != nil || len(files) != 2 {
				t.Fatalf("%v, %v", files, err)
			}
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, damage(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.away.Store(true)
			var log bytes.Buffer
			encode, decode := use(slog.New(slog.NewTextHandler(&log, nil)))
			wantUnavailable(t, encode)
			wantUnavailable(t, decode)
			if n := strings.Count(log.String(), "is ignored"); n != 2 {
				t.Errorf("%d lines about two files: %s", n, &log)
			}
			o.away.Store(false)
			if encode, decode := use(nil); encode != nil || decode != nil {
				t.Fatal(encode, decode)
			}
			o.away.Store(true)
			if encode, decode := use(nil); encode != nil || decode != nil {
				t.Error("not written anew:", encode, decode)
			}
		})
	}
}

func TestSchemaCacheIsBounded(t *testing.T) {
	t.Parallel()
	m := newRemembered(t.TempDir(), "http://r", nil)
	m.limit = 8
	text := func(i int) string { return fmt.Sprintf(`{"type":"record","name":"x.R%d","fields":[]}`, i) }
	for i := 1; i <= 50; i++ {
		m.keepSchema(i, text(i))
		if m.schema(i) == nil {
			t.Fatalf("%d is not remembered", i)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil || len(entries) != m.limit {
		t.Errorf("%d files, %v", len(entries), err)
	}
	m.keepSchema(51, `{"doc":"`+strings.Repeat("x", maxRememberedSize)+`"}`)
	if m.read(idFile(51)) != nil {
		t.Error("a schema of more than the limit is remembered")
	}
}

// A folder that cannot be written costs nothing but the memory.
func TestSchemaCacheThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	codec := NewCodec(newClient(t, o.url, WithAutoRegister(), WithSchemaCache(file, slog.New(slog.NewTextHandler(&log, nil)))))
	if _, err := codec.Encode(context.Background(), AgentStop{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "cannot be remembered") {
		t.Errorf("nobody is told: %s", &log)
	}
}
