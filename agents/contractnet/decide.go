package contractnet

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Where a negotiation stands. The last three are conclusions.
const (
	phaseBidding     = "bidding"
	phaseWorking     = "working"
	OutcomeDone      = "done"
	OutcomeNoBids    = "no_bids"
	OutcomeAllFailed = "all_failed"
)

// What a candidate has said, and what has become of its award.
const (
	AnswerBid     = "bid"
	AnswerRefused = "refused"

	AwardWorking = "working"
	AwardDone    = "done"
	AwardFailed  = "failed"
	AwardSilent  = "silent"
)

// forgetting is the round of the deadline past which a concluded negotiation is
// forgotten.
const forgetting = -1

// Why a manager ignores a message, or a bidder. It is a label of
// parley_negotiation_messages_ignored_total.
type Why string

// The reasons. A bid or an answer that comes late is late; so is the result of a
// winner that was silent for too long and has been replaced: replaced.
const (
	WhyLate       Why = "late"        // the time for bids was over
	WhyDuplicate  Why = "duplicate"   // the agent has answered already; of an Opening: the ID is in use
	WhyNotAsked   Why = "not_asked"   // its sender is not a candidate
	WhyInvalid    Why = "invalid"     // the cost is not a finite number: it counts as a refusal
	WhyReplaced   Why = "replaced"    // the result of a winner whose time was over
	WhyNotAwarded Why = "not_awarded" // a result of somebody who does not have the task
	WhyUnknown    Why = "unknown"     // there is no such negotiation, or not any more
	WhyForeign    Why = "foreign"     // what only the manager tells itself came from somebody else
	WhyExpired    Why = "expired"     // at a bidder: the time of the call or the award was over
)

// event is a message at the manager's inbox.
type event struct {
	source, id, cause string
	at                time.Time
	payload           schemas.Message
	unreadable        error // why the result of a Report cannot be read
}

// sent is what a decision sends. Its place among the others is its position in the
// outbox, and so part of its ID.
type sent struct {
	to       string
	payload  schemas.Message
	request  bool // a dead letter is answered
	optional bool
	after    time.Duration
}

// decision is what a message makes of a negotiation.
type decision struct {
	next    *Negotiation // nil: nothing is remembered
	send    []sent
	ignored Why          // empty: not at all
	again   string       // how the award before has ended, where the task went to the next
	over    *Negotiation // the conclusion
}

// referee decides. It knows nothing but a negotiation's messages in their order, so
// that the log alone says what was decided.
type referee struct {
	agent, group string
	remember     time.Duration
}

// decide returns what a message makes of a negotiation, which is nil before its
// opening. It does not change it.
func (r *referee) decide(n *Negotiation, e *event) decision {
	switch e.payload.(type) {
	case *Opening, *Deadline:
		if e.source != r.agent {
			return decision{next: n, ignored: WhyForeign}
		}
	}
	if n == nil {
		switch p := e.payload.(type) {
		case *Opening:
			return r.open(p, e)
		case *Deadline:
			return decision{}
		}
		return decision{ignored: WhyUnknown}
	}
	next := *n
	next.Standings = slices.Clone(n.Standings)
	d := decision{next: &next}
	switch p := e.payload.(type) {
	case *Opening:
		d.ignored = WhyDuplicate
	case *Proposal:
		r.proposed(&d, p, e)
	case *Report:
		r.reported(&d, p, e)
	case *schemas.ErrorReply:
		r.failed(&d, p, e)
	case *Deadline:
		r.due(&d, p, e)
	}
	return d
}

func (r *referee) open(p *Opening, e *event) decision {
	next := &Negotiation{Name: p.Name, Phase: phaseBidding, Opening: e.id, Opened: e.at, Task: p.Task, Work: p.Work}
	d := decision{next: next}
	for _, agent := range p.Candidates {
		next.Standings = append(next.Standings, Standing{Agent: agent})
		d.send = append(d.send, sent{to: agent, payload: &CallForProposals{Name: p.Name, Task: p.Task, Bids: p.Bids}, request: true, optional: true})
	}
	if len(p.Candidates) == 0 {
		r.conclude(&d, OutcomeNoBids)
		return d
	}
	r.wait(&d, 0, p.Bids)
	return d
}

// called is the ID of the call to the i-th candidate.
func (r *referee) called(n *Negotiation, i int) string {
	return schemas.DerivedID(r.agent, n.Opening, r.group, i)
}

func (r *referee) wait(d *decision, round int32, milliseconds int64) {
	d.send = append(d.send, sent{
		to: r.agent, payload: &Deadline{Name: d.next.Name, Opening: d.next.Opening, Round: round}, after: time.Duration(milliseconds) * time.Millisecond,
	})
}

func (r *referee) reject(d *decision, agent, reason, text string) {
	d.send = append(d.send, sent{to: agent, payload: &Rejection{Name: d.next.Name, Reason: reason, Text: text}, optional: true})
}

// standing returns the candidate of that name, or nil.
func standing(n *Negotiation, agent string) *Standing {
	for i := range n.Standings {
		if n.Standings[i].Agent == agent {
			return &n.Standings[i]
		}
	}
	return nil
}

