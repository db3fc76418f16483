package main

import (
	"context"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func requestReply(s *stage) {
	topic := s.created("rpc", 2)
	replier := s.producer()
	var ready received
	s.push(s.group("rpc"), topic, "*", func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if m.GetProperty(primitive.PropertyCorrelationID) == "" {
				_, _ = ready.take(ctx, m)
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err != nil {
				return consumer.ConsumeRetryLater, err
			}
			// The client (2.1.2) forgets the body it was given, and the Apache broker fails on a reply without one.
			reply.Body = []byte("答 " + string(m.Body))
			if _, err = replier.SendSync(ctx, reply); err != nil {
				return consumer.ConsumeRetryLater, err
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	asking := s.producer()
	send(asking, message(topic, "A", 0))
	ready.atLeast(1, 25)
	// The broker finds the one that asks by its heartbeat, which this client sends a second after it started.
	time.Sleep(1500 * time.Millisecond)
	for i := range 3 {
		reply, err := asking.Request(context.Background(), 10*time.Second, primitive.NewMessage(topic, []byte{byte('0' + i)}))
		check(err)
		equal("reply", "答 "+string(rune('0'+i)), string(reply.Body))
	}
}

// decides commits what its first letter says and counts the checks.
type decides struct{ checks atomic.Int32 }

func (d *decides) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	if m.Body[0] == 'c' {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

func (d *decides) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	d.checks.Add(1)
	return primitive.CommitMessageState
}

func transaction(s *stage) {
	topic := s.created("tx", 2)
	p, err := rocketmq.NewTransactionProducer(&decides{}, producer.WithNameServer(s.servers()), producer.WithGroupName(s.group("tx")),
		producer.WithInstanceName(instance()))
	check(err)
	check(p.Start())
	s.onClose(func() { _ = p.Shutdown() })
	for i := range 10 {
		body := []byte("commit")
		if i%2 == 1 {
			body = []byte("rollback")
		}
		m := message(topic, "A", i)
		m.Body = body
		_, err := p.SendMessageInTransaction(context.Background(), m)
		check(err)
	}
	var got received
	s.push(s.group("txc"), topic, "*", got.take)
	got.exactly(5, 30)
	for _, m := range got.list() {
		equal("body", "commit", string(m.Body))
	}
}
