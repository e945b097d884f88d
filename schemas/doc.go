// Package schemas is the wire contract of the platform, version 1: Avro
// sources and the types generated from them, the message envelope in record
// headers, hop data, Confluent framing, the guarded Avro codec and a client of
// the schema registry.
//
// All functions are safe for concurrent use unless they say otherwise. Errors
// that name a message's own fault map to a closed reason: see ErrorReason.
package schemas

//go:generate go run ./avrogen -pkg schemas -o messages_gen.go avro/*.avsc
