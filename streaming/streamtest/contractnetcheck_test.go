//go:build synctests

package streamtest_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// said is a message of a topic, once, in the order of its partition.
type said[T any] struct {
	env     streaming.Envelope
	key     string
	payload T
}

// distinct are the messages of type T in a topic, each once: the first copy counts.
// Copies that differ are an error, but for results: run again after its deadline, an
// award has failed. What has been done is the same in each.
func distinct[T schemas.Message](k *market, records []streaming.Record, wrong *[]string) (all []said[T]) {
	var zero T
	seen := make(map[[2]string]string)
	for i := range records {
		env, err := schemas.DecodeEnvelope(&records[i])
		if err != nil || env.Type != schemas.MessageType(zero.Schema()) {
			continue
		}
		id := [2]string{env.Source, env.ID}
		if value, known := seen[id]; known {
			if value != string(records[i].Value) && !failed[T](k, records[i].Value) {
				*wrong = append(*wrong, fmt.Sprintf("%s %s differs from its copy", env.Type, env.ID))
			}
			continue
		}
		seen[id] = string(records[i].Value)
		s := said[T]{env: env, key: string(records[i].Key)}
		if err := k.codec.Decode(context.Background(), records[i].Value, &s.payload, env.Type); err != nil {
			continue
		}
		all = append(all, s)
	}
	return all
}

func failed[T schemas.Message](k *market, value []byte) bool {
	var v T
	err := k.codec.Decode(context.Background(), value, &v, "")
	r, ok := any(v).(contractnet.Report)
	return err == nil && ok && r.Failed
}

// recomputed is how a negotiation has to go, by the inbox alone: written down
// independently of what the manager uses.
type recomputed struct {
	ranked []string // who has bid in time, best first
	awards []string // who was awarded, in order
	winner string
}

// recompute reads the messages of a negotiation in the manager's inbox, in order.
// award returns the ID of the award to an agent.
func (k *market) recompute(open *contractnet.Opening, messages []streaming.Record, award func(agent string) string) (re recomputed) {
	cost := make(map[string]float64)
	answered := make(map[string]bool)
	i := 0
	next := func() (env streaming.Envelope, value []byte, ok bool) {
		if i == len(messages) {
			return env, nil, false
		}
		env, _ = schemas.DecodeEnvelope(&messages[i])
		i++
		return env, messages[i-1].Value, true
	}
	read := func(value []byte, into any) bool { return k.codec.Decode(context.Background(), value, into, "") == nil }
bidding:
	for len(answered) < len(open.Candidates) {
		env, value, ok := next()
		if !ok {
			return re
		}
		switch env.Type {
		case "parley.negotiation.bid":
			var p contractnet.Proposal
			if read(value, &p) && slices.Contains(open.Candidates, env.Source) && !answered[env.Source] {
				if answered[env.Source] = true; !p.Refused {
					cost[env.Source] = p.Cost
				}
			}
		case "agent.error":
			answered[env.Source] = true
		case "parley.negotiation.deadline":
			var p contractnet.Deadline
			if read(value, &p) && p.Due && p.Round == 0 {
				break bidding
			}
		}
	}
	for agent := range cost {
		re.ranked = append(re.ranked, agent)
	}
	slices.SortFunc(re.ranked, func(a, b string) int { return cmp.Or(cmp.Compare(cost[a], cost[b]), strings.Compare(a, b)) })
	for round, agent := range re.ranked {
		re.awards = append(re.awards, agent)
		for over := false; !over; {
			env, value, ok := next()
			if !ok {
				return re
			}
			switch env.Type {
			case "parley.negotiation.result":
				var p contractnet.Report
				if read(value, &p) && env.Source == agent {
					if over = true; !p.Failed {
						re.winner = agent
						return re
					}
				}
			case "agent.error":
				over = env.Source == agent && env.CausationID == award(agent)
			case "parley.negotiation.deadline":
				var p contractnet.Deadline
				over = read(value, &p) && p.Due && p.Round == int32(round+1)
			}
		}
	}
	return re
}

