package routes

import (
	"crypto/sha256"
	"encoding/binary"
)

// Mode is how many of a route's destinations get a message.
type Mode string

// The modes.
const (
	ModeFanout   Mode = "fanout"   // all
	ModeFirst    Mode = "first"    // all, and routes behind it are not looked at any more
	ModeWeighted Mode = "weighted" // one, by the message's ID and the weights
	ModeKey      Mode = "key"      // one, by the ordering key
)

// choose returns the destinations of a message that the route matches. The same
// message comes to the same ones, whoever asks and however often.
func (r *route) choose(m *Message) []Destination {
	switch r.mode {
	case ModeWeighted:
		at := score(m.Envelope.ID, r.name) % r.total
		for i, w := range r.weights {
			if at < w {
				return r.to[i : i+1]
			}
			at -= w
		}
	case ModeKey:
		// Rendezvous hashing: each destination bids for the key by itself, so that
		// one which comes or goes moves only the keys that it wins or has won.
		best, bid := 0, uint64(0)
		for i, d := range r.to {
			if s := score(m.key(), d.String()); s > bid || i == 0 {
				best, bid = i, s
			}
		}
		return r.to[best : best+1]
	}
	return r.to
}

// score is a number that is evenly spread over the pairs of texts.
func score(a, b string) uint64 {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(a)))
	buf = append(buf, a...)
	buf = append(buf, b...)
	sum := sha256.Sum256(buf)
	return binary.BigEndian.Uint64(sum[:])
}
