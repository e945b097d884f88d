package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/agents"
	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
	"github.com/seed-c9b6dc07/parley/streaming/telemetry"
)

type sendOptions struct {
	to, stream              string
	messageType, schema     string
	payload                 string
	from, id, key           string
	kind, ack, conversation string
	wait                    time.Duration
	stop                    bool
	reason                  string
	asJSON                  bool
}

func newSendCmd(a *app) *cobra.Command {
	var conn connection
	var opts sendOptions
	cmd := &cobra.Command{
		Use:   "send {--to AGENT | --stream STREAM} --type TYPE --payload JSON",
		Short: "Send one message, ask an agent, or tell it to stop",
		Long: `Sends one message and says where it was written; it is durable then. The payload
is JSON: the text itself, @FILE, or - for the standard input. It is encoded by
the latest schema of the message type in the registry, and refused with the
field's name where it does not fit or breaks a rule of the schema. --schema names the schema where several name
the type, or none does.

With --wait the message is a request: its answer is printed as JSON, the last part of one in
parts. The time is the request's deadline, too: past it nobody handles it. No answer, or
one that says the agent has failed, is an error. Answers come to the topic parley.replies.FROM,
which is made where it is missing. Without --wait an answer goes to the inbox of --from; where
there is none the agent drops it.

With --stop each instance of the agent ends once what came before is settled.`,
		Example: `  parley send --to dispatch --type quake.dispatch --payload @command.json --ack handled
  parley send --to analyst --type quake.assess --payload @question.json --wait 10s
  parley send --stream quakes --type quake.reported --payload - < quake.json
  parley send --to triage --stop --reason "new version"`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.check(); err != nil {
				return usagef(cmd, "%w", err)
			}
			if opts.stop {
				return sendStop(cmd, a, &conn, opts)
			}
			return sendMessage(cmd, a, &conn, opts)
		},
	}
	conn.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.to, "to", "", "agent that the message is for")
	f.StringVar(&opts.stream, "stream", "", "stream that the event is for")
	f.StringVar(&opts.messageType, "type", "", "message type, such as quake.reported")
	f.StringVar(&opts.schema, "schema", "", "full name of the payload's schema; default: the one that names the type")
	f.StringVar(&opts.payload, "payload", "", "payload as JSON, @FILE, or - for the standard input")
	f.StringVar(&opts.from, "from", "operator", "sender; acks and replies go to its inbox")
	f.StringVar(&opts.id, "id", "", "message ID, for a message that may be sent again and has one effect; default: a new one")
	f.StringVar(&opts.key, "key", "", "ordering key; default: the conversation")
	f.StringVar(&opts.kind, "kind", "", "event, intent, statediff, command, request, reply, ack or error; default: command to an agent, event to a stream")
	f.StringVar(&opts.ack, "ack", "", "ask for an ack: delivered or handled")
	f.StringVar(&opts.conversation, "correlation", "", "conversation that the message belongs to; default: its own ID")
	f.DurationVar(&opts.wait, "wait", 0, "send a request and wait that long for its answer")
	f.BoolVar(&opts.stop, "stop", false, "tell the agent to stop")
	f.StringVar(&opts.reason, "reason", "", "with --stop: why, for people")
	f.BoolVar(&opts.asJSON, "json", false, "print one JSON object")
	lineOnly(f, "id", "wait", "stop")
	return cmd
}

// check reports all that is wrong with the flags at once.
func (o *sendOptions) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	name := func(flag, value string) {
		if value == "" {
			return
		}
		if err := schemas.ValidName(value); err != nil {
			bad("%s: %w", flag, err)
		}
	}
	name("--to", o.to)
	name("--stream", o.stream)
	if o.from == "" {
		bad("--from: it is empty")
	}
	name("--from", o.from)
	if o.wait < 0 {
		bad("--wait: %s is not a time to wait", o.wait)
	}
	if o.stop {
		if o.to == "" {
			bad("--stop needs --to")
		}
		if o.wait > 0 {
			bad("--stop takes no --wait")
		}
		for _, flag := range [][2]string{
			{"--stream", o.stream},
			{"--type", o.messageType},
			{"--payload", o.payload},
			{"--schema", o.schema},
			{"--id", o.id},
			{"--key", o.key},
			{"--kind", o.kind},
			{"--ack", o.ack},
			{"--correlation", o.conversation},
		} {
			if flag[1] != "" {
				bad("--stop takes no %s", flag[0])
			}
		}
		return errors.Join(errs...)
	}
	if (o.to == "") == (o.stream == "") {
		bad("name one of --to and --stream")
	}
	if o.messageType == "" && o.schema == "" {
		bad("--type is needed")
	}
	if o.messageType != "" {
		if err := schemas.ValidType(o.messageType); err != nil {
			bad("--type: %w", err)
		}
	}
	if o.payload == "" {
		bad("--payload is needed")
	}
	kinds := []streaming.Kind{
		streaming.KindEvent, streaming.KindIntent, streaming.KindStateDiff, streaming.KindCommand,
		streaming.KindRequest, streaming.KindReply, streaming.KindAck, streaming.KindError,
	}
	if o.kind != "" && !slices.Contains(kinds, streaming.Kind(o.kind)) {
		bad("--kind: %q is not a kind of message", o.kind)
	}
	if a := streaming.AckMode(o.ack); a != streaming.AckNone && a != streaming.AckDelivered && a != streaming.AckHandled {
		bad("--ack: %q is neither delivered nor handled", o.ack)
	}
	if o.reason != "" {
		bad("--reason goes with --stop")
	}
	if o.wait > 0 {
		if o.stream != "" {
			bad("--wait needs --to")
		}
		if o.kind != "" && streaming.Kind(o.kind) != streaming.KindRequest {
			bad("--wait sends a request: it takes no --kind %s", o.kind)
		}
		if o.ack != "" {
			bad("--wait takes no --ack: the answer says that it is handled")
		}
	}
	return errors.Join(errs...)
}

