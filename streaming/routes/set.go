package routes

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/schemas/expr"
)

// The limits of a set.
const (
	MaxRoutes       = 256
	MaxDestinations = 64  // of one route
	MaxTypes        = 64  // of one route
	MaxWeight       = 1e6 // of one destination

	// matchCost is what the evaluation of one match may cost, see expr.Budget: some
	// milliseconds at most.
	matchCost = 20_000
	// maxPrograms bounds the compiled payload schemas that a set keeps.
	maxPrograms = 1024
)

// Set is the routes of one version. It is immutable, and safe for concurrent use.
type Set struct {
	Version int64
	routes  []*route // by priority, then name
	byType  map[string]bool
	any     bool // some route looks at any type

	mu       sync.Mutex
	programs map[schemas.AvroSchema]*programs
}

// route is one route, compiled as far as that needs no schema.
type route struct {
	name     string
	match    string
	types    []string
	to       []Destination
	weights  []uint64
	total    uint64
	mode     Mode
	priority int32

	always  bool          // there is no match
	program *expr.Program // a match that needs no payload
	err     error         // what is wrong with the match that is for any type
}

// programs are the matches over the payloads of one schema.
type programs struct {
	typ *expr.Type
	by  map[*route]compiled
}

type compiled struct {
	program *expr.Program
	err     error
}

// New returns a set, or all that is wrong with it: what can be said without a
// payload's schema. Errors are *RouteError and *DoubleRouteError, joined.
func New(set schemas.RouteSet) (*Set, error) {
	s := &Set{Version: set.Version, byType: make(map[string]bool), programs: make(map[schemas.AvroSchema]*programs)}
	var errs []error
	if len(set.Routes) > MaxRoutes {
		errs = append(errs, fmt.Errorf("%d routes are more than %d", len(set.Routes), MaxRoutes))
	}
	names := make(map[string]bool)
	for i := range set.Routes {
		r, err := newRoute(&set.Routes[i])
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case names[r.name]:
			errs = append(errs, &DoubleRouteError{r.name})
		}
		names[r.name] = true
		s.routes = append(s.routes, r)
		s.any = s.any || len(r.types) == 0
		for _, t := range r.types {
			s.byType[t] = true
		}
	}
	slices.SortFunc(s.routes, func(a, b *route) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name))
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func newRoute(def *schemas.Route) (*route, error) {
	r := &route{
		name: def.Name, match: def.Match, types: slices.Clone(def.Types), mode: Mode(cmp.Or(def.Mode, string(ModeFanout))),
		priority: def.Priority, always: def.Match == "",
	}
	var errs []error
	bad := func(err error, format string, args ...any) {
		errs = append(errs, &RouteError{Route: def.Name, Problem: fmt.Sprintf(format, args...), Err: err})
	}
	if err := schemas.ValidName(def.Name); err != nil {
		bad(err, "its name cannot be used")
	}
	if !slices.Contains([]Mode{ModeFanout, ModeFirst, ModeWeighted, ModeKey}, r.mode) {
		bad(nil, "its mode %q is not one of fanout, first, weighted and key", def.Mode)
	}
	if len(def.Types) > MaxTypes {
		bad(nil, "%d types are more than %d", len(def.Types), MaxTypes)
	}
	for _, t := range def.Types {
		if err := schemas.ValidType(t); err != nil {
			bad(err, "one of its types cannot be used")
		}
	}
	switch n := len(def.Destinations); {
	case n == 0:
		bad(nil, "it has no destination: name agent:NAME or stream:NAME")
	case n > MaxDestinations:
		bad(nil, "%d destinations are more than %d", n, MaxDestinations)
	}
	for _, d := range def.Destinations {
		to, err := ParseDestination(d.To)
		weight := cmp.Or(d.Weight, 1)
		switch {
		case err != nil:
			bad(err, "it cannot be sent there")
		case slices.Contains(r.to, to):
			bad(nil, "it names %s twice", to)
		case weight < 1 || weight > MaxWeight:
			bad(nil, "the weight %d of %s is not between 1 and %d", d.Weight, to, int(MaxWeight))
		case weight != 1 && r.mode != ModeWeighted:
			bad(nil, "%s has a weight, which goes with the mode weighted only", to)
		}
		r.to, r.weights, r.total = append(r.to, to), append(r.weights, uint64(max(weight, 1))), r.total+uint64(max(weight, 1))
	}
	if err := errors.Join(errs...); err != nil || r.always {
		return r, err
	}
	// A match that does not look at the payload works whatever its schema is.
	if r.program, r.err = expr.NewTypes().Compile(r.match, matchCost, attributeVars()...); r.err != nil && len(r.types) == 0 {
		return nil, &RouteError{
			Route: r.name, Problem: fmt.Sprintf("its match %q cannot be used; there are the attributes %s, and payload where the route names types", clip(r.match), list(Attributes())), Err: r.err,
		}
	}
	return r, nil
}

// Check says whether the matches of all routes that look at a message type can be
// used with a schema of it: *RouteError, joined.
func (s *Set) Check(messageType string, schema schemas.AvroSchema) error {
	var errs []error
	for _, r := range s.routes {
		if !slices.Contains(r.types, messageType) || r.always || r.program != nil {
			continue
		}
		if _, _, err := s.compile(r, schema); err != nil {
			errs = append(errs, &RouteError{
				Route: r.name, Type: messageType,
				Problem: fmt.Sprintf("its match %q does not fit %s; correct the match, or the types", clip(r.match), schemas.FullName(schema)), Err: err,
			})
		}
	}
	return errors.Join(errs...)
}

// Types are the message types whose payloads some match looks at, sorted.
func (s *Set) Types() []string {
	var types []string
	for _, r := range s.routes {
		if !r.always && r.program == nil {
			types = append(types, r.types...)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Destinations calls each for the destinations of all routes.
func (s *Set) Destinations(each func(route string, to Destination)) {
	for _, r := range s.routes {
		for _, d := range r.to {
			each(r.name, d)
		}
	}
}

// compile returns a match over payloads of a schema.
func (s *Set) compile(r *route, schema schemas.AvroSchema) (*expr.Program, *expr.Type, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.programs[schema]
	if p == nil {
		// One set of types for all matches of a schema: its values are read once.
		types := expr.NewTypes()
		typ, err := types.Of(schema)
		if err != nil {
			return nil, nil, err
		}
		p = &programs{typ: typ, by: make(map[*route]compiled)}
		for _, other := range s.routes {
			if other.program != nil || other.always {
				continue
			}
			c := compiled{}
			c.program, c.err = types.Compile(other.match, matchCost, append(attributeVars(), expr.Var{Name: "payload", Type: typ})...)
			p.by[other] = c
		}
		if len(s.programs) >= maxPrograms {
			clear(s.programs) // who has that many schemas compiles again
		}
		s.programs[schema] = p
	}
	c := p.by[r]
	return c.program, p.typ, c.err
}

// clip bounds a text of an error.
func clip(s string) string {
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}

func list(names []string) string {
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
