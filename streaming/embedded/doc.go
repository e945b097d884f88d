// Package embedded runs a broker that speaks the Kafka protocol and a schema
// registry in this process, both durable in one folder. It serves
// development, demonstrations, tests and one machine; beyond that, Apache
// Kafka is the engine. Code that talks to it need not know which one it is.
//
// # What survives
//
// After the process is killed at any moment (SIGKILL), the next [Start] on
// the same folder has:
//   - every topic that was created explicitly, with its partitions and
//     configuration. Topics are never created on first use;
//   - every acknowledged record, at its offset;
//   - every acknowledged commit of a consumer group. Commits do not expire;
//   - the effect of every acknowledged DeleteRecords, and the end offset of a
//     partition even when all of its records are gone: no offset is used
//     twice;
//   - every schema, subject, version and compatibility level that the registry
//     answered for. A schema's ID never changes and is never used for another.
//
// Writes reach the operating system before they are acknowledged, so a crash
// of the process loses nothing. A crash of the machine may lose what the
// operating system had not yet written. [Config.SyncWrites] calls fsync for
// each batch, each commit and each trim before it is acknowledged, which
// leaves only new files whose folder entry was not yet on the disk. Its cost
// on a fast disk (fsync in 0.3 ms): a lone record takes 0.5 to 0.8 ms instead
// of 0.05 ms, a commit or trim 0.4 ms instead of 0.07 ms, and records in bulk
// go at about half the rate. The registry always calls fsync.
//
// # What is not promised
//
//   - Transactions across a crash. A transaction that is open at a SIGKILL can
//     become visible later, so exactly once is offered on Apache Kafka only.
//   - Idempotence of a producer across a crash of the broker: a batch that was
//     written but whose answer was lost is written again when the producer
//     sends it again. The ledger recognises such duplicates.
//   - Compaction. The broker's own way of compacting a partition deletes its
//     files before it writes the new ones, so a crash could lose the partition;
//     it is switched off. A compacted topic keeps every version of a key.
//   - A full disk. A record that could not be written is refused, but a commit
//     or a new topic that could not be written is acknowledged and known only
//     until the next start.
//   - Share groups across a crash, access control, quotas, more than one broker.
//   - The end offset of a partition whose every record arrived already older
//     than its topic's retention within the minute before a crash: end offsets
//     are noted once a minute, before retention drops anything.
//
// # Size
//
// The index of batches is kept in memory, records are not. Start reads the
// whole log, all partitions side by side: it takes 1 to 2 s per GB, and for
// that moment as much memory as the log is large. Each partition that was
// written to holds two open files. A thousand partitions start in 0.2 s.
package embedded
