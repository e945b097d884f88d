// Package rules holds values to the rules that their Avro schemas state beyond
// types: expressions in the property parley.rules of a record or a field. See
// package expr for what an expression can say.
package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// Property is the property of a record and of a field that holds its rules: an
// array of objects with id, expression and, if wanted, message.
const Property = "parley.rules"

// DefaultCost bounds what all rules of one value may cost, see expr.Budget. It is
// up to some tenths of a second.
const DefaultCost = 1_000_000

// Set is the rules of a schema, compiled. It is immutable.
type Set struct {
	cost uint64
	typ  *expr.Type
	root *node
}

// rule is one compiled rule.
type rule struct {
	id, expression, message string
	program                 *expr.Program
}

// Violation is a rule that a value breaks.
type Violation struct {
	Path       string // of the value, such as payload.stations[2].magnitude
	ID         string // of the rule
	Expression string
	Message    string // of the rule; may be empty
	Err        error  // why the rule could not be evaluated; nil where it is false
}

// Compile returns the rules of a schema, nil if it has none. All rules of one
// value together may cost so many units. The error names the place and the rule.
func Compile(schema avro.Schema, cost uint64) (*Set, error) {
	if any, err := stated(schema); !any || err != nil {
		return nil, err
	}
	c := &compiler{cost: cost, types: expr.NewTypes(), nodes: make(map[*avro.RecordSchema]*node)}
	typ, err := c.types.Of(schema)
	if err != nil {
		return nil, err
	}
	root, err := c.node(schema, "payload")
	if err != nil {
		return nil, err
	}
	return &Set{cost: cost, typ: typ, root: root}, nil
}

// Check returns the first rule that a payload breaks, in the order of its
// schema, or nil. The payload is Avro binary of the schema and has passed the
// codec's checks.
func (s *Set) Check(payload []byte) *Violation {
	v, err := s.typ.Read(payload)
	if err != nil {
		return &Violation{Path: "payload", Err: err}
	}
	c := checker{budget: expr.NewBudget(s.cost)}
	c.check(s.root, v)
	return c.broken
}

// parse returns the rules that a record or a field states, not compiled.
func parse(property any) ([]rule, error) {
	if property == nil {
		return nil, nil
	}
	items, ok := property.([]any)
	if !ok {
		return nil, fmt.Errorf(`%s is not an array of {"id": …, "expression": …}`, Property)
	}
	found := make([]rule, 0, len(items))
	for i, item := range items {
		r, err := parseRule(item)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", Property, i, err)
		}
		if slices.ContainsFunc(found, func(other rule) bool { return other.id == r.id }) {
			return nil, fmt.Errorf("%s[%d]: the id %s stands twice", Property, i, r.id)
		}
		found = append(found, r)
	}
	return found, nil
}

func parseRule(item any) (r rule, err error) {
	members, ok := item.(map[string]any)
	if !ok {
		return r, fmt.Errorf(`it is not {"id": …, "expression": …}`)
	}
	known := map[string]*string{"id": &r.id, "expression": &r.expression, "message": &r.message}
	var names []string
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names) // the same error each time
	for _, name := range names {
		to, ok := known[name]
		if !ok {
			return r, fmt.Errorf("%s is not one of id, expression and message", strconv.QuoteToASCII(name))
		}
		if *to, ok = members[name].(string); !ok {
			return r, fmt.Errorf("its %s is not a text", name)
		}
	}
	switch {
	case r.id == "":
		return r, fmt.Errorf("its id is missing")
	case len(r.id) > maxID || strings.ContainsFunc(r.id, func(c rune) bool { return c <= ' ' || c > '~' }):
		return r, fmt.Errorf("its id is not up to %d printable ASCII characters without a space", maxID)
	case r.expression == "":
		return r, fmt.Errorf("rule %s: its expression is missing", r.id)
	}
	return r, nil
}

const maxID = 128

// stated says whether a schema states rules, anywhere, and refuses those that
// stand where nobody would look for them.
func stated(schema avro.Schema) (any bool, err error) {
	seen := make(map[*avro.RecordSchema]bool)
	var visit func(avro.Schema, string)
	visit = func(schema avro.Schema, path string) {
		if err != nil {
			return
		}
		if rec, ok := schema.(*avro.RecordSchema); ok {
			if seen[rec] {
				return
			}
			seen[rec] = true
			any = any || rec.Prop(Property) != nil
			for _, f := range rec.Fields() {
				any = any || f.Prop(Property) != nil
				visit(f.Type(), path+"."+f.Name())
			}
			return
		}
		if p, ok := schema.(avro.PropertySchema); ok && p.Prop(Property) != nil {
			err = fmt.Errorf("%s: %s stands in a type: move it to the field or to a record", path, Property)
			return
		}
		for _, part := range parts(schema) {
			visit(part, path)
		}
	}
	visit(schema, "payload")
	return any, err
}

// parts are the schemas that a schema other than a record is made of.
func parts(schema avro.Schema) []avro.Schema {
	switch s := schema.(type) {
	case *avro.RefSchema:
		return []avro.Schema{s.Schema()}
	case *avro.ArraySchema:
		return []avro.Schema{s.Items()}
	case *avro.MapSchema:
		return []avro.Schema{s.Values()}
	case *avro.UnionSchema:
		return s.Types()
	}
	return nil
}
