package contract_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// port is a port of a record with these fields, given as name:type.
func port(messageType, fields string, at ...contract.Place) contract.Port {
	var list []string
	for f := range strings.FieldsSeq(fields) {
		name, typ, _ := strings.Cut(f, ":")
		list = append(list, `{"name":"`+name+`","type":"`+typ+`"}`)
	}
	name := strings.ReplaceAll(messageType, ".", "_")
	return contract.Port{
		Type: messageType, At: at,
		Schema: json.RawMessage(`{"type":"record","name":"` + name + `","parley.type":"` + messageType + `","fields":[` + strings.Join(list, ",") + `]}`),
	}
}

type (
	ports = []contract.Port
	all   = []contract.Contract
)

func TestCheck(t *testing.T) {
	t.Parallel()
	stream, inbox, reply := contract.Stream, contract.Inbox, contract.Reply()
	feed := contract.Contract{Agent: "feed", Produces: ports{port("seen", "n:int", stream("news"))}}
	ack, err := schemas.SchemaText(schemas.Ack{}.Schema())
	if err != nil {
		t.Fatal(err)
	}
	reader := func(name string, fields string) contract.Contract {
		return contract.Contract{Agent: name, Consumes: ports{port("seen", fields, inbox(name), stream("news"))}}
	}
	for name, c := range map[string]struct {
		contracts all
		want      []string // beginnings of lines
	}{
		"none":          {nil, nil},
		"a pair":        {all{feed, reader("a", "n:int")}, nil},
		"a newer int":   {all{feed, reader("a", "n:long")}, nil},
		"two groups":    {all{feed, reader("a", "n:int"), func() contract.Contract { c := reader("a", "n:int"); c.Group = "a2"; return c }()}, nil},
		"platform only": {all{{Agent: "a", Consumes: ports{{Type: schemas.TypeAck, At: []contract.Place{inbox("a")}, Schema: json.RawMessage(ack)}}}}, nil},
		"incompatible": {all{feed, reader("a", "n:string"), reader("b", "n:int m:int")}, []string{
			"error incompatible: agent a cannot read all of seen that agent feed sends to stream:news: n: int cannot be read as string (TYPE_MISMATCH)",
			"error incompatible: agent b cannot read all of seen that agent feed sends to stream:news: m: ",
		}},
		"once for a pair": {all{
			{Agent: "feed", Produces: ports{port("seen", "n:int", stream("news"), inbox("a"))}}, reader("a", "n:string"),
		}, []string{"error incompatible: agent a "}},
		"nobody sends to a stream": {all{reader("a", "n:int")}, []string{
			"error no-producer: nobody sends seen to agent a, which reads it at inbox:a, stream:news; declare it",
		}},
		"to the inbox": {all{{Agent: "boss", Produces: ports{port("seen", "n:int", inbox("a"))}}, reader("a", "n:int")}, nil},
		"nobody sends to an inbox": {all{{Agent: "a", Consumes: ports{port("seen", "n:int", inbox("a"))}}}, []string{
			"info no-producer: nobody sends seen to agent a, which reads it at inbox:a; ",
		}},
		"undeclared": {all{{Agent: "u", Undeclared: true}, reader("a", "n:int")}, []string{
			"info no-producer: nobody sends seen to agent a, which reads it at inbox:a, stream:news, unless u does, which declares no outputs",
			"info undeclared: agent u declares no outputs and may send anything; add agents.Produces",
		}},
		"nobody subscribes": {all{feed}, []string{"error no-reader: agent feed sends seen to stream:news, and nobody subscribes to it"}},
		"no handler on the stream": {all{
			feed,
			{Agent: "a", Consumes: ports{port("heard", "n:int", inbox("a"), stream("news"))}},
			{Agent: "b", Produces: ports{port("heard", "n:int", inbox("a"))}},
		}, []string{"error no-reader: agent feed sends seen to stream:news, and a, which subscribes to it, has no handler for it"}},
		"no such agent": {all{{Agent: "boss", Produces: ports{port("seen", "n:int", inbox("a"))}}}, []string{
			"error no-reader: agent boss sends seen to inbox:a, and there is no contract of an agent a that reads anything",
		}},
		"a sender has no inbox": {all{{Agent: "boss", Produces: ports{port("seen", "n:int", inbox("boss"))}}}, []string{
			"error no-reader: agent boss sends seen to inbox:boss, and there is no contract of an agent boss that reads anything",
		}},
		"no handler at the inbox": {all{
			{Agent: "boss", Produces: ports{port("do", "n:int", inbox("a")), port("seen", "n:int", inbox("a"))}},
			{Agent: "a", Consumes: ports{port("do", "n:int", inbox("a"))}},
		}, []string{"error no-reader: agent boss sends seen to inbox:a, and agent a (group a) has no handler for it: each would be a dead letter"}},
		"a reply": {all{
			{Agent: "asker", Consumes: ports{port("told", "n:int", inbox("asker"))}, Produces: ports{port("ask", "n:int", inbox("a"))}},
			{Agent: "a", Consumes: ports{port("ask", "n:int", inbox("a"))}, Produces: ports{port("told", "n:int", reply)}},
		}, nil},
		"a reply that cannot be read": {all{
			{Agent: "asker", Consumes: ports{port("told", "n:int x:int", inbox("asker"))}, Produces: ports{port("ask", "n:int", inbox("a"))}},
			{Agent: "a", Consumes: ports{port("ask", "n:int", inbox("a"))}, Produces: ports{port("told", "n:int", reply)}},
		}, []string{"error incompatible: agent asker cannot read all of told that agent a sends to reply: x: "}},
		"a reply that nobody takes": {all{
			{Agent: "asker", Consumes: ports{port("other", "n:int", inbox("asker"))}, Produces: ports{port("ask", "n:int", inbox("a"))}},
			{Agent: "a", Consumes: ports{port("ask", "n:int", inbox("a"))}, Produces: ports{port("told", "n:int", reply), port("other", "n:int", inbox("asker"))}},
		}, []string{"error no-reply-taker: agent a replies with told, and asker, which it may answer, has no handler for it"}},
		"a reply to the outside": {all{
			{Agent: "web", Produces: ports{port("ask", "n:int", inbox("a"))}},
			{Agent: "a", Consumes: ports{port("ask", "n:int", inbox("a"))}, Produces: ports{port("told", "n:int", reply)}},
		}, []string{"info no-reply-taker: agent a replies with told, and web, which it may answer, has no handler for it"}},
		"a reply to nobody known": {all{
			{Agent: "a", Consumes: ports{port("ask", "n:int", inbox("a"))}, Produces: ports{port("told", "n:int", reply)}},
		}, []string{"info no-producer: ", "info no-reply-taker: agent a replies with told, and no contract says who sends it requests"}},
		"one group twice": {all{feed, reader("a", "n:int"), reader("a", "n:int")}, []string{
			"error invalid: agents a and a have contracts for the group a: a group has one",
		}},
		"invalid": {all{{Agent: "A", Consumes: ports{{Type: "x"}}}}, []string{"error invalid: the contract of agent A: agent: the name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range contract.Check(c.contracts) {
				got = append(got, f.String())
				if strings.Contains(f.String(), "\n") {
					t.Errorf("more than one line: %s", f)
				}
			}
			slices.Sort(got)
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			reversed := slices.Clone(c.contracts)
			slices.Reverse(reversed)
			if again := contract.Check(reversed); name != "one group twice" && !reflect.DeepEqual(again, contract.Check(c.contracts)) {
				t.Errorf("in another order: %v", again)
			}
		})
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	c := contract.Contract{
		Agent: "a", Group: "g",
		Consumes: ports{port("seen", "n:int", contract.Inbox("a"), contract.Stream("news"))},
		Produces: ports{port("told", "n:int", contract.Inbox("b"), contract.Reply())},
	}
	text, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"inbox:b",`) || !strings.Contains(string(text), `"reply"`) {
		t.Errorf("JSON is\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "contract.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := contract.Read(file)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%v: read back %+v\nwant %+v", err, back, c)
	}
	back, err = contract.FromRecord(c.Record())
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%v: from Avro %+v\nwant %+v", err, back, c)
	}
	// In another order it says the same.
	c.Produces[0].At[0], c.Produces[0].At[1] = c.Produces[0].At[1], c.Produces[0].At[0]
	if again, err := c.JSON(); err != nil || string(again) != string(text) {
		t.Errorf("%v: in another order\n%s", err, again)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                           "not the JSON of a contract",
		`{"agent":"a"} {}`:           "more follows",
		`{"agent":"a","consume":[]}`: `unknown field "consume"`,
		`{"agent":"A"}`:              "agent: the name",
		`{"agent":"a","produces":[{"type":"x","at":["queue:b"],"schema":{}}]}`:              `the place "queue:b" is not stream:NAME, inbox:AGENT or reply`,
		`{"agent":"a","produces":[{"type":"x","at":["reply:"],"schema":{}}]}`:               `the place "reply:" is not`,
		`{"agent":"a","produces":[{"type":"x","at":[],"schema":{"type":"record"}}]}`:        "produces x at no place",
		`{"agent":"a","produces":[{"type":"x","at":["reply"],"schema":{"type":"recor"}}]}`:  "its schema is not Avro",
		`{"agent":"a","produces":[{"type":"x","at":["reply"],"schema":"string"}]}`:          `its schema names "" as its parley.type`,
		`{"agent":"a","consumes":[{"type":"x","at":["reply"],"schema":"string"}]}`:          "a reply is read at inbox:a",
		`{"agent":"a","undeclared":true,"produces":[{"type":"x","at":[],"schema":"null"}]}`: "is not undeclared",
	} {
		if _, err := contract.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
