// Package quake is the bundled example: agents at work on the earthquake feed of the US
// Geological Survey. Each file is one of them, or one idea.
//
//	feed ──quake.reported──▶ stream quakes ──▶ triage ──quake.dispatch──▶ dispatch    magnitude 4.5 and above
//	                                              ◀───────agent.ack──────────
//
//	dispatch ──quake.assess──▶ analyst ──quake.assessment──▶ dispatch                 a question (agents.OnAnswer)
//	dispatch ◀──call, bid, award, result──▶ team-anchorage, team-jakarta, …           a negotiation (contractnet)
//	dispatch ──quake.alert──▶ routes ──▶ notify ──▶ outside service                   all        (Message.Route)
//	                                 ──▶ stream warnings ──▶ broadcast                magnitude 6 and above
//	                                 ──▶ coastguard                                   a tsunami is possible
//	dispatch ──quake.strong──▶ registrar ──proposal──▶ board regions                  shared state (board)
//
// feed publishes each event under an ID that is made of the event's own ID and
// update time, so that feeding twice has no second effect; it also sends
// duplicates and malformed records. triage sorts the events and has dispatch
// told of each of magnitude 4.5 or above. dispatch acknowledges, asks the analyst,
// and calls the field teams, which bid by distance and load; some get stuck, and the
// next best goes. Then it raises the one alert of the event, which goes where the
// routes say. notify hands alerts to an outside service that fails by a seeded rule
// and keeps what it took by message ID. registrar counts the event in its region.
//
// What each does is a function of the feed and the seed, but for the words of a
// model.
package quake

//go:generate go run ../../schemas/avrogen -pkg quake -o messages_gen.go avro/*.avsc
