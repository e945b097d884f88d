package routes

import (
	"errors"
	"slices"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// Why is why a route could not be evaluated for a message, or a set could not be
// used.
type Why string

// The reasons. The set is closed: it is a label of a metric.
const (
	WhyCompile  Why = "compile"  // the match does not fit the payload's schema
	WhyEvaluate Why = "evaluate" // such as a comparison with null
	WhyCost     Why = "cost"     // the evaluation costs more than the limit
	WhyPayload  Why = "payload"  // the payload cannot be read, or its schema is unknown
	WhySet      Why = "set"      // a whole set cannot be read: the one before stays in force
)

// Decision is where a message goes.
type Decision struct {
	Version      int64
	Destinations []Destination // each once, in the order of the routes
	Matches      []Match
	Failed       []Failure
}

// Match is a route that matches, with what it has chosen.
type Match struct {
	Route        string
	Mode         Mode
	Destinations []Destination
}

// Failure is a route that could not be evaluated: it does not match.
type Failure struct {
	Route string
	Why   Why
	Err   error
}

// Decide says where a message goes. A route that cannot be evaluated does not
// match and holds nothing up. The error is that of a registry that cannot be
// reached (*schemas.RegistryUnavailableError, or the end of a context): nothing is
// decided then.
func (s *Set) Decide(m *Message) (Decision, error) {
	d := Decision{Version: s.Version}
	if !s.any && !s.byType[m.Envelope.Type] {
		return d, nil
	}
	v := view{Message: m}
	for _, r := range s.routes {
		if len(r.types) > 0 && !slices.Contains(r.types, m.Envelope.Type) {
			continue
		}
		matches, failure, err := s.matches(r, &v)
		switch {
		case err != nil:
			return Decision{}, err
		case failure != nil:
			d.Failed = append(d.Failed, *failure)
			continue
		case !matches:
			continue
		}
		chosen := r.choose(m)
		d.Matches = append(d.Matches, Match{r.name, r.mode, chosen})
		for _, to := range chosen {
			if !slices.Contains(d.Destinations, to) {
				d.Destinations = append(d.Destinations, to)
			}
		}
		if r.mode == ModeFirst {
			break
		}
	}
	return d, nil
}

// NoRoute is the error for a decision without a destination.
func (d *Decision) NoRoute(messageType string) *NoRouteError {
	e := &NoRouteError{Type: messageType, Version: d.Version}
	for _, f := range d.Failed {
		e.Failed = append(e.Failed, f.Route)
	}
	return e
}

func (s *Set) matches(r *route, v *view) (bool, *Failure, error) {
	if r.always {
		return true, nil, nil
	}
	if r.program != nil {
		ok, err := r.program.Eval(nil, v.attributes()...)
		return ok, failed(r, err), nil
	}
	schema, payload, err := v.open()
	if err != nil {
		if _, bad := schemas.ErrorReason(err); !bad {
			return false, nil, err
		}
		return false, &Failure{r.name, WhyPayload, err}, nil
	}
	program, typ, err := s.compile(r, schema)
	if err != nil {
		return false, &Failure{r.name, WhyCompile, err}, nil
	}
	value, err := typ.Read(payload)
	if err != nil {
		return false, &Failure{r.name, WhyPayload, err}, nil
	}
	ok, err := program.Eval(nil, append(v.attributes(), value)...)
	return ok, failed(r, err), nil
}

func failed(r *route, err error) *Failure {
	switch {
	case err == nil:
		return nil
	case isCost(err):
		return &Failure{r.name, WhyCost, err}
	}
	return &Failure{r.name, WhyEvaluate, err}
}

func isCost(err error) bool { return errors.Is(err, expr.ErrCost) }