// check holds what was awarded against what the inbox says.
func (k *market) check(topics map[string][]streaming.Record) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	inbox := topics["parley.inbox.boss"]
	type award struct {
		round     int32
		agent, id string
	}
	awards := make(map[string][]award) // by negotiation
	for _, name := range bidders {
		for _, a := range distinct[contractnet.Award](k, topics["parley.inbox."+name], &wrong) {
			awards[a.key] = append(awards[a.key], award{a.payload.Round, name, a.env.ID})
		}
	}
	reports := make(map[string]int) // by award
	for _, r := range distinct[contractnet.Report](k, inbox, &wrong) {
		if reports[r.env.CausationID]++; reports[r.env.CausationID] > 1 {
			say("award %s has %d results", r.env.CausationID, reports[r.env.CausationID])
		}
	}
	conclusions, published := make(map[string][]contractnet.Negotiation), make(map[string][]schemas.Ack)
	for _, c := range distinct[contractnet.Negotiation](k, inbox, &wrong) {
		conclusions[c.key] = append(conclusions[c.key], c.payload)
	}
	for _, p := range distinct[schemas.Ack](k, topics["parley.events.conclusions"], &wrong) {
		published[p.key] = append(published[p.key], p.payload)
	}
	byKey := make(map[string][]streaming.Record)
	seen := make(map[[2]string]bool)
	for i := range inbox {
		env, err := schemas.DecodeEnvelope(&inbox[i])
		if id := [2]string{env.Source, env.ID}; err == nil && !seen[id] {
			seen[id] = true
			byKey[string(inbox[i].Key)] = append(byKey[string(inbox[i].Key)], inbox[i])
		}
	}
	replayed, err := k.mgr.Replay(context.Background(), k.codec, "parley", "boss", append(slices.Clone(inbox), topics["parley.inbox.boss.dlq.boss"]...))
	if err != nil {
		say("replay: %v", err)
	}
	again := make(map[string]*contractnet.Replayed)
	for _, r := range replayed {
		again[r.ID] = r
	}
	for _, o := range distinct[contractnet.Opening](k, inbox, &wrong) {
		id := o.key
		slices.SortFunc(awards[id], func(a, b award) int { return cmp.Compare(a.round, b.round) })
		var given []string
		for i, a := range awards[id] {
			given = append(given, a.agent)
			if int(a.round) != i+1 {
				say("negotiation %s: %s has the award of round %d, as number %d", id, a.agent, a.round, i+1)
			}
		}
		re := k.recompute(&o.payload, byKey[id], func(agent string) string {
			for _, a := range awards[id] {
				if a.agent == agent {
					return a.id
				}
			}
			return ""
		})
		if !slices.Equal(re.awards, given) {
			say("negotiation %s: awarded to %v, but the log says %v of %v", id, given, re.awards, re.ranked)
		}
		if len(conclusions[id]) != 1 || len(published[id]) != 1 {
			say("negotiation %s is concluded %d times, and published %d times", id, len(conclusions[id]), len(published[id]))
			continue
		}
		c := conclusions[id][0]
		if c.Winner != re.winner || published[id][0].Source != re.winner {
			say("negotiation %s: the winner is %q, published as %q, but the log says %q", id, c.Winner, published[id][0].Source, re.winner)
		}
		r := again[id]
		if r == nil {
			say("negotiation %s: Replay has nothing", id)
			continue
		}
		var replayedAwards []award
		for i, a := range r.Awards {
			replayedAwards = append(replayedAwards, award{int32(i + 1), a.Agent, a.ID})
		}
		if !slices.Equal(replayedAwards, awards[id]) || r.Negotiation.Phase != c.Phase || r.Negotiation.Winner != c.Winner || !slices.Equal(r.Negotiation.Standings, c.Standings) {
			say("negotiation %s: replayed %+v %v, but the manager had %+v %v", id, r.Negotiation, replayedAwards, c, awards[id])
		}
		k.count["negotiations"]++
		k.count["outcome "+c.Phase]++
		k.count["awards"] += len(given)
		k.count["awards again"] += max(len(given)-1, 0)
		for _, s := range c.Standings {
			k.count["award "+s.Award]++
			k.count["answer "+s.Answer]++
		}
		for _, i := range r.Ignored {
			k.count["ignored "+string(i.Why)]++
		}
	}
	return wrong
}
