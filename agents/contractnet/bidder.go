package contractnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// Offer is what a bid function says: Cost or Refuse.
type Offer struct {
	cost    float64
	refused bool
	reason  string
}

// Cost bids: the lowest cost wins. It is a finite number, which may be negative.
func Cost(cost float64) Offer { return Offer{cost: cost} }

// Refuse does not bid. The reason is for people.
func Refuse(reason string) Offer { return Offer{refused: true, reason: reason} }

// CostError says that a cost is not a finite number. A bid function's is a dead letter,
// and a refusal for the manager.
type CostError struct{ Cost float64 }

func (e *CostError) Error() string { return fmt.Sprintf("the cost %v is not a finite number", e.Cost) }

// FailedError says that a task has failed for good, if a work function returns it: the
// next bidder gets it. Other errors are those of any handler: they are retried, and
// the manager learns of the dead letter.
type FailedError struct{ Reason string } // for people

func (e *FailedError) Error() string { return "the task has failed: " + e.Reason }

// Call is a call for proposals.
type Call[Task schemas.Message] struct {
	*agents.Message[CallForProposals] // for agents.Step

	Negotiation string // its ID
	Manager     string // who asks
	Closes      time.Time
	Task        Task
}

// Job is a task that the agent has been awarded.
type Job[Task schemas.Message] struct {
	// Message is the award: its ID is the idempotency key of what is done, and
	// agents.Step takes it.
	*agents.Message[Award]

	Negotiation string // its ID
	Manager     string
	Cost        float64   // that was bid
	Until       time.Time // then the next bidder gets the task, and the context ends
	Task        Task
}

// Rejected is a bid that was not taken.
type Rejected struct {
	*agents.Message[Rejection]

	Negotiation string // its ID
	Reason      string // RejectedLost and the like
}

// Why a bid is rejected. A withdrawn task was awarded and took too long.
const (
	RejectedLost      = "lost"
	RejectedLate      = "late"
	RejectedInvalid   = "invalid"
	RejectedWithdrawn = "withdrawn"
)

// BidOption changes what a bidder does.
type BidOption func(*bidder)

// OnReject is called for each bid that was not taken. Of a negotiation it comes after
// bid and work.
func OnReject(handle func(ctx context.Context, r *Rejected) error) BidOption {
	return func(b *bidder) { b.rejected = handle }
}

// bidder is what an agent does in negotiations of one name.
type bidder struct {
	agent    *agents.Agent
	bid      func(ctx context.Context, m *agents.Message[CallForProposals]) error
	work     func(ctx context.Context, m *agents.Message[Award]) error
	rejected func(ctx context.Context, r *Rejected) error
}

// Bid has an agent bid in negotiations of a name. bid says what a task would cost it,
// or that it refuses. work does a task that it has won and returns the result; it is
// handled like any message of the agent, and with all guarantees: the ID of the job is
// the idempotency key of what it does elsewhere. Both may run again for the same
// message.
//
// An error of bid is retried while bids are taken; a dead letter is a refusal. An
// error of work is retried until the manager's deadline; a dead letter, or a
// *FailedError, makes the manager award the next bid.
func Bid[Task, Result schemas.Message](a *agents.Agent, name string, bid func(ctx context.Context, c *Call[Task]) (Offer, error), work func(ctx context.Context, j *Job[Task]) (Result, error), opts ...BidOption) {
	b := &bidder{agent: a}
	b.bid = func(ctx context.Context, m *agents.Message[CallForProposals]) error {
		return offer(ctx, b, m, bid)
	}
	b.work = func(ctx context.Context, m *agents.Message[Award]) error {
		return do(ctx, b, m, work)
	}
	for _, opt := range opts {
		opt(b)
	}
	if err := validName(name); err != nil {
		a.Invalid(fmt.Errorf("agent %s: negotiation %s: %w", a.Name(), name, err))
		return
	}
	bidders := agents.Attached(a, func() bidders { return handleAsBidder(a) })
	if bidders[name] != nil {
		a.Invalid(fmt.Errorf("agent %s bids twice in negotiations named %s", a.Name(), name))
		return
	}
	bidders[name] = b
}

