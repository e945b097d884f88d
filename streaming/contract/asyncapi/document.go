// Package asyncapi writes contracts as an AsyncAPI 3.0 document, for the tools
// of others: catalogues, generators of documentation and of clients.
//
// See https://www.asyncapi.com/docs/reference/specification/v3.0.0 and version
// 0.5.0 of its Kafka bindings.
package asyncapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// Info is what a document says of itself.
type Info struct {
	Title     string              // default: Agents
	Version   string              // default: 1.0.0
	Namespace streaming.Namespace // of the topics; default: parley
}

// Document returns contracts as the JSON of an AsyncAPI document: each stream
// and inbox is a channel, what each group reads and sends is an operation, and
// each form of each message type is a message. The same contracts give the same
// text. A contract that is not valid is an error.
func Document(contracts []contract.Contract, info Info) ([]byte, error) {
	var errs []error
	for _, c := range contracts {
		if err := c.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("the contract of agent %s: %w", c.Agent, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	contracts = slices.Clone(contracts)
	slices.SortStableFunc(contracts, func(a, b contract.Contract) int { return cmp.Compare(a.GroupName(), b.GroupName()) })
	b := &builder{
		namespace: cmp.Or(info.Namespace, streaming.DefaultNamespace),
		forms:     make(map[string][]string),
		doc: document{
			AsyncAPI:           "3.0.0",
			Info:               about{Title: cmp.Or(info.Title, "Agents"), Version: cmp.Or(info.Version, "1.0.0")},
			DefaultContentType: "application/avro",
			Channels:           make(map[string]channel),
			Operations:         make(map[string]*operation),
			Components:         components{Messages: make(map[string]message), Schemas: map[string]any{"envelope": envelope()}},
		},
	}
	for _, c := range contracts { // senders first: a form that is written has the plain name
		for _, p := range c.Produces {
			b.message(p)
		}
	}
	for _, c := range contracts {
		b.contract(c)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(b.doc); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

type builder struct {
	namespace streaming.Namespace
	forms     map[string][]string // the schemas of a message type, in the order of their messages
	doc       document
}

// message returns the name of a port's message: its type, with a number where
// agents have several schemas of it.
func (b *builder) message(p contract.Port) string {
	var text bytes.Buffer
	_ = json.Compact(&text, p.Schema) // it has been validated
	i := slices.Index(b.forms[p.Type], text.String())
	if i < 0 {
		i = len(b.forms[p.Type])
		b.forms[p.Type] = append(b.forms[p.Type], text.String())
	}
	name := p.Type
	if i > 0 {
		name = fmt.Sprintf("%s-%d", p.Type, i+1)
	}
	if _, known := b.doc.Components.Messages[name]; !known {
		b.doc.Components.Messages[name] = message{
			Name: p.Type, Title: p.Type, ContentType: "application/avro",
			Headers:       ref("components", "schemas", "envelope"),
			Payload:       payload{SchemaFormat: "application/vnd.apache.avro;version=1.9.0", Schema: split(text.Bytes())},
			CorrelationID: location{Description: "The conversation.", Location: "$message.header#/ce_correlationid"},
			Bindings:      messageBindings{Kafka: kafkaMessage()},
		}
	}
	return name
}

// channel returns the name of a place's channel, and sees to it that the message
// is in it.
func (b *builder) channel(at contract.Place, message string) string {
	name := string(at.Kind) + "." + at.Name
	ch, known := b.doc.Channels[name]
	if !known {
		topic := b.namespace.Events(at.Name)
		ch.Description = "Events, for every group that subscribes."
		if at.Kind == contract.KindInbox {
			topic, ch.Description = b.namespace.Inbox(at.Name), "Messages to the agent "+at.Name+"."
		}
		ch.Address, ch.Messages = &topic, make(map[string]reference)
		ch.Bindings = &channelBindings{Kafka: map[string]any{"topic": topic, "bindingVersion": kafkaBinding}}
	}
	ch.Messages[message] = ref("components", "messages", message)
	b.doc.Channels[name] = ch
	return name
}

// replies returns the channel of a group's replies, whose address each request
// names.
func (b *builder) replies(c contract.Contract) *reply {
	ch := channel{Description: "Replies of " + c.GroupName() + ", where the request wants them; by default the sender's inbox.", Messages: make(map[string]reference)}
	name := "replies." + c.GroupName()
	r := &reply{
		Address: location{Description: "topic or topic/partition; without it the inbox of ce_source.", Location: "$message.header#/ce_replyto"},
		Channel: ref("channels", name),
	}
	for _, p := range c.Produces {
		if slices.Contains(p.At, contract.Reply()) {
			message := b.message(p)
			ch.Messages[message] = ref("components", "messages", message)
			r.Messages = append(r.Messages, ref("channels", name, "messages", message))
		}
	}
	if len(r.Messages) == 0 {
		return nil
	}
	b.doc.Channels[name] = ch
	return r
}

func (b *builder) contract(c contract.Contract) {
	r := b.replies(c)
	for _, p := range c.Consumes {
		for _, at := range p.At {
			b.operation(c, "receive", at, p).Reply = r
		}
	}
	for _, p := range c.Produces {
		for _, at := range p.At {
			if at.Kind != contract.KindReply {
				b.operation(c, "send", at, p)
			}
		}
	}
}

// operation adds a message to what a group does at a place.
func (b *builder) operation(c contract.Contract, action string, at contract.Place, p contract.Port) *operation {
	message := b.message(p)
	ch := b.channel(at, message)
	name := c.GroupName() + "." + action + "." + ch
	op := b.doc.Operations[name]
	if op == nil {
		op = &operation{Action: action, Title: fmt.Sprintf("agent %s: %s %s", c.Agent, action, at), Channel: ref("channels", ch)}
		if action == "receive" {
			op.Bindings = &operationBindings{Kafka: map[string]any{
				"groupId": map[string]any{"type": "string", "enum": []string{c.GroupName()}}, "bindingVersion": kafkaBinding,
			}}
		}
		b.doc.Operations[name] = op
	}
	op.Messages = append(op.Messages, ref("channels", ch, "messages", message))
	return op
}
