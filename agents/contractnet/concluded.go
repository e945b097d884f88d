package contractnet

import (
	"context"
	"fmt"
	"strings"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// Concluded is a negotiation that has ended.
type Concluded[Task, Result schemas.Message] struct {
	// Message is the conclusion, as it stands in the manager's inbox: its ID is the
	// idempotency key, and what done sends it sends with it.
	*agents.Message[Negotiation]

	ID     string // of the negotiation
	Task   Task
	Winner string // who has done the task; empty if nobody
	Result Result // of the winner
	Err    error  // *NoBidsError or *AllFailedError if nobody has done the task

	// Bids are those that counted, best first, with what became of the awards.
	Bids []Standing
}

// NoBidsError says that nobody has bid.
type NoBidsError struct {
	Refused []Standing // who has refused, and why
	Silent  []string   // who has not answered in time, or has no inbox
}

func (e *NoBidsError) Error() string {
	if len(e.Refused)+len(e.Silent) == 0 {
		return "no bids: there were no candidates"
	}
	var all []string
	for _, s := range e.Refused {
		all = append(all, fmt.Sprintf("%s has refused (%s)", s.Agent, s.Reason))
	}
	for _, agent := range e.Silent {
		all = append(all, agent+" has not answered in time")
	}
	return "no bids: " + strings.Join(all, ", ")
}

// AllFailedError says that each bidder has been awarded the task, and none has done
// it. One that was silent may still do it.
type AllFailedError struct {
	Awards []Standing // in the order of the awards
}

func (e *AllFailedError) Error() string {
	all := make([]string, len(e.Awards))
	for i, s := range e.Awards {
		if all[i] = s.Agent + " has failed (" + s.Failure + ")"; s.Award == AwardSilent {
			all[i] = s.Agent + " was silent for too long"
		}
	}
	return "all bidders have failed: " + strings.Join(all, ", ")
}

func (g *Manager[Task, Result]) concluded(ctx context.Context, m *agents.Message[Negotiation]) error {
	n := &m.Payload
	c := &Concluded[Task, Result]{Message: m, ID: m.Key, Winner: n.Winner, Bids: ranking(n.Standings), Err: n.err()}
	codec := g.agent.Platform().Codec()
	if err := decode(ctx, codec, "task", n.Task, &c.Task); err != nil {
		return err
	}
	if n.Phase == OutcomeDone {
		if err := decode(ctx, codec, "result", n.Result, &c.Result); err != nil {
			return err
		}
	}
	return g.done(ctx, c)
}

// err says why a concluded negotiation has no result.
func (n *Negotiation) err() error {
	switch n.Phase {
	case OutcomeNoBids:
		e := &NoBidsError{}
		for _, s := range n.Standings {
			if s.Answer == "" {
				e.Silent = append(e.Silent, s.Agent)
			} else {
				e.Refused = append(e.Refused, s)
			}
		}
		return e
	case OutcomeAllFailed:
		return &AllFailedError{ranking(n.Standings)}
	}
	return nil
}

// decode reads what stands in a message. What cannot be read is a dead letter.
func decode(ctx context.Context, codec *schemas.Codec, what string, value []byte, into any) error {
	err := codec.Decode(ctx, value, into, "")
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the %s of the negotiation: %w", what, err)
	if reason, bad := schemas.ErrorReason(err); bad {
		return agents.DeadLetter(reason, err)
	}
	return agents.Unavailable(err)
}
