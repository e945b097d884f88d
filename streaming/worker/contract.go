package worker

import (
	"bytes"
	"context"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
	"github.com/seed-c9b6dc07/parley/streaming/pipeline"
)

// publishContract says in the topic of agents what the agent reads and writes,
// unless that stands there already. It is for tools only: what fails is logged,
// and tried again at the next start.
func (w *Worker) publishContract(ctx context.Context, standing []byte) {
	c := w.cfg.Contract
	if c == nil {
		return
	}
	value, err := w.cfg.Codec.Encode(ctx, c)
	if err == nil && bytes.Equal(value, standing) {
		return
	}
	if err == nil {
		id := schemas.NewID()
		rec := pipeline.Record(&streaming.Envelope{
			ID: id, Source: w.cfg.Agent, Type: schemas.TypeAgentContract, Kind: streaming.KindStateDiff,
			Time: w.cfg.Clock.Now(), CorrelationID: id, Hops: streaming.DefaultHops,
		}, &streaming.Outgoing{Topic: w.cfg.Namespace.Agents(), Partition: -1, Key: schemas.ContractKey(w.cfg.Group), Value: value})
		_, err = w.log.AppendSync(ctx, rec)
	}
	if err != nil && ctx.Err() == nil {
		w.cfg.Logger.Warn("the agent's contract is not published; it works all the same", "agent", w.cfg.Agent, "group", w.cfg.Group, "error", err)
	}
}
