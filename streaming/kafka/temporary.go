package kafka

import (
	"errors"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Temporary reports whether an error may pass by itself: a broker is away or
// starting, a partition has no leader yet, an answer has not come in time. A
// topic that is missing is not: it does not come back.
func Temporary(err error) bool {
	var reach net.Error
	var early *kgo.ErrFirstReadEOF // a broker, or a proxy before one, that is starting or going
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return false
	case errors.As(err, &reach), errors.As(err, &early):
		return true
	}
	return kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err)
}
