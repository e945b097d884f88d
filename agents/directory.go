package agents

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/contract"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
)

// Known is what the directory knows of one agent.
type Known struct {
	Agent     string     `json:"agent"`
	Live      bool       `json:"live"` // some instance is
	Instances []Instance `json:"instances"`

	// Contracts are those that its groups have published, of which there is mostly one.
	Contracts []contract.Contract `json:"contracts,omitempty"`
}

// Instance is a process of an agent, as it has last said of itself.
type Instance struct {
	Agent    string `json:"agent"`
	Group    string `json:"group"`
	Instance string `json:"instance"`
	Version  string `json:"version,omitempty"`
	Live     bool   `json:"live"` // its lease has not run out

	Consumes   []Capability `json:"consumes"`
	Produces   []Capability `json:"produces,omitempty"`
	Undeclared bool         `json:"undeclared,omitempty"` // it may send anything

	Started   time.Time          `json:"started"`
	Until     time.Time          `json:"until"` // of its lease, by its own clock
	Unsettled int64              `json:"unsettled"`
	Running   int64              `json:"running"` // handlers
	Owned     map[string][]int32 `json:"owned,omitempty"`
}

// Capability is a message type at places.
type Capability struct {
	Type string        `json:"type"`
	At   []Destination `json:"at"`
}

// NoAgentError says that no live agent takes messages of a type at its inbox.
// Returned by a handler it is a dead letter, as no_route.
type NoAgentError struct {
	Type string
	Gone []string // agents that take it, and whose leases have run out
}

func (e *NoAgentError) Error() string {
	if len(e.Gone) > 0 {
		return fmt.Sprintf("no agent that takes %s is there; gone are %s", e.Type, strings.Join(e.Gone, ", "))
	}
	return fmt.Sprintf("no agent takes %s; `parley agents list` shows what there is", e.Type)
}

// DirectoryView is what stands in the topic of agents about instances and contracts,
// as far as it has been read. Its methods may be called from any goroutine.
//
// An instance is live until its lease has run out by this machine's clock, as its own
// says when that is: clocks that differ by more than two thirds of a lease make live
// ones look gone, or the other way round for as long as they differ.
type DirectoryView struct {
	codec   *schemas.Codec
	clock   streaming.Clock
	skipped func() // an entry cannot be read
	reading sync.Mutex

	mu      sync.Mutex                  // not held while anything is waited for
	unread  map[string]streaming.Record // by key: what came and was not decoded yet
	last    map[string]place
	entries map[string]entry

	stop    context.CancelFunc
	stopped chan struct{}
	log     *kafka.Log
	failed  error
}

// NewDirectoryView returns an empty view, to be fed with Take: for who reads the topic
// of agents. A clock that is nil is the machine's.
func NewDirectoryView(codec *schemas.Codec, clock streaming.Clock) *DirectoryView {
	if clock == nil {
		clock = streaming.SystemClock{}
	}
	return &DirectoryView{
		codec: codec, clock: clock, skipped: func() {},
		unread: make(map[string]streaming.Record), last: make(map[string]place), entries: make(map[string]entry),
	}
}

// Directory reads the topic of agents and follows it until the view is closed. It
// returns when all that stands there has been read.
func Directory(ctx context.Context, p *Platform) (*DirectoryView, error) {
	d := NewDirectoryView(p.codec, nil)
	d.count(p)
	log, err := kafka.NewLog(p.kafka)
	if err != nil {
		return nil, err
	}
	topic := p.cfg.Namespace.Agents()
	if n, err := log.PartitionCount(ctx, topic); err != nil || n == 0 {
		log.Close()
		if err == nil {
			err = fmt.Errorf("there is no topic %s: %w; no agent has started yet", topic, streaming.ErrUnknownTopic)
		}
		return nil, err
	}
	d.log, d.stopped = log, make(chan struct{})
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	read := make(chan struct{})
	go func() {
		defer close(d.stopped)
		err := log.Tail(following, topic, func(rec streaming.Record) { d.Take(&rec) }, func() { close(read) })
		d.mu.Lock()
		d.failed = err
		d.mu.Unlock()
	}()
	select {
	case <-read:
		return d, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-d.stopped:
		err = d.failed
	}
	d.Close()
	return nil, err
}

