package schemas

import (
	"encoding/json"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// HeaderRedrive marks a record of a dead-letter topic that is no dead letter but
// tells of a redrive. Its value is a RedriveStep.
const HeaderRedrive = "parley-redrive"

// RedriveNote is a record of a redrive in a dead-letter partition, as JSON. It
// is about that partition alone.
type RedriveNote struct {
	Step RedriveStep `json:"step"`
	Run  string      `json:"run"`
	Time time.Time   `json:"time"`
	By   string      `json:"by"`
	// Selection is what was asked for, and Discard that it be let go; on begin.
	Selection json.RawMessage `json:"selection,omitempty"`
	Discard   bool            `json:"discard,omitempty"`
	// Offsets are the dead letters whose copies are acknowledged in a retry
	// topic, on settled; or that are let go, on discarded.
	Offsets []int64 `json:"offsets,omitempty"`
	// Redriven counts the run's dead letters of this partition; on end.
	Redriven map[streaming.Reason]int `json:"redriven,omitempty"`
}

// RedriveStep says what a note tells.
type RedriveStep string

// The steps of a run, in the order of their notes.
const (
	RedriveBegin   RedriveStep = "begin" // the run is about dead letters before this note
	RedriveSettled RedriveStep = "settled"
	RedriveEnd     RedriveStep = "end"

	// RedriveDiscarded lets dead letters go without a new attempt: they hold their
	// keys no longer. It stands in the place of settled.
	RedriveDiscarded RedriveStep = "discarded"
)

// Record is the note as a record to append. It has no key.
func (n *RedriveNote) Record(topic string, partition int32) (*streaming.Record, error) {
	value, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	return &streaming.Record{
		Topic: topic, Partition: partition, Value: value,
		Headers: []streaming.Header{
			{Key: HeaderRedrive, Value: []byte(n.Step)},
			{Key: "content-type", Value: []byte("application/json")},
		},
	}, nil
}

// ParseRedriveNote reads a record of a dead-letter topic: nil is no note. A dead
// letter whose sender has used such a header is none: it has hop data, notes
// have not. A note that cannot be read has its step only.
func ParseRedriveNote(rec *streaming.Record) *RedriveNote {
	step, ok := rec.Header(HeaderRedrive)
	if _, isCopy := rec.Header(HeaderAttempt); !ok || isCopy {
		return nil
	}
	var n RedriveNote
	if json.Unmarshal(rec.Value, &n) != nil || string(n.Step) != string(step) {
		return &RedriveNote{Step: RedriveStep(step)}
	}
	return &n
}
