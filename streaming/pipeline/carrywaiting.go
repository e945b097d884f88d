package pipeline

import "github.com/seed-c9b6dc07/parley/streaming/lane"

// carriedCopies bounds how many waiting copies are carried forward in one go.
const carriedCopies = 1000

// CarryWaiting appends the copies that wait in a tier (from 1) below an offset to
// it again, with their due times and attempts, so that the tier and the ledger may
// be trimmed there. Their order is that of their origins, wherever they stand.
func (l *Lane) CarryWaiting(tier int, below int64) {
	l.post(func() {
		if l.closing || l.failure != nil {
			return
		}
		for _, c := range l.machine.Carry(lane.Log(tier), below, carriedCopies) {
			if m, ok := c.Payload.(*message); ok {
				l.carryCopy(c, m)
				continue
			}
			go func() {
				rec, err := l.cfg.Loader.Load(l.ctx, l.logTopic(c.Log), l.cfg.Partition, c.Offset)
				l.post(func() {
					if err != nil { // it is tried again the next time
						l.machine.GiveBack(c)
						return
					}
					m, _ := decodeHop(rec, c.Log)
					l.carryCopy(c, m)
				})
			}()
		}
	})
}

func (l *Lane) carryCopy(c *lane.Copy, m *message) {
	hop := *m.hop
	hop.Moves++
	l.move(c, m, c.Log, &hop, func() {})
}