// count makes what cannot be read countable.
func (d *DirectoryView) count(p *Platform) {
	if p.cfg.Metrics != nil {
		d.skipped = p.cfg.Metrics.DirectorySkipped
	}
}

// Close ends following.
func (d *DirectoryView) Close() {
	if d.stop == nil {
		return
	}
	d.stop()
	<-d.stopped
	d.log.Close()
}

// Take takes in a record of the topic of agents, in its order. It does not decode it,
// so it never waits, and keeps of each key the latest.
func (d *DirectoryView) Take(rec *streaming.Record) {
	key := string(rec.Key)
	if !schemas.IsInstanceKey(rec.Key) && !strings.HasPrefix(key, schemas.ContractKey("")) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.last[key] // two workers of one process may feed one view
	if rec.Offset < last.offset && !rec.Timestamp.After(last.at) {
		return
	}
	d.last[key] = place{rec.Offset, rec.Timestamp}
	d.unread[key] = rec.Clone()
}

// place is where the latest record of a key stood. In a topic that was made anew
// offsets begin again.
type place struct {
	offset int64
	at     time.Time
}

// read decodes what came. What cannot be read is counted, and is nothing: whoever
// stood under that key may write again. The error is the registry's, or the end of
// ctx.
func (d *DirectoryView) read(ctx context.Context) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	for {
		d.mu.Lock()
		err := d.failed
		var rec streaming.Record
		more := false
		for key := range d.unread {
			rec, more = d.unread[key], true
			break
		}
		d.mu.Unlock()
		if err != nil || !more {
			return err
		}
		e, err := d.decode(ctx, &rec)
		_, unreadable := schemas.ErrorReason(err)
		if err != nil && !unreadable {
			return err
		}
		if unreadable {
			d.skipped()
		}
		e.bad = err
		d.mu.Lock()
		if d.last[string(rec.Key)].offset == rec.Offset {
			delete(d.unread, string(rec.Key))
		}
		if e.instance == nil && e.contract == nil && e.bad == nil {
			delete(d.entries, string(rec.Key))
		} else {
			d.entries[string(rec.Key)] = e
		}
		d.mu.Unlock()
	}
}

// entry is what stands under a key: one of these.
type entry struct {
	instance *schemas.AgentInstance
	contract *contract.Contract
	bad      error
}

func (d *DirectoryView) decode(ctx context.Context, rec *streaming.Record) (e entry, err error) {
	if rec.Value == nil {
		return entry{}, nil
	}
	if schemas.IsInstanceKey(rec.Key) {
		i, _, err := schemas.ParseInstance(ctx, d.codec, rec)
		if err != nil {
			return entry{}, err
		}
		return entry{instance: &i}, nil
	}
	record, _, err := schemas.ParseContract(ctx, d.codec, rec)
	if err != nil {
		return entry{}, err
	}
	c, err := contract.FromRecord(record)
	if err != nil {
		return entry{}, &schemas.ContractError{Header: "value", Problem: err.Error()}
	}
	return entry{contract: &c}, nil
}

// sorted are the entries in the order of their keys.
func (d *DirectoryView) sorted(ctx context.Context) ([]entry, error) {
	if err := d.read(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]entry, 0, len(d.entries))
	for _, key := range slices.Sorted(maps.Keys(d.entries)) {
		all = append(all, d.entries[key])
	}
	return all, nil
}

