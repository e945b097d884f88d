package quake

import (
	"context"
	_ "embed" // the routes

	"github.com/seed-c9b6dc07/parley/agents"
)

// Routes is the file of routes by which alerts find who is warned, as `parley routes
// apply` takes it.
//
//go:embed routes.yaml
var Routes []byte

// Warner returns an agent that is warned: of what the routes send to its inbox, or to
// a stream that it listens to.
func Warner(name string, cfg agents.Config) *agents.Agent {
	cfg.Streams = Streams(name)
	a := agents.New(name, cfg)
	agents.ProducesNothing(a)
	agents.On(a, func(context.Context, *agents.Message[Alert]) error { return nil })
	return a
}
