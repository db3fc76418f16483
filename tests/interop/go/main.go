// Plays scenarios with the RocketMQ Go client against the broker behind a name server and prints a line for each:
// "PASS name 123 ms" or "FAIL name why". Exits 1 when one failed.
//
//	interop -namesrv 127.0.0.1:9876 [-groups core,more] [-parallel n] [-suffix text] [-list] [scenario...]
package main

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// scenario is one thing an unmodified client does with a broker.
type scenario struct {
	name, group string
	limit       time.Duration
	run         func(*stage)
}

func scenarios() []scenario {
	return slices.Concat(sending(), consuming(), groups())
}

func main() {
	namesrv := flag.String("namesrv", "127.0.0.1:9876", "name server to ask")
	chosenGroups := flag.String("groups", "core", "groups of scenarios to play when none is named")
	parallel := flag.Int("parallel", 1, "scenarios at once")
	suffix := flag.String("suffix", fmt.Sprintf("%x", rand.Int63n(1<<40)), "what makes topic and group names unlike those of other runs")
	list := flag.Bool("list", false, "only say which scenarios there are")
	child := flag.String("child-consumer", "", "topic: print the key of every message (used by the scenario that kills a consumer)")
	childGroup := flag.String("child-group", "", "the child's group")
	flag.Parse()
	rlog.SetLogLevel("fatal")
	if *child != "" {
		childConsumer(*namesrv, *child, *childGroup)
		return
	}
	var play []scenario
	for _, s := range scenarios() {
		if *list {
			fmt.Println(s.group, s.name)
			continue
		}
		byGroup := flag.NArg() == 0 && slices.Contains(strings.Split(*chosenGroups, ","), s.group)
		if byGroup || slices.Contains(flag.Args(), s.name) {
			play = append(play, s)
		}
	}
	if *list {
		return
	}
	// The longest first, so that they do not remain alone at the end.
	sort.SliceStable(play, func(i, j int) bool { return play[i].limit > play[j].limit })
	passed, failed := playAll(play, *parallel, *namesrv, *suffix)
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func playAll(play []scenario, parallel int, namesrv, suffix string) (passed, failed int) {
	queue := make(chan scenario)
	var players sync.WaitGroup
	var counting sync.Mutex
	for range parallel {
		players.Add(1)
		go func() {
			defer players.Done()
			for s := range queue {
				ok := report(s, namesrv, suffix)
				counting.Lock()
				if ok {
					passed++
				} else {
					failed++
				}
				counting.Unlock()
			}
		}()
	}
	for _, s := range play {
		queue <- s
	}
	close(queue)
	players.Wait()
	return passed, failed
}

func report(s scenario, namesrv, suffix string) bool {
	begin := time.Now()
	st := &stage{namesrv: namesrv, suffix: s.name + "_" + suffix}
	done := make(chan string, 1)
	go func() {
		defer func() {
			switch why := recover().(type) {
			case nil:
				done <- ""
			case failure:
				done <- string(why)
			default:
				done <- fmt.Sprintf("panic: %v %s", why, strings.ReplaceAll(string(debug.Stack()), "\n", " "))
			}
		}()
		s.run(st)
	}()
	var why string
	select {
	case why = <-done:
	case <-time.After(s.limit):
		why = fmt.Sprintf("not done after %v", s.limit)
	}
	if why == "" {
		remark := ""
		if st.remark != "" {
			remark = " (" + st.remark + ")"
		}
		fmt.Printf("PASS %s %d ms%s\n", s.name, time.Since(begin).Milliseconds(), remark)
	} else {
		fmt.Printf("FAIL %s %s\n", s.name, why)
	}
	st.close()
	return why == ""
}
