package schemas

import (
	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas/rules"
)

// RulesProperty is the property of a record and of a field that holds its rules.
const RulesProperty = rules.Property

// CheckRules says whether the rules of a schema can be used. If not it is a
// *SchemaError that names the place and the rule.
func CheckRules(schema avro.Schema) error {
	if _, err := compileRules(schema, rules.DefaultCost); err != nil {
		return err
	}
	return nil
}

func compileRules(schema avro.Schema, cost int) (*rules.Set, error) {
	set, err := rules.Compile(schema, uint64(cost))
	if err != nil {
		return nil, &SchemaError{Subject: FullName(schema), Problem: "its rules cannot be used", Err: err}
	}
	return set, nil
}

// addRules adds the rules that values are held to: one's own. Others' are not
// looked at, so theirs cannot keep anybody from reading.
func (p *plan) addRules(key planKey, cost int) {
	own := key.reader
	if key.sending {
		own = key.writer
	}
	if p.err == nil && own != nil {
		p.rules, p.err = compileRules(own, cost)
	}
}

// follow says whether a payload of p.read, which can be decoded, breaks no rule.
func (p *plan) follow(payload []byte) error {
	broken := p.rules.Check(payload)
	if broken == nil {
		return nil
	}
	return &RuleError{
		Schema: FullName(p.read), Path: broken.Path, ID: broken.ID,
		Expression: broken.Expression, Message: broken.Message, Err: broken.Err,
	}
}