func (r *referee) proposed(d *decision, p *Proposal, e *event) {
	s := standing(d.next, e.source)
	switch {
	case s == nil: // without an answer: nobody knows whether it has an inbox
		d.ignored = WhyNotAsked
		return
	case s.Answer != "":
		d.ignored = WhyDuplicate
		return
	case d.next.Phase != phaseBidding:
		if d.ignored = WhyLate; !p.Refused {
			r.reject(d, e.source, RejectedLate, "the time for bids was over")
		}
		return
	case p.Refused:
		s.Answer, s.Reason = AnswerRefused, p.Reason
	case math.IsNaN(p.Cost) || math.IsInf(p.Cost, 0):
		d.ignored = WhyInvalid
		s.Answer, s.Reason = AnswerRefused, (&CostError{p.Cost}).Error()
		r.reject(d, e.source, RejectedInvalid, s.Reason)
	default:
		s.Answer, s.Cost = AnswerBid, p.Cost
	}
	r.answered(d, e)
}

// answered ends bidding once all candidates have answered.
func (r *referee) answered(d *decision, e *event) {
	if !slices.ContainsFunc(d.next.Standings, func(s Standing) bool { return s.Answer == "" }) {
		r.award(d, e)
	}
}

// failed is an error reply: a call or an award is a dead letter.
func (r *referee) failed(d *decision, p *schemas.ErrorReply, e *event) {
	s := standing(d.next, e.source)
	if s == nil {
		d.ignored = WhyNotAsked
		return
	}
	why := fmt.Sprintf("dead letter (%s): %s", p.Reason, p.Message)
	i := slices.IndexFunc(d.next.Standings, func(s Standing) bool { return s.Agent == e.source })
	switch {
	case e.cause == r.called(d.next, i) && s.Answer != "":
		d.ignored = WhyDuplicate
	case e.cause == r.called(d.next, i) && d.next.Phase != phaseBidding:
		d.ignored = WhyLate
	case e.cause == r.called(d.next, i):
		s.Answer, s.Reason = AnswerRefused, why
		r.answered(d, e)
	case s.Award == AwardWorking && e.cause == d.next.Award:
		r.again(d, e, s, AwardFailed, why)
	case s.Award == AwardSilent:
		d.ignored = WhyReplaced
	case s.Award != "":
		d.ignored = WhyDuplicate
	default:
		d.ignored = WhyNotAwarded
	}
}

func (r *referee) reported(d *decision, p *Report, e *event) {
	s := standing(d.next, e.source)
	switch {
	case s == nil:
		d.ignored = WhyNotAsked
	case s.Award == AwardSilent:
		d.ignored = WhyReplaced
	case s.Award == AwardDone || s.Award == AwardFailed:
		d.ignored = WhyDuplicate
	case s.Award != AwardWorking || p.Round != d.next.Round:
		d.ignored = WhyNotAwarded
	case p.Failed:
		r.again(d, e, s, AwardFailed, p.Reason)
	case e.unreadable != nil:
		r.again(d, e, s, AwardFailed, "its result cannot be read: "+e.unreadable.Error())
	default:
		s.Award, d.next.Result = AwardDone, p.Result
		r.conclude(d, OutcomeDone)
	}
}

func (r *referee) due(d *decision, p *Deadline, e *event) {
	n := d.next
	switch {
	case p.Opening != n.Opening: // of an earlier negotiation of the ID
	case p.Round == forgetting && concluded(n):
		d.next = nil
	case p.Round != n.Round: // it has ended before
	case n.Phase == phaseBidding:
		r.award(d, e)
	case n.Phase == phaseWorking:
		r.reject(d, n.Winner, RejectedWithdrawn, "there was no result in time")
		r.again(d, e, standing(n, n.Winner), AwardSilent, "")
	}
}

// again gives the task to the next.
func (r *referee) again(d *decision, e *event, s *Standing, how, failure string) {
	s.Award, s.Failure = how, failure
	r.award(d, e)
	if d.over == nil {
		d.again = how
	}
}

// award gives the task to the best bid that has not had it.
func (r *referee) award(d *decision, e *event) {
	n := d.next
	ranked := ranking(n.Standings)
	next := slices.IndexFunc(ranked, func(s Standing) bool { return s.Award == "" })
	switch {
	case len(ranked) == 0:
		r.conclude(d, OutcomeNoBids)
		return
	case next < 0:
		r.conclude(d, OutcomeAllFailed)
		return
	}
	best := standing(n, ranked[next].Agent)
	best.Award = AwardWorking
	n.Round++
	n.Phase, n.Winner = phaseWorking, best.Agent
	n.Award = schemas.DerivedID(e.source, e.id, r.group, len(d.send))
	d.send = append(d.send, sent{
		to: best.Agent, payload: &Award{Name: n.Name, Round: n.Round, Task: n.Task, Cost: best.Cost, Work: n.Work}, request: true, optional: true,
	})
	r.wait(d, n.Round, n.Work)
}

// ranking are the bids, best first: the lowest cost, of equal costs the first name.
func ranking(standings []Standing) []Standing {
	bids := slices.DeleteFunc(slices.Clone(standings), func(s Standing) bool { return s.Answer != AnswerBid })
	slices.SortFunc(bids, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Agent, b.Agent))
	})
	return bids
}

// conclude ends a negotiation. Losers are told only now: until then they may still
// be awarded.
func (r *referee) conclude(d *decision, phase string) {
	n := d.next
	if n.Phase = phase; phase != OutcomeDone {
		n.Winner = ""
	}
	over := *n
	d.over = &over
	d.send = append(d.send, sent{to: r.agent, payload: &over})
	for _, s := range n.Standings {
		if s.Answer == AnswerBid && s.Award == "" {
			r.reject(d, s.Agent, RejectedLost, "another bid was taken")
		}
	}
	n.Task, n.Result = nil, nil
	r.wait(d, forgetting, r.remember.Milliseconds())
}

func concluded(n *Negotiation) bool { return n.Phase != phaseBidding && n.Phase != phaseWorking }
