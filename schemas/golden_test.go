package schemas

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/streaming"
)

var update = flag.Bool("update", false, "fill in what new vectors of "+goldenPath+" leave empty; what stands there is never changed")

const goldenPath = "testdata/golden.json"

// golden is the file of vectors. docs/contract.md says what its fields mean.
type golden struct {
	Contract   int             `json:"contract"`
	About      string          `json:"about"`
	Partitions int32           `json:"partitions"`
	Schemas    []goldenSchema  `json:"schemas"`
	Vectors    []*goldenVector `json:"vectors"`
}

type goldenSchema struct {
	ID      int    `json:"id"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

type goldenVector struct {
	Name        string         `json:"name"`
	About       string         `json:"about"`
	Foreign     []string       `json:"foreign,omitempty"`
	Topic       string         `json:"topic"`
	PartitionBy string         `json:"partitionby"`
	Partition   *int32         `json:"partition"`
	Key         *goldenBytes   `json:"key"`
	Headers     []goldenHeader `json:"headers"`
	Value       string         `json:"value"`
	Schema      int            `json:"schema"`
	Read        goldenRead     `json:"read"`
}

type goldenBytes struct {
	Text string `json:"text,omitempty"`
	Hex  string `json:"hex"`
}

type goldenHeader struct {
	Name string `json:"name"`
	goldenBytes
}

// goldenRead is what a reader finds in a vector.
type goldenRead struct {
	LedgerKey string          `json:"ledgerkey,omitempty"`
	Original  string          `json:"original,omitempty"`
	Envelope  json.RawMessage `json:"envelope,omitempty"`
	Hop       json.RawMessage `json:"hop,omitempty"`
	Payload   json.RawMessage `json:"payload"`
}

func readGolden(t *testing.T) *golden {
	t.Helper()
	text, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	g := new(golden)
	unmarshalStrictly(t, text, g)
	return g
}

// unmarshalStrictly fails where a name is not one of into's fields.
func unmarshalStrictly(t *testing.T, text []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%.80s: %v", text, err)
	}
}

// An object of bytes stands on one line.
var (
	goldenShort = regexp.MustCompile(`\{\n\s+(?:"(?:name|text|hex)": .*\n\s+)+\}`)
	goldenBreak = regexp.MustCompile(`\n\s+`)
)

func (g *golden) write(t *testing.T) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	text := goldenShort.ReplaceAllStringFunc(b.String(), func(s string) string {
		return "{" + strings.TrimSpace(goldenBreak.ReplaceAllLiteralString(s[1:len(s)-1], " ")) + "}"
	})
	if err := os.WriteFile(goldenPath, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (g *golden) vector(t *testing.T, name string) *goldenVector {
	t.Helper()
	for _, v := range g.Vectors {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("there is no vector %s", name)
	return nil
}

func (g *golden) text(id int) string {
	for _, s := range g.Schemas {
		if s.ID == id {
			return s.Text
		}
	}
	return ""
}

// codec is one over the file's schemas, with the file's IDs.
func (g *golden) codec(t *testing.T) *Codec {
	t.Helper()
	r := goldenRegistry{}
	for _, s := range g.Schemas {
		schema, err := ParseSchema(s.Text)
		if err != nil {
			t.Fatalf("schema %d: %v", s.ID, err)
		}
		r[s.ID] = schema
	}
	return NewCodec(r)
}

// goldenRegistry has schemas by ID.
type goldenRegistry map[int]avro.Schema

func (r goldenRegistry) Schema(_ context.Context, id int) (avro.Schema, error) {
	if s, ok := r[id]; ok {
		return s, nil
	}
	return nil, &SchemaError{ID: id, Problem: "is unknown"}
}

func (r goldenRegistry) ID(_ context.Context, schema avro.Schema) (int, error) {
	want, err := SchemaText(schema)
	if err != nil {
		return 0, err
	}
	for id, s := range r {
		if text, err := SchemaText(s); err == nil && text == want {
			return id, nil
		}
	}
	return 0, &SchemaError{Subject: FullName(schema), Problem: "is unknown"}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *goldenVector) isLedger() bool { return strings.Contains(v.Topic, ".ledger.") }

func (v *goldenVector) record(t *testing.T) *streaming.Record {
	t.Helper()
	rec := &streaming.Record{Topic: v.Topic, Value: unhex(t, v.Value)}
	if v.Key != nil {
		rec.Key = unhex(t, v.Key.Hex)
	}
	for _, h := range v.Headers {
		rec.Headers = append(rec.Headers, streaming.Header{Key: h.Name, Value: unhex(t, h.Hex)})
	}
	return rec
}

// The vectors show what they are for, and their text is that of their bytes.
func TestGoldenIsWhole(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	if g.Contract != 1 || WireVersion != "1" {
		t.Errorf("vectors of contract %d, code of %s", g.Contract, WireVersion)
	}
	var every, kinds []string
	companions := map[string]bool{}
	names := map[string]bool{}
	noKey := false
	for _, v := range g.Vectors {
		if names[v.Name] || v.About == "" {
			t.Errorf("%s: stands twice, or says nothing about itself", v.Name)
		}
		names[v.Name] = true
		if id, _, err := ParseFrame(unhex(t, v.Value)); err != nil || id != v.Schema {
			t.Errorf("%s: schema %d in the value, %v, and %d beside it", v.Name, id, err, v.Schema)
		}
		var texts []goldenBytes
		if v.Key != nil {
			texts = append(texts, *v.Key)
		} else if !v.isLedger() {
			noKey = true
		}
		for _, h := range v.Headers {
			texts = append(texts, h.goldenBytes)
			if h.Name == HeaderKind {
				kinds = append(kinds, h.Text)
			}
			if v.Name == "every-header" {
				every = append(every, h.Name)
			}
		}
		for _, b := range texts {
			if raw := string(unhex(t, b.Hex)); utf8.ValidString(raw) && raw != b.Text {
				t.Errorf("%s: %s is %q, not %q", v.Name, b.Hex, raw, b.Text)
			}
		}
		for _, part := range []string{".retry-", ".dlq.", ".ledger."} {
			companions[part] = companions[part] || strings.Contains(v.Topic, part)
		}
	}
	for _, kind := range []streaming.Kind{
		streaming.KindEvent, streaming.KindIntent, streaming.KindStateDiff, streaming.KindCommand,
		streaming.KindRequest, streaming.KindReply, streaming.KindAck, streaming.KindError,
	} {
		if !slices.Contains(kinds, string(kind)) {
			t.Errorf("no vector of kind %s", kind)
		}
	}
	env := fullEnvelope()
	for _, h := range AppendEnvelope(nil, &env) {
		if !slices.Contains(every, h.Key) {
			t.Errorf("every-header lacks %s", h.Key)
		}
	}
	if !companions[".retry-"] || !companions[".dlq."] || !companions[".ledger."] || !noKey || !names["minimal"] || !names["non-ascii"] {
		t.Errorf("companion topics %v, no key %v, of %v", companions, noKey, names)
	}
}
