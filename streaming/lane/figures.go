package lane

import "github.com/seed-c9b6dc07/parley/streaming"

// Watermark is the offset up to which a log may be committed: every record
// below it is settled.
func (m *Machine) Watermark(log Log) int64 { return m.logs[log].watermark() }

// Position is the offset that a log is to be read from next.
func (m *Machine) Position(log Log) int64 { return m.logs[log].next }

// Oldest returns the oldest unsettled input copy, or nil.
func (m *Machine) Oldest() *Copy { return m.logs[Input].oldest() }

// Live is the number of live copies.
func (m *Machine) Live() int { return m.count }

// Waits reports whether a copy of that message is live.
func (m *Machine) Waits(id streaming.MessageID) bool { return m.live[id] != nil }

// Unsettled is the number of live copies of one log.
func (m *Machine) Unsettled(log Log) int { return m.logs[log].open }

// Waiting is the number of live copies in tiers, and whether one of them waits
// for the input log to be read on (rule H2): then it must not be paused.
func (m *Machine) Waiting() (n int, unread bool) {
	return m.count - m.logs[Input].open, len(m.unread) > 0
}

// Held is the number of values in memory for copies in tiers.
func (m *Machine) Held() int { return m.inHand }

// Bytes is the size of the payloads in memory: of input copies, and of copies in
// tiers.
func (m *Machine) Bytes() (input, tiers int) { return m.bytes.input, m.bytes.tiers }
