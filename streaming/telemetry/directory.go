package telemetry

import "github.com/prometheus/client_golang/prometheus"

func newDirectorySkipped() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "parley_directory_skipped_total",
		Help: "Entries of the directory of agents that could not be read and were passed over.",
	})
}

// DirectorySkipped counts an entry of the directory that could not be read.
func (m *Metrics) DirectorySkipped() { m.directorySkipped.Inc() }
