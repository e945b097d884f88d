package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// sized is a record of that size, all in all.
func (x *instance) sized(offset, size int) streaming.Record {
	x.t.Helper()
	make := func(n int) streaming.Record {
		value, err := x.codec.Encode(x.t.Context(), &schemas.ErrorReply{Message: strings.Repeat("x", n)})
		if err != nil {
			x.t.Fatal(err)
		}
		env := streaming.Envelope{ID: fmt.Sprint(offset), Source: "s", Type: "agent.error", Hops: 1}
		return streaming.Record{Topic: "in", Offset: int64(offset), Key: []byte(env.ID), Value: value, Headers: schemas.AppendEnvelope(nil, &env)}
	}
	n := 100
	for {
		rec := make(n)
		if rec.Size() == size {
			return rec
		}
		n += size - rec.Size()
	}
}

func (x *instance) offerSized(lane, offset, size int) (full bool) {
	x.t.Helper()
	return x.lanes[lane].Offer(0, []streaming.Record{x.sized(offset, size)})
}

// get reads a counter.
func (x *instance) get(n *int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return *n
}

func (x *instance) rooms() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprint(x.room)
}

func TestALaneIsFullByItsShareOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		memory := pipeline.NewMemory(8000) // of each of two lanes 2000 for the input
		x := newInstance(t, 2, func(context.Context, *streaming.Delivery) error {
			<-release
			return nil
		}, func(cfg *pipeline.Config) { cfg.Memory = memory })
		x.want("full after 900 bytes", x.offerSized(0, 0, 900), false)
		synctest.Wait()
		x.want("full after 1800 bytes", x.offerSized(0, 1, 900), false)
		synctest.Wait()
		x.want("full after 2700 bytes", x.offerSized(0, 2, 900), true)
		x.want("the other lane is full", x.offerSized(1, 0, 900), false)
		synctest.Wait()
		x.want("bytes in memory", x.get(&x.held), 3600)
		x.want("room while it is full", x.rooms(), "[0 0]")
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		if x.rooms() == "[0 0]" { // whichever lane's handlers these were
			release <- struct{}{}
			synctest.Wait()
		}
		x.want("room again", x.rooms(), "[1 0]")
		close(release)
		synctest.Wait()
		// One that is larger than all goes through, alone.
		x.want("full by one large record", x.offerSized(1, 1, 20_000), true)
		synctest.Wait()
		x.want("room again after it", x.rooms(), "[1 1]")
		x.want("handled", len(x.seen()), 5)
		x.want("bytes in memory in the end", x.get(&x.bytes), 0)
		x.close()
	})
}

func TestALaneThatIsAloneHasAllTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := pipeline.NewMemory(8000)
		x := newInstance(t, 2, func(ctx context.Context, _ *streaming.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		}, func(cfg *pipeline.Config) { cfg.Memory = memory })
		x.lanes[1].Abort()
		x.want("full after 3000 bytes", x.offerSized(0, 0, 3000), false)
		synctest.Wait()
		x.want("full after 6000 bytes", x.offerSized(0, 1, 3000), true)
		synctest.Wait()
		x.lanes[0].Abort()
		x.want("bytes in memory of lost lanes", x.get(&x.bytes), 0)
	})
}

// A value that was read for a message which an older one of its key has come
// before meanwhile gives its room to that one (seed 799657572 of the simulation).
func TestALoadedValueDoesNotWaitForOneThatWaitsForItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := pipeline.NewMemory(4000) // room for one value of 900 bytes at a time
		x := newInstance(t, 1, func(_ context.Context, d *streaming.Delivery) error {
			if d.Envelope.ID == "0" && d.Attempt == 1 {
				time.Sleep(9200 * time.Millisecond) // it is due again at 10.2 s
				return errors.New("once")
			}
			return nil
		}, func(cfg *pipeline.Config) { cfg.Memory, cfg.MaxHeld = memory, 0 })
		recs := []streaming.Record{x.sized(0, 900), x.sized(1, 900)}
		for i := range recs {
			recs[i].Key = []byte("key")
			if i == 1 {
				env, err := schemas.DecodeEnvelope(&recs[i])
				if err != nil {
					t.Fatal(err)
				}
				env.DeliverAt = x.begin.Add(10 * time.Second) // read again before the other, placed behind it
				recs[i].Headers = schemas.AppendEnvelope(nil, &env)
			}
		}
		x.lanes[0].Offer(0, recs)
		pass(time.Minute)
		x.want("starts", x.seen(), "[0#1@0s 0#2@10.2s 1#1@10.21s]") // it had to be read once more
		x.close()
	})
}

// Values that wait are kept up to their half, and read again up to half of that
// at a time; all are handled.
func TestValuesThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := pipeline.NewMemory(16_000)
		x := newInstance(t, 1, func(_ context.Context, d *streaming.Delivery) error {
			if d.Attempt == 1 {
				return errors.New("once")
			}
			time.Sleep(time.Millisecond)
			return nil
		}, func(cfg *pipeline.Config) { cfg.Memory, cfg.MaxHeld, cfg.MaxWaiting = memory, 1000, 1000 })
		const n = 100
		for i := range n {
			x.offerSized(0, i, 1000)
			synctest.Wait()
		}
		x.want("copies that wait", len(x.to("tier")), n)
		x.want("bytes of those that are kept", x.get(&x.bytes), 8000)
		pass(time.Minute)
		x.want("handled", len(x.seen()), 2*n)
		x.want("read again at once", x.get(&x.read), 4)
		if x.get(&x.held) > 8000+4000+1000 {
			t.Errorf("%d bytes in memory at most", x.get(&x.held))
		}
		x.want("bytes in memory in the end", x.get(&x.bytes), 0)
		x.want("committed", x.lanes[0].Positions().Commit, fmt.Sprint([]int64{n, 0})) // nobody tails the tier here
		x.close()
	})
}
