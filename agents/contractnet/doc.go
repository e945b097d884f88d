// Package contractnet has agents negotiate who does a task, by the contract net
// protocol (FIPA SC00029H): a manager calls for proposals, agents bid or refuse, the
// best bid gets the award, and its agent does the task or fails; then, or if it is
// silent, the next best bid gets it.
//
//	manager ──call──▶ candidates ──bid──▶ manager ──award──▶ winner ──result──▶ manager
//	                                         └────reject───▶ the others
//
// The manager's part is a function of its inbox: each negotiation's messages have one
// key, its ID, and so one order in one partition. A bid counts if it stands there
// before the deadline's second message, and whoever reads the inbox again finds the
// same bids, the same winner and the same awards, see Manager.Replay. The lowest cost
// wins; of equal costs the agent whose name comes first in byte order.
//
// A manager and its bidders are agents like any other, with their guarantees: what is
// remembered is keyed state (agents.State) and durable, deadlines are messages. A
// negotiation has deadlines of its own: no message of it is lost to that of what began
// it (agents.Lasting).
package contractnet

//go:generate go run ../../schemas/avrogen -pkg contractnet -o messages_gen.go avro/*.avsc
