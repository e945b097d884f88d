package pipeline

import (
	"time"

	"github.com/seed-c9b6dc07/parley/streaming/lane"
)

// loadPause is how long a value that cannot be read waits for the next try.
const loadPause = time.Second

// loads are values of copies in tiers that were not kept in memory and are read
// again as they are due. They are bounded apart from those that were kept: what
// is due must not wait for what is not.
type loads struct {
	waiting []*lane.Copy
	loaded  map[*lane.Copy]bool // in memory until their copies end
	bytes   int                 // of these, and of those under way
	evicted time.Time           // when room was last made
}

// evictPause is the least time between two searches for room.
const evictPause = 10 * time.Millisecond

// load fetches the value of a copy that was not kept in memory, as soon as there
// is room.
func (l *Lane) load(c *lane.Copy) {
	l.loads.waiting = append(l.loads.waiting, c)
	l.loadMore()
}

// loadMore fetches what there is room for: half as much as may be kept, one value
// in any case.
func (l *Lane) loadMore() {
	for len(l.loads.waiting) > 0 {
		c := l.loads.waiting[0]
		if l.loads.bytes > 0 && l.loads.bytes+c.Size > l.cfg.Memory.half()/2 && !l.evict() {
			return
		}
		l.loads.waiting = l.loads.waiting[1:]
		l.loads.bytes += c.Size
		go l.fetch(c)
	}
}

// evict drops values that were read for copies which others of their key have
// come before meanwhile: these may wait for room themselves.
func (l *Lane) evict() (some bool) {
	if l.now.Sub(l.loads.evicted) < evictPause {
		return false
	}
	l.loads.evicted = l.now
	for c := range l.loads.loaded {
		if l.machine.Unload(c) {
			delete(l.loads.loaded, c)
			l.loads.bytes -= c.Size
			some = true
		}
	}
	return some
}

// unload makes the room of a value free again.
func (l *Lane) unload(c *lane.Copy) {
	delete(l.loads.loaded, c)
	l.loads.bytes -= c.Size
	l.loadMore()
}

func (l *Lane) fetch(c *lane.Copy) {
	topic := l.logTopic(c.Log)
	rec, err := l.cfg.Loader.Load(l.ctx, topic, l.cfg.Partition, c.Offset)
	l.post(func() {
		if err == nil {
			m, _ := decodeHop(rec, c.Log)
			l.machine.Loaded(c, m)
			if c.Payload != m { // it came from elsewhere meanwhile
				l.unload(c)
				return
			}
			if l.loads.loaded == nil {
				l.loads.loaded = make(map[*lane.Copy]bool)
			}
			l.loads.loaded[c] = true
			return
		}
		l.unload(c)
		if l.ctx.Err() == nil && c.Payload == nil {
			l.cfg.Logger.Warn("cannot read a waiting message again; trying on", "topic", topic,
				"partition", l.cfg.Partition, "offset", c.Offset, "error", err)
			l.machine.Later(c, l.cfg.Clock.Now().Add(loadPause))
		}
	})
}
