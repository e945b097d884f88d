package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestRedrive(t *testing.T) {
	s := server(t)
	deadLetters(t, s)
	redrive := func(args ...string) result {
		return runIn(t, s, append([]string{"dlq", "redrive", "--agent", "echo"}, args...)...)
	}
	if got := redrive("--all", "--dry-run").ok(t).stdout; got != "to redrive: 3 dead letters: contract 1, decode 1, handler 1\n" {
		t.Errorf("dry run: %q", got)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--reason", "handler"}, "1 dead letter: handler 1"},
		{[]string{"--topic", "parley.events.notes"}, "1 dead letter: contract 1"},
		{[]string{"--topic", "parley.inbox.echo.dlq.echo"}, "2 dead letters: decode 1, handler 1"},
		{[]string{"--key", "k"}, "3 dead letters: contract 1, decode 1, handler 1"},
		{[]string{"--key", ""}, "0 dead letters"},
		{[]string{"--type", "note.taken", "--conversation", "talk"}, "2 dead letters: decode 1, handler 1"},
		{[]string{"--since", "2026-11-22T10:00:01Z"}, "2 dead letters: contract 1, decode 1"},
		{[]string{"--until", "2026-11-22T11:00:01+01:00"}, "1 dead letter: handler 1"},
		{[]string{"--error", "at all"}, "1 dead letter: handler 1"},
	} {
		if got := redrive(append(c.args, "--dry-run")...).ok(t).stdout; got != "to redrive: "+c.want+"\n" {
			t.Errorf("%v: %q", c.args, got)
		}
	}
	if got := runIn(t, s, "tail", "parley.inbox.echo.retry-1s.echo", "--from", "start").ok(t).stdout; got != "" {
		t.Errorf("a dry run has written %q", got)
	}

	if got := redrive("--reason", "handler").ok(t); got.stdout != "redriven: 1 dead letter: handler 1\n" || !strings.Contains(got.stderr, "redriving: 0 of 1\n") {
		t.Errorf("%+v", got)
	}
	copies := runIn(t, s, "tail", "parley.inbox.echo.retry-1s.echo", "--from", "start").ok(t).stdout
	if !strings.Contains(copies, "id=n-1") || !strings.Contains(copies, "attempt 0, move 7, origin parley.inbox.echo/0/40, handler: no answer") {
		t.Errorf("the copy:\n%s", copies)
	}
	var got redriveReport
	if err := json.Unmarshal([]byte(redrive("--all", "--json").ok(t).stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Agent != "echo" || got.Run == "" || got.Resumed || count(got.Redriven) != 2 || got.LeftOut.Redriven != 1 {
		t.Errorf("%+v", got)
	}
	if got := redrive("--all").ok(t).stdout; got != "redriven: 0 dead letters\n3 left out: redriven before\n" {
		t.Errorf("nothing is left: %q", got)
	}

	// The list leaves out what was redriven; the notes are no dead letters.
	if got := runIn(t, s, "dlq", "list", "--agent", "echo").ok(t).stdout; got != "no dead letters (3 redriven or discarded, not listed)\n" {
		t.Errorf("list: %q", got)
	}
	if got := runIn(t, s, "dlq", "list", "--agent", "echo", "--redriven").ok(t).stdout; strings.Count(got, "\n") != 6 || strings.Contains(got, "unknown") {
		t.Errorf("list --redriven:\n%s", got)
	}
	note := runIn(t, s, "dlq", "show", "parley.inbox.echo.dlq.echo/0/1").ok(t).stdout
	for _, want := range []string{`"step": "begin"`, `"by": "\S+@\S+"`, `"run": "[0-9a-f-]{36}"`, `"reason": "handler"`, `"time": "20`} {
		if !regexp.MustCompile(want).MatchString(note) {
			t.Errorf("the note does not say %s:\n%s", want, note)
		}
	}
	end := runIn(t, s, "dlq", "show", "parley.inbox.echo.dlq.echo/0/3").ok(t).stdout
	if !strings.Contains(end, `"step": "end"`) || !strings.Contains(end, `"handler": 1`) {
		t.Errorf("the end's note:\n%s", end)
	}
}

func TestRedriveUsage(t *testing.T) {
	s := server(t)
	deadLetters(t, s)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "--agent is needed"},
		{[]string{"--agent", "echo"}, exitUsage, "say which dead letters: --all, or at least one of"},
		{[]string{"--agent", "echo", "--all", "--reason", "handler"}, exitUsage, "--all leaves nothing to select"},
		{[]string{"--agent", "echo", "--reason", "hander"}, exitUsage, `--reason: "hander" is none of`},
		{[]string{"--agent", "echo", "--since", "2h"}, exitUsage, `--since: "2h" is not a time such as`},
		{[]string{"--agent", "echo", "--all", "--rate", "-1"}, exitUsage, "--rate: -1"},
		{[]string{"--agent", "nobody", "--all"}, exitFailure, "there is no dead-letter topic of agent nobody"},
	} {
		runIn(t, s, append([]string{"dlq", "redrive"}, c.args...)...).failed(t, c.code, c.want)
	}
}
