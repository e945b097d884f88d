package contract

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Contract is what one group of an agent reads and writes.
//
// One that only produces is of a sender outside of the platform: it has no
// inbox. One that only consumes may be of a reader outside of it.
type Contract struct {
	Agent    string `json:"agent"`
	Group    string `json:"group,omitempty"` // empty: the agent's name
	Consumes []Port `json:"consumes,omitempty"`
	Produces []Port `json:"produces,omitempty"`

	// Undeclared says that the agent declares no outputs: it may send anything.
	// Without it, what Produces lists is all.
	Undeclared bool `json:"undeclared,omitempty"`
}

// Port is one message type that an agent reads or writes.
type Port struct {
	Type   string          `json:"type"`
	At     []Place         `json:"at"`     // where it is read from, or sent to
	Schema json.RawMessage `json:"schema"` // the agent's own Avro schema of it, the whole text
}

// GroupName is the consumer group, by which contracts are told apart.
func (c Contract) GroupName() string { return cmp.Or(c.Group, c.Agent) }

// external says that the contract is of a sender without an inbox.
func (c Contract) external() bool { return len(c.Consumes) == 0 }

// Parse reads a contract's JSON. All that is wrong with it is reported at once;
// a field that contracts do not have is wrong.
func Parse(text []byte) (Contract, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var c Contract
	err := dec.Decode(&c)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more follows the contract")
		}
	}
	if err != nil {
		return Contract{}, fmt.Errorf("not the JSON of a contract: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Contract{}, err
	}
	return c.normal(), nil
}

// Read reads a contract from a file.
func Read(file string) (Contract, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Contract{}, err
	}
	c, err := Parse(text)
	if err != nil {
		return Contract{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// normal is the contract in its normal form: ports by type, places in order, schemas
// without white space. Two contracts say the same if their normal JSON is the same.
func (c Contract) normal() Contract {
	if c.Group == c.Agent {
		c.Group = ""
	}
	ports := func(ports []Port) []Port {
		ports = slices.Clone(ports)
		for i := range ports {
			p := &ports[i]
			p.At = slices.Clone(p.At)
			slices.SortFunc(p.At, func(a, b Place) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
			p.At = slices.Compact(p.At)
			var text bytes.Buffer
			if json.Compact(&text, p.Schema) == nil {
				p.Schema = text.Bytes()
			}
		}
		slices.SortStableFunc(ports, func(a, b Port) int { return cmp.Compare(a.Type, b.Type) })
		return ports
	}
	c.Consumes, c.Produces = ports(c.Consumes), ports(c.Produces)
	return c
}

// JSON is the contract's text as it is kept in a file. The same contract has
// the same text.
func (c Contract) JSON() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c.normal()); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// Validate reports all that is wrong with a contract at once.
func (c Contract) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := schemas.ValidName(c.Agent); err != nil {
		wrong("agent: %w", err)
	}
	if c.Undeclared && len(c.Produces) > 0 {
		wrong("a contract that lists what it produces is not undeclared")
	}
	for _, list := range []struct {
		name  string
		ports []Port
	}{{"consumes", c.Consumes}, {"produces", c.Produces}} {
		seen := make(map[string]bool)
		for _, p := range list.ports {
			if seen[p.Type] {
				wrong("%s lists %s twice; one entry can have several places", list.name, p.Type)
			}
			seen[p.Type] = true
			if len(p.At) == 0 {
				wrong("%s %s at no place", list.name, p.Type)
			}
			for _, at := range p.At {
				if err := at.Validate(); err != nil {
					wrong("%s %s: %w", list.name, p.Type, err)
				} else if at.Kind == KindReply && list.name == "consumes" {
					wrong("consumes %s: a reply is read at inbox:%s", p.Type, c.Agent)
				}
			}
			if _, err := p.parse(); err != nil {
				wrong("%s %s: %w", list.name, p.Type, err)
			}
		}
	}
	return errors.Join(errs...)
}

// parse returns the port's schema. It is held by what the registry's schemas
// are held by, as only package schemas knows the Avro library.
func (p Port) parse() (schemas.Registered, error) {
	if err := schemas.ValidType(p.Type); err != nil {
		return schemas.Registered{}, err
	}
	schema, err := schemas.ParseSchema(string(p.Schema))
	if err != nil {
		return schemas.Registered{}, fmt.Errorf("its schema is not Avro: %w", err)
	}
	if named := schemas.MessageType(schema); named != p.Type {
		return schemas.Registered{}, fmt.Errorf("its schema names %q as its %s", named, schemas.TypeProperty)
	}
	return schemas.Registered{Subject: schemas.FullName(schema), Schema: schema}, nil
}
