package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Retention empties a partition; it still goes on from its end.
func TestRetentionKeepsEnd(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"by the clock", "before close only"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := Start(t.Context(), Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.broker.cluster.CreateTopic("a", 1, map[string]string{"retention.ms": "1000"}); err != nil {
				t.Fatal(err)
			}
			cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...))
			if err != nil {
				t.Fatal(err)
			}
			old := &kgo.Record{Topic: "a", Timestamp: time.Now().Add(-time.Hour)}
			if err := cl.ProduceSync(t.Context(), old, old).FirstErr(); err != nil {
				t.Fatal(err)
			}
			cl.Close()
			if when == "by the clock" {
				err = s.broker.applyRetention()
			} else {
				s.broker.cluster.ApplyRetention()
			}
			if err != nil {
				t.Fatal(err)
			}
			if info := s.broker.cluster.PartitionInfo("a", 0); info.LogStartOffset != 2 {
				t.Fatalf("retention did nothing: %+v", info)
			}
			if err := s.Close(context.Background()); err != nil {
				t.Fatal(err)
			}

			s, err = Start(t.Context(), Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer closeServer(t, s)
			if info := s.broker.cluster.PartitionInfo("a", 0); info.LogStartOffset != 2 || info.HighWatermark != 2 {
				t.Errorf("offsets %d to %d after the restart, want 2 to 2", info.LogStartOffset, info.HighWatermark)
			}
		})
	}
}

func TestTrimsSurviveTornLinesAndRewrites(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), trimsName)
	topics := []topic{{Name: "a", ID: "1"}}
	tr, err := openTrims(path, topics, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(20_000) { // more than one rewrite
		if i == 10_000 {
			tr.sync = false // fsync each line only as long as it is cheap to test
		}
		if i < 10 || i >= 10_000 {
			if err := tr.note([]trim{{Topic: "a", TopicID: "1", Start: i, End: i + 1}, {Topic: "b", TopicID: "2", Start: i, End: i}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tr.close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 2*trimsCompactBytes {
		t.Fatalf("log of %d bytes, %v", info.Size(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, `{"topic":"a","id":"1","start":1`...), 0o644); err != nil {
		t.Fatal(err)
	}
	if tr, err = openTrims(path, topics, false); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.close() }()
	if got := tr.get("1", 0); got.Start != 19_999 || got.End != 20_000 {
		t.Errorf("trim %+v", got)
	}
	if got := tr.all(); len(got) != 1 {
		t.Errorf("a topic that is gone is still there: %+v", got)
	}
}

// When a trim cannot be made durable the request fails and nothing is deleted;
// once it can, it works again.
func TestDeleteRecordsFailsWhenItCannotBeKept(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeServer(t, s)
	if err := s.broker.cluster.CreateTopic("a", 1, nil); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a"}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_ = s.broker.trims.file.Close() // writes fail from here on, as on a full disk
	for _, want := range []bool{false, true} {
		code := deleteAll(t, cl, "a")
		if (code == 0) != want {
			t.Errorf("error code %d, success wanted: %v", code, want)
		}
		if info := s.broker.cluster.PartitionInfo("a", 0); (info.LogStartOffset == 1) != want {
			t.Errorf("log start %d, success wanted: %v", info.LogStartOffset, want)
		}
	}
	if all := s.broker.trims.all(); len(all) != 1 || all[0].Start != 1 {
		t.Errorf("noted %+v", all)
	}
}

func TestRegistryChangeThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	reg, err := openRegistry(filepath.Join(dir, registryName))
	if err != nil {
		t.Fatal(err)
	}
	add := func() (any, error) {
		return reg.change(func(s *registryState) (any, bool, error) {
			v, changed, err := s.register("s", schema{Text: `"int"`})
			return v.ID, changed, err
		})
	}
	if _, err := add(); err == nil {
		t.Fatal("registered without a folder to write to")
	}
	if len(reg.state.Schemas) != 0 || reg.state.LastID != 0 {
		t.Errorf("the failed change is visible: %+v", reg.state)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if id, err := add(); err != nil || id != 1 {
		t.Errorf("ID %v, %v", id, err)
	}
	again, err := openRegistry(filepath.Join(dir, registryName))
	if err != nil {
		t.Fatal(err)
	}
	was, _ := json.Marshal(reg.state)
	is, _ := json.Marshal(again.state)
	if !bytes.Equal(was, is) {
		t.Errorf("read back %s, was %s", is, was)
	}
}

func TestBrokerLogLevelsAndErrors(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	l := &brokerLog{logger: slog.New(slog.NewTextHandler(&buf, nil))}
	l.Logf(kfake.LogLevelError, "one")
	l.keepErrors()
	l.Logf(kfake.LogLevelError, "two %d", 2)
	l.Logf(kfake.LogLevelWarn, "three")
	l.Logf(kfake.LogLevelInfo, "four")
	l.Logf(kfake.LogLevelDebug, "five")
	if err := errors.Join(l.kept()...); err == nil || !strings.HasSuffix(err.Error(), "two 2") {
		t.Errorf("kept %v", err)
	}
	for word, want := range map[string]bool{"one": true, "two 2": true, "level=WARN msg=\"broker: three": true, "four": false, "five": false} {
		if strings.Contains(buf.String(), word) != want {
			t.Errorf("%q in the log, want %v:\n%s", word, want, buf.String())
		}
	}
}

func closeServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
