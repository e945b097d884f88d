// Package quake is the bundled example: four agents at work on the earthquake
// feed of the US Geological Survey.
//
//	feed ──quake.reported──▶ stream quakes ──▶ triage ──quake.dispatch──▶ dispatch ──quake.alert──▶ notify ──▶ outside service
//	                                              ◀───────agent.ack──────────
//
// feed publishes each event under an ID that is made of the event's own ID and
// update time, so that feeding twice has no second effect; it also sends
// duplicates and malformed records. triage sorts the events and has dispatch
// told of each of magnitude 4.5 or above. dispatch acknowledges and raises an
// alert. notify hands alerts to an outside service that fails by a seeded rule
// and keeps what it took by message ID.
package quake

//go:generate go run ../../schemas/avrogen -pkg quake -o messages_gen.go avro/*.avsc

// The names of the agents, and of the stream between feed and triage.
const (
	FeedAgent     = "feed"
	TriageAgent   = "triage"
	DispatchAgent = "dispatch"
	NotifyAgent   = "notify"

	Stream = "quakes"
)
