package agents

import (
	"context"
	"time"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// Prune takes instances that are gone out of the directory. One that is there all the
// same is in it again with its next renewal.
func (s *Sender) Prune(ctx context.Context, gone ...Instance) error {
	recs := make([]*streaming.Record, len(gone))
	for n, i := range gone {
		id := schemas.NewID()
		recs[n] = pipeline.Record(&streaming.Envelope{
			ID: id, Source: s.name, Type: schemas.TypeAgentInstance, Kind: streaming.KindStateDiff,
			Time: time.Now(), CorrelationID: id, Hops: streaming.DefaultHops,
		}, &streaming.Outgoing{Topic: s.p.cfg.Namespace.Agents(), Partition: -1, Key: schemas.InstanceKey(i.Group, i.Instance)})
	}
	_, err := s.log.AppendSync(ctx, recs...)
	return err
}
