// Package evolution judges changes of schemas before they are deployed: files
// against the versions of a registry or of a git revision.
package evolution

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hamba/avro/v2"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Version is a schema and where it is from: subject@version, a file, or
// revision:path.
type Version struct {
	Name   string
	Schema avro.Schema // nil where Err is set
	Err    error       // why it cannot be used
}

// Direction says who reads whose messages.
type Direction string

// The directions.
const (
	Backward Direction = "backward" // new agents read old messages
	Forward  Direction = "forward"  // old agents read new messages
)

// The rules of this package, beside those of Avro in package schemas.
const (
	RuleRecord   schemas.Rule = "NOT_AN_AVRO_RECORD"
	RuleNoType   schemas.Rule = "MESSAGE_TYPE_MISSING"
	RuleNewType  schemas.Rule = "MESSAGE_TYPE_CHANGED"
	RuleTwice    schemas.Rule = "RECORD_IN_TWO_FILES"
	RuleUnusable schemas.Rule = "OLDER_VERSION_UNUSABLE"
)

// Problem is one reason why a schema must not be deployed.
type Problem struct {
	With      string       `json:"with,omitempty"` // the older version; empty: the file itself is at fault
	Path      string       `json:"path,omitempty"` // as that of schemas.Incompatibility
	Rule      schemas.Rule `json:"rule"`
	Direction Direction    `json:"direction,omitempty"` // empty: neither
	Problem   string       `json:"problem"`
	Remedy    string       `json:"remedy"`
}

// String is one line.
func (p Problem) String() string {
	var b strings.Builder
	for _, s := range []string{p.With, p.Path, p.Direction.broken()} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	return b.String() + fmt.Sprintf("%s (%s): %s", p.Problem, p.Rule, p.Remedy)
}

func (d Direction) broken() string {
	switch d {
	case Backward:
		return "new agents cannot read old messages"
	case Forward:
		return "old agents cannot read new messages"
	}
	return ""
}

// Judge returns what stands against a schema that follows older ones, which are
// ascending. A level that is not transitive looks at the last one only. The
// message type must be the same at any level.
func Judge(newer avro.Schema, older []Version, level schemas.Level) []Problem {
	if len(older) == 0 {
		return nil
	}
	if !level.Transitive() {
		older = older[len(older)-1:]
	}
	var problems []Problem
	for _, old := range older {
		problems = append(problems, judgeOne(newer, old, level)...)
	}
	return problems
}

func judgeOne(newer avro.Schema, old Version, level schemas.Level) []Problem {
	if old.Err != nil {
		remedy := "nothing can be said about that version: delete it where no message of it is left, or compare with another"
		return []Problem{{With: old.Name, Rule: RuleUnusable, Problem: clean(old.Err), Remedy: remedy}}
	}
	var problems []Problem
	// A version without a type is nobody's message, and may get one.
	if was, is := schemas.MessageType(old.Schema), schemas.MessageType(newer); was != "" && is != was {
		problems = append(problems, Problem{
			With: old.Name, Rule: RuleNewType, Problem: fmt.Sprintf("the message type was %s and is %q", was, is),
			Remedy: "keep " + schemas.TypeProperty + ": another message type is another record",
		})
	}
	if level.Backward() {
		problems = append(problems, unreadable(newer, old.Schema, old.Name, Backward)...)
	}
	if level.Forward() {
		problems = append(problems, unreadable(old.Schema, newer, old.Name, Forward)...)
	}
	return problems
}

func unreadable(reader, writer avro.Schema, with string, d Direction) []Problem {
	var problems []Problem
	for _, i := range schemas.Unreadable(reader, writer) {
		p := Problem{With: with, Path: i.Path, Rule: i.Rule, Direction: d, Problem: i.Problem, Remedy: i.Remedy}
		if d == Forward {
			p.Remedy = remedyOfOld(i)
		}
		problems = append(problems, p)
	}
	return problems
}

// remedyOfOld is what to do where an old schema is the reader: it cannot be
// changed, so only the new one can give way.
func remedyOfOld(i schemas.Incompatibility) string {
	const beside = ", and add a field of a new name, with a default, beside it"
	switch i.Rule {
	case schemas.RuleName:
		return "keep the name: old agents do not know a new alias"
	case schemas.RuleDefault:
		return fmt.Sprintf("keep field %s: old agents have no default for it", i.Path[strings.LastIndexByte(i.Path, '.')+1:])
	case schemas.RuleSymbols:
		return "deploy a default for the enum first, and the symbols when all agents have it"
	case schemas.RuleBranch:
		return "keep to the branches that old agents know" + beside
	case schemas.RuleSize:
		return "keep the size" + beside
	case schemas.RuleLogical:
		return "keep the logical type" + beside
	}
	return "keep the type" + beside
}

var versioned = regexp.MustCompile(`^(.+)\.v([0-9]{1,6})$`)

// NextType is the message type that a breaking change takes: quake.reported.v2
// after quake.reported.
func NextType(messageType string) string {
	if m := versioned.FindStringSubmatch(messageType); m != nil {
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s.v%d", m[1], n+1)
	}
	return messageType + ".v2"
}

// clean is an error's text as one line.
func clean(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// Unchecked says that a change could not be judged, as a file, a revision or the
// registry could not be read.
type Unchecked struct{ Err error }

func (e *Unchecked) Error() string { return "not checked: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Unchecked) Unwrap() error { return e.Err }

func asSchemaError(err error) bool {
	_, ok := errors.AsType[*schemas.SchemaError](err)
	return ok
}
