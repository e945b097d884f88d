package rules

import (
	"strconv"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// checker walks one value until it breaks a rule.
type checker struct {
	budget *expr.Budget
	path   []step
	broken *Violation
}

// step is a field, an entry of a map, or an item of an array.
type step struct {
	name string
	item int // noItem where the name counts
}

const noItem = -1

// check says whether the value breaks no rule.
func (c *checker) check(n *node, v expr.Value) bool {
	if n == nil || v.Null() {
		return true
	}
	if name, ok := v.Record(); ok {
		return c.record(n.records[name], v)
	}
	if n.items != nil {
		v.Items(func(i int, item expr.Value) bool { return c.below(step{item: i}, n.items, item) })
	}
	if n.values != nil {
		v.Entries(func(key string, value expr.Value) bool { return c.below(step{key, noItem}, n.values, value) })
	}
	return c.broken == nil
}

func (c *checker) below(s step, n *node, v expr.Value) bool {
	c.path = append(c.path, s)
	ok := c.check(n, v)
	c.path = c.path[:len(c.path)-1]
	return ok
}

func (c *checker) record(n *node, v expr.Value) bool {
	if n == nil {
		return true
	}
	if !c.rules(n.self, v) {
		return false
	}
	for _, f := range n.fields {
		value := v.Field(f.at)
		if value.Null() {
			continue
		}
		c.path = append(c.path, step{f.name, noItem})
		ok := c.rules(f.self, value) && c.check(f.node, value)
		c.path = c.path[:len(c.path)-1]
		if !ok {
			return false
		}
	}
	return true
}

func (c *checker) rules(all []rule, v expr.Value) bool {
	for i := range all {
		r := &all[i]
		ok, err := r.program.Eval(c.budget, v)
		if !ok {
			c.broken = &Violation{Path: pathOf(c.path), ID: r.id, Expression: r.expression, Message: r.message, Err: err}
			return false
		}
	}
	return true
}

// maxKey bounds the bytes of a map's key in a path.
const maxKey = 64

func pathOf(steps []step) string {
	var b strings.Builder
	b.WriteString("payload")
	for _, s := range steps {
		if s.item != noItem {
			b.WriteString("[" + strconv.Itoa(s.item) + "]")
			continue
		}
		key := s.name[:min(len(s.name), maxKey)]
		b.WriteString("." + strings.Trim(strconv.QuoteToASCII(key), `"`))
	}
	return b.String()
}
