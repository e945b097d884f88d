package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// WriteExposition writes what gatherer shows now to a file, in the Prometheus
// text format. The file is replaced as a whole: a reader sees the old content
// or the new, and after an error the old is untouched.
func WriteExposition(path string, gatherer prometheus.Gatherer) error {
	if err := prometheus.WriteToTextfile(path, gatherer); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
