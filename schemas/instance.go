package schemas

import (
	"context"
	"strings"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// TypeAgentInstance is the message type of AgentInstance.
const TypeAgentInstance = "agent.instance"

// instancePrefix cannot begin a key that is an agent's name.
const instancePrefix = "instance/"

// InstanceKey is the key of an instance in the topic of agents.
func InstanceKey(group, instance string) string { return instancePrefix + group + "/" + instance }

// IsInstanceKey reports whether a record of the topic of agents is about an instance.
func IsInstanceKey(key []byte) bool {
	group, instance, ok := strings.Cut(strings.TrimPrefix(string(key), instancePrefix), "/")
	return strings.HasPrefix(string(key), instancePrefix) && ok && group != "" && instance != ""
}

// ParseInstance reads a record of the topic of agents: ok is false for one that is
// not about an instance. One without a value says that the instance has ended: only
// group and instance are set then. Errors are Codec.Decode's.
func ParseInstance(ctx context.Context, codec *Codec, rec *streaming.Record) (i AgentInstance, ok bool, err error) {
	if !IsInstanceKey(rec.Key) {
		return AgentInstance{}, false, nil
	}
	group, instance, _ := strings.Cut(strings.TrimPrefix(string(rec.Key), instancePrefix), "/")
	if rec.Value != nil {
		err = codec.Decode(ctx, rec.Value, &i, TypeAgentInstance)
		if err == nil {
			if invalid := ValidName(i.Agent); invalid != nil {
				err = &ContractError{Header: "value", Problem: "agent: " + invalid.Error()}
			}
		}
	}
	i.Group, i.Instance = group, instance // the key says which
	return i, true, err
}
