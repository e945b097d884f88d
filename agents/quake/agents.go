package quake

import "github.com/seed-c9b6dc07/parley/agents"

// The names of the agents, and of the streams between them.
const (
	FeedAgent       = "feed"
	TriageAgent     = "triage"
	DispatchAgent   = "dispatch"
	AnalystAgent    = "analyst"
	NotifyAgent     = "notify"
	CoastguardAgent = "coastguard"
	BroadcastAgent  = "broadcast"
	RegistrarAgent  = "registrar"

	Stream        = "quakes"
	WarningStream = "warnings"
)

// Options are what the agents work with.
type Options struct {
	Service *Service // that alerts are handed to
	Seed    uint64   // of which teams get stuck
	Model   *Model   // of the analyst; nil: it goes by a rule
}

// Agents returns all agents that take part, in the order in which an event meets
// them.
func Agents(cfg agents.Config, o Options) []*agents.Agent {
	all := []*agents.Agent{Triage(cfg), Dispatcher(cfg), Analyst(cfg, o.Model)}
	for _, t := range teams {
		all = append(all, t.agent(cfg, o.Seed))
	}
	return append(all, Notifier(cfg, o.Service), Warner(CoastguardAgent, cfg), Warner(BroadcastAgent, cfg), Registrar(cfg), Regions.Keeper(cfg))
}

// Streams are those that an agent subscribes to.
func Streams(agent string) []string {
	switch agent {
	case TriageAgent:
		return []string{Stream}
	case BroadcastAgent:
		return []string{WarningStream}
	}
	return nil
}
