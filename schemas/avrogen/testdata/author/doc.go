// Package orders is an author's own: messages beside their schemas.
package orders

//go:generate go tool avrogen -pkg orders -o messages_gen.go avro/*.avsc
