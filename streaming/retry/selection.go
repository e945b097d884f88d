package retry

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Selection says which dead letters are redriven: those that meet all that is
// set. The zero value means all. As JSON it is part of a run's audit.
type Selection struct {
	Reason       streaming.Reason `json:"reason,omitempty"`
	Key          *string          `json:"key,omitempty"` // the whole key; empty is a key, too
	Type         string           `json:"type,omitempty"`
	Since        time.Time        `json:"since,omitzero"` // dead-lettered at or after
	Until        time.Time        `json:"until,omitzero"` // dead-lettered before
	Conversation string           `json:"conversation,omitempty"`
	Error        string           `json:"error,omitempty"` // a part of the error text
	Topic        string           `json:"topic,omitempty"` // the input topic
}

// meets reports whether a dead letter is selected. The topic is not asked for:
// other topics are not read.
func (s *Selection) meets(rec *streaming.Record, env *streaming.Envelope, hop *streaming.Hop) bool {
	return (s.Reason == "" || s.Reason == hop.Reason) &&
		(s.Key == nil || rec.Key != nil && *s.Key == string(rec.Key)) &&
		(s.Type == "" || s.Type == env.Type) &&
		(s.Since.IsZero() || !rec.Timestamp.Before(s.Since)) &&
		(s.Until.IsZero() || rec.Timestamp.Before(s.Until)) &&
		(s.Conversation == "" || s.Conversation == env.CorrelationID) &&
		(s.Error == "" || strings.Contains(hop.Error, s.Error))
}

// equal reports whether another selection, as a run's begin has it, is the same.
func (s *Selection) equal(other json.RawMessage) bool {
	own, err := json.Marshal(s)
	return err == nil && bytes.Equal(own, other)
}
