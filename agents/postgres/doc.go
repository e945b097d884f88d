// Package postgres gives handlers effects in PostgreSQL that happen once, and
// senders outside a handler an outbox.
//
// Inbox: a handler that is registered with On gets a database transaction. That a
// message was handled, and what its handler staged, is written in the same
// transaction as the handler's own rows, so either all of it is there or nothing.
// When the message comes again, because the process died before the platform
// could mark it, the handler does not run: what it staged is sent again, under
// the same IDs. The transaction also checks that no later owner of the partition
// is at work: a worker that was frozen and woken commits nothing.
//
// Outbox: Send writes messages in a transaction of the sender's own, and a Relay
// sends them after it has committed: each that is committed, none that is not.
//
// Both work in either delivery mode. What the handler does beside its transaction
// is not covered: another database, a remote call. Use agents.Step for those.
//
// The tables are in the schema parley and are made by Migrate.
package postgres
