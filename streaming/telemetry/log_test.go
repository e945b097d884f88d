package telemetry

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.GroupValue(slog.String("password", "hunter2")) }

func TestLoggerWritesNoSecret(t *testing.T) {
	t.Parallel()
	withUser, err := url.Parse("http://user:hunter2@registry.example/")
	if err != nil {
		t.Fatal(err)
	}
	for _, json := range []bool{false, true} {
		for name, log := range map[string]func(*slog.Logger){
			"password":        func(l *slog.Logger) { l.Info("m", "password", "hunter2") },
			"case and prefix": func(l *slog.Logger) { l.Info("m", "Kafka-Password", "hunter2") },
			"bytes":           func(l *slog.Logger) { l.Info("m", "client_secret", []byte("hunter2")) },
			"token":           func(l *slog.Logger) { l.Info("m", "accessToken", "hunter2") },
			"authorization":   func(l *slog.Logger) { l.Info("m", "Authorization", "Basic hunter2") },
			"sasl":            func(l *slog.Logger) { l.Info("m", "sasl.jaas.config", "hunter2") },
			"api key":         func(l *slog.Logger) { l.Info("m", "api_key", "hunter2") },
			"with":            func(l *slog.Logger) { l.With("secret", "hunter2").Info("m") },
			"group":           func(l *slog.Logger) { l.Info("m", slog.Group("sasl", "user", "hunter2")) },
			"nested group":    func(l *slog.Logger) { l.WithGroup("kafka").WithGroup("sasl").Info("m", "user", "hunter2") },
			"in a group":      func(l *slog.Logger) { l.Info("m", slog.Group("kafka", "password", "hunter2")) },
			"valuer":          func(l *slog.Logger) { l.Info("m", "config", valuer{}) },
			"url":             func(l *slog.Logger) { l.Info("m", "registry", withUser) },
			"url text":        func(l *slog.Logger) { l.Info("m", "registry", withUser.String()) },
			"url with an at":  func(l *slog.Logger) { l.Info("m", "registry", "http://user:p@hunter2@host/") },
			"error":           func(l *slog.Logger) { l.Info("m", "err", errors.New("get http://user:hunter2@host/: refused")) },
		} {
			var b strings.Builder
			log(NewLogger(&b, slog.LevelInfo, json))
			if out := b.String(); strings.Contains(out, "hunter2") || !strings.Contains(out, "msg") {
				t.Errorf("%s (json %v): %s", name, json, out)
			}
		}
	}
}

func TestLoggerKeepsTheRest(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	l := NewLogger(&b, slog.LevelInfo, true)
	l.Debug("not this")
	l.With("agent", "triage").Info("settled", "topic", "parley.events.quakes", "offset", 7,
		"feed", "https://example.org/a@b.json", "err", errors.New("plain"))
	var got map[string]any
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	for k, want := range map[string]any{
		"level": "INFO", "msg": "settled", "agent": "triage", "topic": "parley.events.quakes",
		"offset": 7.0, "feed": "https://example.org/a@b.json", "err": "plain",
	} {
		if got[k] != want {
			t.Errorf("%s = %v, want %v", k, got[k], want)
		}
	}
	b.Reset()
	NewLogger(&b, slog.LevelWarn, false).Warn("text", "a", 1)
	if !strings.HasSuffix(b.String(), "level=WARN msg=text a=1\n") {
		t.Errorf("text form: %q", b.String())
	}
}
