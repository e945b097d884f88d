package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const clusterID = "parley-embedded"

const retentionInterval = time.Minute

// brokerSettings depart from the broker's defaults where those would lose
// what the package promises to keep.
var brokerSettings = map[string]string{
	// Commits of a group without members expire after a week by default: a
	// folder that is opened again after a holiday would start over.
	"offsets.retention.minutes": "2147483647",
	// A hundred years: compaction is not safe in a crash (see the package
	// comment), and retention, which runs on the same clock, must note end
	// offsets first (applyRetention).
	"log.cleaner.backoff.ms": "3153600000000",
}

// broker is the Kafka side of a server: one kfake broker, with what it does
// not keep by itself kept beside it.
type broker struct {
	cluster *kfake.Cluster
	log     *brokerLog
	logger  *slog.Logger
	dir     string // empty in memory
	trims   *trims // nil in memory

	stop chan struct{}
	done sync.WaitGroup
}

func startBroker(ln *gatedListener, f *folder, syncWrites bool, logger *slog.Logger) (_ *broker, err error) {
	b := &broker{
		log:    &brokerLog{logger: logger},
		logger: logger,
		dir:    f.brokerDir(),
		stop:   make(chan struct{}),
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(clusterID),
		kfake.BrokerConfigs(brokerSettings),
		kfake.WithLogger(b.log),
		kfake.ListenFn(ln.handOver),
	}
	var restored []restoredEnd
	if b.dir != "" {
		opts = append(opts, kfake.DataDir(b.dir))
		if syncWrites {
			opts = append(opts, kfake.SyncWrites())
		}
		if err := repairLogs(b.dir, logger); err != nil {
			return nil, err
		}
		topics, err := readTopics(b.dir)
		if err != nil {
			return nil, err
		}
		if b.trims, err = openTrims(f.trimsFile(), topics, syncWrites); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = b.trims.close()
			}
		}()
		if restored, err = restoreEnds(b.dir, b.trims.all()); err != nil {
			return nil, err
		}
	}

	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		return nil, fmt.Errorf("embedded: start broker: %w", err)
	}
	if b.dir != "" {
		if err := b.afterLoad(restored); err != nil {
			b.cluster.Close()
			return nil, err
		}
		b.cluster.ControlKey(int16(kmsg.DeleteRecords), b.noteDeleteRecords)
	}
	b.done.Go(b.retentionLoop)
	ln.open()
	return b, nil
}

// afterLoad brings the loaded broker to where it was.
func (b *broker) afterLoad(restored []restoredEnd) error {
	for _, r := range restored {
		if err := b.trimTo(r.Topic, r.Partition, r.to()); err != nil {
			return err
		}
	}
	// The file describes the last orderly end and is read at each start. Left
	// there it would, after a crash, refuse producers that have gone on.
	err := os.Remove(filepath.Join(b.dir, "seq_windows.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("embedded: start broker: %w", err)
	}
	return nil
}

func (b *broker) trimTo(topic string, partition int32, to int64) error {
	info := b.cluster.PartitionInfo(topic, partition)
	if info == nil || to <= info.LogStartOffset {
		return nil
	}
	if to > info.HighWatermark {
		// Only a crash of the machine can do this: records that were trimmed
		// were once there.
		b.logger.Error("partition ends before its noted start: records were lost",
			"topic", topic, "partition", partition, "end", info.HighWatermark, "start", to)
		to = info.HighWatermark
	}
	if err := b.cluster.DeleteRecords(topic, partition, to); err != nil {
		return fmt.Errorf("embedded: restore log start of %s/%d: %w", topic, partition, err)
	}
	return nil
}

// noteDeleteRecords sees each DeleteRecords request before the broker does
// and makes its effect durable, because the broker keeps log starts in memory
// until its orderly end. Always returning "not handled" keeps it installed.
func (b *broker) noteDeleteRecords(kreq kmsg.Request) (kmsg.Response, error, bool) {
	req := kreq.(*kmsg.DeleteRecordsRequest)
	var notes []trim
	for _, t := range req.Topics {
		topic := b.cluster.TopicInfo(t.Topic)
		if topic == nil {
			continue
		}
		for _, p := range t.Partitions {
			info := b.cluster.PartitionInfo(t.Topic, p.Partition)
			if info == nil {
				continue
			}
			to := p.Offset
			if to == -1 {
				to = info.HighWatermark
			}
			if to < info.LogStartOffset || to > info.HighWatermark {
				continue // the broker refuses it
			}
			notes = append(notes, trim{
				Topic: t.Topic, TopicID: topicID(topic.TopicID), Partition: p.Partition,
				Start: to, End: info.HighWatermark,
			})
		}
	}
	if err := b.trims.note(notes); err != nil {
		b.logger.Error("delete records refused: cannot be made durable", "error", err)
		b.cluster.KeepControl()
		return storageErrors(req), nil, true
	}
	return nil, nil, false
}

func storageErrors(req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition = p.Partition
			rp.ErrorCode = kerr.KafkaStorageError.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (b *broker) retentionLoop() {
	t := time.NewTicker(retentionInterval)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
			if err := b.applyRetention(); err != nil {
				b.logger.Error("retention skipped", "error", err)
			}
		}
	}
}

// applyRetention notes where partitions end, then drops what is past its
// topic's retention. In the other order a crash would make a partition that
// retention had emptied start again at offset 0.
func (b *broker) applyRetention() error {
	if b.trims != nil {
		if err := b.noteEnds(); err != nil {
			return err
		}
	}
	b.cluster.ApplyRetention()
	return nil
}

func (b *broker) noteEnds() error {
	topics, err := readTopics(b.dir)
	if err != nil {
		return err
	}
	var notes []trim
	for _, t := range topics {
		for _, info := range b.cluster.PartitionInfos(t.Name) {
			known := b.trims.get(t.ID, info.Partition)
			if info.HighWatermark > known.End {
				notes = append(notes, trim{
					Topic: t.Name, TopicID: t.ID, Partition: info.Partition,
					Start: known.Start, End: info.HighWatermark,
				})
			}
		}
	}
	return b.trims.note(notes)
}

func (b *broker) close() error {
	close(b.stop)
	b.done.Wait()
	var errs []error
	if b.trims != nil {
		errs = append(errs, b.noteEnds())
	}
	b.log.keepErrors()
	b.cluster.Close()
	errs = append(errs, b.log.kept()...)
	if b.trims != nil {
		errs = append(errs, b.trims.close())
	}
	return errors.Join(errs...)
}