// Unreadable is what stands in the topic and cannot be read, by key.
func (d *DirectoryView) Unreadable(ctx context.Context) (map[string]error, error) {
	if err := d.read(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	bad := make(map[string]error)
	for key, e := range d.entries {
		if e.bad != nil {
			bad[key] = e.bad
		}
	}
	return bad, nil
}

// List returns all agents that are known, by name: those that have an instance, live
// or gone, or a contract.
func (d *DirectoryView) List(ctx context.Context) ([]Known, error) {
	entries, err := d.sorted(ctx)
	if err != nil {
		return nil, err
	}
	now := d.clock.Now()
	byAgent := make(map[string]*Known)
	of := func(agent string) *Known {
		if byAgent[agent] == nil {
			byAgent[agent] = &Known{Agent: agent}
		}
		return byAgent[agent]
	}
	for _, e := range entries {
		switch {
		case e.instance != nil:
			i := instanceOf(e.instance, now)
			k := of(i.Agent)
			k.Instances = append(k.Instances, i)
			k.Live = k.Live || i.Live
		case e.contract != nil:
			k := of(e.contract.Agent)
			k.Contracts = append(k.Contracts, *e.contract)
		}
	}
	all := make([]Known, 0, len(byAgent))
	for _, agent := range slices.Sorted(maps.Keys(byAgent)) {
		all = append(all, *byAgent[agent])
	}
	return all, nil
}

// Show returns what is known of one agent; ok is false where nothing is.
func (d *DirectoryView) Show(ctx context.Context, agent string) (known Known, ok bool, err error) {
	all, err := d.List(ctx)
	at, ok := slices.BinarySearchFunc(all, agent, func(k Known, name string) int { return cmp.Compare(k.Agent, name) })
	if err != nil || !ok {
		return Known{}, false, err
	}
	return all[at], true, nil
}

// Capable returns the agents, by name, that are live and take messages of a type at
// their inbox. One that an operator has paused is live.
func (d *DirectoryView) Capable(ctx context.Context, messageType string) ([]string, error) {
	live, _, err := d.capable(ctx, messageType)
	return live, err
}

func (d *DirectoryView) capable(ctx context.Context, messageType string) (live, gone []string, err error) {
	entries, err := d.sorted(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := d.clock.Now()
	is := make(map[string]bool)
	for _, e := range entries {
		i := e.instance
		if i == nil {
			continue
		}
		inbox := contract.Inbox(i.Agent).String()
		if slices.ContainsFunc(i.Consumes, func(p schemas.InstancePort) bool { return p.Type == messageType && slices.Contains(p.At, inbox) }) {
			is[i.Agent] = is[i.Agent] || now.Before(i.Until)
		}
	}
	for _, agent := range slices.Sorted(maps.Keys(is)) {
		if is[agent] {
			live = append(live, agent)
		} else {
			gone = append(gone, agent)
		}
	}
	return live, gone, nil
}

// Pick chooses one live agent that takes messages of a type at its inbox, by the
// ordering key: the same for the same key as long as the same agents are live, and an
// agent that comes or goes moves only the keys that it wins or has won. Nobody is a
// *NoAgentError.
func (d *DirectoryView) Pick(ctx context.Context, messageType, key string) (agent string, err error) {
	live, gone, err := d.capable(ctx, messageType)
	if err != nil {
		return "", err
	}
	if len(live) == 0 {
		return "", &NoAgentError{Type: messageType, Gone: gone}
	}
	return slices.MaxFunc(live, func(a, b string) int { return cmp.Compare(bid(a, key), bid(b, key)) }), nil
}

// bid is an agent's in the choice for a key: whoever bids most has it (rendezvous
// hashing).
func bid(agent, key string) uint64 {
	sum := sha256.Sum256([]byte(agent + "\x00" + key)) // no name has a zero byte
	return binary.BigEndian.Uint64(sum[:])
}

func instanceOf(i *schemas.AgentInstance, now time.Time) Instance {
	capabilities := func(ports []schemas.InstancePort) []Capability {
		out := make([]Capability, 0, len(ports))
		for _, p := range ports {
			c := Capability{Type: p.Type}
			for _, text := range p.At {
				if at, err := contract.ParsePlace(text); err == nil { // a kind of a later version is left out
					c.At = append(c.At, at)
				}
			}
			out = append(out, c)
		}
		return out
	}
	known := Instance{
		Agent: i.Agent, Group: i.Group, Instance: i.Instance, Version: i.Version, Live: now.Before(i.Until),
		Consumes: capabilities(i.Consumes), Produces: capabilities(i.Produces), Undeclared: i.Undeclared,
		Started: i.Started.UTC(), Until: i.Until.UTC(), Unsettled: i.Unsettled, Running: i.Running,
	}
	for _, o := range i.Owned {
		if known.Owned == nil {
			known.Owned = make(map[string][]int32)
		}
		known.Owned[o.Topic] = o.Partitions
	}
	return known
}
