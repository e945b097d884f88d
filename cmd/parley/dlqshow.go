package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// maxDump bounds the bytes of a value that show dumps for people.
const maxDump = 1024

func newDLQShowCmd(a *app) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show TOPIC/PARTITION/OFFSET",
		Short: "Show all of one dead letter",
		Long: `Shows a dead letter: why it ended there, where it came from, its envelope, its
payload decoded, the whole error text, and the original headers and bytes. Any
other record can be shown too, such as the notes of a redrive.`,
		Example: `  parley dlq show parley.inbox.notify.dlq.notify/0/17
  parley dlq show parley.inbox.notify.dlq.notify/0/17 --json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePlace(args[0])
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			return showDeadLetter(cmd, a, &conn, p, asJSON)
		},
	}
	conn.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; bytes are in base64")
	return cmd
}

// letterView is a whole record.
type letterView struct {
	*recordView
	Headers []headerView `json:"headers"` // the sender's own
	KeyB64  *string      `json:"key_base64"`
	ValB64  string       `json:"value_base64"`
}

type headerView struct {
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
	B64  string `json:"base64,omitempty"` // where it is not text
}

func showDeadLetter(cmd *cobra.Command, a *app, conn *connection, p place, asJSON bool) error {
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
	rec, err := p.load(ctx, conn, log)
	if err != nil {
		return err
	}
	// The registry has its own time to answer; without it the rest is shown.
	v := newLetterView(viewRecord(cmd.Context(), schemas.NewCodec(reg), &rec), &rec)
	if asJSON {
		return printJSON(a.stdout, v)
	}
	var out bytes.Buffer
	v.write(&out, &rec)
	_, err = out.WriteTo(a.stdout)
	return err
}

func newLetterView(v *recordView, rec *streaming.Record) *letterView {
	l := &letterView{recordView: v, Headers: []headerView{}, ValB64: base64.StdEncoding.EncodeToString(rec.Value)}
	if rec.Key != nil {
		key := base64.StdEncoding.EncodeToString(rec.Key)
		l.KeyB64 = &key
	}
	for _, h := range v.headers {
		hv := headerView{Name: h.Key}
		if utf8.Valid(h.Value) {
			hv.Text = string(h.Value)
		} else {
			hv.B64 = base64.StdEncoding.EncodeToString(h.Value)
		}
		l.Headers = append(l.Headers, hv)
	}
	return l
}

// write is the record for people, in parts.
func (l *letterView) write(w *bytes.Buffer, rec *streaming.Record) {
	line := func(name, text string) {
		if text != "" {
			_, _ = fmt.Fprintf(w, "  %-16s %s\n", name, text)
		}
	}
	_, _ = fmt.Fprintf(w, "%s/%d/%d\n", l.Topic, l.Partition, l.Offset)
	line("written", stamp(l.Timestamp))
	if h := l.Hop; h != nil {
		line("reason", h.Reason)
		line("attempts", strconv.Itoa(h.Attempt))
		line("moves", strconv.Itoa(h.Moves))
		line("due", h.Due)
		line("origin", fmt.Sprintf("%s/%d/%d at %s", h.Origin.Topic, h.Origin.Partition, h.Origin.Offset, stamp(h.Origin.Timestamp)))
	}
	for _, p := range l.Problems {
		line("problem", strings.TrimSpace(safe(p.Problem)))
	}
	if e := l.Envelope; e != nil {
		_, _ = fmt.Fprintln(w, "envelope")
		e.write(line)
	}
	if l.Key != nil {
		line("key", strconv.Quote(*l.Key))
	} else {
		line("key", "none")
	}
	if l.Payload != nil {
		_, _ = fmt.Fprintf(w, "payload (%s)\n", safe(l.Schema))
		writePayload(w, l.Payload)
	}
	if l.Hop != nil && l.Hop.Error != "" {
		_, _ = fmt.Fprintln(w, "error")
		writeIndented(w, l.Hop.Error)
	}
	_, _ = fmt.Fprintln(w, "original headers")
	for _, h := range l.Headers {
		text := safe(h.Text)
		if h.B64 != "" {
			text = "base64 " + h.B64
		}
		_, _ = fmt.Fprintf(w, "  %s: %s\n", safe(h.Name), text)
	}
	writeDump(w, rec.Value)
}

func (e *envelopeView) write(line func(name, text string)) {
	for _, f := range [][2]string{
		{"id", e.ID},
		{"source", e.Source},
		{"type", e.Type},
		{"time", e.Time},
		{"recipient", e.Recipient},
		{"kind", e.Kind},
		{"correlationid", e.CorrelationID},
		{"causationid", e.CausationID},
		{"replyto", e.ReplyTo},
		{"expirytime", e.Expiry},
		{"ack", e.Ack},
		{"deliverat", e.DeliverAt},
		{"budget", e.Budget},
		{"route", strings.Join(e.Route, ",")},
		{"traceparent", e.TraceParent},
		{"tracestate", e.TraceState},
	} {
		line(f[0], safe(f[1]))
	}
	if e.Hops != nil {
		line("hops", strconv.Itoa(*e.Hops))
	}
	if e.Sequence != 0 || e.Last {
		line("sequence", strconv.FormatInt(e.Sequence, 10))
		line("last", strconv.FormatBool(e.Last))
	}
}

func writePayload(w io.Writer, payload json.RawMessage) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, payload, "", "  "); err != nil {
		indented.Write(payload)
	}
	writeIndented(w, indented.String())
}

func writeIndented(w io.Writer, text string) {
	for s := range strings.Lines(strings.TrimSpace(text)) {
		_, _ = fmt.Fprintf(w, "  %s\n", safe(strings.TrimRight(strings.ReplaceAll(s, "\t", "    "), "\r\n")))
	}
}

func writeDump(w io.Writer, value []byte) {
	shown := value[:min(len(value), maxDump)]
	_, _ = fmt.Fprintf(w, "value, %s", plural(len(value), "byte"))
	if len(shown) < len(value) {
		_, _ = fmt.Fprintf(w, ", the first %d (--json has all)", len(shown))
	}
	_, _ = fmt.Fprintln(w)
	for s := range strings.Lines(hex.Dump(shown)) {
		_, _ = fmt.Fprint(w, "  "+s)
	}
}
