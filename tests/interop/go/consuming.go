package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func consuming() []scenario {
	return []scenario{
		{"go_push_tags", "core", 40 * time.Second, pushTags},
		{"go_orderly", "core", 60 * time.Second, orderly},
		{"go_pull_consumer", "core", 40 * time.Second, pullConsumer},
		{"go_pull_poll", "core", 60 * time.Second, pullPoll},
		{"go_broadcasting", "core", 40 * time.Second, broadcasting},
		{"go_retry_once", "slow", 90 * time.Second, retryOnce},
		{"go_delay", "more", 40 * time.Second, delay},
	}
}

func pushTags(s *stage) {
	topic := s.created("tags", 4)
	p := s.producer()
	tags := []string{"A", "B", "C"}
	for i := range 90 {
		send(p, message(topic, tags[i%3], i))
	}
	var all, one, two received
	s.push(s.group("all"), topic, "*", all.take)
	s.push(s.group("one"), topic, "A", one.take)
	s.push(s.group("two"), topic, "A || B", two.take)
	all.exactly(90, 30)
	one.exactly(30, 30)
	two.exactly(60, 30)
	for _, m := range one.list() {
		equal("tag", "A", m.GetTags())
	}
}

func orderly(s *stage) {
	topic := s.created("orderly", 4)
	p := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	for i := range 140 {
		send(p, message(topic, "A", i).WithShardingKey(fmt.Sprint(i%7)))
	}
	var got received
	s.push(s.group("orderly"), topic, "*", got.take, consumer.WithConsumerOrder(true))
	got.exactly(140, 50)
	last := map[int]int{}
	for _, m := range got.list() {
		var i int
		_, err := fmt.Sscanf(m.GetKeys(), "k%d", &i)
		check(err)
		before, seen := last[i%7]
		that(!seen || before < i, "key %d: %d after %d", i%7, i, before)
		last[i%7] = i
	}
}

func pullConsumer(s *stage) {
	topic := s.created("pull", 2)
	p := s.producer()
	for i := range 60 {
		send(p, message(topic, "A", i))
	}
	queues, err := s.admin().FetchPublishMessageQueues(context.Background(), topic)
	check(err)
	equal("queues", 2, len(queues))
	c := s.pull(s.group("pull"), topic, "*")
	keys := map[string]bool{}
	for _, queue := range queues {
		for offset := int64(0); offset < 30; {
			result, err := c.PullFrom(context.Background(), queue, offset, 32)
			check(err)
			if result.Status == primitive.PullNoNewMsg {
				continue
			}
			equal("status", primitive.PullFound, result.Status)
			equal("max offset", int64(30), result.MaxOffset)
			for _, m := range result.GetMessageExts() {
				equal("offset", offset, m.QueueOffset)
				offset++
				keys[m.GetKeys()] = true
			}
			equal("next", offset, result.NextBeginOffset)
		}
	}
	equal("keys", 60, len(keys))
}

func pullPoll(s *stage) {
	topic := s.created("poll", 2)
	p := s.producer()
	for i := range 40 {
		send(p, message(topic, "A", i))
	}
	c := s.pull(s.group("poll"), topic, "A")
	keys := map[string]bool{}
	until(40, func() bool {
		request, err := c.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			return false
		}
		check(err)
		for _, m := range request.GetMsgList() {
			keys[m.GetKeys()] = true
		}
		c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		return len(keys) == 40
	}, func() string { return fmt.Sprintf("polled %d of 40", len(keys)) })
}

func broadcasting(s *stage) {
	topic := s.created("cast", 4)
	var one, two received
	s.push(s.group("cast"), topic, "*", one.take, consumer.WithConsumerModel(consumer.BroadCasting))
	s.push(s.group("cast"), topic, "*", two.take, consumer.WithConsumerModel(consumer.BroadCasting))
	p := s.producer()
	for i := range 100 {
		send(p, message(topic, "A", i))
	}
	one.exactly(100, 30)
	two.exactly(100, 30)
}

func retryOnce(s *stage) {
	topic := s.created("retry", 2)
	var got received
	s.push(s.group("retry"), topic, "*", func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		_, _ = got.take(ctx, messages...)
		if messages[0].ReconsumeTimes == 0 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
	send(s.producer(), message(topic, "A", 0))
	after := until(80, func() bool { return got.size() == 2 }, func() string { return fmt.Sprintf("came %d times", got.size()) })
	second := got.list()[1]
	equal("reconsumeTimes", int32(1), second.ReconsumeTimes)
	equal("topic", topic, second.Topic)
	s.note("again after %d ms", after.Milliseconds())
}

func delay(s *stage) {
	topic := s.created("delay", 2)
	p := s.producer()
	var got received
	s.push(s.group("delay"), topic, "*", got.take)
	send(p, message(topic, "A", 0))
	got.exactly(1, 25)
	send(p, message(topic, "A", 1).WithDelayTimeLevel(1))
	after := until(10, func() bool { return got.size() == 2 }, func() string { return "the delayed message did not come" })
	that(after > 900*time.Millisecond, "came %v after the send", after)
	s.note("after %d ms", after.Milliseconds())
}
