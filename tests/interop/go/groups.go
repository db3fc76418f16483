package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func groups() []scenario {
	return []scenario{
		{"go_clustering", "core", 90 * time.Second, clustering},
		{"go_clustering_killed", "core", 90 * time.Second, clusteringKilled},
		{"go_offsets_client_restart", "core", 60 * time.Second, offsetsClientRestart},
		{"go_consume_from_last", "core", 60 * time.Second, consumeFromLast},
	}
}

// filler sends numbered messages, each queue in its turn.
type filler struct {
	p     rocketmq.Producer
	topic string
	sent  int
}

func (f *filler) send(n int) {
	for range n {
		send(f.p, message(f.topic, "A", f.sent))
		f.sent++
	}
}

// queuesSince says from which queues a consumer got messages numbered "from" or later.
func queuesSince(got *received, from int) map[int]bool {
	queues := map[int]bool{}
	for _, m := range got.list() {
		var i int
		if _, err := fmt.Sscanf(m.GetKeys(), "k%d", &i); err == nil && i >= from {
			queues[m.Queue.QueueId] = true
		}
	}
	return queues
}

func union(all ...*received) int {
	keys := map[string]bool{}
	for _, one := range all {
		for key := range one.keys() {
			keys[key] = true
		}
	}
	return len(keys)
}

// shared sends rounds of messages until each consumer gets its share of the eight queues and everything sent has come.
func shared(f *filler, share int, all ...*received) time.Duration {
	begin := time.Now()
	for {
		from := f.sent
		f.send(16)
		until(25, func() bool { return union(all...) >= f.sent }, func() string { return fmt.Sprintf("consumed %d of %d", union(all...), f.sent) })
		fair := true
		for _, one := range all {
			n := len(queuesSince(one, from))
			fair = fair && n >= share && n <= share+1
		}
		if fair {
			return time.Since(begin)
		}
		that(time.Since(begin) < 40*time.Second, "not shared fairly after %v", time.Since(begin))
		time.Sleep(100 * time.Millisecond)
	}
}

func clustering(s *stage) {
	topic := s.created("join", 8)
	group := s.group("join")
	f := &filler{p: s.producer(producer.WithQueueSelector(producer.NewRoundRobinQueueSelector())), topic: topic}
	var one, two, three received
	s.push(group, topic, "*", one.take)
	s.note("1 reads all after %d ms", shared(f, 8, &one).Milliseconds())
	second := s.push(group, topic, "*", two.take)
	s.note("2 share after %d ms", shared(f, 4, &one, &two).Milliseconds())
	s.push(group, topic, "*", three.take)
	s.note("3 share after %d ms", shared(f, 2, &one, &two, &three).Milliseconds())
	check(second.Shutdown())
	before := two.size()
	begin := time.Now()
	f.send(80)
	until(40, func() bool { return union(&one, &two, &three) == f.sent }, func() string {
		return fmt.Sprintf("consumed %d of %d after one left", union(&one, &two, &three), f.sent)
	})
	equal("messages of the one that left", before, two.size())
	s.note("left: all read after %d ms", time.Since(begin).Milliseconds())
}

func clusteringKilled(s *stage) {
	topic := s.created("killed", 8)
	group := s.group("killed")
	f := &filler{p: s.producer(producer.WithQueueSelector(producer.NewRoundRobinQueueSelector())), topic: topic}
	var survivor received
	s.push(group, topic, "*", survivor.take)
	shared(f, 8, &survivor)
	child := exec.Command(os.Args[0], "-namesrv", s.namesrv, "-child-consumer", topic, "-child-group", group)
	output, err := child.StdoutPipe()
	check(err)
	check(child.Start())
	s.onClose(func() { _ = child.Process.Kill() })
	var mutex sync.Mutex
	others := map[string]bool{}
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "k") {
				mutex.Lock()
				others[lines.Text()] = true
				mutex.Unlock()
			}
		}
	}()
	consumed := func() int {
		mutex.Lock()
		defer mutex.Unlock()
		keys := survivor.keys()
		for key := range others {
			keys[key] = true
		}
		return len(keys)
	}
	all := func() string { return fmt.Sprintf("consumed %d of %d", consumed(), f.sent) }
	until(60, func() bool {
		f.send(16)
		time.Sleep(200 * time.Millisecond)
		mutex.Lock()
		defer mutex.Unlock()
		return len(others) >= 16
	}, func() string { return "the child consumes nothing" })
	until(25, func() bool { return consumed() == f.sent }, all)
	check(child.Process.Kill())
	_ = child.Wait()
	f.send(80)
	after := until(25, func() bool { return consumed() == f.sent }, all)
	s.note("all read %d ms after the kill", after.Milliseconds())
}

func childConsumer(namesrv, topic, group string) {
	s := &stage{namesrv: namesrv, suffix: "child"}
	s.push(group, topic, "*", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			fmt.Println(m.GetKeys())
		}
		return consumer.ConsumeSuccess, nil
	})
	select {}
}

func offsetsClientRestart(s *stage) {
	topic := s.created("kept", 4)
	group := s.group("kept")
	f := &filler{p: s.producer(), topic: topic}
	f.send(100)
	var before, after received
	first := s.push(group, topic, "*", before.take)
	before.exactly(100, 25)
	// The client commits in the background, the last time when it shuts down.
	check(first.Shutdown())
	f.send(50)
	s.push(group, topic, "*", after.take)
	after.exactly(50, 25)
}

func consumeFromLast(s *stage) {
	topic := s.created("last", 2)
	f := &filler{p: s.producer(), topic: topic}
	f.send(20)
	var got received
	s.push(s.group("last"), topic, "*", got.take, consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	// A young topic may be replayed from its beginning, see the Java scenario of this name.
	time.Sleep(3 * time.Second)
	f.send(20)
	until(25, func() bool {
		newer := 0
		for key := range got.keys() {
			var i int
			if _, err := fmt.Sscanf(key, "k%d", &i); err == nil && i >= 20 {
				newer++
			}
		}
		return newer == 20
	}, func() string { return fmt.Sprintf("got %v", got.keys()) })
}
