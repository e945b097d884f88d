package schemas

import (
	"context"
	"strings"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// TypeAgentContract is the message type of AgentContract.
const TypeAgentContract = "agent.contract"

// contractPrefix cannot begin a key that is an agent's name.
const contractPrefix = "contract/"

// ContractKey is the key of a group's contract in the topic of agents.
func ContractKey(group string) string { return contractPrefix + group }

// ParseContract reads a record of the topic of agents: ok is false for one that
// is not a contract. One without a value takes the group's contract back: only
// the group is set then. Errors are Codec.Decode's.
func ParseContract(ctx context.Context, codec *Codec, rec *streaming.Record) (c AgentContract, ok bool, err error) {
	group, ok := strings.CutPrefix(string(rec.Key), contractPrefix)
	if !ok || group == "" {
		return AgentContract{}, false, nil
	}
	if rec.Value != nil {
		err = codec.Decode(ctx, rec.Value, &c, TypeAgentContract)
	}
	c.Group = group // the key says which
	return c, true, err
}
