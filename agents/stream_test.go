package agents_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// speak answers in four parts. Each says what was sent before it. The first run
// ends after two.
func speak(ctx context.Context, m *agents.Message[schemas.AgentControl]) error {
	parts, err := agents.Answering[schemas.Ack](ctx, m)
	if err != nil {
		return err
	}
	for len(parts.Sent()) < 3 {
		if len(parts.Sent()) == 2 && m.Payload.Reason == "fail" {
			if m.Attempt == 1 {
				return errors.New("in mid-answer")
			}
			return agents.Permanent(errors.New("never"))
		}
		if err := parts.Send(schemas.Ack{Mode: fmt.Sprintf("run %d after %d", m.Attempt, len(parts.Sent()))}); err != nil {
			return err
		}
	}
	if m.Payload.Reason == "again" && m.Attempt == 1 {
		return errors.New("before the end")
	}
	return parts.End(schemas.Ack{Mode: fmt.Sprintf("run %d ends", m.Attempt)})
}

func TestStream(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "speaker", speak)
	a.answerer(t, "echo", echo)
	for reason, want := range map[string][]string{
		"plain": {"run 1 after 0", "run 1 after 1", "run 1 after 2", "run 1 ends"},
		"again": {"run 1 after 0", "run 1 after 1", "run 1 after 2", "run 2 ends"},
	} {
		var got []agents.Part[schemas.Ack]
		for part, err := range agents.Stream[schemas.Ack](t.Context(), a.r, "speaker", schemas.AgentControl{Reason: reason}) {
			if err != nil {
				t.Fatalf("%s: %v", reason, err)
			}
			got = append(got, part)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %+v", reason, got)
		}
		for i, part := range got {
			if part.Payload.Mode != want[i] || part.Sequence != int64(i)+1 || part.Last != (i == 3) {
				t.Errorf("%s: part %+v, want %s", reason, part, want[i])
			}
		}
		// Who has read a part goes on behind it, later and elsewhere.
		for i := range 3 {
			at := i + 2
			for part, err := range agents.Resume[schemas.Ack](t.Context(), a.r, "speaker", got[i].Position) {
				if err != nil || part.Sequence != int64(at) || part.Payload != got[at-1].Payload {
					t.Fatalf("%s: behind part %d comes %+v, %v", reason, i+1, part, err)
				}
				at++
			}
			if at != 5 {
				t.Errorf("%s: behind part %d the answer ends before part %d", reason, i+1, at)
			}
		}
	}
	// A request that waits for the whole gets the last part.
	got, err := agents.Request[schemas.Ack](t.Context(), a.r, "speaker", schemas.AgentControl{Reason: "plain"})
	if err != nil || got.Mode != "run 1 ends" {
		t.Errorf("answer %+v, %v", got, err)
	}
	// An answer in one piece.
	n := 0
	for part, err := range agents.Stream[schemas.Ack](t.Context(), a.r, "echo", schemas.AgentControl{Reason: "one"}) {
		if n++; err != nil || !part.Last || part.Sequence != 1 || part.Payload.Mode != "one" {
			t.Errorf("part %+v, %v", part, err)
		}
	}
	if n != 1 {
		t.Errorf("%d parts", n)
	}
}

func TestAStreamEndsWithAnError(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "speaker", speak)
	n := 0
	var last error
	for _, err := range agents.Stream[schemas.Ack](t.Context(), a.r, "speaker", schemas.AgentControl{Reason: "fail"}) {
		n, last = n+1, err
	}
	var failed *agents.RequestError
	if n != 3 || !errors.As(last, &failed) || failed.Reason != streaming.ReasonPermanent {
		t.Errorf("after %d parts: %v", n-1, last)
	}
	for _, err := range agents.Resume[schemas.Ack](t.Context(), a.r, "speaker", "nowhere") {
		if err == nil {
			t.Error("a bad position is read")
		}
	}
	for _, err := range agents.Stream[schemas.Ack](t.Context(), a.r, "nobody", schemas.AgentControl{}) {
		if !errors.Is(err, streaming.ErrUnknownTopic) {
			t.Errorf("no such agent: %v", err)
		}
	}
}

// In the durable form the last part is the answer.
func TestAQuestionWaitsForTheWholeAnswer(t *testing.T) {
	a := newAsking(t)
	a.answerer(t, "speaker", speak)
	a.front(t, 1, 20e9)
	if got := a.ask(t, "speaker", "whole"); got.Mode != "whole: speaker run 1 ends" {
		t.Errorf("answer %+v", got)
	}
}
