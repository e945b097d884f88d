package expr

import (
	"fmt"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// provider tells the type checker of records. All else is the library's.
type provider struct {
	types.Provider
	records map[string]*recordType
}

func newProvider() *provider {
	return &provider{Provider: baseRegistry(), records: make(map[string]*recordType)}
}

// newRecord makes a record known. The space in its name keeps it out of
// expressions: none can build a record, and none can be taken for a type of the
// library, whatever its author calls it.
func (p *provider) newRecord(fullName string) *recordType {
	name := "record " + fullName
	for n := 2; p.records[name] != nil; n++ { // another version of it
		name = fmt.Sprintf("record %s %d", fullName, n)
	}
	r := &recordType{cel: types.NewObjectType(name), name: fullName, index: make(map[string]int)}
	p.records[name] = r
	return r
}

func (r *recordType) add(i int, name string, field *Type) {
	r.names = append(r.names, name)
	r.fields = append(r.fields, field)
	r.index[name] = i
	r.access = append(r.access, &types.FieldType{
		Type: field.cel,
		IsSet: func(target any) bool {
			rec, ok := target.(*record)
			return ok && rec.fields[i] != types.NullValue
		},
		GetFrom: func(target any) (any, error) {
			if rec, ok := target.(*record); ok {
				return rec.fields[i], nil
			}
			return nil, fmt.Errorf("there is no %s: the record is null", name)
		},
	})
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if r, ok := p.records[name]; ok {
		return types.NewTypeTypeWithParam(r.cel), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if r, ok := p.records[name]; ok {
		return r.names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	r, ok := p.records[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	i, ok := r.index[field]
	if !ok {
		return nil, false
	}
	return r.access[i], true
}

// NewValue implements types.Provider.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.records[name]; ok {
		return types.NewErr("%s cannot be built", name)
	}
	return p.Provider.NewValue(name, fields)
}
