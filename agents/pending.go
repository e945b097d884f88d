package agents

import (
	"context"
	"sync"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming"
)

// answer is an answer or a part of one.
type answer struct {
	env    streaming.Envelope
	value  []byte
	offset int64
}

// pendingRequest is one that is waited for.
type pendingRequest struct {
	id   string
	came chan struct{} // something is there; room for one

	mu      sync.Mutex
	answers []answer
	whole   bool  // the answer, or its last part, is there
	failure error // no answer can come any more
}

func newPendingRequest() *pendingRequest {
	return &pendingRequest{id: schemas.NewID(), came: make(chan struct{}, 1)}
}

// give adds an answer; false: the request has one already.
func (q *pendingRequest) give(a answer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.whole {
		return false
	}
	q.whole = !isPart(&a.env)
	q.answers = append(q.answers, a)
	q.tell()
	return true
}

// fail ends the waiting.
func (q *pendingRequest) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure = err
	q.tell()
}

func (q *pendingRequest) tell() {
	select {
	case q.came <- struct{}{}:
	default:
	}
}

// next waits for an answer or a part of one.
func (q *pendingRequest) next(ctx context.Context, agent string) (answer, error) {
	for {
		q.mu.Lock()
		if len(q.answers) > 0 {
			a := q.answers[0]
			q.answers = q.answers[1:]
			q.mu.Unlock()
			return a, nil
		}
		failure := q.failure
		q.mu.Unlock()
		if failure != nil {
			return answer{}, failure
		}
		select {
		case <-q.came:
		case <-ctx.Done():
			return answer{}, &NoReplyError{Agent: agent, Err: ctx.Err()}
		}
	}
}
