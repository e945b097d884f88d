package embedded_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/seed-c9b6dc07/parley/streaming/embedded"
)

func registryClient(t *testing.T, url string) *sr.Client {
	t.Helper()
	cl, err := sr.NewClient(sr.URLs(url))
	must(t, err)
	return cl
}

// quakes returns a schema with the given fields.
func quakes(fields ...string) sr.Schema {
	return sr.Schema{Schema: `{"type":"record","name":"Quake","namespace":"a","parley.type":"quake.reported","fields":[` + strings.Join(fields, ",") + `]}`}
}

const (
	place     = `{"name":"place","type":"string"}`
	depth     = `{"name":"depth","type":"double"}`
	depthZero = `{"name":"depth","type":"double","default":0}`
)

func TestRegistryKeepsAllOverRestarts(t *testing.T) {
	t.Parallel()
	forEachEnding(t, func(t *testing.T, e ending) {
		dir := t.TempDir()
		var first, second, other sr.SubjectSchema
		e.run(t, dir, func(_, url string) {
			cl := registryClient(t, url)
			var err error
			first, err = cl.CreateSchema(t.Context(), "a.Quake", quakes(place))
			must(t, err)
			second, err = cl.CreateSchema(t.Context(), "a.Quake", quakes(place, depthZero))
			must(t, err)
			other, err = cl.CreateSchema(t.Context(), "b/c d", quakes(place))
			must(t, err)
			if other.ID != first.ID || second.ID == first.ID || second.Version != 2 {
				t.Errorf("IDs %d, %d, %d", first.ID, second.ID, other.ID)
			}
			for _, r := range cl.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatFullTransitive}, "a.Quake") {
				must(t, r.Err)
			}
			// Gone for good, but its ID is not given out again.
			gone, err := cl.CreateSchema(t.Context(), "gone", record("Gone"))
			must(t, err)
			for _, how := range []sr.DeleteHow{sr.SoftDelete, sr.HardDelete} {
				_, err = cl.DeleteSubject(t.Context(), "gone", how)
				must(t, err)
			}
			if gone.ID != second.ID+1 {
				t.Errorf("ID %d", gone.ID)
			}
		})
		e.run(t, dir, func(_, url string) {
			cl := registryClient(t, url)
			all, err := cl.AllSchemas(t.Context())
			must(t, err)
			if want := []sr.SubjectSchema{first, second, other}; !reflect.DeepEqual(all, want) {
				t.Errorf("schemas after the restart\n%+v, want\n%+v", all, want)
			}
			for _, r := range cl.Compatibility(t.Context(), "a.Quake") {
				if r.Err != nil || r.Level != sr.CompatFullTransitive {
					t.Errorf("level %v, %v", r.Level, r.Err)
				}
			}
			next, err := cl.CreateSchema(t.Context(), "next", record("Next"))
			must(t, err)
			if next.ID != second.ID+2 {
				t.Errorf("ID %d was used before", next.ID)
			}
			again, err := cl.CreateSchema(t.Context(), "gone", record("Gone"))
			must(t, err)
			if again.ID != second.ID+1 {
				t.Errorf("a schema's ID changed from %d to %d", second.ID+1, again.ID)
			}
		})
	})
}

func TestIncompatibleSchemaIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	cl := registryClient(t, s.RegistryURL())
	_, err := cl.CreateSchema(t.Context(), "a.Quake", quakes(place))
	must(t, err)
	_, err = cl.CreateSchema(t.Context(), "a.Quake", quakes(place, depth))
	var no *sr.ResponseError
	if !errors.As(err, &no) || no.StatusCode != http.StatusConflict || no.ErrorCode != 409 {
		t.Fatalf("register: %v", err)
	}
	for _, want := range []string{`"a.Quake"`, "BACKWARD", "version 1", "depth", "no default"} {
		if !strings.Contains(no.Message, want) {
			t.Errorf("message %q has no %q", no.Message, want)
		}
	}
	if _, err := cl.LookupSchema(t.Context(), "a.Quake", quakes(place, depth)); err == nil {
		t.Error("the refused schema is there")
	}
}

