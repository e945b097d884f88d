package streamtest

import (
	"context"
	"log/slog"
	"strings"
)

// logs is a slog.Handler that writes to the trace.
type logs struct {
	history *history
	process string
	level   slog.Level
	attrs   []slog.Attr
}

// Enabled implements slog.Handler.
func (l *logs) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// Handle implements slog.Handler.
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	write := func(a slog.Attr) bool {
		b.WriteString(" " + a.Key + "=" + a.Value.String())
		return true
	}
	for _, a := range l.attrs {
		write(a)
	}
	r.Attrs(write)
	l.history.note("%s logs %s", l.process, b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (l *logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *l
	c.attrs = append(append([]slog.Attr{}, l.attrs...), attrs...)
	return &c
}

// WithGroup implements slog.Handler.
func (l *logs) WithGroup(string) slog.Handler { return l }
