package schemas

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// DecodeError says that a value is not framed, or is not Avro of the schema
// that its frame names. It maps to streaming.ReasonDecode.
type DecodeError struct {
	Schema  string // full name of the writer's schema; empty where the frame is at fault
	Problem string
	Err     error // the cause; may be nil
}

func (e *DecodeError) Error() string {
	msg := e.Problem
	if e.Schema != "" {
		msg = e.Schema + ": " + msg
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return "decode: " + clip(msg, maxProblem)
}

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// SchemaError says that a schema is unknown to the registry, is refused by it,
// or cannot be read with the reader's schema. It maps to
// streaming.ReasonSchema.
type SchemaError struct {
	ID      int    // the schema ID, where one is known; else 0
	Subject string // full name of the schema, where one is known
	Problem string
	Err     error // the cause; may be nil
}

func (e *SchemaError) Error() string {
	msg := "schema"
	if e.ID != 0 {
		msg += " ID " + strconv.Itoa(e.ID)
	}
	if e.Subject != "" {
		msg += " " + e.Subject
	}
	msg += ": " + e.Problem
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return clip(msg, maxProblem)
}

// Unwrap returns the cause.
func (e *SchemaError) Unwrap() error { return e.Err }

// ContractError says that a record breaks the wire contract. It maps to
// streaming.ReasonContract.
type ContractError struct {
	Header  string // the header at fault, or "value"
	Problem string
}

func (e *ContractError) Error() string {
	return "contract: " + e.Header + ": " + clip(e.Problem, maxProblem)
}

// RuleError says that a payload breaks a rule of its schema, in RulesProperty. It
// maps to streaming.ReasonContract.
type RuleError struct {
	Schema     string // full name of the schema that the payload was held to
	Path       string // of the value that breaks the rule, such as payload.stations[2].magnitude
	ID         string // the rule's
	Expression string // the rule's
	Message    string // the rule's own, for people; may be empty
	Err        error  // why the rule could not be evaluated; nil where it is false
}

func (e *RuleError) Error() string {
	says := e.Message
	switch {
	case e.Err != nil:
		says = "cannot be evaluated: " + e.Err.Error()
	case says == "":
		says = e.Expression
	}
	return clip(fmt.Sprintf("contract: %s breaks the rule %s of %s: %s", e.Path, e.ID, e.Schema, says), maxProblem)
}

// Unwrap returns why the rule could not be evaluated.
func (e *RuleError) Unwrap() error { return e.Err }

// RegistryUnavailableError says that the schema registry gave no answer that
// can be used: not reached, timed out, refused the caller, or failed. It is
// never the fault of a message, so it has no reason and must never
// dead-letter one.
type RegistryUnavailableError struct {
	URL string // without credentials
	Err error
}

func (e *RegistryUnavailableError) Error() string {
	return fmt.Sprintf("schema registry %s cannot be reached: %s", e.URL, clip(e.Err.Error(), maxProblem))
}

// Unwrap returns the cause.
func (e *RegistryUnavailableError) Unwrap() error { return e.Err }

// ErrorReason returns the closed reason of an error of this package. It
// returns false for any error that is not a message's own fault, such as
// RegistryUnavailableError or a context's end.
func ErrorReason(err error) (streaming.Reason, bool) {
	// An outage wins over all that it is wrapped in.
	if _, ok := errors.AsType[*RegistryUnavailableError](err); ok {
		return "", false
	}
	if _, ok := errors.AsType[*DecodeError](err); ok {
		return streaming.ReasonDecode, true
	}
	if _, ok := errors.AsType[*SchemaError](err); ok {
		return streaming.ReasonSchema, true
	}
	if _, ok := errors.AsType[*ContractError](err); ok {
		return streaming.ReasonContract, true
	}
	if _, ok := errors.AsType[*RuleError](err); ok {
		return streaming.ReasonContract, true
	}
	return "", false
}

// maxProblem bounds error text in bytes: what a record or a registry says may
// be long, and error text travels in headers and logs.
const maxProblem = 1024

// clip returns at most limit bytes of s, cut between runes.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// quote returns text of a header for an error: quoted, at most 64 bytes of it.
func quote(b []byte) string {
	const limit = 64
	if len(b) <= limit {
		return strconv.QuoteToASCII(string(b))
	}
	return strconv.QuoteToASCII(string(b[:limit])) + "…"
}