// bidders are those of an agent, by name.
type bidders map[string]*bidder

// handleAsBidder registers the handlers that all bidders of an agent share.
func handleAsBidder(a *agents.Agent) bidders {
	all := make(bidders)
	unknown := func(name string) error {
		return agents.DeadLetter(streaming.ReasonNoHandler, fmt.Errorf("agent %s does not bid in negotiations named %q", a.Name(), name))
	}
	agents.On(a, func(ctx context.Context, m *agents.Message[CallForProposals]) error {
		if b := all[m.Payload.Name]; b != nil {
			return b.bid(ctx, m)
		}
		return unknown(m.Payload.Name)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Award]) error {
		if b := all[m.Payload.Name]; b != nil {
			return b.work(ctx, m)
		}
		return unknown(m.Payload.Name)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[Rejection]) error {
		if b := all[m.Payload.Name]; b != nil && b.rejected != nil {
			return b.rejected(ctx, &Rejected{Message: m, Negotiation: m.Key, Reason: m.Payload.Reason})
		}
		return nil
	})
	return all
}

// offer answers a call.
func offer[Task schemas.Message](ctx context.Context, b *bidder, m *agents.Message[CallForProposals], bid func(context.Context, *Call[Task]) (Offer, error)) error {
	c := &Call[Task]{Message: m, Negotiation: m.Key, Manager: m.Envelope.Source, Closes: after(m.Envelope.Time, m.Payload.Bids)}
	if !time.Now().Before(c.Closes) { // answered all the same, as an earlier run may have been
		b.expired(m)
		return m.Reply(&Proposal{Name: m.Payload.Name, Refused: true, Reason: "the time for bids was over"}, agents.Lasting())
	}
	if err := decode(ctx, b.agent.Platform().Codec(), "task", m.Payload.Task, &c.Task); err != nil {
		return err
	}
	o, err := bid(ctx, c)
	if err != nil {
		return err
	}
	if !o.refused && (math.IsNaN(o.cost) || math.IsInf(o.cost, 0)) {
		return agents.Permanent(&CostError{o.cost})
	}
	return m.Reply(&Proposal{Name: m.Payload.Name, Refused: o.refused, Cost: o.cost, Reason: o.reason}, agents.Lasting())
}

// do does a task that was awarded.
func do[Task, Result schemas.Message](ctx context.Context, b *bidder, m *agents.Message[Award], work func(context.Context, *Job[Task]) (Result, error)) error {
	p := &m.Payload
	j := &Job[Task]{Message: m, Negotiation: m.Key, Manager: m.Envelope.Source, Cost: p.Cost, Until: after(m.Envelope.Time, p.Work)}
	report := Report{Name: p.Name, Round: p.Round}
	if !time.Now().Before(j.Until) { // somebody else has it
		b.expired(m)
		report.Failed, report.Reason = true, "its time was over before it was begun"
		return m.Reply(&report, agents.Lasting())
	}
	codec := b.agent.Platform().Codec()
	if err := decode(ctx, codec, "task", p.Task, &j.Task); err != nil {
		return err
	}
	working, cancel := context.WithDeadline(ctx, j.Until)
	defer cancel()
	result, err := work(working, j)
	var failed *FailedError
	switch {
	case err == nil:
		if report.Result, err = codec.Encode(ctx, result); err != nil {
			return fmt.Errorf("encode the result: %w", err)
		}
	case errors.As(err, &failed):
		report.Failed, report.Reason = true, failed.Reason
	case ctx.Err() == nil && working.Err() != nil:
		b.expired(m)
		report.Failed, report.Reason = true, "its time was over: "+schemas.BoundErrorText(err.Error())
	default:
		return err
	}
	return m.Reply(&report, agents.Lasting())
}

func after(from time.Time, milliseconds int64) time.Time {
	return from.Add(time.Duration(milliseconds) * time.Millisecond)
}

func (b *bidder) expired(m agents.Handled) {
	count(b.agent, m, func(n negotiations) { n.Ignored(string(WhyExpired)) })
}
