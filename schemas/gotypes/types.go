package gotypes

import (
	"fmt"
	"go/token"
	"slices"
	"strings"

	"github.com/ettle/strcase"
	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/rules"
)

// goStruct is the Go type of a record.
type goStruct struct {
	Name   string
	Doc    string
	Fields []goField
	JSON   string // of a message: the whole schema

	fullName string
	holds    []string // structs that are in it by value
}

type goField struct {
	Name, Type, Doc, Avro string
}

// types are the Go types of records, each once, nested ones first.
type types struct {
	structs []*goStruct
	avro    bool // whether Avro's package is needed

	byName  map[string]*goStruct
	imports map[string]bool
	caser   *strcase.Caser
}

func newTypes() *types {
	return &types{byName: map[string]*goStruct{}, imports: map[string]bool{}, caser: strcase.NewCaser(true, nil, nil)}
}

func (t *types) sortedImports() []string {
	var sorted []string
	for i := range t.imports {
		sorted = append(sorted, i)
	}
	slices.Sort(sorted)
	return sorted
}

// message adds a file's record as a message. An enum or a fixed has no type of
// its own.
func (t *types) message(d definition) error {
	record, ok := d.schema.(*avro.RecordSchema)
	if !ok {
		return nil
	}
	if _, err := rules.Compile(record, rules.DefaultCost); err != nil {
		return err
	}
	name, err := t.record(record)
	if err != nil {
		return err
	}
	t.byName[name].JSON = d.text
	t.avro = true
	return nil
}

// record adds a record and returns the name of its struct.
func (t *types) record(r *avro.RecordSchema) (string, error) {
	name := t.exported(r.Name())
	s := &goStruct{Name: name, Doc: sentence(r.Doc()), fullName: r.FullName()}
	if s.Doc == "" {
		s.Doc = name + " is an Avro record."
	}
	taken := map[string]string{}
	for _, f := range r.Fields() {
		typ, err := t.typ(f.Type())
		if err != nil {
			return "", err
		}
		field := goField{Name: t.exported(f.Name()), Type: typ, Doc: sentence(f.Doc()), Avro: f.Name()}
		if field.Name == "Schema" {
			field.Name = "Schema_" // a message's method has the name
		}
		if other, twice := taken[field.Name]; twice {
			return "", fmt.Errorf("%s: the fields %s and %s are both %s in Go: rename one, with its old name as an alias", r.FullName(), other, f.Name(), field.Name)
		}
		taken[field.Name] = f.Name()
		if held, ok := deref(f.Type()).(*avro.RecordSchema); ok {
			s.holds = append(s.holds, t.exported(held.Name()))
		}
		s.Fields = append(s.Fields, field)
	}
	other, known := t.byName[name]
	switch {
	case !known:
		t.byName[name] = s
		t.structs = append(t.structs, s)
	case other.fullName != s.fullName:
		return "", fmt.Errorf("%s and %s are both %s in Go: rename one, or generate them into two packages", other.fullName, s.fullName, name)
	case !slices.Equal(other.Fields, s.Fields):
		return "", fmt.Errorf("%s is defined twice, with different fields", s.fullName)
	}
	return name, nil
}

// check finds records that no value can be of.
func (t *types) check() error {
	const visiting, done = 1, 2
	state := map[string]int{}
	var visit func(s *goStruct) error
	visit = func(s *goStruct) error {
		if state[s.Name] == visiting {
			return fmt.Errorf("%s holds itself, so that no value would have an end: make that field nullable", s.fullName)
		}
		if state[s.Name] == done {
			return nil
		}
		state[s.Name] = visiting
		for _, held := range s.holds {
			if err := visit(t.byName[held]); err != nil {
				return err
			}
		}
		state[s.Name] = done
		return nil
	}
	for _, s := range t.structs {
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

func deref(schema avro.Schema) avro.Schema {
	if ref, ok := schema.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return schema
}

var primitives = map[avro.Type]string{
	avro.Boolean: "bool", avro.Int: "int32", avro.Long: "int64", avro.Float: "float32", avro.Double: "float64",
	avro.String: "string", avro.Bytes: "[]byte",
}

// typ returns the Go type of a schema's values.
func (t *types) typ(schema avro.Schema) (string, error) {
	switch s := schema.(type) {
	case *avro.RefSchema:
		if r, ok := s.Schema().(*avro.RecordSchema); ok {
			return t.exported(r.Name()), nil // its definition comes before, or is being made
		}
		return t.typ(s.Schema())
	case *avro.RecordSchema:
		return t.record(s)
	case *avro.EnumSchema:
		return "string", nil
	case *avro.FixedSchema:
		if typ := t.logical(s.Logical()); typ != "" {
			return typ, nil
		}
		return fmt.Sprintf("[%d]byte", s.Size()), nil
	case *avro.PrimitiveSchema:
		if typ := t.logical(s.Logical()); typ != "" {
			return typ, nil
		}
		return primitives[s.Type()], nil
	case *avro.ArraySchema:
		item, err := t.typ(s.Items())
		return "[]" + item, err
	case *avro.MapSchema:
		value, err := t.typ(s.Values())
		return "map[string]" + value, err
	case *avro.UnionSchema:
		return t.union(s)
	}
	return "", fmt.Errorf("a type %s outside of a union has no Go type: leave it out", schema.Type())
}

// union is a pointer where one branch is null and there is one other.
func (t *types) union(u *avro.UnionSchema) (string, error) {
	var other string
	for _, branch := range u.Types() {
		if branch.Type() == avro.Null {
			continue
		}
		typ, err := t.typ(branch) // also for the records in it
		if err != nil {
			return "", err
		}
		other = typ
	}
	if !u.Nullable() {
		return "any", nil
	}
	return "*" + other, nil
}

func (t *types) logical(l avro.LogicalSchema) string {
	if l == nil {
		return ""
	}
	switch l.Type() {
	case avro.Date, avro.TimestampMillis, avro.TimestampMicros, avro.LocalTimestampMillis, avro.LocalTimestampMicros:
		t.imports["time"] = true
		return "time.Time"
	case avro.TimeMillis, avro.TimeMicros:
		t.imports["time"] = true
		return "time.Duration"
	case avro.Decimal:
		t.imports["math/big"] = true
		return "*big.Rat" // also behind the pointer of a nullable one: the decoder knows no other
	case avro.Duration:
		t.avro = true
		return "avro.LogicalDuration"
	}
	return "" // a UUID is text
}

// exported is a name in Go, as code outside of the package uses it.
func (t *types) exported(name string) string {
	name = t.caser.ToPascal(name)
	if !token.IsExported(name) || !token.IsIdentifier(name) {
		name = "X" + name // no letter comes first
	}
	return name
}

// sentence is a doc text as a comment ends.
func sentence(doc string) string {
	doc = strings.TrimSpace(doc)
	if doc == "" || strings.HasSuffix(doc, ".") {
		return doc
	}
	return doc + "."
}

// comment is a text as a comment's lines.
func comment(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight("// "+strings.ReplaceAll(line, "\r", " "), " ")
	}
	return strings.Join(lines, "\n")
}

// quoted is a text as a raw literal.
func quoted(text string) string {
	return "`" + strings.ReplaceAll(text, "`", "` + \"`\" + `") + "`"
}
