package quake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

func TestPlanSendsEachEventAndItsDuplicateAfterIt(t *testing.T) {
	t.Parallel()
	p := Plan{Events: week(t), Seed: 7, Duplicates: 50, Malformed: 9}
	steps := p.steps()
	if len(steps) != p.Size() || p.Size() != 1707+50+9 {
		t.Fatalf("%d steps, size %d", len(steps), p.Size())
	}
	times := make([]int, len(p.Events))
	malformed := map[int]bool{}
	last := len(p.Events)
	for _, s := range steps {
		switch {
		case s.malformed >= 0:
			malformed[s.malformed] = true
		case times[s.event] == 0:
			if s.event != last-1 {
				t.Fatalf("event %d comes first time after event %d: the oldest must be first", s.event, last)
			}
			last = s.event
			fallthrough
		default:
			times[s.event]++
		}
	}
	sent := 0
	for i, n := range times {
		if n == 0 {
			t.Errorf("event %d is not sent", i)
		}
		sent += n
	}
	if sent != 1707+50 || len(malformed) != 9 {
		t.Errorf("%d events and %d malformed records sent", sent, len(malformed))
	}
	if !slices.Equal(steps, p.steps()) {
		t.Error("the same plan has other steps")
	}
	p.Seed++
	if slices.Equal(steps, p.steps()) {
		t.Error("another seed has the same steps")
	}
	if n := (Plan{Duplicates: 3, Malformed: 3}); n.Size() != 0 || len(n.steps()) != 0 {
		t.Error("a plan without events sends something")
	}
}

func TestEventIDIsOfIDAndUpdateTime(t *testing.T) {
	t.Parallel()
	events := week(t)
	e := events[0]
	if got := EventID(&e); got != "usgs:ci37868143:1517966996303" {
		t.Errorf("ID %s", got)
	}
	*e.Magnitude = 9
	if EventID(&e) != EventID(&events[0]) {
		t.Error("the ID depends on more than ID and update time")
	}
}

// TestMalformedBreakTheContract decodes each kind as a worker does.
func TestMalformedBreakTheContract(t *testing.T) {
	t.Parallel()
	codec := schemas.NewCodec(schemas.NewMemoryRegistry())
	f := Feeder{Codec: codec}
	p := Plan{Events: week(t), Seed: 3, Malformed: 200}
	for i := range p.Malformed {
		e := &p.Events[i%len(p.Events)]
		rec, err := f.malformed(t.Context(), p, i, e)
		if err != nil {
			t.Fatal(err)
		}
		how := MalformationOf(i)
		if got := reasonOf(t.Context(), codec, rec); got != how.Reason() {
			t.Errorf("record %d: %q, want %q", i, got, how.Reason())
		}
		again, err := f.malformed(t.Context(), p, i, e)
		if err != nil || string(again.Value) != string(rec.Value) || string(again.Key) != string(rec.Key) || rec.Topic != again.Topic {
			t.Errorf("record %d differs when it is made again (%v)", i, err)
		}
		id, ok := rec.Header(schemas.HeaderID)
		if want := fmt.Sprintf("malformed:3:%d", i); ok == (how == MissingHeader) || ok && string(id) != want {
			t.Errorf("record %d has ID %q", i, id)
		}
	}
}

func reasonOf(ctx context.Context, codec *schemas.Codec, rec *streaming.Record) streaming.Reason {
	env, err := schemas.DecodeEnvelope(rec)
	if err == nil {
		err = codec.Decode(ctx, rec.Value, new(Reported), env.Type)
	}
	reason, _ := schemas.ErrorReason(err)
	return reason
}

// The real feed keeps all rules of its schema; what strays is refused.
func TestTheWeekKeepsItsRules(t *testing.T) {
	t.Parallel()
	codec := schemas.NewCodec(schemas.NewMemoryRegistry())
	events := week(t)
	for i := range events {
		if _, err := codec.Encode(t.Context(), &events[i]); err != nil {
			t.Fatalf("event %s: %v", events[i].Eventid, err)
		}
	}
	for rule, stray := range map[string]func(*Reported){
		"payload.latitude breaks the rule degrees":  func(e *Reported) { e.Latitude = 90.1 },
		"payload.longitude breaks the rule degrees": func(e *Reported) { e.Longitude = -181 },
		"payload.magnitude breaks the rule range":   func(e *Reported) { e.Magnitude = new(float64(11)) },
		"payload.eventid breaks the rule not-empty": func(e *Reported) { e.Eventid = "" },
		"payload breaks the rule magnitude-type":    func(e *Reported) { e.Magnitude = nil },
	} {
		e := events[0]
		stray(&e)
		if _, err := codec.Encode(t.Context(), &e); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%v, want: %s", err, rule)
		}
	}
}
