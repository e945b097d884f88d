package pipeline

import (
	"math"
	"time"
)

// pace spaces what it is charged for evenly over time: after a charge it is free
// again when the time that the charge is worth has passed. It saves nothing up,
// so that no minute has more than its rate. It may be charged while it is not
// free; then it is free the later. (The generic cell rate algorithm without a
// burst; golang.org/x/time/rate refuses a debt beyond its burst.)
type pace struct {
	unit float64   // nanoseconds that one unit is worth
	next time.Time // free from then on
}

// newPace returns nil for no limit.
func newPace(perMinute float64) *pace {
	if perMinute == 0 {
		return nil
	}
	return &pace{unit: float64(time.Minute) / perMinute}
}

// wait is how long it is not free yet.
func (p *pace) wait(now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	return max(0, p.next.Sub(now))
}

func (p *pace) charge(now time.Time, n float64) {
	if p == nil {
		return
	}
	if now.After(p.next) {
		p.next = now
	}
	p.next = p.next.Add(p.worth(n))
}

func (p *pace) refund(n float64) {
	if p != nil {
		p.next = p.next.Add(-p.worth(n))
	}
}

// worth is rounded up, so that a rate is never exceeded.
func (p *pace) worth(n float64) time.Duration {
	return time.Duration(min(math.Ceil(n*p.unit), float64(mostDebt)))
}

// mostDebt bounds what one charge can be waited for, whatever a handler reports.
const mostDebt = 24 * time.Hour
