package agents

import (
	"reflect"

	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

// Attached returns what a package has attached to an agent under its type, and
// attaches it at the first call: for packages that build on agents and have one
// handler of a message type for all that an author declares.
func Attached[T any](a *Agent, first func() T) T {
	of := reflect.TypeFor[T]()
	if a.attached == nil {
		a.attached = make(map[reflect.Type]any)
	}
	if a.attached[of] == nil {
		a.attached[of] = first()
	}
	return a.attached[of].(T)
}

// Invalid says that the agent cannot run: for packages that build on agents and
// find their declaration wrong.
func (a *Agent) Invalid(err error) { a.errs = append(a.errs, err) }

// Platform is what the agent runs on; nil before it does.
func (a *Agent) Platform() *Platform { return a.link.platform }

// Metrics are those that the platform was given, or nil.
func (p *Platform) Metrics() *telemetry.Metrics { return p.cfg.Metrics }
