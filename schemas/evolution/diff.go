package evolution

import (
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Change is one difference of two schemas. What was added has no Old, what was
// removed no New.
type Change struct {
	Path string `json:"path,omitempty"` // as that of schemas.Incompatibility; empty: the record
	What string `json:"what"`           // field, type, default, alias, symbol, branch, doc, property and so on
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// String is one line, which begins with +, - or ~.
func (c Change) String() string {
	path := c.Path
	if path == "" {
		path = "record"
	}
	switch {
	case c.Old == "":
		return fmt.Sprintf("+ %s: %s %s", path, c.What, c.New)
	case c.New == "":
		return fmt.Sprintf("- %s: %s %s", path, c.What, c.Old)
	}
	return fmt.Sprintf("~ %s: %s %s → %s", path, c.What, c.Old, c.New)
}

// Differences is what two schemas do not have in common, and who reads whom.
type Differences struct {
	Changes  []Change  `json:"changes"`
	Backward []Problem `json:"backward"` // why new agents cannot read old messages
	Forward  []Problem `json:"forward"`  // why old agents cannot read new messages
}

// Diff compares two versions of a schema: fields, types, defaults, aliases,
// symbols, order, documentation and properties. A named type is compared once,
// where it stands first.
func Diff(older, newer Version) Differences {
	d := differ{seen: make(map[pair]bool)}
	d.schema("", older.Schema, newer.Schema)
	// Never null in JSON.
	return Differences{
		Changes:  append([]Change{}, d.changes...),
		Backward: append([]Problem{}, unreadable(newer.Schema, older.Schema, "", Backward)...),
		Forward:  append([]Problem{}, unreadable(older.Schema, newer.Schema, "", Forward)...),
	}
}

type pair struct{ old, new avro.Schema }

type differ struct {
	seen    map[pair]bool
	changes []Change
}

func (d *differ) note(path, what, older, newer string) {
	if older != newer {
		d.changes = append(d.changes, Change{path, what, older, newer})
	}
}

// each notes what one list has and the other has not.
func (d *differ) each(path, what string, older, newer []string) {
	for _, s := range older {
		if !slices.Contains(newer, s) {
			d.note(path, what, s, "")
		}
	}
	for _, s := range newer {
		if !slices.Contains(older, s) {
			d.note(path, what, "", s)
		}
	}
}

// order notes that what both have stands in another order.
func (d *differ) order(path, what string, older, newer []string) {
	a := slices.DeleteFunc(slices.Clone(older), func(s string) bool { return !slices.Contains(newer, s) })
	b := slices.DeleteFunc(slices.Clone(newer), func(s string) bool { return !slices.Contains(older, s) })
	d.note(path, what+" order", list(a), list(b))
}

func (d *differ) schema(path string, older, newer avro.Schema) {
	older, newer = deref(older), deref(newer)
	if d.seen[pair{older, newer}] {
		return
	}
	d.seen[pair{older, newer}] = true
	if older.Type() != newer.Type() {
		d.note(path, "type", typeText(older), typeText(newer))
		d.inUnion(path, older, newer)
		return
	}
	if o, ok := older.(avro.NamedSchema); ok {
		n := newer.(avro.NamedSchema)
		d.note(path, "name", o.FullName(), n.FullName())
		d.each(path, "alias", o.Aliases(), n.Aliases())
	}
	switch o := older.(type) {
	case *avro.RecordSchema:
		n := newer.(*avro.RecordSchema)
		d.note(path, "doc", quoted(o.Doc()), quoted(n.Doc()))
		d.properties(path, o.Props(), n.Props())
		d.record(path, o, n)
	case *avro.EnumSchema:
		n := newer.(*avro.EnumSchema)
		d.note(path, "doc", quoted(o.Doc()), quoted(n.Doc()))
		d.each(path, "symbol", o.Symbols(), n.Symbols())
		d.order(path, "symbol", o.Symbols(), n.Symbols())
		d.note(path, "enum default", o.Default(), n.Default())
		d.properties(path, o.Props(), n.Props())
	case *avro.ArraySchema:
		n := newer.(*avro.ArraySchema)
		d.properties(path, o.Props(), n.Props())
		d.schema(path+"[]", o.Items(), n.Items())
	case *avro.MapSchema:
		n := newer.(*avro.MapSchema)
		d.properties(path, o.Props(), n.Props())
		d.schema(path+"{}", o.Values(), n.Values())
	case *avro.UnionSchema:
		d.union(path, o, newer.(*avro.UnionSchema))
	default: // primitives and fixed
		d.note(path, "type", typeText(older), typeText(newer))
		if o, ok := older.(withProperties); ok {
			d.properties(path, o.Props(), newer.(withProperties).Props())
		}
	}
}

type withProperties interface{ Props() map[string]any }

func (d *differ) properties(path string, older, newer map[string]any) {
	d.each(path, "property", lines(older, newer), lines(newer, older))
	for _, k := range keys(older) {
		if v, both := newer[k]; both {
			d.note(path, "property "+k, value(older[k]), value(v))
		}
	}
}

// inUnion goes on into what became optional, or is no longer.
func (d *differ) inUnion(path string, older, newer avro.Schema) {
	if u, ok := newer.(*avro.UnionSchema); ok {
		if i := branchLike(u, older); i >= 0 {
			d.schema(path, older, u.Types()[i])
		}
	} else if u, ok := older.(*avro.UnionSchema); ok {
		if i := branchLike(u, newer); i >= 0 {
			d.schema(path, u.Types()[i], newer)
		}
	}
}

func (d *differ) union(path string, older, newer *avro.UnionSchema) {
	for _, t := range older.Types() {
		if i := branchLike(newer, t); i >= 0 {
			d.schema(path, t, newer.Types()[i])
		}
	}
	d.each(path, "branch", branches(older, newer), branches(newer, older))
	var a, b []string
	for _, t := range older.Types() {
		if branchLike(newer, t) >= 0 {
			a = append(a, branch(t))
		}
	}
	for _, t := range newer.Types() {
		if branchLike(older, t) >= 0 {
			b = append(b, branch(t))
		}
	}
	d.order(path, "branch", a, b)
}

func (d *differ) record(path string, older, newer *avro.RecordSchema) {
	taken := make(map[string]string) // the new field's name by the old one's
	for _, n := range newer.Fields() {
		o := oldField(older, newer, n)
		if o == nil {
			d.note(below(path, n), "field", "", fieldText(n))
			continue
		}
		taken[o.Name()] = n.Name()
		d.field(below(path, n), o, n)
	}
	var a, b []string
	for _, o := range older.Fields() {
		if name, ok := taken[o.Name()]; ok {
			a = append(a, name)
		} else {
			d.note(below(path, o), "field", fieldText(o), "")
		}
	}
	for _, n := range newer.Fields() {
		b = append(b, n.Name())
	}
	d.order(path, "field", a, b)
}

// oldField is what a new field was: by its name, or by an alias of a field that is
// gone.
func oldField(older, newer *avro.RecordSchema, f *avro.Field) *avro.Field {
	named := func(s *avro.RecordSchema, name string) *avro.Field {
		i := slices.IndexFunc(s.Fields(), func(f *avro.Field) bool { return f.Name() == name })
		if i < 0 {
			return nil
		}
		return s.Fields()[i]
	}
	if o := named(older, f.Name()); o != nil {
		return o
	}
	for _, alias := range f.Aliases() {
		if o := named(older, alias); o != nil && named(newer, alias) == nil {
			return o
		}
	}
	return nil
}

func (d *differ) field(path string, older, newer *avro.Field) {
	d.note(path, "name", older.Name(), newer.Name())
	d.schema(path, older.Type(), newer.Type())
	d.note(path, "default", defaultText(older), defaultText(newer))
	d.each(path, "alias", older.Aliases(), newer.Aliases())
	d.note(path, "doc", quoted(older.Doc()), quoted(newer.Doc()))
	d.note(path, "sort order", string(older.Order()), string(newer.Order()))
	d.properties(path, older.Props(), newer.Props())
}

func below(path string, f *avro.Field) string {
	if path == "" {
		return f.Name()
	}
	return path + "." + f.Name()
}

func deref(s avro.Schema) avro.Schema {
	if ref, ok := s.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return s
}

func branchLike(u *avro.UnionSchema, t avro.Schema) int {
	return slices.IndexFunc(u.Types(), func(s avro.Schema) bool { return branch(s) == branch(t) })
}

// branch is what tells the branches of a union apart.
func branch(t avro.Schema) string {
	if t = deref(t); t.Type() == avro.Record || t.Type() == avro.Enum || t.Type() == avro.Fixed {
		return schemas.FullName(t)
	}
	return string(t.Type())
}

// branches are those of a union that another has not.
func branches(u, other *avro.UnionSchema) []string {
	var only []string
	for _, t := range u.Types() {
		if branchLike(other, t) < 0 {
			only = append(only, typeText(t))
		}
	}
	return only
}
