package worker

import "context"

// Maintain does at once what a worker does each minute.
func (w *Worker) Maintain(ctx context.Context) { w.maintain(ctx) }
