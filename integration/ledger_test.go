//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/agents/postgres"
	"github.com/seed-c9b6dc07/parley/integration/internal/cluster"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/ledger/ledgertest"
)

func TestKafkaIsALedger(t *testing.T) {
	broker := cluster.SharedKafka(t)
	for _, exactlyOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %t", exactlyOnce), func(t *testing.T) {
			ledgertest.Run(t, ledgertest.Kafka(kafka.Config{Brokers: []string{broker.Bootstrap()}}, schemas.NewCodec(schemas.NewMemoryRegistry()), exactlyOnce))
		})
	}
}

// The inbox is asked and marked in the handler's transaction, beside the platform's
// own ledger: here it is alone.
func TestPostgresIsALedger(t *testing.T) {
	ledgertest.Run(t, ledgertest.Kind{
		New: func(t testing.TB, window time.Duration, _ int) ledgertest.Ledger {
			return &inboxLedger{shop: newShop(t), window: window}
		},
		Durable: true, Fenced: true,
	})
}

type inboxLedger struct {
	shop   *shop
	window time.Duration
	epoch  int64
}

func (l *inboxLedger) Effects(_ testing.TB, id string) int {
	return l.shop.count("SELECT count(*) FROM effects WHERE message = $1", id)
}

func (l *inboxLedger) Pass(t testing.TB, d time.Duration) {
	t.Helper()
	eventually(t, func() error { // the owner tells once a second
		if n := l.shop.count("SELECT count(*) FROM parley.inbox WHERE settled_at IS NULL"); n > 0 {
			return fmt.Errorf("%d rows are in doubt", n)
		}
		return nil
	})
	l.shop.exec("UPDATE parley.inbox SET settled_at = settled_at - $1::interval, handled_at = handled_at - $1::interval", d)
}

func (l *inboxLedger) Own(testing.TB) ledgertest.Owner {
	l.epoch++
	o := &inboxOwner{l: l, epoch: l.epoch, db: postgres.Open(l.shop.pool, postgres.Config{Window: l.window})}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.stop = sync.OnceFunc(func() {
		o.cancel()
		o.handling.Wait()
		o.db.Close() // tells what is settled
	})
	return o
}

type inboxOwner struct {
	l        *inboxLedger
	epoch    int64
	db       *postgres.DB
	ctx      context.Context
	cancel   context.CancelFunc
	handling sync.WaitGroup
	stop     func()
}

func (o *inboxOwner) Stop() { o.stop() }

func (o *inboxOwner) Handle(t testing.TB, handler func(ledgertest.Message) error, messages ...ledgertest.Message) {
	t.Helper()
	a := agents.New(o.l.shop.group, agents.Config{})
	postgres.On(a, o.db, func(ctx context.Context, tx pgx.Tx, m *agents.Message[schemas.ErrorReply]) error {
		if _, err := tx.Exec(ctx, "INSERT INTO effects (message, key) VALUES ($1, $2)", m.ID(), m.Key); err != nil {
			return err
		}
		return handler(ledgertest.Message{ID: m.ID(), Key: m.Key})
	})
	cfg, err := o.l.shop.platform.WorkerConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	h := cfg.Handlers["agent.error"]
	// What is old goes when the owner tends the inbox, which is once a minute.
	if _, err := o.db.Sweep(o.ctx); err != nil && o.ctx.Err() == nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, m := range messages {
		o.handling.Add(1)
		all.Go(func() {
			defer o.handling.Done()
			o.handle(t, h, m)
		})
	}
	all.Wait()
}

func (o *inboxOwner) handle(t testing.TB, h streaming.Handler, m ledgertest.Message) {
	for attempt := 1; o.ctx.Err() == nil; attempt++ {
		d := &streaming.Delivery{
			Envelope: &streaming.Envelope{Source: "suite", ID: m.ID, Type: "agent.error"}, Key: m.Key, Payload: h.New(), Attempt: attempt,
			Outbox: new(streaming.Outbox),
			Claim:  streaming.Claim{Group: o.l.shop.group, Topic: "in", Partition: 0, Epoch: o.epoch},
		}
		switch err := h.Handle(o.ctx, d); {
		case err == nil:
			d.Settled()
			return
		case errors.Is(err, streaming.ErrFenced):
			return
		}
	}
}
