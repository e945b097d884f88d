package contract

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Check holds contracts against each other, as if they were all there are, and
// returns what does not fit, errors first: the same findings in the same order for
// the same contracts.
//
// What the platform itself sends and reads, such as schemas.Ack, needs no
// counterpart.
func Check(contracts []Contract) []Finding {
	c := newChecker(contracts)
	for _, contract := range c.contracts {
		if contract.Undeclared {
			c.found(Finding{
				Problem: ProblemUndeclared, Severity: SeverityInfo, Agent: contract.Agent,
				Says:   fmt.Sprintf("agent %s declares no outputs and may send anything", contract.Agent),
				Remedy: "add agents.Produces for each message type that it sends, or agents.ProducesNothing",
			})
		}
		for i := range contract.Consumes {
			c.input(contract, &contract.Consumes[i])
		}
		for i := range contract.Produces {
			c.output(contract, &contract.Produces[i])
		}
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) }) // errors first
	return c.findings
}

// route is a message type at a place.
type route struct {
	messageType string
	at          Place
}

// end is one side of a route.
type end struct {
	contract *Contract
	port     *Port
}

type checker struct {
	contracts  []*Contract
	senders    map[route][]end
	readers    map[route][]end
	undeclared []string
	schemas    map[*Port]schemas.Registered
	compared   map[[2]*Port]bool
	findings   []Finding
}

