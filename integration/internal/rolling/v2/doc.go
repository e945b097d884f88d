// Package v2 has the messages of a rolling deploy as version 2 of its agents
// writes and reads them.
package v2

//go:generate go run ../../../../schemas/avrogen -pkg v2 -o messages_gen.go avro/*.avsc
