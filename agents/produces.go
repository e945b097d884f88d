package agents

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
)

// Destination is where an agent sends messages: ToStream, ToAgent or AsReply.
type Destination = contract.Place

// ToStream is where Message.Publish sends.
func ToStream(stream string) Destination { return contract.Stream(stream) }

// ToAgent is where Message.Send sends.
func ToAgent(agent string) Destination { return contract.Inbox(agent) }

// AsReply is where Message.Reply sends.
func AsReply() Destination { return contract.Reply() }

// Produces declares that the agent's handlers send messages of T's type to
// these places. It may be called again, for other places too.
//
// An agent that declares any output sends only what it declares: anything else
// is refused with an *UndeclaredError when it is staged. One that declares none
// may send anything, which a check of contracts tells. Acks and what else the
// platform sends (schemas.PlatformType) are not declared.
func Produces[T schemas.Message](a *Agent, to ...Destination) {
	messageType, schema, err := described[T]()
	if err == nil && len(to) == 0 {
		err = fmt.Errorf("the output %s has no destination: name where it is sent, for example agents.ToStream(\"alerts\")", messageType)
	}
	for _, d := range to {
		if invalid := d.Validate(); err == nil && invalid != nil {
			err = fmt.Errorf("the output %s: %w", messageType, invalid)
		}
	}
	if known, ok := a.outputs.schemas[messageType]; err == nil && ok && string(known) != string(schema) {
		err = fmt.Errorf("the output %s is declared with two schemas", messageType)
	}
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	ProducesNothing(a)
	a.outputs.schemas[messageType] = schema
	for _, d := range to {
		a.outputs.routes[output{messageType, d}] = struct{}{}
	}
}

// ProducesNothing declares that the agent's handlers send nothing, unless
// Produces declares something.
func ProducesNothing(a *Agent) {
	if a.outputs.routes == nil {
		a.outputs.routes, a.outputs.schemas = make(map[output]struct{}), make(map[string]json.RawMessage)
	}
}

// output is a message type at a place.
type output struct {
	messageType string
	to          Destination
}

// declared is what an agent declares to send. It does not change once the agent
// runs.
type declared struct {
	agent   string
	routes  map[output]struct{} // nil: anything
	schemas map[string]json.RawMessage
}

func (d *declared) check(to Destination, payload schemas.Message) error {
	if d.routes == nil {
		return nil
	}
	messageType := schemas.MessageType(payload.Schema())
	if _, ok := d.routes[output{messageType, to}]; ok || messageType == "" || schemas.PlatformType(messageType) {
		return nil
	}
	return &UndeclaredError{Agent: d.agent, Type: messageType, To: to, payload: strings.TrimLeft(fmt.Sprintf("%T", payload), "*")}
}

// checkRouted is check for what goes where data says: its type has to be declared,
// for whatever place.
func (d *declared) checkRouted(to Destination, payload schemas.Message) error {
	if _, ok := d.schemas[schemas.MessageType(payload.Schema())]; ok {
		return nil
	}
	return d.check(to, payload)
}

// UndeclaredError says that a handler has tried to send what its agent does not
// declare. Nothing was staged. As a handler's outcome it is retried like any other
// error, so that a version of the agent that declares it can still settle the
// message.
type UndeclaredError struct {
	Agent string
	Type  string // the message type
	To    Destination

	payload string // the Go type
}

func (e *UndeclaredError) Error() string {
	to := "AsReply()"
	switch e.To.Kind {
	case contract.KindStream:
		to = fmt.Sprintf("ToStream(%q)", e.To.Name)
	case contract.KindInbox:
		to = fmt.Sprintf("ToAgent(%q)", e.To.Name)
	}
	return fmt.Sprintf("agent %s does not declare that it sends %s to %s: add agents.Produces[%s](a, agents.%s)", e.Agent, e.Type, e.To, e.payload, to)
}

// Contract is what the agent says that it reads and writes: the types of its
// handlers and upcasters, at its inbox and its streams, and what Produces
// declares. It does not need to run.
func (a *Agent) Contract() contract.Contract {
	c := contract.Contract{Agent: a.name, Group: a.cfg.Group, Undeclared: a.outputs.routes == nil}
	if c.Group == a.name {
		c.Group = ""
	}
	at := []Destination{contract.Inbox(a.name)}
	streams := slices.Clone(a.cfg.Streams)
	slices.Sort(streams)
	for _, s := range slices.Compact(streams) {
		at = append(at, contract.Stream(s))
	}
	for _, messageType := range slices.Sorted(maps.Keys(a.consumes)) {
		c.Consumes = append(c.Consumes, contract.Port{Type: messageType, At: slices.Clone(at), Schema: a.consumes[messageType]})
	}
	for _, messageType := range slices.Sorted(maps.Keys(a.outputs.schemas)) {
		p := contract.Port{Type: messageType, Schema: a.outputs.schemas[messageType]}
		for o := range a.outputs.routes {
			if o.messageType == messageType {
				p.At = append(p.At, o.to)
			}
		}
		slices.SortFunc(p.At, func(a, b Destination) int { return strings.Compare(a.String(), b.String()) })
		c.Produces = append(c.Produces, p)
	}
	return c
}
