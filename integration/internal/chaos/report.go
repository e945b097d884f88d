package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Result is what one run came to: a line of the report file.
type Result struct {
	At           time.Time `json:"at"`
	Commit       string    `json:"commit"`
	Scenario     string    `json:"scenario"`
	ExactlyOnce  bool      `json:"exactly_once"`
	Seed         uint64    `json:"seed"`
	Brokers      int       `json:"brokers"`
	Seconds      int       `json:"seconds"`
	Acknowledged int       `json:"acknowledged"` // different messages
	Resent       int       `json:"resent"`
	Happened
	Exits        int      `json:"worker_exits"` // processes that ended without being told to
	Dead         int      `json:"dead"`
	Crashed      int      `json:"dead_as_crash"` // their processes were killed in their handlers
	Redeliveries int64    `json:"redeliveries"`  // handler attempts after the first that the topics tell of
	Lost         int      `json:"lost"`
	Duplicates   int      `json:"duplicate_effects"`
	Disorder     int      `json:"order_violations"`
	WrongEnds    int      `json:"wrong_ends"`
	Strangers    int      `json:"strangers"`
	Repeated     int      `json:"repeated_under_known_ids"`        // at least once, where only that is promised
	Reordered    int      `json:"reordered_around_a_frozen_owner"` // likewise
	Other        []string `json:"other,omitempty"`                 // what else was not as it should be
	Passed       bool     `json:"passed"`
}

// ReportFile collects the results of all runs.
const ReportFile = "runs.jsonl"

// Append adds a run's result to the report file in a folder.
func (r Result) Append(dir string) (err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, ReportFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// ReadResults reads the results of one commit.
func ReadResults(dir, commit string) ([]Result, error) {
	f, err := os.Open(filepath.Join(dir, ReportFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var results []Result
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", ReportFile, err)
		}
		if r.Commit == commit {
			results = append(results, r)
		}
	}
	return results, lines.Err()
}

// Sum adds runs up.
func Sum(results []Result) Result {
	var s Result
	s.Passed = true
	for _, r := range results {
		s.Commit = r.Commit
		s.Seconds += r.Seconds
		s.Acknowledged += r.Acknowledged
		s.Resent += r.Resent
		s.Kills += r.Kills
		s.Restarts += r.Restarts
		s.Freezes += r.Freezes
		s.LongFreezes += r.LongFreezes
		s.Cuts += r.Cuts
		s.BrokerKills += r.BrokerKills
		s.BrokerRestarts += r.BrokerRestarts
		s.BrokerCuts += r.BrokerCuts
		s.Exits += r.Exits
		s.Dead += r.Dead
		s.Crashed += r.Crashed
		s.Redeliveries += r.Redeliveries
		s.Lost += r.Lost
		s.Duplicates += r.Duplicates
		s.Disorder += r.Disorder
		s.WrongEnds += r.WrongEnds
		s.Strangers += r.Strangers
		s.Repeated += r.Repeated
		s.Reordered += r.Reordered
		s.Passed = s.Passed && r.Passed
	}
	return s
}

// Summary is a table of runs and their sum, and what the sum lacks of the goal.
func Summary(results []Result) string {
	var b strings.Builder
	row := func(name string, r Result) {
		end := "passed"
		if !r.Passed {
			end = "FAILED"
		}
		fmt.Fprintf(&b, "%-27s %6d %9d %5d %5d %5d %5d %4d %4d %4d %5d %9d %5d %5d %5d %6d  %s\n", name, r.Seconds, r.Acknowledged,
			r.Kills, r.LongFreezes, r.Freezes-r.LongFreezes, r.Cuts, r.BrokerKills, r.BrokerRestarts, r.BrokerCuts, r.Restarts, r.Redeliveries,
			r.Lost, r.Duplicates, r.Disorder, r.WrongEnds+r.Strangers+len(r.Other), end)
	}
	fmt.Fprintf(&b, "%-27s %6s %9s %5s %5s %5s %5s %4s %4s %4s %5s %9s %5s %5s %5s %6s\n", "run", "s", "messages",
		"kill", "stop", "short", "cuts", "b.k", "b.r", "b.c", "term", "redeliv.", "lost", "dup.", "order", "other")
	for _, r := range results {
		row(r.Scenario, r)
	}
	sum := Sum(results)
	row(fmt.Sprintf("sum of %d", len(results)), sum)
	b.WriteString("kill: SIGKILL of a worker; stop: SIGSTOP of 30 s and more; short: of less; b.k, b.r, b.c: a broker killed, restarted, cut off\n")
	fmt.Fprintf(&b, "at least once: %d outputs again under their IDs, %d out of order around a frozen owner, which is not promised there; %d dead as crash\n",
		sum.Repeated, sum.Reordered, sum.Crashed)
	if lacks := sum.lacks(); len(lacks) > 0 {
		fmt.Fprintf(&b, "the goal is not reached: %s\n", strings.Join(lacks, "; "))
	} else {
		b.WriteString("the goal is reached: lost 0, duplicate effects 0, order violations 0\n")
	}
	return b.String()
}

// lacks says what a sum lacks of the goal of the long form.
func (r Result) lacks() []string {
	var lacks []string
	for _, g := range []struct {
		what      string
		got, goal int
	}{
		{"messages", r.Acknowledged, 2_000_000},
		{"SIGKILLs", r.Kills, 30},
		{"SIGSTOPs of 30 s and more", r.LongFreezes, 20},
		{"network cuts", r.Cuts, 20},
		{"redeliveries", int(r.Redeliveries), 1},
	} {
		if g.got < g.goal {
			lacks = append(lacks, fmt.Sprintf("%d of %d %s", g.got, g.goal, g.what))
		}
	}
	if !r.Passed {
		lacks = append(lacks, "a run has failed")
	}
	return lacks
}
