package schemas

import (
	"context"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// TypeAgentControl is the message type of AgentControl.
const TypeAgentControl = "agent.control"

// controlPrefix cannot begin a key that is an agent's name.
const controlPrefix = "control/"

// ControlKey is the key of a group's control records in the topic of agents.
func ControlKey(group string) string { return controlPrefix + group }

// Control is the state that an operator wants of a group.
type Control struct {
	AgentControl
	Since time.Time // when it was asked for
}

// ParseControl reads a record of the topic of agents: ok is false for one that
// is not about control. A record without a value means that nothing is asked
// for any more. Errors are Codec.Decode's.
func ParseControl(ctx context.Context, codec *Codec, rec *streaming.Record) (c Control, ok bool, err error) {
	group, ok := strings.CutPrefix(string(rec.Key), controlPrefix)
	if !ok || group == "" {
		return Control{}, false, nil
	}
	c.Since = rec.Timestamp
	if rec.Value != nil {
		err = codec.Decode(ctx, rec.Value, &c.AgentControl, TypeAgentControl)
	}
	c.Group = group // the key says which; a value that differs is for people only
	return c, true, err
}
