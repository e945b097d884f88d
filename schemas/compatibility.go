package schemas

import (
	"fmt"
	"strings"

	"github.com/hamba/avro/v2"
)

// Rule is a rule of Avro's schema resolution that two schemas break. The names
// are those of Avro's own implementations, where these have the rule.
type Rule string

// The rules.
const (
	RuleName    Rule = "NAME_MISMATCH"
	RuleType    Rule = "TYPE_MISMATCH"
	RuleDefault Rule = "READER_FIELD_MISSING_DEFAULT_VALUE"
	RuleSymbols Rule = "MISSING_ENUM_SYMBOLS"
	RuleBranch  Rule = "MISSING_UNION_BRANCH"
	RuleSize    Rule = "FIXED_SIZE_MISMATCH"
	RuleLogical Rule = "LOGICAL_TYPE_MISMATCH" // the specification only asks it of decimals; here a value's unit never changes in silence
)

// Incompatibility is one reason why a reader's schema cannot read all that a
// writer's schema wrote.
type Incompatibility struct {
	Path    string // to the part, such as place.lat, tags[] or prices{}; empty: the whole
	Rule    Rule
	Problem string // what is wrong
	Remedy  string // what to do

	// partly: it depends on the value. All others can be read.
	partly bool
}

// String is one line.
func (i Incompatibility) String() string {
	at := ""
	if i.Path != "" {
		at = i.Path + ": "
	}
	return fmt.Sprintf("%s%s (%s): %s", at, i.Problem, i.Rule, i.Remedy)
}

// Unreadable returns all reasons why reader cannot read what writer wrote; none
// if it can. What a Codec decodes agrees with it.
func Unreadable(reader, writer avro.Schema) []Incompatibility {
	c := newResolver()
	c.resolve(writer, reader)
	return c.problems
}

func reasons(problems []Incompatibility) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "; ")
}