func TestCompatibilityLevels(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	cl := registryClient(t, s.RegistryURL())
	// The history: v1 has depth without a default, v2 has it with one.
	history := []sr.Schema{quakes(place, depth), quakes(place, depthZero)}
	without, magnitude := quakes(place), quakes(place, depthZero, `{"name":"magnitude","type":"double"}`)
	renamed := quakes(`{"name":"place","type":"int"}`, depthZero)
	nested := func(typ string) sr.Schema {
		return quakes(place, depthZero, `{"name":"site","type":{"type":"record","name":"Site","fields":[{"name":"codes","type":{"type":"array","items":"`+typ+`"}}]},"default":{"codes":[]}}`)
	}
	for i, tc := range []struct {
		level   sr.CompatibilityLevel
		history []sr.Schema
		schema  sr.Schema
		reasons []string // empty: accepted
	}{
		{sr.CompatNone, history, renamed, nil},
		{sr.CompatBackward, history, without, nil},
		{sr.CompatBackward, history, magnitude, []string{"cannot read data of version 2", "magnitude"}},
		{sr.CompatBackward, history, renamed, []string{"place: ", "int", "string"}},
		{sr.CompatBackward, []sr.Schema{nested("string")}, nested("long"), []string{"site.codes[]: ", "long", "string"}},
		{sr.CompatBackwardTransitive, history, magnitude, []string{"version 1", "version 2"}},
		{sr.CompatForward, history, magnitude, nil},
		{sr.CompatForward, history, without, nil},
		{sr.CompatForwardTransitive, history, without, []string{"version 1 cannot read data of the new schema", "depth"}},
		{sr.CompatFull, history, without, nil},
		{sr.CompatFull, history, magnitude, []string{"cannot read data of version 2"}},
		{sr.CompatFullTransitive, history, without, []string{"version 1 cannot read"}},
	} {
		t.Run(fmt.Sprintf("%d %s", i, tc.level), func(t *testing.T) {
			subject := fmt.Sprintf("case-%d", i)
			setLevel := func(l sr.CompatibilityLevel) {
				for _, r := range cl.SetCompatibility(t.Context(), sr.SetCompatibility{Level: l}, subject) {
					must(t, r.Err)
				}
			}
			setLevel(sr.CompatNone)
			for _, h := range tc.history {
				_, err := cl.CreateSchema(t.Context(), subject, h)
				must(t, err)
			}
			setLevel(tc.level)

			checked, err := cl.CheckCompatibility(sr.WithParams(t.Context(), sr.Verbose), subject, -2, tc.schema)
			must(t, err)
			_, err = cl.RegisterSchema(t.Context(), subject, tc.schema, -1, -1)
			if ok := len(tc.reasons) == 0; checked.Is != ok || (err == nil) != ok {
				t.Fatalf("check %+v, register %v", checked, err)
			}
			for _, want := range tc.reasons {
				if !strings.Contains(err.Error(), want) || !strings.Contains(strings.Join(checked.Messages, "\n"), want) {
					t.Errorf("no %q in %v nor in %q", want, err, checked.Messages)
				}
			}
		})
	}
}

