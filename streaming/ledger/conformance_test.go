package ledger_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/lane"
	"github.com/seed-c9b6dc07/parley/streaming/ledger"
	"github.com/seed-c9b6dc07/parley/streaming/ledger/ledgertest"
)

func TestMemoryIsALedger(t *testing.T) {
	ledgertest.Run(t, ledgertest.Kind{
		New: func(_ testing.TB, window time.Duration, size int) ledgertest.Ledger {
			m := &memory{effects: make(map[string]int), now: time.Now()}
			m.window = ledger.NewWindow(window, size, func() time.Time { return m.now })
			m.machine = lane.New(0, m.window)
			m.machine.Open([]int64{0})
			m.changed.L = &m.mu
			return m
		},
		Dead: true, Sized: true,
	})
}

// memory is a lane with its window and nothing else: it lives as long as its
// process.
type memory struct {
	mu      sync.Mutex
	changed sync.Cond
	now     time.Time
	window  *ledger.Window
	machine *lane.Machine
	next    int64
	left    int // copies that have not come to their ends
	effects map[string]int
}

type job struct {
	m       ledgertest.Message
	handler func(ledgertest.Message) error
}

func (m *memory) Own(testing.TB) ledgertest.Owner { return m }
func (m *memory) Stop()                           {}

func (m *memory) Effects(_ testing.TB, id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.effects[id]
}

func (m *memory) Pass(_ testing.TB, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

func (m *memory) Handle(_ testing.TB, handler func(ledgertest.Message) error, messages ...ledgertest.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range messages {
		m.left++
		m.machine.Read(&lane.Copy{
			Offset: m.next, Origin: m.next, Key: msg.Key, ID: streaming.HashID("s", msg.ID), Payload: job{msg, handler},
		})
		m.next++
	}
	m.decide()
	for m.left > 0 {
		m.changed.Wait()
	}
}

func (m *memory) decide() {
	for d := m.machine.Next(m.now, true); d.Action != lane.None; d = m.machine.Next(m.now, true) {
		if d.Action == lane.Drop {
			m.left--
			continue
		}
		go func() {
			j := d.Copy.Payload.(job)
			err := j.handler(j.m)
			m.mu.Lock()
			defer m.mu.Unlock()
			switch {
			case err == nil:
				m.effects[j.m.ID]++
				m.machine.Done(d.Copy)
				m.left--
			case errors.Is(err, ledgertest.ErrDead):
				m.machine.Dead(d.Copy)
				m.left--
			default:
				m.machine.GiveBack(d.Copy)
			}
			m.decide()
		}()
	}
	m.window.Evict(func(id streaming.MessageID, origin int64) bool {
		return m.machine.Waits(id) || origin >= m.machine.Watermark(lane.Input)
	})
	m.changed.Broadcast()
}
