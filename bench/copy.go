package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"
)

// The peers by the names in the table.
const (
	nameRaw       = "raw franz-go"
	nameRawAvro   = "raw franz-go, Avro"
	nameRawTxn    = "raw transactions"
	nameTxnAvro   = "raw transactions, Avro"
	nameSession   = "raw transactions, GroupTransactSession"
	nameParley    = "parley at least once"
	nameParleyEOS = "parley exactly once"
	nameWatermill = "watermill"
	nameFailing   = "parley, 1 % of keys failing"
)

// copyJob is one round of a copy: consume, handle, produce.
type copyJob struct {
	in, out   string // topics
	streamIn  string // the same, as Parley names them
	streamOut string
	group     string
	messages  int
	keys      int
	batch     int
}

// copyPeer copies. run returns the time from the first record handled until all
// outputs are acknowledged and their input offsets committed.
type copyPeer struct {
	name string
	slow bool // takes one message at a time: fewer of them
	run  func(ctx context.Context, e *env, job copyJob) (time.Duration, error)
	want func(job copyJob) int // outputs; nil: one for each message
}

func copyPeers(o options) []copyPeer {
	return []copyPeer{
		{name: nameRaw, run: rawCopy(false)},
		{name: nameParley, run: parleyCopy(false, nil)},
		{name: nameRawAvro, run: rawCopy(true)},
		{name: nameFailing, run: parleyCopy(false, failing(o.keys)), want: healthy},
		{name: nameRawTxn, run: rawTransactions(false)},
		{name: nameParleyEOS, run: parleyCopy(true, nil)},
		{name: nameTxnAvro, run: rawTransactions(true)},
		{name: nameSession, run: rawSession},
		{name: nameWatermill, run: watermillCopy, slow: true},
	}
}

// copied is what one round of a copy has come to.
type copied struct {
	perSecond float64
	cpu       time.Duration // of this process, for each message; with starting and stopping
	broker    time.Duration // likewise of the broker's process; 0: not known
	batch     float64       // records in a transaction; 0: none
}

// cpuTime is what this process has used so far. Other work on the machine makes
// a round longer, but this hardly.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// roundTimeout bounds one copy: far more than any needs.
const roundTimeout = 3 * time.Minute

// copyRound runs one copy and checks what it has written.
func (e *env) copyRound(ctx context.Context, o options, p copyPeer, round int) (c copied, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	job := copyJob{
		streamIn: streamIn, streamOut: fmt.Sprintf("out-%s", shortID()),
		group: "copy-" + shortID(), messages: o.messages, keys: o.keys, batch: o.batch,
	}
	if p.slow {
		job.streamIn, job.messages = streamFew, o.slow
	}
	job.in, job.out = e.namespace.Events(job.streamIn), e.namespace.Events(job.streamOut)
	if err := e.create(ctx, job.out); err != nil {
		return c, err
	}
	runtime.GC() // what the peer before has left is not this one's cost
	stopProfile := func() error { return nil }
	if strings.HasPrefix(p.name, "parley") && o.cpuprofile != "" && round == o.rounds-1 {
		stop, err := profile(o.cpuprofile)
		if err != nil {
			return c, err
		}
		stopProfile = stop
	}
	before, brokerBefore := cpuTime(), e.broker.cpuTime(ctx)
	took, err := p.run(ctx, e, job)
	c.cpu = (cpuTime() - before) / time.Duration(job.messages)
	c.broker = (e.broker.cpuTime(ctx) - brokerBefore) / time.Duration(job.messages)
	err = errors.Join(err, stopProfile())
	if err != nil {
		return c, err
	}
	want := job.messages
	if p.want != nil {
		want = p.want(job)
	}
	got, err := e.count(ctx, job.out, job.messages)
	if err != nil {
		return c, err
	}
	if got.distinct != want || got.records != want {
		return c, fmt.Errorf("the reader finds %d records of %d messages: %d were to be copied", got.records, got.distinct, want)
	}
	if got.transactions > 0 {
		c.batch = float64(got.records) / float64(got.transactions)
	}
	c.perSecond = float64(want) / took.Seconds()
	return c, e.removeRound(ctx, job)
}

// removeRound deletes what a round has made, so that the broker has as much to
// do in the last round as in the first.
func (e *env) removeRound(ctx context.Context, job copyJob) error {
	err := e.remove(ctx, func(topic string) bool { return topic == job.out || strings.HasSuffix(topic, "."+job.group) })
	_, _ = e.admin.DeleteGroups(ctx, job.group) // one that is not empty yet expires
	return err
}

func profile(path string) (stop func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
