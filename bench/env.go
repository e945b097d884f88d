package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

const (
	partitions = 6
	valueBytes = 512

	streamIn  = "in"
	streamFew = "few" // the same records, fewer of them
)

// env is what all peers share: the broker, the schemas, the topics of this run.
type env struct {
	brokers   []string
	broker    *broker // of this run; nil: somebody else's
	namespace streaming.Namespace
	client    *kgo.Client
	admin     *kadm.Client
	platform  *agents.Platform
}

func newEnv(ctx context.Context, brokers []string) (*env, error) {
	e := &env{brokers: brokers, namespace: streaming.Namespace("bench-" + shortID())}
	var err error
	e.platform, err = agents.Connect(ctx, agents.PlatformConfig{
		Brokers: brokers, Schemas: schemas.NewMemoryRegistry(), Namespace: e.namespace, Partitions: partitions,
	})
	if err != nil {
		return nil, err
	}
	if e.client, err = kgo.NewClient(kgo.SeedBrokers(brokers...)); err != nil {
		return nil, err
	}
	e.admin = kadm.NewClient(e.client)
	return e, nil
}

// close deletes the topics of this run.
func (e *env) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	defer e.client.Close()
	return e.remove(ctx, func(topic string) bool { return strings.HasPrefix(topic, string(e.namespace)+".") })
}

// removeOf deletes an agent's inbox with its companions.
func (e *env) removeOf(ctx context.Context, agent string) error {
	return e.remove(ctx, func(topic string) bool { return strings.HasPrefix(topic, e.namespace.Inbox(agent)) })
}

func (e *env) remove(ctx context.Context, some func(topic string) bool) error {
	topics, err := e.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(topics.Names(), func(topic string) bool { return !some(topic) })
	if len(names) == 0 {
		return nil
	}
	_, err = e.admin.DeleteTopics(ctx, names...)
	return err
}

func shortID() string {
	id := schemas.NewID()
	return id[len(id)-12:]
}

func (e *env) create(ctx context.Context, topics ...string) error {
	created, err := e.admin.CreateTopics(ctx, partitions, -1, nil, topics...)
	if err := errors.Join(err, created.Error()); err != nil {
		return err
	}
	for { // a busy broker knows a new topic a little later
		known, err := e.admin.ListTopics(ctx, topics...)
		if err == nil && known.Error() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, known.Error(), ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fill writes the records that the peers read.
func (e *env) fill(ctx context.Context, stream string, messages, keys int) error {
	if err := e.create(ctx, e.namespace.Events(stream)); err != nil {
		return err
	}
	sender, err := e.platform.Sender("feed")
	if err != nil {
		return err
	}
	defer sender.Close()
	const chunk = 5000
	for from := 0; from < messages; from += chunk {
		var drafts []agents.Draft
		for seq := from; seq < min(from+chunk, messages); seq++ {
			drafts = append(drafts, sender.ToStream(stream, reading(int64(seq)), agents.Key(key(seq%keys))))
		}
		if err := sender.Send(ctx, drafts...); err != nil {
			return err
		}
	}
	return nil
}

func key(n int) string { return fmt.Sprintf("device-%05d", n) }

// reading is a record of valueBytes bytes.
func reading(seq int64) *Reading {
	// Frame, time, three doubles, valid, the lengths of the strings, and what they and seq hold.
	r := &Reading{
		Seq: seq, Device: "device", Time: time.UnixMilli(1_790_000_000_000).UTC(), Site: "north-7", Unit: "celsius",
		Value: 21.5, Low: -10, High: 45, Valid: true,
	}
	rest := valueBytes - 5 - 6 - 3*8 - 1 - (3 + 2) - len(r.Device) - len(r.Site) - len(r.Unit) - len(binary.AppendVarint(nil, seq))
	r.Note = strings.Repeat("x", rest)
	return r
}

func result(r *Reading) *Result {
	return &Result{
		Seq: r.Seq, Device: r.Device, Time: r.Time, Site: r.Site, Unit: r.Unit,
		Value: r.Value, Low: r.Low, High: r.High, Alarm: r.Value < r.Low || r.Value > r.High, Note: r.Note,
	}
}
