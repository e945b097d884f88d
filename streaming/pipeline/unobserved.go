package pipeline

import (
	"time"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// Unobserved is an Observer and an AgentObserver that keeps nothing.
type Unobserved struct{}

var (
	_ Observer      = Unobserved{}
	_ AgentObserver = Unobserved{}
)

// Consumed implements Observer.
func (Unobserved) Consumed(int) {}

// Sent implements Observer.
func (Unobserved) Sent(string, int) {}

// Processed implements Observer.
func (Unobserved) Processed(streaming.Reason, time.Duration) {}

// EndToEnd implements Observer.
func (Unobserved) EndToEnd(time.Duration) {}

// Redelivered implements Observer.
func (Unobserved) Redelivered() {}

// Duplicate implements Observer.
func (Unobserved) Duplicate() {}

// Skipped implements Observer.
func (Unobserved) Skipped() {}

// Retrying implements Observer.
func (Unobserved) Retrying(streaming.Reason) {}

// DeadLettered implements Observer.
func (Unobserved) DeadLettered(streaming.Reason) {}

// InFlight implements Observer.
func (Unobserved) InFlight(int) {}

// InFlightBytes implements Observer.
func (Unobserved) InFlightBytes(int) {}

// Lag implements Observer.
func (Unobserved) Lag(int32, time.Duration) {}

// LaneClosed implements Observer.
func (Unobserved) LaneClosed(int32) {}

// RetryLateness implements Observer.
func (Unobserved) RetryLateness(time.Duration) {}

// LedgerWindow implements Observer.
func (Unobserved) LedgerWindow(int32, time.Duration, time.Duration) {}

// Paused implements AgentObserver.
func (Unobserved) Paused(bool) {}

// ControlSkipped implements AgentObserver.
func (Unobserved) ControlSkipped() {}

// BreakerOpen implements AgentObserver.
func (Unobserved) BreakerOpen(bool) {}

// Limited implements AgentObserver.
func (Unobserved) Limited(streaming.Limit, time.Duration) {}

// AnsweredAgain implements Observer.
func (Unobserved) AnsweredAgain() {}

// AnswerNotKept implements Observer.
func (Unobserved) AnswerNotKept() {}

// AnswerDropped implements Observer.
func (Unobserved) AnswerDropped() {}

// BudgetExhausted implements Observer.
func (Unobserved) BudgetExhausted(string) {}
