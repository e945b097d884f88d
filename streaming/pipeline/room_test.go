package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// A lane that has said full is paused and waits for OnRoom. What arrives before
// that, of the same poll, must not make it forget: its partition was never
// fetched again.
func TestAFullLaneTellsThatItHasRoomWhateverArrivesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		x := newInstance(t, 1, func(context.Context, *streaming.Delivery) error {
			<-release
			return nil
		}, func(cfg *pipeline.Config) { cfg.MaxPending = 16 })
		for i := range 16 {
			x.want("full", x.offerSized(0, i, 900), i == 15)
			synctest.Wait()
		}
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait() // 14 are left: there is room at 12
		x.want("room", x.rooms(), "[0]")
		x.want("full until it has said that there is room", x.offerSized(0, 16, 900), true)
		close(release)
		synctest.Wait()
		x.want("handled", len(x.seen()), 17)
		x.want("room", x.rooms(), "[1]")
		x.close()
	})
}
