package asyncapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/contract/asyncapi"
)

// official compiles the JSON Schema of AsyncAPI 3.0.0.
func official(t *testing.T) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open("testdata/asyncapi-3.0.0.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	parsed, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const at = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	if err := c.AddResource(at, parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(at)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func valid(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}

func port(messageType, fields string, at ...contract.Place) contract.Port {
	return contract.Port{
		Type: messageType, At: at,
		Schema: json.RawMessage(`{"type":"record","name":"test.` + strings.ReplaceAll(messageType, ".", "_") + `","aliases":["test.Older"],"parley.type":"` + messageType + `","fields":[` + fields + `]}`),
	}
}

// agents are contracts with all that a document can hold.
func agents(t *testing.T) []contract.Contract {
	t.Helper()
	ack, err := schemas.SchemaText(schemas.Ack{}.Schema())
	if err != nil {
		t.Fatal(err)
	}
	const amount, note = `{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}`, `{"name":"note","type":["null","string"],"default":null}`
	return []contract.Contract{
		{Agent: "till", Produces: []contract.Port{port("shop.sold", amount, contract.Stream("sales"))}},
		{
			Agent: "books", Group: "books-2",
			Consumes: []contract.Port{
				port("shop.sold", amount+","+note, contract.Inbox("books"), contract.Stream("sales")),
				port("shop.sum", amount, contract.Inbox("books"), contract.Stream("sales")),
			},
			Produces: []contract.Port{port("shop.total", amount, contract.Reply(), contract.Stream("totals"))},
		},
		{
			Agent: "clerk", Undeclared: true,
			Consumes: []contract.Port{
				{Type: schemas.TypeAck, At: []contract.Place{contract.Inbox("clerk")}, Schema: json.RawMessage(ack)},
				port("shop.total", amount, contract.Inbox("clerk")),
			},
		},
		{Agent: "zeal", Consumes: []contract.Port{port("shop.sold", note, contract.Inbox("zeal"))}},
	}
}

func TestDocumentIsAsyncAPI(t *testing.T) {
	t.Parallel()
	schema := official(t)
	for name, contracts := range map[string][]contract.Contract{"agents": agents(t), "none": nil} {
		text, err := asyncapi.Document(contracts, asyncapi.Info{Title: "Shop", Version: "2"})
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, schema, text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// The official schema is one that refuses: else the test above says nothing.
func TestTheSchemaRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	schema := official(t)
	good, err := asyncapi.Document(agents(t), asyncapi.Info{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`"action": "send"`, `"action": "shout"`},
		{`"asyncapi": "3.0.0"`, `"asyncapi": "2.6.0"`},
		{`"type": "record"`, `"type": "recording"`},
		{`"title": "Agents",`, ``},
		{`"schemaIdLocation": "payload"`, `"schemaIdLocation": "moon"`},
		{`"$message.header#/ce_correlationid"`, `"ce_correlationid"`},
		{`"bindingVersion": "0.5.0",`, `"bindingVersion": "0.5.0", "other": 1,`},
	} {
		bad := strings.ReplaceAll(string(good), c[0], c[1])
		if bad == string(good) {
			t.Errorf("the document has no %s", c[0])
		} else if valid(t, schema, []byte(bad)) == nil {
			t.Errorf("a document with %s for %s is taken", c[1], c[0])
		}
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	all := agents(t)
	text, err := asyncapi.Document(all, asyncapi.Info{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	again, err := asyncapi.Document(all, asyncapi.Info{Namespace: "shop"})
	if err != nil || string(again) != string(text) {
		t.Errorf("in another order the document is another: %v\n%s", err, again)
	}
	var doc struct {
		Channels map[string]struct {
			Address  *string
			Messages map[string]any
		}
		Operations map[string]struct {
			Action   string
			Messages []struct {
				Ref string `json:"$ref"`
			}
			Reply *struct {
				Messages []any
			}
			Bindings struct {
				Kafka struct{ GroupID struct{ Enum []string } }
			}
		}
		Components struct {
			Messages map[string]struct {
				Payload struct {
					SchemaFormat string
					Schema       struct{ Fields []any }
				}
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if a := doc.Channels["stream.sales"].Address; a == nil || *a != "shop.events.sales" {
		t.Errorf("stream: %s", text)
	}
	if a := doc.Channels["inbox.books"].Address; a == nil || *a != "shop.inbox.books" {
		t.Errorf("inbox: %s", text)
	}
	if ch, ok := doc.Channels["replies.books-2"]; !ok || ch.Address != nil || ch.Messages["shop.total"] == nil {
		t.Errorf("replies: %s", text)
	}
	// What is written has the plain name; the reader's own form stands beside it.
	m := doc.Components.Messages
	if len(m["shop.sold"].Payload.Schema.Fields) != 1 || len(m["shop.sold-2"].Payload.Schema.Fields) != 2 {
		t.Errorf("forms of shop.sold: %s", text)
	}
	send, receive := doc.Operations["till.send.stream.sales"], doc.Operations["books-2.receive.stream.sales"]
	if send.Action != "send" || len(send.Messages) != 1 || send.Messages[0].Ref != "#/channels/stream.sales/messages/shop.sold" {
		t.Errorf("send: %+v", send)
	}
	if receive.Action != "receive" || len(receive.Messages) != 2 || receive.Messages[0].Ref != "#/channels/stream.sales/messages/shop.sold-2" ||
		receive.Reply == nil || len(receive.Reply.Messages) != 1 || len(receive.Bindings.Kafka.GroupID.Enum) != 1 || receive.Bindings.Kafka.GroupID.Enum[0] != "books-2" {
		t.Errorf("receive: %+v", receive)
	}
	if r := doc.Operations["clerk.receive.inbox.clerk"]; r.Reply != nil {
		t.Errorf("an agent that does not reply: %+v", r)
	}
}
