package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// stage is what one scenario plays on: names nobody else uses, and clients that are shut down when it ends.
type stage struct {
	namesrv, suffix string
	remark          string
	closing         []func()
	mutex           sync.Mutex
}

var instances atomic.Int64

func (s *stage) topic(stem string) string { return "tg_" + stem + "_" + s.suffix }
func (s *stage) group(stem string) string { return "gg_" + stem + "_" + s.suffix }
func (s *stage) servers() primitive.NamesrvAddr {
	return primitive.NamesrvAddr{s.namesrv}
}
func instance() string { return fmt.Sprintf("g%di%d", os.Getpid(), instances.Add(1)) }

func (s *stage) note(text string, values ...any) {
	if s.remark != "" {
		s.remark += ", "
	}
	s.remark += fmt.Sprintf(text, values...)
}

func (s *stage) onClose(step func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.closing = append(s.closing, step)
}

func (s *stage) close() {
	for i := len(s.closing) - 1; i >= 0; i-- {
		func() {
			// A client that cannot even shut down has already failed its scenario.
			defer func() { _ = recover() }()
			s.closing[i]()
		}()
	}
}

func (s *stage) producer(options ...producer.Option) rocketmq.Producer {
	all := append([]producer.Option{producer.WithNameServer(s.servers()), producer.WithGroupName(s.group("p")),
		producer.WithInstanceName(instance()), producer.WithRetry(2), producer.WithSendMsgTimeout(5 * time.Second)}, options...)
	p, err := rocketmq.NewProducer(all...)
	check(err)
	check(p.Start())
	s.onClose(func() { _ = p.Shutdown() })
	return p
}

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// push starts a push consumer that reads from the first offset unless an option says otherwise.
func (s *stage) push(group, topic, tags string, listen listener, options ...consumer.Option) rocketmq.PushConsumer {
	all := append([]consumer.Option{consumer.WithNameServer(s.servers()), consumer.WithGroupName(group), consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c, err := rocketmq.NewPushConsumer(all...)
	check(err)
	check(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, listen))
	check(c.Start())
	s.onClose(func() { _ = c.Shutdown() })
	return c
}

func (s *stage) pull(group, topic, tags string) rocketmq.PullConsumer {
	c, err := rocketmq.NewPullConsumer(consumer.WithNameServer(s.servers()), consumer.WithGroupName(group), consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	check(err)
	check(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}))
	check(c.Start())
	s.onClose(func() { _ = c.Shutdown() })
	return c
}

func (s *stage) admin() admin.Admin {
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{s.namesrv})))
	check(err)
	s.onClose(func() { _ = a.Close() })
	return a
}

// created makes a topic through the client's admin part, on the master of the route of TBW102.
func (s *stage) created(stem string, queues int) string {
	topic := s.topic(stem)
	check(s.admin().CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(s.broker()),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	return topic
}

var master = regexp.MustCompile(`"?0"?:"([^"]+)"`)

// broker asks the name server with a frame written by hand: the client keeps its routes to itself.
func (s *stage) broker() string {
	conn, err := net.DialTimeout("tcp", s.namesrv, 5*time.Second)
	check(err)
	defer conn.Close()
	check(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	header := []byte(`{"code":105,"language":"GO","version":317,"opaque":1,"flag":0,"extFields":{"topic":"TBW102"}}`)
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	_, err = conn.Write(append(frame, header...))
	check(err)
	length := make([]byte, 4)
	_, err = io.ReadFull(conn, length)
	check(err)
	answer := make([]byte, binary.BigEndian.Uint32(length))
	_, err = io.ReadFull(conn, answer)
	check(err)
	found := master.FindSubmatch(answer)
	that(found != nil, "no master in the route of TBW102: %s", answer)
	return string(found[1])
}
