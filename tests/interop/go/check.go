package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// failure is what a scenario panics with when something is not as expected.
type failure string

func check(err error) {
	if err != nil {
		panic(failure(err.Error()))
	}
}

func that(holds bool, text string, values ...any) {
	if !holds {
		panic(failure(fmt.Sprintf(text, values...)))
	}
}

func equal[T comparable](what string, expected, got T) {
	that(expected == got, "%s: expected %v, got %v", what, expected, got)
}

// until waits for a condition and returns how long that took.
func until(seconds int, holds func() bool, why func() string) time.Duration {
	begin := time.Now()
	for !holds() {
		that(time.Since(begin) < time.Duration(seconds)*time.Second, "not within %d s: %s", seconds, why())
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// received holds the messages one or more consumers got, in the order they came.
type received struct {
	mutex sync.Mutex
	all   []*primitive.MessageExt
}

func (r *received) take(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.all = append(r.all, messages...)
	return consumer.ConsumeSuccess, nil
}

func (r *received) list() []*primitive.MessageExt {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return append([]*primitive.MessageExt(nil), r.all...)
}

func (r *received) size() int { return len(r.list()) }

func (r *received) keys() map[string]bool {
	keys := map[string]bool{}
	for _, message := range r.list() {
		keys[message.GetKeys()] = true
	}
	return keys
}

func (r *received) atLeast(n, seconds int) {
	until(seconds, func() bool { return len(r.keys()) >= n }, func() string { return fmt.Sprintf("received %d of %d", len(r.keys()), n) })
}

func (r *received) exactly(n, seconds int) {
	r.atLeast(n, seconds)
	equal("messages received", n, r.size())
}
