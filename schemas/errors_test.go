package schemas

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-c9b6dc07/parley/streaming"
)

// wantReason checks that an error maps to a reason, wrapped or not.
func wantReason(t *testing.T, err error, want streaming.Reason) {
	t.Helper()
	for _, e := range []error{err, fmt.Errorf("wrapped: %w", err)} {
		if got, ok := ErrorReason(e); !ok || got != want {
			t.Errorf("error %v has reason %q, want %q", e, got, want)
		}
	}
}

func TestErrorReasonIsSilentOnOthers(t *testing.T) {
	t.Parallel()
	down := &RegistryUnavailableError{URL: "http://registry", Err: errors.New("refused")}
	for _, err := range []error{
		nil, errors.New("x"), context.Canceled, down, fmt.Errorf("x: %w", down),
		// An outage below a schema error is still an outage.
		&SchemaError{ID: 1, Problem: "x", Err: down},
	} {
		if got, ok := ErrorReason(err); ok || got != "" {
			t.Errorf("error %v has reason %q", err, got)
		}
	}
}
