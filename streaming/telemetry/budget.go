package telemetry

import "github.com/prometheus/client_golang/prometheus"

const labelUnit = "unit"

// otherUnit is the label of units beyond those that are known: a sender names
// them, so the set is not ours to bound.
const otherUnit = "other"

var knownUnits = []string{"tokens", "cents", "usd", "eur", "calls", otherUnit}

func newBudgets() *prometheus.CounterVec {
	return counter("parley_budget_exhausted_total", "Runs of handlers in which a charge was over the message's budget, by its unit: tokens, cents, usd, eur, calls or other.",
		[]string{labelAgent, labelUnit}, nil)
}

// BudgetExhausted counts a run in which a charge was over the budget.
func (i *Input) BudgetExhausted(unit string) {
	known := otherUnit
	for _, u := range knownUnits {
		if u == unit {
			known = u
		}
	}
	i.agent.m.budgets.WithLabelValues(i.agent.name, known).Inc()
}
