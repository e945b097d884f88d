package rules

import (
	"fmt"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// node is what has to be checked in values of one schema.
type node struct {
	self    []rule // of a record
	fields  []field
	items   *node            // of an array
	values  *node            // of a map
	records map[string]*node // of a record, or of a union's records, by full name
}

// field is one of a record's that has to be looked at.
type field struct {
	at   int
	name string
	self []rule
	node *node // what is in it; nil: nothing to check
}

type compiler struct {
	cost  uint64
	types *expr.Types
	nodes map[*avro.RecordSchema]*node
}

// node compiles the rules of a schema and below; nil where there are none.
func (c *compiler) node(schema avro.Schema, path string) (*node, error) {
	if any, err := stated(schema); !any || err != nil {
		return nil, err
	}
	n := &node{}
	var err error
	switch s := schema.(type) {
	case *avro.RefSchema:
		return c.node(s.Schema(), path)
	case *avro.ArraySchema:
		n.items, err = c.node(s.Items(), path+"[]")
	case *avro.MapSchema:
		n.values, err = c.node(s.Values(), path+"{}")
	case *avro.UnionSchema:
		n.records = make(map[string]*node)
		for _, branch := range s.Types() {
			b, branchErr := c.node(branch, path)
			if branchErr != nil {
				return nil, branchErr
			}
			if b == nil {
				continue
			}
			// A union has one array and one map at most.
			for name, record := range b.records {
				n.records[name] = record
			}
			if b.items != nil {
				n.items = b.items
			}
			if b.values != nil {
				n.values = b.values
			}
		}
	case *avro.RecordSchema:
		record, err := c.record(s, path)
		return &node{records: map[string]*node{s.FullName(): record}}, err
	}
	return n, err
}

func (c *compiler) record(s *avro.RecordSchema, path string) (*node, error) {
	if known, ok := c.nodes[s]; ok {
		return known, nil
	}
	n := &node{}
	c.nodes[s] = n // before its fields, which may hold it again
	typ, err := c.types.Of(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if n.self, err = c.rules(s.Prop(Property), typ, path); err != nil {
		return nil, err
	}
	for i, f := range s.Fields() {
		at := path + "." + f.Name()
		typ, err := c.types.Of(f.Type())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		self, err := c.rules(f.Prop(Property), typ.NotNull(), at)
		if err != nil {
			return nil, err
		}
		below, err := c.node(f.Type(), at)
		if err != nil {
			return nil, err
		}
		if len(self) > 0 || below != nil {
			n.fields = append(n.fields, field{at: i, name: f.Name(), self: self, node: below})
		}
	}
	return n, nil
}

// rules compiles the rules of a record or a field of type this.
func (c *compiler) rules(property any, this *expr.Type, path string) ([]rule, error) {
	found, err := parse(property)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i := range found {
		found[i].program, err = c.types.Compile(found[i].expression, c.cost, expr.Var{Name: "this", Type: this})
		if err != nil {
			return nil, fmt.Errorf("%s: rule %s: %w", path, found[i].id, err)
		}
	}
	return found, nil
}
