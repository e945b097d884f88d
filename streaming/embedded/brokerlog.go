package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// brokerLog hands the broker's log lines to slog. The broker's Close reports
// a failure to write its state only there, so errors can be kept too.
type brokerLog struct {
	logger *slog.Logger

	mu      sync.Mutex
	keeping bool
	errs    []error
}

func (l *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
		l.keep(format, args...)
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	case kfake.LogLevelInfo:
	default:
		return // a line per request and more
	}
	if ctx := context.Background(); l.logger.Enabled(ctx, to) {
		l.logger.Log(ctx, to, "broker: "+fmt.Sprintf(format, args...))
	}
}

func (l *brokerLog) keep(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keeping {
		l.errs = append(l.errs, errors.New("embedded: close broker: "+fmt.Sprintf(format, args...)))
	}
}

func (l *brokerLog) keepErrors() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeping = true
}

func (l *brokerLog) kept() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs
}
