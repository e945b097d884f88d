package quake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServiceTakesAnAlertOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taken")
	open := func() *Service {
		s, err := NewService(path, 1)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	of := func(failures int) string {
		for i := 0; ; i++ {
			if id := fmt.Sprint("id", i); Failures(1, id) == failures {
				return id
			}
		}
	}
	alert := func(failures int) *Alert { return &Alert{Eventid: of(failures), Level: LevelWarning} }
	s := open()
	for _, failures := range []int{0, 1, 2} {
		for attempt := 1; attempt <= failures; attempt++ {
			if err := s.Take(of(failures), attempt, alert(failures)); !errors.Is(err, ErrService) {
				t.Errorf("attempt %d of %d failures: %v", attempt, failures, err)
			}
		}
		for range 2 { // called again, its effect is one
			if err := s.Take(of(failures), failures+1, alert(failures)); err != nil {
				t.Error(err)
			}
		}
	}
	if err := s.Take(of(Never), 100, alert(Never)); !errors.Is(err, ErrService) {
		t.Errorf("an alert that never goes through: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// As a process that was killed in the middle of a write leaves it.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("half a line"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	if s.Taken() != 3 {
		t.Errorf("%d alerts are known again, want 3", s.Taken())
	}
	if err := s.Take(of(0), 1, alert(0)); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 3 || strings.Contains(string(text), "half") {
		t.Errorf("the file is %q (%v)", text, err)
	}
}

func TestServiceInMemory(t *testing.T) {
	t.Parallel()
	s, err := NewService("", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Take("id", 3, &Alert{}); err != nil && !errors.Is(err, ErrService) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewService(filepath.Join(t.TempDir(), "absent", "file"), 1); err == nil {
		t.Error("a file that cannot be made is no error")
	}
}

func TestServiceRule(t *testing.T) {
	t.Parallel()
	count := map[int]int{}
	for i := range 10_000 {
		id := fmt.Sprint("id ", i)
		n := Failures(1, id)
		count[n]++
		if n != Failures(1, id) {
			t.Fatal("the rule is not the same twice")
		}
	}
	for n, want := range map[int]int{Never: 500, 2: 1000, 1: 1500, 0: 7000} {
		if got := count[n]; got < want*8/10 || got > want*12/10 {
			t.Errorf("%d of 10000 fail %d times, want about %d", got, n, want)
		}
	}
}
