package evolution

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Each line says who cannot read what, and what can still be done: an old schema
// cannot be changed.
func TestProblemsSayWhatToDo(t *testing.T) {
	t.Parallel()
	enum := func(rest string) string {
		return record(`{"name":"e","type":{"type":"enum","name":"E","symbols":[` + rest + `}}`)
	}
	for _, c := range []struct {
		old, new string
		want     []string
	}{
		{record(``), record(`{"name":"a","type":"int"}`), []string{"old: a: new agents cannot read old messages: ", "give field a a default"}},
		{record(`{"name":"a","type":"int"}`), record(``), []string{"old: a: old agents cannot read new messages: ", "keep field a: old agents have no default for it"}},
		{enum(`"A"]`), enum(`"A","B"]`), []string{"old agents cannot read new messages", "deploy a default for the enum first"}},
		{enum(`"A","B"]`), enum(`"A"]`), []string{"new agents cannot read old messages", "keep the symbols"}},
		{record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"long"}`), []string{"old agents cannot read new messages", "TYPE_MISMATCH", "keep the type, and add a field of a new name"}},
		{record(`{"name":"a","type":["null","int"]}`), record(`{"name":"a","type":["null","int","string"]}`), []string{"old agents cannot read new messages", "keep to the branches"}},
		{strings.Replace(record(``), "demo.R", "demo.S", 1), strings.Replace(record(``), "demo.R", `demo.R","aliases":["demo.S"],"x":"`, 1), []string{"old agents cannot read new messages", "do not know a new alias"}},
		{record(``), strings.Replace(record(``), "r.made", "r.taken", 1), []string{"old: the message type was r.made", "MESSAGE_TYPE_CHANGED"}},
		{record(``), strings.Replace(record(``), `"parley.type":"r.made",`, "", 1), []string{"MESSAGE_TYPE_CHANGED"}},
	} {
		problems := Judge(version(t, c.new).Schema, []Version{version(t, c.old)}, schemas.LevelFull)
		if len(problems) != 1 {
			t.Errorf("%s\n%s: %v", c.old, c.new, problems)
			continue
		}
		for _, want := range c.want {
			if line := problems[0].String(); !strings.Contains(line, want) || strings.Contains(line, "\n") {
				t.Errorf("%q does not say %q", line, want)
			}
		}
	}
}

func TestTheLevelSaysWhichVersionsCount(t *testing.T) {
	t.Parallel()
	first, second := version(t, record(`{"name":"a","type":"string"}`)), version(t, record(``))
	first.Name, second.Name = "r@1", "r@2"
	broken := Version{Name: "r@0", Err: errors.New("is\nbroken")}
	newer := version(t, record(`{"name":"a","type":"int"}`))
	for _, c := range []struct {
		level schemas.Level
		want  []string
	}{
		{schemas.LevelNone, nil},
		{schemas.LevelForward, nil},
		{schemas.LevelBackward, []string{"r@2 READER_FIELD_MISSING_DEFAULT_VALUE backward"}},
		{schemas.LevelForwardTransitive, []string{"r@0 OLDER_VERSION_UNUSABLE ", "r@1 TYPE_MISMATCH forward"}},
		{schemas.LevelFullTransitive, []string{"r@0 OLDER_VERSION_UNUSABLE ", "r@1 TYPE_MISMATCH backward", "r@1 TYPE_MISMATCH forward", "r@2 READER_FIELD_MISSING_DEFAULT_VALUE backward"}},
	} {
		var got []string
		for _, p := range Judge(newer.Schema, []Version{broken, first, second}, c.level) {
			got = append(got, p.With+" "+string(p.Rule)+" "+string(p.Direction))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.level, got, c.want)
		}
	}
	if p := Judge(newer.Schema, nil, schemas.LevelFullTransitive); p != nil {
		t.Errorf("a first version: %v", p)
	}
}

func TestTheNextType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"quake.reported": "quake.reported.v2", "quake.reported.v2": "quake.reported.v3", "quake.reported.v9": "quake.reported.v10", "v2": "v2.v2", "a.vx": "a.vx.v2",
	} {
		if got := NextType(typ); got != want {
			t.Errorf("%s after %s, want %s", got, typ, want)
		}
	}
}