func newChecker(contracts []Contract) *checker {
	c := &checker{
		senders: make(map[route][]end), readers: make(map[route][]end),
		schemas: make(map[*Port]schemas.Registered), compared: make(map[[2]*Port]bool),
	}
	contracts = slices.Clone(contracts)
	slices.SortStableFunc(contracts, func(a, b Contract) int {
		return cmp.Or(cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.GroupName(), b.GroupName()))
	})
	groups := make(map[string]string) // the agent of each
	for _, contract := range contracts {
		contract = contract.normal()
		if err := contract.Validate(); err != nil {
			c.invalid(contract, "the contract of agent "+contract.Agent+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		if other, taken := groups[contract.GroupName()]; taken {
			c.invalid(contract, fmt.Sprintf("agents %s and %s have contracts for the group %s: a group has one", other, contract.Agent, contract.GroupName()))
			continue
		}
		groups[contract.GroupName()] = contract.Agent
		c.add(&contract)
	}
	slices.Sort(c.undeclared)
	return c
}

func (c *checker) add(contract *Contract) {
	c.contracts = append(c.contracts, contract)
	if contract.Undeclared {
		c.undeclared = append(c.undeclared, contract.Agent)
	}
	index := func(ports []Port, ends map[route][]end) {
		for i := range ports {
			p := &ports[i]
			c.schemas[p], _ = p.parse() // it has been validated
			for _, at := range p.At {
				r := route{p.Type, at}
				ends[r] = append(ends[r], end{contract, p})
			}
		}
	}
	index(contract.Consumes, c.readers)
	index(contract.Produces, c.senders)
}

func (c *checker) found(f Finding) {
	slices.Sort(f.Others)
	f.Others = slices.Compact(f.Others)
	c.findings = append(c.findings, f)
}

func (c *checker) invalid(contract Contract, says string) {
	c.found(Finding{Problem: ProblemInvalid, Severity: SeverityError, Agent: contract.Agent, Says: says})
}

// input looks for who sends what contract has a handler for.
func (c *checker) input(contract *Contract, p *Port) {
	if schemas.PlatformType(p.Type) {
		return
	}
	inboxOnly := true
	for _, at := range p.At {
		if len(c.senders[route{p.Type, at}]) > 0 || at.Kind == KindInbox && c.answered(contract, p.Type) {
			return
		}
		inboxOnly = inboxOnly && at.Kind == KindInbox
	}
	f := Finding{
		Problem: ProblemNoProducer, Severity: SeverityError, Agent: contract.Agent, Type: p.Type,
		Says:   fmt.Sprintf("nobody sends %s to agent %s, which reads it at %s", p.Type, contract.Agent, list(p.At)),
		Remedy: "declare it where it is sent with agents.Produces, have a contract file for a sender outside of the platform (one that only produces), or remove the handler",
	}
	if len(p.At) == 1 {
		f.At = p.At[0]
	}
	switch {
	case len(c.undeclared) > 0:
		f.Severity, f.Others = SeverityInfo, slices.Clone(c.undeclared)
		f.Says += fmt.Sprintf(", unless %s does, which declares no outputs", strings.Join(c.undeclared, " or "))
	case inboxOnly:
		f.Severity = SeverityInfo // anybody may write to an inbox
	}
	c.found(f)
}

// answered says whether somebody answers contract with that type.
func (c *checker) answered(contract *Contract, messageType string) bool {
	for _, e := range c.senders[route{messageType, Reply()}] {
		if slices.Contains(c.askers(e.contract), contract) {
			return true
		}
	}
	return false
}

// askers are those who send something that contract reads.
func (c *checker) askers(contract *Contract) []*Contract {
	var askers []*Contract
	for _, p := range contract.Consumes {
		for _, at := range p.At {
			for _, e := range c.senders[route{p.Type, at}] {
				if !slices.Contains(askers, e.contract) {
					askers = append(askers, e.contract)
				}
			}
		}
	}
	return askers
}

// output looks for who reads what contract sends.
func (c *checker) output(contract *Contract, p *Port) {
	for _, at := range p.At {
		switch at.Kind {
		case KindReply:
			c.reply(contract, p)
		case KindInbox:
			c.toInbox(contract, p, at)
		case KindStream:
			c.toStream(contract, p, at)
		}
		for _, reader := range c.readers[route{p.Type, at}] {
			c.pair(end{contract, p}, reader, at)
		}
	}
}

func (c *checker) toStream(contract *Contract, p *Port, at Place) {
	if len(c.readers[route{p.Type, at}]) > 0 {
		return
	}
	f := Finding{
		Problem: ProblemNoReader, Severity: SeverityError, Agent: contract.Agent, Type: p.Type, At: at,
		Says:   fmt.Sprintf("agent %s sends %s to %s, and nobody subscribes to it", contract.Agent, p.Type, at),
		Remedy: "subscribe to it with a handler, have a contract file for a reader outside of the platform (one that only consumes), or do not send it",
	}
	for _, other := range c.contracts {
		if slices.ContainsFunc(other.Consumes, func(p Port) bool { return slices.Contains(p.At, at) }) {
			f.Others = append(f.Others, other.Agent)
		}
	}
	if len(f.Others) > 0 {
		f.Says = fmt.Sprintf("agent %s sends %s to %s, and %s, which subscribes to it, has no handler for it", contract.Agent, p.Type, at, strings.Join(f.Others, " or "))
	}
	c.found(f)
}

func (c *checker) toInbox(contract *Contract, p *Port, at Place) {
	if schemas.PlatformType(p.Type) {
		return
	}
	f := Finding{
		Problem: ProblemNoReader, Severity: SeverityError, Agent: contract.Agent, Others: []string{at.Name}, Type: p.Type, At: at,
		Says:   fmt.Sprintf("agent %s sends %s to %s, and there is no contract of an agent %s that reads anything", contract.Agent, p.Type, at, at.Name),
		Remedy: "correct the name, or add the contract of " + at.Name,
	}
	exists := false
	for _, other := range c.contracts {
		if other.Agent != at.Name || other.external() {
			continue
		}
		exists = true
		if !c.reads(other, p.Type) {
			f.Says = fmt.Sprintf("agent %s sends %s to %s, and agent %s (group %s) has no handler for it: each would be a dead letter",
				contract.Agent, p.Type, at, other.Agent, other.GroupName())
			f.Remedy = fmt.Sprintf("add a handler to %s, or do not send it", other.Agent)
			c.found(f)
		}
	}
	if !exists {
		c.found(f)
	}
}

// reads says whether contract has a handler for a type at its inbox.
func (c *checker) reads(contract *Contract, messageType string) bool {
	return slices.ContainsFunc(c.readers[route{messageType, Inbox(contract.Agent)}], func(e end) bool { return e.contract == contract })
}

// reply looks for who takes a reply: of those who send what contract reads, one
// has to. Nothing says which of its messages are requests.
func (c *checker) reply(contract *Contract, p *Port) {
	var names []string
	taken, inside := false, false
	for _, asker := range c.askers(contract) {
		names = append(names, asker.Agent)
		inside = inside || !asker.external()
		if !c.reads(asker, p.Type) {
			continue
		}
		taken = true
		for _, reader := range c.readers[route{p.Type, Inbox(asker.Agent)}] {
			if reader.contract == asker {
				c.pair(end{contract, p}, reader, Reply())
			}
		}
	}
	if taken || schemas.PlatformType(p.Type) {
		return
	}
	f := Finding{
		Problem: ProblemNoReplyTaker, Severity: SeverityError, Agent: contract.Agent, Others: names, Type: p.Type, At: Reply(),
		Says:   fmt.Sprintf("agent %s replies with %s, and %s, which it may answer, has no handler for it", contract.Agent, p.Type, strings.Join(names, " or ")),
		Remedy: "add a handler where the request is sent, or do not reply",
	}
	if !inside || len(c.undeclared) > 0 {
		f.Severity = SeverityInfo // who asks from outside names a reply path of its own
	}
	if len(names) == 0 {
		f.Says = fmt.Sprintf("agent %s replies with %s, and no contract says who sends it requests", contract.Agent, p.Type)
		f.Remedy = "declare the requests where they are sent"
	}
	c.found(f)
}

// pair reports a reader that cannot read what a sender writes.
func (c *checker) pair(sender, reader end, at Place) {
	key := [2]*Port{sender.port, reader.port}
	if c.compared[key] {
		return // at another place
	}
	c.compared[key] = true
	reasons := schemas.Unreadable(c.schemas[reader.port].Schema, c.schemas[sender.port].Schema)
	if len(reasons) == 0 {
		return
	}
	c.found(Finding{
		Problem: ProblemIncompatible, Severity: SeverityError, Agent: reader.contract.Agent, Others: []string{sender.contract.Agent},
		Type: sender.port.Type, At: at, Reasons: reasons,
		Says:   fmt.Sprintf("agent %s cannot read all of %s that agent %s sends to %s", reader.contract.Agent, sender.port.Type, sender.contract.Agent, at),
		Remedy: "or give the new form a message type of its own, and the reader an upcaster (agents.Upcast)",
	})
}

func list(places []Place) string {
	texts := make([]string, len(places))
	for i, p := range places {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
