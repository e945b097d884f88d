// Package v1 has the messages of a rolling deploy as version 1 of its agents
// writes and reads them.
package v1

//go:generate go run ../../../../schemas/avrogen -pkg v1 -o messages_gen.go avro/*.avsc
