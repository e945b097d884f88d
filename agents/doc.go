// Package agents is what an agent author imports. An agent is a name and typed
// handlers by message type. A handler gets a message and an outbox; what it
// sends goes out when it has succeeded, and its outcome is its error:
//
//   - nil: done;
//   - RetryAfter(d, err): again at that time;
//   - Unavailable(err): something it needs is down; the agent pauses and probes;
//   - Permanent(err), DeadLetter(reason, err): no retry can help;
//   - any other error, or a panic: again by the agent's retry policy, and in the
//     end a dead letter.
//
// A handler may run again for the same message: after a crash, a rebalance or a
// failure. What it sends carries the same message IDs then, so that the next
// agent drops it; effects elsewhere must be keyed by Message.ID. Messages with
// one key are handled in order, one at a time; different keys side by side. Exactly
// once a message may be handled while what the one before has come to is not
// committed yet; what is lost then is handled again in order.
package agents
