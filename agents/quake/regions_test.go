package quake

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/board"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestRegionOf(t *testing.T) {
	t.Parallel()
	for want, at := range map[string][2]float64{
		"+20+120": {24.17, 121.65}, "-10-080": {-0.1, -79.6}, "+00+000": {0, 0}, "-70-180": {-65.8, -175.6}, "+90+180": {90, 180}, "-90-180": {-90, -180},
	} {
		if got := RegionOf(at[0], at[1]); got != want {
			t.Errorf("%v is in %s, want %s", at, got, want)
		}
	}
}

// start runs an agent until the test ends.
func start(t *testing.T, p *agents.Platform, a *agents.Agent) {
	t.Helper()
	w, err := p.Worker(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("agent %s is not ready", a.Name())
	}
}

// TestRegistrarAmongOthers: whoever else writes to the board, the tally comes out.
func TestRegistrarAmongOthers(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: cluster.Brokers, Schemas: cluster.Schemas, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	start(t, p, Regions.Keeper(agents.Config{}))
	start(t, p, Registrar(agents.Config{}))
	r, err := p.Requester(t.Context(), "stranger")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sender, err := p.Sender("test")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	view, err := Regions.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()

	const key = "+20+120"
	noon := time.Date(2018, 2, 6, 12, 0, 0, 0, time.UTC)
	want := Region{Strongest: 4.5}
	happen := func(n int) {
		var drafts []agents.Draft
		for range n {
			want.Count++
			want.Last, want.Time = fmt.Sprint("us", want.Count), noon.Add(time.Duration(want.Count)*time.Second)
			drafts = append(drafts, sender.ToAgent(RegistrarAgent, &Strong{Eventid: want.Last, Magnitude: 4.5, Time: want.Time}, agents.Key(key)))
		}
		if err := sender.Send(t.Context(), drafts...); err != nil {
			t.Fatal(err)
		}
	}
	await := func() {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got, version, _ := view.Get(key)
			if got == want {
				t.Logf("%d events, version %d", got.Count, version)
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the board has %+v, want %+v", got, want)
			}
		}
	}
	stranger := Region{Count: 1000, Last: "nobody", Time: noon.Add(time.Hour)}
	if _, err := Regions.Set(t.Context(), r, key, stranger); err != nil {
		t.Fatal(err)
	}
	happen(5)
	await()
	happen(20)
	for range 10 {
		if _, err := Regions.Set(t.Context(), r, key, stranger); err != nil {
			t.Fatal(err)
		}
	}
	happen(3)
	await()
	if _, err := Regions.Delete(t.Context(), r, key, board.Any); err != nil && !errors.Is(err, board.ErrConflict) {
		t.Fatal(err)
	}
	happen(2)
	await()
}
