package worker_test

import (
	"testing"

	"github.com/seed-c9b6dc07/parley/schemas"
	"github.com/seed-c9b6dc07/parley/streaming/kafka"
	"github.com/seed-c9b6dc07/parley/streaming/ledger/ledgertest"
	"github.com/seed-c9b6dc07/parley/streaming/streamtest"
)

func TestKafkaIsALedger(t *testing.T) {
	inEachMode(t, func(t *testing.T, exactlyOnce bool) {
		c := streamtest.NewCluster(t)
		ledgertest.Run(t, ledgertest.Kafka(kafka.Config{Brokers: c.Brokers}, schemas.NewCodec(c.Schemas), exactlyOnce))
	})
}
