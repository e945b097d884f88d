package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

// watermillCopy is a router with one handler over watermill-kafka, at its
// defaults but for the protocol version (its own is too old for Kafka 4), the
// start of the topic, and the key on the way out. The time ends when the last
// output is acknowledged.
func watermillCopy(ctx context.Context, e *env, job copyJob) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	consumer := kafka.DefaultSaramaSubscriberConfig()
	consumer.Version = sarama.V3_6_0_0
	consumer.Consumer.Offsets.Initial = sarama.OffsetOldest
	logger := watermill.NopLogger{}
	sub, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: e.brokers, Unmarshaler: kafka.DefaultMarshaler{}, OverwriteSaramaConfig: consumer, ConsumerGroup: job.group,
	}, logger)
	if err != nil {
		return 0, err
	}
	producer := kafka.DefaultSaramaSyncPublisherConfig()
	producer.Version = sarama.V3_6_0_0
	pub, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers: e.brokers, OverwriteSaramaConfig: producer,
		Marshaler: kafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) {
			return m.Metadata.Get("key"), nil
		}),
	}, logger)
	if err != nil {
		return 0, err
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, logger)
	if err != nil {
		return 0, err
	}
	var (
		once  sync.Once
		start time.Time
		took  time.Duration
		sent  atomic.Int64
		all   = make(chan struct{})
	)
	counting := publisher{pub, func(n int) {
		if sent.Add(int64(n)) == int64(job.messages) {
			took = time.Since(start)
			close(all)
		}
	}}
	router.AddHandler("copy", job.in, sub, job.out, counting, func(m *message.Message) ([]*message.Message, error) {
		once.Do(func() { start = time.Now() })
		out := message.NewMessage(m.UUID, m.Payload)
		out.Metadata = m.Metadata
		key, _ := kafka.MessageKeyFromCtx(m.Context())
		out.Metadata.Set("key", string(key))
		return []*message.Message{out}, nil
	})
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	select {
	case <-all:
	case err := <-ended:
		return 0, errors.Join(errors.New("the router ended"), err)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return took, errors.Join(router.Close(), sub.Close(), pub.Close())
}

// publisher counts what is acknowledged.
type publisher struct {
	message.Publisher
	sent func(n int)
}

func (p publisher) Publish(topic string, messages ...*message.Message) error {
	err := p.Publisher.Publish(topic, messages...)
	if err == nil {
		p.sent(len(messages))
	}
	return err
}
