// Package audit recomputes what became of the records of one consumer group,
// from its topics alone: it shares no state with a worker and believes no
// counter.
//
// Each record of an input topic below the committed offset is accepted, and is
// exactly one of
//
//   - done: the ledger has a done mark of it;
//   - skipped: on a stream, and addressed to another agent or of a type that the
//     group does not handle; or not matched by the group's filter of its type;
//   - duplicate: another record of its partition with the same (ce_source,
//     ce_id) is settled or retrying;
//   - retrying: a live copy of it waits in a retry topic: it has failed, or it is
//     scheduled and its time has not come, [Report.Scheduled];
//   - dead: the latest copy of it is a dead letter.
//
// Each term is counted by what stands in the topics for that record, none is
// what the others leave over, so that accepted = done + skipped + duplicates +
// retrying + dead says something: [Report.Conservation].
//
// An audit may be taken while the group works. Skipped is judged by the types
// and filters that the group handles now, as nothing is written for a record that is passed.
package audit