// maxPayloadText bounds what is read as a payload: far above what a topic takes.
const maxPayloadText = 64 << 20

func readPayload(stdin io.Reader, payload string) (text []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("--payload: %w", err)
		}
	}()
	switch {
	case payload == "-":
		return readBounded(stdin, "the standard input")
	case strings.HasPrefix(payload, "@"):
		f, err := os.Open(payload[1:])
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		return readBounded(f, payload[1:])
	}
	return []byte(payload), nil
}

func readBounded(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxPayloadText+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxPayloadText {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxPayloadText)
	}
	return text, nil
}

type sentMessage struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Schema    string `json:"schema"`
	SchemaID  int    `json:"schema_id"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func sendMessage(cmd *cobra.Command, a *app, conn *connection, opts sendOptions) error {
	text, err := readPayload(cmd.InOrStdin(), opts.payload)
	if err != nil {
		return err
	}
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()

	out := opts.outgoing(conn.ns())
	if _, err := conn.existing(ctx, log, out.Topic); err != nil {
		return err
	}
	schema, err := findSchema(cmd, reg, opts)
	if err != nil {
		return err
	}
	if out.Envelope.Type == "" {
		out.Envelope.Type = schemas.MessageType(schema.Schema)
	}
	out.Value, err = schemas.NewCodec(reg).EncodeJSON(schema.ID, schema.Schema, text)
	if broken, ok := errors.AsType[*schemas.RuleError](err); ok {
		return broken
	}
	if err != nil {
		return fmt.Errorf("the payload is not a %s: %w", schema.Subject, err)
	}
	if opts.wait > 0 {
		return sendAndWait(ctx, cmd, a, conn, reg, opts, &out)
	}
	if opts.ack != "" {
		warnWithoutInbox(ctx, a, log, conn.ns().Inbox(opts.from))
	}
	sent := sentMessage{ID: out.Envelope.ID, Type: out.Envelope.Type, Schema: schema.Subject, SchemaID: schema.ID, Topic: out.Topic}
	if sent.Partition, sent.Offset, err = log.AppendOne(ctx, pipeline.Record(&out.Envelope, &out)); err != nil {
		return err
	}
	if opts.asJSON {
		return printJSON(a.stdout, sent)
	}
	_, err = fmt.Fprintf(a.stdout, "sent %s to %s/%d/%d\n", sent.ID, sent.Topic, sent.Partition, sent.Offset)
	return err
}

type answeredMessage struct {
	ID      string `json:"id"` // of the request
	Schema  string `json:"schema"`
	Payload any    `json:"payload"`
}

// sendAndWait sends a message as a request and prints its answer. ctx bounds what comes
// before the waiting.
func sendAndWait(ctx context.Context, cmd *cobra.Command, a *app, conn *connection, reg *schemas.Registry, opts sendOptions, out *streaming.Outgoing) error {
	platform, err := conn.platform(ctx, reg)
	if err != nil {
		return err
	}
	r, err := platform.Requester(ctx, opts.from)
	if err != nil {
		return err
	}
	defer r.Close()
	waiting, cancel := context.WithTimeout(cmd.Context(), opts.wait)
	defer cancel()
	env := &out.Envelope
	answer, err := agents.RequestAny(waiting, r, opts.to, env.Type, out.Value, agents.ID(env.ID), agents.Key(out.Key),
		func(o *streaming.Outgoing) { o.Envelope.CorrelationID = env.CorrelationID })
	if err != nil {
		return err
	}
	if opts.asJSON {
		return printJSON(a.stdout, answeredMessage{env.ID, answer.Name, answer.Value})
	}
	return printJSON(a.stdout, answer.Value)
}

// outgoing is the message but for its value.
func (o *sendOptions) outgoing(ns streaming.Namespace) streaming.Outgoing {
	env := streaming.Envelope{
		ID: o.id, Source: o.from, Type: o.messageType, Time: time.Now(), Recipient: o.to,
		Kind: streaming.Kind(o.kind), CorrelationID: o.conversation, Hops: streaming.DefaultHops, Ack: streaming.AckMode(o.ack),
	}
	if env.ID == "" {
		env.ID = schemas.NewID()
	}
	if env.CorrelationID == "" {
		env.CorrelationID = env.ID
	}
	env.TraceParent, env.TraceState = telemetry.Propagate("", "")
	topic, kind := ns.Events(o.stream), streaming.KindEvent
	if o.to != "" {
		topic, kind = ns.Inbox(o.to), streaming.KindCommand
	}
	if env.Kind == "" {
		env.Kind = kind
	}
	return streaming.Outgoing{Envelope: env, Topic: topic, Partition: -1, Key: o.key}
}

// findSchema returns the schema that the options name, or the one that names
// their type.
func findSchema(cmd *cobra.Command, reg *schemas.Registry, opts sendOptions) (schemas.Registered, error) {
	if opts.schema != "" {
		s, err := reg.Latest(cmd.Context(), opts.schema)
		if err != nil {
			return s, err
		}
		named := schemas.MessageType(s.Schema)
		if opts.messageType != "" && named != "" && named != opts.messageType {
			return s, fmt.Errorf("schema %s is of type %s, not %s", s.Subject, named, opts.messageType)
		}
		if opts.messageType == "" && named == "" {
			return s, fmt.Errorf("schema %s names no message type: give --type", s.Subject)
		}
		return s, nil
	}
	found, err := reg.LatestOfType(cmd.Context(), opts.messageType)
	switch {
	case err != nil:
		return schemas.Registered{}, err
	case len(found) == 0:
		return schemas.Registered{}, fmt.Errorf("no schema in %s names the message type %s: register it first, or name one with --schema", reg.URL(), opts.messageType)
	case len(found) > 1:
		var names []string
		for _, s := range found {
			names = append(names, s.Subject)
		}
		return schemas.Registered{}, fmt.Errorf("several schemas name the message type %s: choose one with --schema: %s", opts.messageType, strings.Join(names, ", "))
	}
	return found[0], nil
}

// warnWithoutInbox tells the sender that the ack it asks for cannot arrive.
func warnWithoutInbox(ctx context.Context, a *app, log *kafka.Log, inbox string) {
	if n, err := log.PartitionCount(ctx, inbox); err == nil && n == 0 {
		_, _ = fmt.Fprintf(a.stderr, "there is no topic %s, so no ack can arrive there; --from names an agent that has one\n", inbox)
	}
}

func sendStop(cmd *cobra.Command, a *app, conn *connection, opts sendOptions) error {
	log, err := conn.open(cmd)
	if err != nil {
		return err
	}
	defer log.Close()
	reg, err := conn.schemas(cmd)
	if err != nil {
		return err
	}
	defer reg.Close()
	ctx, cancel := conn.bounded(cmd)
	defer cancel()
	if _, err := conn.existing(ctx, log, conn.ns().Inbox(opts.to)); err != nil {
		return err
	}
	platform, err := conn.platform(ctx, reg)
	if err != nil {
		return err
	}
	sender, err := platform.Sender(opts.from)
	if err != nil {
		return err
	}
	defer sender.Close()
	if err := know(cmd, reg, schemas.AgentStop{}); err != nil {
		return err
	}
	if err := sender.Stop(ctx, opts.to, opts.reason); err != nil {
		return err
	}
	if opts.asJSON {
		return printJSON(a.stdout, struct {
			Stopped string `json:"stopped"`
		}{opts.to})
	}
	_, err = fmt.Fprintf(a.stdout, "told agent %s to stop\n", opts.to)
	return err
}

// know registers one of the platform's own schemas where nobody has used it
// before. It asks first: the right to register is not needed for what is known.
func know(cmd *cobra.Command, reg *schemas.Registry, m schemas.Message) error {
	_, err := reg.Lookup(cmd.Context(), m.Schema())
	if _, unknown := errors.AsType[*schemas.SchemaError](err); unknown {
		_, err = reg.Register(cmd.Context(), m.Schema())
	}
	return err
}
