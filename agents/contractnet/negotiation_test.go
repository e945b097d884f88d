package contractnet_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/contractnet"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/retry"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestTheBestBidGetsTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "far", "near", "busy")
	rejected := make(chan string, 10)
	w.bidder("far", costs(80), works("far"), contractnet.OnReject(func(_ context.Context, r *contractnet.Rejected) error {
		rejected <- r.Negotiation + " " + r.Reason
		return nil
	}))
	w.bidder("near", func(_ context.Context, c *contractnet.Call[site]) (contractnet.Offer, error) {
		if c.Manager != "boss" || c.Negotiation != c.Task.Place || time.Until(c.Closes).Abs() > 11*time.Second {
			t.Errorf("the call is %+v", c)
		}
		return contractnet.Cost(20), nil
	}, func(ctx context.Context, j *contractnet.Job[site]) (visit, error) {
		by, err := agents.Step(ctx, j.Message, "drive", func(context.Context) (string, error) { return "near", nil })
		if until, ok := ctx.Deadline(); j.Cost != 20 || !ok || !until.Equal(j.Until) {
			t.Errorf("the job is %+v, until %s", j, until)
		}
		return visit{By: by}, err
	})
	w.bidder("busy", refuses("busy"), works("busy"))
	c := w.negotiate("Fiji")
	if c.Err != nil || c.Winner != "near" || c.Result.By != "near" || c.Task.Place != "Fiji" || c.ID != "Fiji" || standings(c.Bids) != "near 20 done, far 80" {
		t.Errorf("concluded: %+v", c)
	}
	if got := <-rejected; got != "Fiji lost" {
		t.Error(got)
	}
	w.counted("parley_negotiations_total", "outcome", "done", 1)
	// Under the same ID it is not negotiated again.
	w.send(w.sender, "boss", &site{Place: "Fiji"})
	w.ignored(contractnet.WhyDuplicate, 1)
}

func TestTheNextBidGetsTheTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Bids: 3 * time.Second, Work: 2 * time.Second}, "a", "b", "c", "d", "nobody")
	late := make(chan string, 10)
	w.bidder("a", costs(1), fails(&contractnet.FailedError{Reason: "no petrol"}))
	w.bidder("b", costs(2), fails(agents.Permanent(errors.New("no road"))))
	w.bidder("c", costs(3), func(context.Context, *contractnet.Job[site]) (visit, error) {
		<-time.After(3 * time.Second) // whatever its context says
		return visit{By: "c"}, nil
	}, contractnet.OnReject(func(_ context.Context, r *contractnet.Rejected) error {
		late <- r.Reason
		return nil
	}))
	w.bidder("d", costs(4), works("d"))
	c := w.negotiate("Fiji")
	if c.Err != nil || c.Winner != "d" || standings(c.Bids) != "a 1 failed, b 2 failed, c 3 silent, d 4 done" {
		t.Errorf("concluded: %+v", c)
	}
	if c.Bids[0].Failure != "no petrol" || !strings.Contains(c.Bids[1].Failure, "no road") {
		t.Errorf("failures: %+v", c.Bids)
	}
	w.counted("parley_negotiation_reawards_total", "why", "failed", 2)
	w.counted("parley_negotiation_reawards_total", "why", "silent", 1)
	w.ignored(contractnet.WhyReplaced, 1)
	if got := <-late; got != "withdrawn" {
		t.Error(got)
	}
}

func TestNobodyDoesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{Work: 200 * time.Millisecond}, "a", "b", "c")
	bids := costs(1)
	w.bidder("a", func(ctx context.Context, c *contractnet.Call[site]) (contractnet.Offer, error) { return bids(ctx, c) },
		func(ctx context.Context, _ *contractnet.Job[site]) (visit, error) {
			<-ctx.Done()
			return visit{}, ctx.Err()
		})
	w.bidder("b", refuses("busy"), works("b"))
	w.bidder("c", costs(math.Inf(1)), works("c")) // a dead letter
	c := w.negotiate("Fiji")
	var failed *contractnet.AllFailedError
	if !errors.As(c.Err, &failed) || len(failed.Awards) != 1 || c.Winner != "" {
		t.Errorf("concluded: %+v", c)
	}
	w.ignored(contractnet.WhyExpired, 1)
	bids = refuses("tired")
	c = w.negotiate("Samoa")
	var none *contractnet.NoBidsError
	if !errors.As(c.Err, &none) || len(none.Refused) != 3 || !strings.Contains(none.Error(), "infinite") && !strings.Contains(none.Error(), "+Inf") {
		t.Errorf("concluded: %v", c.Err)
	}
}

