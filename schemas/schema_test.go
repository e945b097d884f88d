package schemas

import (
	"os"
	"testing"

	"github.com/hamba/avro/v2"
)

// The generated schema is the source's, property by property, also after its
// text has been through a registry.
func TestGeneratedSchemas(t *testing.T) {
	t.Parallel()
	for file, tc := range map[string]struct {
		message Message
		typ     string
	}{
		"agent_stop": {AgentStop{}, "agent.stop"}, "ack": {Ack{}, "agent.ack"},
		"error_reply": {ErrorReply{}, "agent.error"}, "ledger_entry": {LedgerEntry{}, ""},
	} {
		source, err := os.ReadFile("avro/" + file + ".avsc")
		if err != nil {
			t.Fatal(err)
		}
		want, err := ParseSchema(string(source))
		if err != nil {
			t.Fatal(err)
		}
		text, err := SchemaText(tc.message.Schema())
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSchema(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, schema := range []avro.Schema{want, tc.message.Schema(), again} {
			got, err := SchemaText(schema)
			if err != nil || got != text {
				t.Errorf("%s: %s\ninstead of %s, %v", file, got, text, err)
			}
			if MessageType(schema) != tc.typ {
				t.Errorf("%s: type %q instead of %q", file, MessageType(schema), tc.typ)
			}
		}
		if tc.message.Schema() != tc.message.Schema() {
			t.Errorf("%s: a new schema on each call", file)
		}
	}
}

func TestSchemaHelpersOnUnnamedSchemas(t *testing.T) {
	t.Parallel()
	s := mustParse(`{"type":"array","items":"int"}`)
	if FullName(s) != "array" || MessageType(s) != "" || MessageType(mustParse(`["null","int"]`)) != "" {
		t.Errorf("%s, %s", FullName(s), MessageType(s))
	}
	if MessageType(mustParse(`{"type":"record","name":"x","parley.type":5,"fields":[]}`)) != "" {
		t.Error("a property that is no string names a type")
	}
}

func TestParseSchemaRefuses(t *testing.T) {
	t.Parallel()
	// A name of another text is unknown.
	mustParse(`{"type":"record","name":"test.Elsewhere","fields":[]}`)
	for _, text := range []string{"", "{", "Nowhere", `{"type":"record"}`, `{"type":5}`, `[["int"]]`, `{"type":"array","items":"test.Elsewhere"}`} {
		if s, err := ParseSchema(text); err == nil {
			t.Errorf("%q parses to %v", text, s)
		}
	}
}
