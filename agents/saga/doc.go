// Package saga runs work of several steps at several agents, and undoes what was done
// where a later step fails: a saga with compensations.
//
// Each step is a request to an agent, its compensation another. The steps go one after
// the other; where the saga stands is kept by the questions of package agents, in Kafka:
// any instance goes on, after any crash. All messages are of the conversation of the
// message that has started the saga, so that one trace shows it.
package saga

//go:generate go run ../../schemas/avrogen -pkg saga -o messages_gen.go avro/progress.avsc
