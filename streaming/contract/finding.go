package contract

import (
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Problem is what kind of thing a finding is about.
type Problem string

// The problems.
const (
	ProblemInvalid      Problem = "invalid"        // a contract is none, or a group has two
	ProblemNoProducer   Problem = "no-producer"    // nobody sends what an agent has a handler for
	ProblemNoReader     Problem = "no-reader"      // nobody reads what an agent sends
	ProblemIncompatible Problem = "incompatible"   // a reader's schema cannot read what a sender's writes
	ProblemNoReplyTaker Problem = "no-reply-taker" // who sends the requests has no handler for the reply
	ProblemUndeclared   Problem = "undeclared"     // an agent declares no outputs
)

// Severity says whether a finding is wrong or only worth knowing.
type Severity string

// The severities.
const (
	SeverityError Severity = "error" // messages would be lost to their readers, or become dead letters
	SeverityInfo  Severity = "info"  // the contracts alone do not say
)

// Finding is one thing that Check has found.
type Finding struct {
	Problem  Problem
	Severity Severity
	Agent    string   // whose contract it is about
	Others   []string // the agents on the other side that are known, sorted
	Type     string   // the message type; empty where it is about none
	At       Place    // where; the zero value where it is about no single place
	Says     string   // what is wrong, naming the agents
	Remedy   string   // what to do

	// Reasons says for an incompatible pair what stands against it, by field.
	Reasons []schemas.Incompatibility
}

// String is one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Severity) + " " + string(f.Problem) + ": " + f.Says)
	for i, r := range f.Reasons {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + r.String())
	}
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// Errors returns the findings that are errors.
func Errors(findings []Finding) []Finding {
	var errs []Finding
	for _, f := range findings {
		if f.Severity == SeverityError {
			errs = append(errs, f)
		}
	}
	return errs
}
