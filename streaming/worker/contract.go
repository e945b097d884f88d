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
// and tried again at the next start. Nobody waits for it: without a broker the
// client tries on for ever, also when ctx has ended.
func (w *Worker) publishContract(ctx context.Context, standing []byte) {
	c := w.cfg.Contract
	if c == nil {
		return
	}
	failed := func(err error) {
		if ctx.Err() == nil {
			w.cfg.Logger.Warn("the agent's contract is not published; it works all the same", "agent", w.cfg.Agent, "group", w.cfg.Group, "error", err)
		}
	}
	value, err := w.cfg.Codec.Encode(ctx, c)
	if err != nil {
		failed(err)
		return
	}
	if bytes.Equal(value, standing) {
		return
	}
	id := schemas.NewID()
	rec := pipeline.Record(&streaming.Envelope{
		ID: id, Source: w.cfg.Agent, Type: schemas.TypeAgentContract, Kind: streaming.KindStateDiff,
		Time: w.cfg.Clock.Now(), CorrelationID: id, Hops: streaming.DefaultHops,
	}, &streaming.Outgoing{Topic: w.cfg.Namespace.Agents(), Partition: -1, Key: schemas.ContractKey(w.cfg.Group), Value: value})
	w.log.Append(rec, func(_ int64, err error) {
		if err != nil {
			failed(err)
		}
	})
}
