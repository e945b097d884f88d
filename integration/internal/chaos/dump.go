package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dump writes down every record of the keys concerned that stands in a topic of
// a link, aborted ones too: it is what a defect is found from.
func (r *run) dump(ctx context.Context, l Link, concerned []Concern) error {
	details, err := r.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	var topics []string
	for name := range details {
		if name == output(l) || name == input(l) || strings.HasPrefix(name, input(l)+".") && strings.HasSuffix(name, "."+l.Agent) {
			topics = append(topics, name)
		}
	}
	slices.Sort(topics)
	keys := make(map[string][]string) // lines by key
	for _, c := range concerned {
		keys[KeyName(c.Message.Key)] = nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.site.Addresses...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			left++
		}
	})
	for left > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			if o, ok := ends.Lookup(rec.Topic, rec.Partition); ok && rec.Offset == o.Offset-1 {
				left--
			}
			if _, ok := keys[string(rec.Key)]; ok {
				keys[string(rec.Key)] = append(keys[string(rec.Key)], line(rec))
			}
		})
	}
	var b bytes.Buffer
	for _, c := range concerned {
		fmt.Fprintf(&b, "%s: %s\n", c.Message, c.What)
	}
	for key, lines := range keys {
		fmt.Fprintf(&b, "\n%s, by time of append:\n", key)
		slices.Sort(lines)
		for _, l := range lines {
			b.WriteString(l + "\n")
		}
	}
	name := filepath.Join(r.dir, "concerned-"+l.Agent+".txt")
	r.said("the records concerned are in %s, the logs beside it", name)
	return os.WriteFile(name, b.Bytes(), 0o644)
}

func line(rec *kgo.Record) string {
	var headers []string
	for _, h := range rec.Headers {
		if h.Key == "ce_id" || strings.HasPrefix(h.Key, "parley-") {
			headers = append(headers, fmt.Sprintf("%s=%s", h.Key, h.Value))
		}
	}
	value := "(no message)"
	if len(rec.Value) >= idLength {
		value = string(rec.Value[len(rec.Value)-idLength:])
	}
	return fmt.Sprintf("%s %s %s/%d offset %d producer %d epoch %d %s", rec.Timestamp.Format(clock), value, rec.Topic, rec.Partition, rec.Offset,
		rec.ProducerID, rec.ProducerEpoch, strings.Join(headers, " "))
}
