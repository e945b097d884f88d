package main

import (
	"strings"
	"testing"
)

func TestDiscard(t *testing.T) {
	s := server(t)
	deadLetters(t, s)
	dlq := func(args ...string) result { return runIn(t, s, append([]string{"dlq"}, args...)...) }
	if got := dlq("discard", "--agent", "echo", "--reason", "handler", "--dry-run").ok(t).stdout; got != "to discard: 1 dead letter: handler 1\n" {
		t.Errorf("dry run: %q", got)
	}
	got := dlq("discard", "--agent", "echo", "--reason", "handler").ok(t)
	if got.stdout != "discarded: 1 dead letter: handler 1\n" || !strings.Contains(got.stderr, "discarding: 0 of 1\n") {
		t.Errorf("%+v", got)
	}
	if got := runIn(t, s, "tail", "parley.inbox.echo.retry-1s.echo", "--from", "start").ok(t).stdout; got != "" {
		t.Errorf("it has a new attempt: %q", got)
	}
	if got := dlq("discard", "--agent", "echo", "--reason", "handler").ok(t).stdout; got != "discarded: 0 dead letters\n1 left out: discarded before\n" {
		t.Errorf("again: %q", got)
	}
	if got := dlq("redrive", "--agent", "echo", "--all", "--json").ok(t).stdout; !strings.Contains(got, `"discarded":1,`) {
		t.Errorf("a redrive takes it up:\n%s", got)
	}
	if got := dlq("list", "--agent", "echo").ok(t).stdout; got != "no dead letters (3 redriven or discarded, not listed)\n" {
		t.Errorf("list: %q", got)
	}
}