func TestWrongDeclarations(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	p, err := agents.Connect(t.Context(), agents.PlatformConfig{Brokers: c.Brokers, Schemas: c.Schemas})
	if err != nil {
		t.Fatal(err)
	}
	done := func(context.Context, *contractnet.Concluded[site, visit]) error { return nil }
	for want, declare := range map[string]func(*agents.Agent){
		"manages two negotiations named visit": func(a *agents.Agent) {
			contractnet.Manage(a, "visit", contractnet.Config{}, done)
			contractnet.Manage(a, "visit", contractnet.Config{}, done)
		},
		"bids twice": func(a *agents.Agent) {
			contractnet.Bid(a, "visit", costs(1), works("a"))
			contractnet.Bid(a, "visit", costs(1), works("a"))
		},
		"a time is negative": func(a *agents.Agent) { contractnet.Manage(a, "visit", contractnet.Config{Work: -1}, done) },
		"may hold a to z":    func(a *agents.Agent) { contractnet.Bid(a, "Visit", costs(1), works("a")) },
	} {
		a := agents.New("a", agents.Config{})
		declare(a)
		if _, err := p.Worker(a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// Two of different names, and both roles, go together.
	a := agents.New("a", agents.Config{})
	contractnet.Manage(a, "visit", contractnet.Config{}, done)
	contractnet.Manage(a, "repair", contractnet.Config{}, done)
	contractnet.Bid(a, "visit", costs(1), works("a"))
	contractnet.Bid(a, "repair", costs(1), works("a"))
	if _, err := p.Worker(a); err != nil {
		t.Error(err)
	}
	agents.ProducesNothing(a)
	for _, f := range contract.Check([]contract.Contract{a.Contract()}) {
		t.Error(f)
	}
}

func TestABadCallStagesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "boss")
	errs := make(chan error, 10)
	a := agents.New("caller", agents.Config{})
	mgr := contractnet.Manage(a, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		w.over <- c
		return nil
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[site]) error {
		for _, call := range []func() (string, error){
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, []string{"A"}) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, []string{"a", "a"}) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.ID("")) },
			func() (string, error) {
				return mgr.Call(ctx, m, m.Payload, nil, contractnet.ID(strings.Repeat("x", 513)))
			},
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.WorkFor(0)) },
			func() (string, error) { return mgr.Call(ctx, m, m.Payload, nil, contractnet.BidsFor(-1)) },
		} {
			_, err := call()
			errs <- err
		}
		one, err := mgr.Call(ctx, m, m.Payload, nil)
		errs <- err
		two, err := mgr.Call(ctx, m, m.Payload, nil)
		if err != nil || one == two {
			t.Errorf("%s and %s, %v", one, two, err)
		}
		return nil
	})
	w.start(a)
	w.send(w.sender, "caller", &site{})
	for range 6 {
		var call *contractnet.CallError
		if err := <-errs; !errors.As(err, &call) || streaming.ReasonOf(err) != streaming.ReasonPermanent {
			t.Errorf("%v", err)
		}
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
	for range 2 { // nobody was a candidate
		var none *contractnet.NoBidsError
		if c := <-w.over; !errors.As(c.Err, &none) {
			t.Error(c.Err)
		}
	}
}

// TestTheConclusionIsAMessageOfItsOwn: done fails and is retried, and the award
// stands; it sends with the conclusion.
func TestTheConclusionIsAMessageOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "x")
	a := agents.New("caller", agents.Config{Retry: retry.Policy{Tiers: []time.Duration{10 * time.Millisecond}, Attempts: 3}})
	mgr := contractnet.Manage(a, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		if c.Attempt < 3 {
			return errors.New("not yet")
		}
		return c.Publish("visits", &c.Result)
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[site]) error {
		_, err := mgr.Call(ctx, m, m.Payload, []string{"own"})
		return err
	})
	w.start(a)
	worked := make(chan string, 10)
	w.bidder("own", costs(1), func(_ context.Context, j *contractnet.Job[site]) (visit, error) {
		worked <- j.ID()
		return visit{By: "own"}, nil
	})
	sub := agents.New("reader", agents.Config{Streams: []string{"visits"}})
	visits := make(chan visit, 10)
	agents.On(sub, func(_ context.Context, m *agents.Message[visit]) error {
		visits <- m.Payload
		return nil
	})
	w.start(sub)
	w.send(w.sender, "caller", &site{}, agents.Expires(time.Now().Add(time.Minute)))
	select {
	case v := <-visits:
		if v.By != "own" || len(worked) != 1 {
			t.Errorf("%+v after %d awards", v, len(worked))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no visit")
	}
}

// TestQuestionsAndNegotiations of one agent each get their own error replies.
func TestQuestionsAndNegotiations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, contractnet.Config{}, "x")
	a := agents.New("caller", agents.Config{})
	answers := make(chan error, 1)
	question := agents.OnAnswer(a, "how", func(_ context.Context, m *agents.Answered[visit, site]) error {
		_, err := m.Answer()
		answers <- err
		return nil
	})
	mgr := contractnet.Manage(a, "visit", contractnet.Config{}, func(_ context.Context, c *contractnet.Concluded[site, visit]) error {
		w.over <- c
		return nil
	})
	agents.On(a, func(ctx context.Context, m *agents.Message[site]) error {
		if err := question.Ask(ctx, m, "own", &m.Payload, m.Payload); err != nil {
			return err
		}
		_, err := mgr.Call(ctx, m, m.Payload, []string{"own"})
		return err
	})
	w.start(a)
	w.bidder("own", costs(1), fails(agents.Permanent(errors.New("no road")))) // and no handler for site
	w.send(w.sender, "caller", &site{})
	var failed *agents.RequestError
	if err := <-answers; !errors.As(err, &failed) || failed.Reason != streaming.ReasonNoHandler {
		t.Errorf("the answer is %v", err)
	}
	var all *contractnet.AllFailedError
	if c := <-w.over; !errors.As(c.Err, &all) || !strings.Contains(c.Err.Error(), "no road") {
		t.Errorf("concluded: %v", c.Err)
	}
}
