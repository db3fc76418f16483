package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func sending() []scenario {
	return []scenario{
		{"go_quick_start", "core", 40 * time.Second, quickStart},
		{"go_async_send", "core", 30 * time.Second, asyncSend},
		{"go_oneway_send", "core", 30 * time.Second, onewaySend},
		{"go_batch_send", "core", 30 * time.Second, batchSend},
		{"go_chosen_queue", "core", 20 * time.Second, chosenQueue},
		{"go_create_topic", "core", 20 * time.Second, createTopic},
		{"go_large_body", "core", 30 * time.Second, largeBody},
		{"go_request_reply", "more", 60 * time.Second, requestReply},
		{"go_transaction", "more", 60 * time.Second, transaction},
	}
}

func message(topic, tag string, i int) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(fmt.Sprintf("body %d", i)))
	m.WithKeys([]string{fmt.Sprintf("k%d", i)})
	return m.WithTag(tag)
}

func send(p rocketmq.Producer, messages ...*primitive.Message) *primitive.SendResult {
	result, err := p.SendSync(context.Background(), messages...)
	check(err)
	equal("status", primitive.SendOK, result.Status)
	return result
}

// quickStart is the tutorial: a topic nobody made, 1,000 out, 1,000 in, equal in everything the user set.
func quickStart(s *stage) {
	topic := s.topic("quick")
	p := s.producer()
	for i := range 1000 {
		m := primitive.NewMessage(topic, []byte(fmt.Sprintf("Hello RocketMQ 你好 %d", i)))
		m.WithTag(fmt.Sprintf("Tag%d", i%3)).WithKeys([]string{fmt.Sprintf("k%d", i)})
		m.WithProperty("城市", fmt.Sprintf("上海 %d", i))
		send(p, m)
	}
	var got received
	s.push(s.group("quick"), topic, "*", got.take)
	got.exactly(1000, 30)
	for _, m := range got.list() {
		var i int
		_, err := fmt.Sscanf(m.GetKeys(), "k%d", &i)
		check(err)
		equal("body", fmt.Sprintf("Hello RocketMQ 你好 %d", i), string(m.Body))
		equal("tag", fmt.Sprintf("Tag%d", i%3), m.GetTags())
		equal("property", fmt.Sprintf("上海 %d", i), m.GetProperty("城市"))
	}
}

func asyncSend(s *stage) {
	topic := s.created("async", 4)
	p := s.producer()
	var answered sync.WaitGroup
	var mutex sync.Mutex
	var failed error
	inFlight := make(chan bool, 32)
	for i := range 300 {
		answered.Add(1)
		inFlight <- true
		check(p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			mutex.Lock()
			if err != nil {
				failed = err
			}
			mutex.Unlock()
			<-inFlight
			answered.Done()
		}, message(topic, "A", i)))
	}
	answered.Wait()
	check(failed)
	var got received
	s.push(s.group("async"), topic, "*", got.take)
	got.exactly(300, 20)
}

func onewaySend(s *stage) {
	topic := s.created("oneway", 4)
	p := s.producer()
	for i := range 200 {
		check(p.SendOneWay(context.Background(), message(topic, "A", i)))
	}
	var got received
	s.push(s.group("oneway"), topic, "*", got.take)
	got.exactly(200, 20)
}

func batchSend(s *stage) {
	topic := s.created("batch", 2)
	p := s.producer()
	for b := range 4 {
		var batch []*primitive.Message
		for i := range 32 {
			m := message(topic, "A", b*32+i)
			m.WithProperty("批", fmt.Sprint(b))
			batch = append(batch, m)
		}
		send(p, batch...)
	}
	var got received
	s.push(s.group("batch"), topic, "*", got.take)
	got.exactly(128, 20)
	for _, m := range got.list() {
		var i int
		_, err := fmt.Sscanf(m.GetKeys(), "k%d", &i)
		check(err)
		equal("property", fmt.Sprint(i/32), m.GetProperty("批"))
		equal("body", fmt.Sprintf("body %d", i), string(m.Body))
	}
}

// toQueue picks a queue by number.
type toQueue int

func (n toQueue) Select(_ *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	for _, queue := range queues {
		if queue.QueueId == int(n) {
			return queue
		}
	}
	return queues[0]
}

func chosenQueue(s *stage) {
	topic := s.created("chosen", 4)
	p := s.producer(producer.WithQueueSelector(toQueue(3)))
	for i := range 50 {
		result := send(p, message(topic, "A", i))
		equal("queue", 3, result.MessageQueue.QueueId)
		equal("offset", int64(i), result.QueueOffset)
	}
}

func createTopic(s *stage) {
	topic := s.created("eight", 8)
	queues, err := s.admin().FetchPublishMessageQueues(context.Background(), topic)
	check(err)
	equal("queues in the route", 8, len(queues))
}

// largeBody is compressed by the sender (4 KiB and more) and inflated by the receiver.
func largeBody(s *stage) {
	topic := s.created("large", 1)
	p := s.producer()
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte('a' + i%23)
	}
	send(p, primitive.NewMessage(topic, body).WithKeys([]string{"k0"}))
	var got received
	s.push(s.group("large"), topic, "*", got.take)
	got.exactly(1, 20)
	that(string(got.list()[0].Body) == string(body), "the body came back changed")
}
