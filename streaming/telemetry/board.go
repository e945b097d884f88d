package telemetry

import "github.com/prometheus/client_golang/prometheus"

// boardMetrics is what is counted of all boards.
type boardMetrics struct{ proposals, conflicts, bad *prometheus.CounterVec }

func newBoardMetrics() boardMetrics {
	board := []string{"board"}
	return boardMetrics{
		proposals: counter("parley_board_proposals_total", "Proposals that the keeper of a board has judged: accepted, or in conflict.", board, nil),
		conflicts: counter("parley_board_conflicts_total", "Proposals whose key was not as they expected; they have changed nothing.", board, nil),
		bad: counter("parley_board_bad_total", "What could not be read: proposals at the keeper, which are dead letters, and records of the board at its views.",
			[]string{"board", "what"}, nil),
	}
}

func (b *boardMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{b.proposals, b.conflicts, b.bad}
}

// Board is the metrics of one board. A nil Board counts nothing.
type Board struct{ proposals, conflicts, badProposals, badRecords prometheus.Counter }

// Board returns the metrics of the board of that name; nil Metrics have none.
func (m *Metrics) Board(name string) *Board {
	if m == nil {
		return nil
	}
	return &Board{
		proposals: m.boards.proposals.WithLabelValues(name), conflicts: m.boards.conflicts.WithLabelValues(name),
		badProposals: m.boards.bad.WithLabelValues(name, "proposal"), badRecords: m.boards.bad.WithLabelValues(name, "record"),
	}
}

// Judged counts a proposal.
func (b *Board) Judged(accepted bool) {
	if b == nil {
		return
	}
	if b.proposals.Inc(); !accepted {
		b.conflicts.Inc()
	}
}

// BadProposal counts a proposal that cannot be read.
func (b *Board) BadProposal() {
	if b != nil {
		b.badProposals.Inc()
	}
}

// BadRecord counts a record that a view cannot read.
func (b *Board) BadRecord() {
	if b != nil {
		b.badRecords.Inc()
	}
}