func TestSameSchemaSameID(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	cl := registryClient(t, s.RegistryURL())
	text := `{"type":"record","name":"A","parley.type":"a.b","doc":"x","fields":[{"name":"f","type":"long","default":9007199254740993}]}`
	first, err := cl.CreateSchema(t.Context(), "s", sr.Schema{Schema: text})
	must(t, err)
	if first.Schema.Schema != text {
		t.Errorf("text changed to %s", first.Schema.Schema)
	}
	for name, tc := range map[string]struct {
		old, new string
		same     bool
	}{
		"white space":     {`{`, "{ \n", true},
		"order":           {`"doc":"x","fields":[{"name":"f","type":"long","default":9007199254740993}]`, `"fields":[{"type":"long","default":9007199254740993,"name":"f"}],"doc":"x"`, true},
		"property":        {`a.b`, `a.c`, false},
		"documentation":   {`"x"`, `"y"`, false},
		"default, by one": {`9007199254740993`, `9007199254740992`, false},
	} {
		changed := strings.ReplaceAll(text, tc.old, tc.new)
		id, err := cl.RegisterSchema(t.Context(), "s", sr.Schema{Schema: changed}, -1, -1)
		must(t, err)
		if (id == first.ID) != tc.same {
			t.Errorf("%s: ID %d, first %d", name, id, first.ID)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	cl := registryClient(t, s.RegistryURL())
	site := sr.Schema{Schema: `{"type":"record","name":"Site","namespace":"a","fields":[{"name":"x","type":"long"}]}`}
	user := quakes(`{"name":"site","type":"a.Site"}`)
	if _, err := cl.CreateSchema(t.Context(), "quake", user); !errors.Is(err, sr.ErrInvalidSchema) && !hasCode(err, 42201) {
		t.Errorf("unknown name: %v", err)
	}
	user.References = []sr.SchemaReference{{Name: "a.Site", Subject: "site", Version: 1}}
	if _, err := cl.CreateSchema(t.Context(), "quake", user); !hasCode(err, 42201) {
		t.Errorf("unknown reference: %v", err)
	}
	_, err := cl.CreateSchema(t.Context(), "site", site)
	must(t, err)
	quake, err := cl.CreateSchema(t.Context(), "quake", user)
	must(t, err)
	if !reflect.DeepEqual(quake.References, user.References) {
		t.Errorf("references %+v", quake.References)
	}
	refs, err := cl.SchemaReferences(t.Context(), "site", 1)
	must(t, err)
	if len(refs) != 1 || refs[0].ID != quake.ID {
		t.Errorf("referenced by %+v", refs)
	}
	if _, err := cl.DeleteSubject(t.Context(), "site", sr.SoftDelete); !hasCode(err, 42206) {
		t.Errorf("delete what is referenced: %v", err)
	}
}

func hasCode(err error, code int) bool {
	var no *sr.ResponseError
	return errors.As(err, &no) && no.ErrorCode == code
}

// TestRegistryAPI goes through the API as clients in other languages see it,
// one request after the other on the same registry.
func TestRegistryAPI(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{Dir: t.TempDir()})
	quote := func(sc sr.Schema) string { return fmt.Sprintf(`{"schema":%q}`, sc.Schema) }
	v1, v2 := quote(record("A")), quote(sr.Schema{Schema: strings.Replace(record("A").Schema, `]`, `,`+depthZero+`]`, 1)})
	text := record("A").Schema
	entry := fmt.Sprintf(`{"subject":"a","version":1,"id":1,"schemaType":"AVRO","schema":%q}`, text)
	for _, tc := range []struct {
		request string
		body    string
		status  int
		want    string // JSON; for an error its code and a part of its message
	}{
		{"GET /", "", 200, `{}`},
		{"GET /subjects", "", 200, `[]`},
		{"GET /schemas/types", "", 200, `["AVRO"]`},
		{"GET /mode", "", 200, `{"mode":"READWRITE"}`},
		{"GET /nothing", "", 404, "404 Not Found"},

		{"GET /subjects/a/versions", "", 404, "40401 'a' not found"},
		{"GET /subjects/a/versions/latest", "", 404, "40401"},
		{"POST /subjects/a", v1, 404, "40401"},
		{"DELETE /subjects/a", "", 404, "40401"},
		{"GET /schemas/ids/1", "", 404, "40403"},
		{"GET /schemas/ids/x", "", 404, "40403"},
		{"POST /compatibility/subjects/a/versions/latest", v1, 200, `{"is_compatible":true}`},
		{"POST /compatibility/subjects/a/versions/1", v1, 404, "40401"},

		{"POST /subjects/a/versions", `{"schema":"nonsense"}`, 422, "42201 not JSON"},
		{"POST /subjects/a/versions", `{"schema":"\"int\" 1"}`, 422, "42201 more follows"},
		{"POST /subjects/a/versions", `{"schema":"{\"type\":\"record\"}"}`, 422, "42201"},
		{"POST /subjects/a/versions", `{"schema":""}`, 422, "42201 empty"},
		{"POST /subjects/a/versions", `{"schema":"syntax=3","schemaType":"PROTOBUF"}`, 422, "42201 PROTOBUF"},
		{"POST /subjects/a/versions", `{"schema":"\"int\"","ruleSet":{"domainRules":[]}}`, 422, "42201 rule sets"},
		{"POST /subjects/a/versions", `{"schema":"\"int\"","id":7}`, 422, "42205 import mode"},
		{"POST /subjects/a/versions", `{`, 400, "400 JSON"},
		{"POST /subjects/%0a/versions", v1, 422, "42208"},
		{"POST /subjects/a/versions", `{"schema":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "413 larger"},
		{"GET /subjects", "", 200, `[]`},

		{"POST /subjects/a/versions", v1, 200, `{"id":1,"version":1}`},
		{"POST /subjects/a/versions?normalize=true", v1, 200, `{"id":1,"version":1}`},
		{"POST /subjects/b/versions", v1, 200, `{"id":1,"version":1}`},
		{"POST /subjects/a", v1, 200, entry},
		{"POST /subjects/a", v2, 404, "40403"},
		{"GET /subjects/a/versions/1", "", 200, entry},
		{"GET /subjects/a/versions/latest", "", 200, entry},
		{"GET /subjects/a/versions/-1", "", 200, entry},
		{"GET /subjects/a/versions/2", "", 404, "40402"},
		{"GET /subjects/a/versions/0", "", 422, "42202"},
		{"GET /subjects/a/versions/x", "", 422, "42202"},
		{"GET /subjects/a/versions/1/schema", "", 200, text},
		{"GET /subjects/a/versions/1/referencedby", "", 200, `[]`},
		{"GET /schemas/ids/1", "", 200, fmt.Sprintf(`{"schema":%q}`, text)},
		{"GET /schemas/ids/1?subject=a", "", 200, fmt.Sprintf(`{"schema":%q}`, text)},
		{"GET /schemas/ids/1/schema", "", 200, text},
		{"GET /schemas/ids/1/subjects", "", 200, `["a","b"]`},
		{"GET /schemas/ids/1/versions", "", 200, `[{"subject":"a","version":1},{"subject":"b","version":1}]`},
		{"GET /subjects?subjectPrefix=b", "", 200, `["b"]`},

		{"POST /compatibility/subjects/a/versions/latest", v2, 200, `{"is_compatible":true}`},
		{"POST /compatibility/subjects/a/versions/latest?verbose=true", v2, 200, `{"is_compatible":true,"messages":[]}`},
		{"POST /compatibility/subjects/a/versions/2", v2, 404, "40402"},
		{"POST /compatibility/subjects/a/versions/latest", `{"schema":"x"}`, 422, "42201"},
		{"POST /subjects/a/versions", v2, 200, `{"id":2,"version":2}`},

		{"GET /config", "", 200, `{"compatibilityLevel":"BACKWARD"}`},
		{"GET /config/a", "", 404, "40408"},
		{"GET /config/a?defaultToGlobal=true", "", 200, `{"compatibilityLevel":"BACKWARD"}`},
		{"PUT /config", `{"compatibility":"FULL"}`, 200, `{"compatibility":"FULL"}`},
		{"PUT /config/a", `{"compatibility":"SOMETIMES"}`, 422, "42203 BACKWARD_TRANSITIVE"},
		{"PUT /config/a", `{"compatibility":"forward"}`, 200, `{"compatibility":"FORWARD"}`},
		{"GET /config/a", "", 200, `{"compatibilityLevel":"FORWARD"}`},
		{"DELETE /config/a", "", 200, `{"compatibility":"FORWARD","compatibilityLevel":"FORWARD"}`},
		{"DELETE /config/a", "", 404, "40408"},
		{"DELETE /config", "", 200, `{"compatibility":"FULL","compatibilityLevel":"FULL"}`},
		{"GET /config", "", 200, `{"compatibilityLevel":"BACKWARD"}`},

		{"DELETE /subjects/a/versions/1?permanent=true", "", 404, "40407"},
		{"DELETE /subjects/a/versions/2", "", 200, `2`},
		{"DELETE /subjects/a/versions/2", "", 404, "40406"},
		{"GET /subjects/a/versions", "", 200, `[1]`},
		{"GET /subjects/a/versions?deleted=true", "", 200, `[1,2]`},
		{"GET /subjects/a/versions?deletedOnly=true", "", 200, `[2]`},
		{"GET /subjects/a/versions/2", "", 404, "40402"},
		{"GET /schemas/ids/2/subjects", "", 200, `[]`},
		{"DELETE /subjects/a/versions/2?permanent=true", "", 200, `2`},
		{"GET /schemas/ids/2", "", 404, "40403"},
		{"POST /subjects/a/versions", v2, 200, `{"id":2,"version":3}`},
		{"DELETE /subjects/a?permanent=true", "", 404, "40405"},
		{"DELETE /subjects/a", "", 200, `[1,3]`},
		{"DELETE /subjects/a", "", 404, "40404"},
		{"GET /subjects", "", 200, `["b"]`},
		{"GET /subjects?deleted=true", "", 200, `["a","b"]`},
		{"GET /subjects?deletedOnly=true", "", 200, `["a"]`},
		{"GET /subjects/a/versions/latest", "", 404, "40401"},
		{"GET /schemas/ids/2", "", 200, ""},
		{"DELETE /subjects/a?permanent=true", "", 200, `[1,3]`},
		{"DELETE /subjects/a?permanent=true", "", 404, "40401"},
		{"GET /subjects?deleted=true", "", 200, `["b"]`},
		{"POST /subjects/a/versions", v1, 200, `{"id":1,"version":4}`},
	} {
		method, path, _ := strings.Cut(tc.request, " ")
		status, contentType, body := request(t, method, s.RegistryURL()+path, tc.body)
		if status != tc.status || contentType != "application/vnd.schemaregistry.v1+json" {
			t.Errorf("%s: status %d, want %d; content type %q; %s", tc.request, status, tc.status, contentType, body)
			continue
		}
		if status == http.StatusOK {
			if tc.want != "" && !sameJSON(t, body, tc.want) {
				t.Errorf("%s: %s, want %s", tc.request, body, tc.want)
			}
			continue
		}
		var no struct {
			Code    int    `json:"error_code"`
			Message string `json:"message"`
		}
		must(t, json.Unmarshal(body, &no))
		code, part, _ := strings.Cut(tc.want, " ")
		if fmt.Sprint(no.Code) != code || !strings.Contains(no.Message, part) {
			t.Errorf("%s: %d %q, want %s", tc.request, no.Code, no.Message, tc.want)
		}
	}
}

func request(t *testing.T, method, url, body string) (status int, contentType string, answer []byte) {
	t.Helper()
	// As curl sends it: a body of this type must be read as JSON all the same.
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer
}

func sameJSON(t *testing.T, got []byte, want string) bool {
	t.Helper()
	var g, w any
	must(t, json.Unmarshal(got, &g))
	must(t, json.Unmarshal([]byte(want), &w))
	return reflect.DeepEqual(g, w)
}

// Two clients that start together register the same schemas.
func TestConcurrentRegistration(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{Dir: t.TempDir()})
	const clients, schemas = 4, 10
	results := make(chan []int, clients)
	for range clients {
		go func() {
			cl, err := sr.NewClient(sr.URLs(s.RegistryURL()))
			ids := []int{}
			for i := range schemas {
				if err != nil {
					break
				}
				var id int
				id, err = cl.RegisterSchema(t.Context(), "s", sr.Schema{Schema: fmt.Sprintf(`{"type":"int","p":%d}`, i)}, -1, -1)
				ids = append(ids, id)
			}
			if err != nil {
				t.Error(err)
			}
			results <- ids
		}()
	}
	first := <-results
	for range clients - 1 {
		if ids := <-results; !slices.Equal(ids, first) {
			t.Errorf("IDs %v and %v", ids, first)
		}
	}
	if slices.Sort(first); first[0] != 1 || first[schemas-1] != schemas || len(slices.Compact(first)) != schemas {
		t.Errorf("IDs %v", first)
	}
	if _, _, body := request(t, http.MethodGet, s.RegistryURL()+"/subjects/s/versions", ""); bytes.Count(body, []byte(",")) != schemas-1 {
		t.Errorf("versions %s", body)
	}
}
