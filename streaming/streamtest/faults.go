package streamtest

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fault names one kind of trouble.
type Fault string

// The faults beside crashes.
const (
	FaultError     Fault = "error"             // the broker answers with an error, some after the write
	FaultTimeout   Fault = "timeout"           // the broker writes, and its answer is lost
	FaultCut       Fault = "cut"               // all connections of a worker are cut
	FaultSlow      Fault = "slow"              // the link of a worker is slow
	FaultPartition Fault = "partition"         // a worker is cut off for less than its session
	FaultBroker    Fault = "one broker away"   // a worker reaches the other brokers, but not this one
	FaultDeaf      Fault = "answers cut off"   // a worker's requests arrive, the answers do not
	FaultMute      Fault = "requests cut off"  // the other way round
	FaultZombie    Fault = "zombie"            // a worker is cut off until others own its partitions, and wakes
	FaultGhost     Fault = "ghost"             // a zombie that loses its group's coordinator only, and goes on writing
	FaultLeaders   Fault = "leaders move"      // partitions get other leaders
	FaultCoords    Fault = "coordinators move" // groups and transactions get other coordinators
	FaultJoin      Fault = "join"              // one more worker joins
	FaultLeave     Fault = "leave"             // a worker drains and leaves, and comes back
	FaultClock     Fault = "clock"             // the clock of a worker jumps, up to a minute ahead or back
	FaultPause     Fault = "pause"             // an operator pauses an agent, and resumes it
	FaultRedrive   Fault = "redrive"           // the dead letters so far are given back, by a run that may be killed
	FaultDuplicate Fault = "duplicate"         // an input message is sent again, perhaps under another key
	FaultMalformed Fault = "malformed"         // an input record cannot be read
)

var allFaults = []Fault{
	FaultError, FaultTimeout, FaultCut, FaultSlow, FaultPartition, FaultBroker, FaultDeaf, FaultMute, FaultZombie,
	FaultGhost, FaultLeaders, FaultCoords, FaultJoin, FaultLeave, FaultClock, FaultPause, FaultRedrive, FaultDuplicate, FaultMalformed,
}

// Faults lists all.
func Faults() []Fault { return slices.Clone(allFaults) }

// brokerError is what a broker may answer for a moment, a write that was done
// all the same included.
type brokerError struct {
	key kmsg.Key
	err *kerr.Error
}

func (e brokerError) String() string {
	return fmt.Sprintf("%s: %s %s", FaultError, e.key.Name(), e.err.Message)
}

var brokerErrors = []brokerError{
	{kmsg.Produce, kerr.NotLeaderForPartition},
	{kmsg.Produce, kerr.NotEnoughReplicas},
	{kmsg.Produce, kerr.RequestTimedOut},
	{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend},
	{kmsg.Fetch, kerr.NotLeaderForPartition},
	{kmsg.Fetch, kerr.KafkaStorageError},
	{kmsg.ListOffsets, kerr.LeaderNotAvailable},
	{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable},
	{kmsg.JoinGroup, kerr.CoordinatorLoadInProgress},
	{kmsg.SyncGroup, kerr.RebalanceInProgress},
	{kmsg.Heartbeat, kerr.CoordinatorLoadInProgress},
	{kmsg.Heartbeat, kerr.RebalanceInProgress},
	{kmsg.OffsetFetch, kerr.CoordinatorLoadInProgress},
	{kmsg.OffsetFetch, kerr.UnstableOffsetCommit},
	{kmsg.InitProducerID, kerr.CoordinatorLoadInProgress},
	{kmsg.OffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.OffsetCommit, kerr.RequestTimedOut},
}

// transactionErrors are those of exactly once. The fake broker never answers
// CONCURRENT_TRANSACTIONS by itself.
var transactionErrors = []brokerError{
	{kmsg.InitProducerID, kerr.ConcurrentTransactions},
	{kmsg.Produce, kerr.ConcurrentTransactions},
	{kmsg.Produce, kerr.InvalidProducerEpoch},
	{kmsg.TxnOffsetCommit, kerr.ConcurrentTransactions},
	{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress},
	{kmsg.TxnOffsetCommit, kerr.RequestTimedOut},
	{kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch},
	{kmsg.EndTxn, kerr.ConcurrentTransactions},
	{kmsg.EndTxn, kerr.CoordinatorLoadInProgress},
	{kmsg.EndTxn, kerr.ProducerFenced},
	{kmsg.EndTxn, kerr.UnknownServerError},
}

// writes are the requests whose answers are lost, after the write.
var writes, transactionWrites = []kmsg.Key{kmsg.Produce, kmsg.OffsetCommit},
	[]kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn}

// concerns reports whether an error of transactions may answer a request: only
// one of a transaction.
func (e brokerError) concerns(req kmsg.Request) bool {
	produce, ok := req.(*kmsg.ProduceRequest)
	return !ok || !slices.Contains(transactionErrors, e) || produce.TransactionID != nil
}

func errorsOf(exactlyOnce bool) []brokerError {
	if exactlyOnce {
		return append(append([]brokerError{}, brokerErrors...), transactionErrors...)
	}
	return brokerErrors
}

func writesOf(exactlyOnce bool) []kmsg.Key {
	if exactlyOnce {
		return transactionWrites
	}
	return writes
}

func lostAnswer(k kmsg.Key) string { return fmt.Sprintf("%s: %s", FaultTimeout, k.Name()) }

// Troubles names every crash point and fault that can happen to agents of that
// mode, as they stand in Outcome.Hits.
func Troubles(exactlyOnce bool) []string {
	var names []string
	for _, s := range stepsOf(exactlyOnce) {
		for _, after := range []bool{false, true} {
			names = append(names, crash{step: s, after: after}.name(exactlyOnce))
		}
	}
	for _, f := range allFaults {
		switch f {
		case FaultError:
			for _, e := range errorsOf(exactlyOnce) {
				names = append(names, e.String())
			}
		case FaultTimeout:
			for _, k := range writesOf(exactlyOnce) {
				names = append(names, lostAnswer(k))
			}
		case FaultDuplicate:
			names = append(names, duplicates...)
		case FaultMalformed:
			names = append(names, malformations...)
		default:
			names = append(names, string(f))
		}
	}
	return names
}
