package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
)

// Load is what a run is given.
type Load struct {
	Messages int
	Keys     int
	Over     time.Duration // spread over that time, as far as the brokers take it
	Resend   float64       // share that is sent again, under its ID
}

const (
	feeders   = 4
	feedBatch = 200
)

// Fed is what was acknowledged.
type Fed struct {
	Messages int   // different ones
	Resent   int   // sent again: by intent, or because it was not known whether they had been written
	last     []int // by key: the number of its messages
}

// Feed sends the load to an agent's inbox and returns when all is acknowledged.
// A batch that fails is sent again, under the same IDs, as a sender would that
// must not lose it.
func (l Load) Feed(ctx context.Context, s *agents.Sender, agent string, seed uint64, logger *slog.Logger) (Fed, error) {
	var (
		mu    sync.Mutex
		total = Fed{last: make([]int, l.Keys)}
		errs  = make(chan error, feeders)
		start = time.Now()
	)
	for feeder := range feeders {
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(feeder)))
			sent, resent := 0, 0
			send := func(batch []agents.Draft) error {
				for ctx.Err() == nil {
					err := s.Send(ctx, batch...)
					if err == nil {
						return nil
					}
					logger.Warn("the load is sent again", "error", err)
					resent += len(batch)
					time.Sleep(100 * time.Millisecond) // not to spin where nothing answers
				}
				return fmt.Errorf("load: %w", ctx.Err())
			}
			var keys []int
			for k := feeder; k < l.Keys; k += feeders {
				keys = append(keys, k)
			}
			mine := l.Messages / feeders
			for sent < mine {
				var batch []agents.Draft
				again := 0
				for len(batch) < feedBatch && sent+len(batch)-again < mine {
					key := keys[rnd.IntN(len(keys))]
					seq := total.last[key]
					if seq > 0 && rnd.Float64() < l.Resend {
						batch = append(batch, draft(s, agent, MessageID{key, seq - 1 - rnd.IntN(min(seq, 20))}))
						again++
						continue
					}
					total.last[key]++ // no other feeder has this key
					batch = append(batch, draft(s, agent, MessageID{key, seq}))
				}
				if err := send(batch); err != nil {
					errs <- err
					return
				}
				sent += len(batch) - again
				resent += again
				due := start.Add(time.Duration(float64(l.Over) * float64(sent) / float64(mine)))
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(due)):
				}
			}
			mu.Lock()
			total.Messages += sent
			total.Resent += resent
			mu.Unlock()
			errs <- nil
		}()
	}
	var failed error
	for range feeders {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return total, failed
}

func draft(s *agents.Sender, agent string, id MessageID) agents.Draft {
	return s.ToAgent(agent, &schemas.ErrorReply{Message: id.String()}, agents.ID(id.String()), agents.Key(KeyName(id.Key)))
}
