package worker

import "time"

// fencedPause is longer than a member takes to learn what it has lost, as long
// as it answers the group.
const fencedPause = 5 * time.Second

// fenced rebuilds a lane of which a database says that a later owner is at work,
// if the group has not taken it away by then. A worker that was slow to rebuild a
// lane it had lost may have claimed it after the present owner, who must not be
// shut out by that for good: with a new claim it is the later one again.
func (ls *lanes) fenced(o *owned) {
	if o.fenced.Swap(true) {
		return
	}
	ls.w.cfg.Logger.Warn("a database knows a later owner of the partition; it is claimed anew if it is not lost",
		"topic", o.tp.Topic, "partition", o.tp.Partition, "pause", fencedPause)
	go func() {
		select {
		case <-ls.ctx.Done():
			return
		case <-time.After(fencedPause):
		}
		ls.mu.Lock()
		held := ls.byTP[o.tp] == o
		ls.mu.Unlock()
		if held {
			ls.reopen([]*owned{o})
		}
	}()
}
