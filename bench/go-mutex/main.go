// Measures etcd's own Go client (concurrency.Mutex), for the bench "locks".
//
//	go-mutex ENDPOINT
//
// Reads one order per line and answers each with one number:
//
//	cycles WORKERS MS   lock and unlock, each worker with a lock of its own: cycles per second
//	handover WAITERS    the p50 of the hand-overs of one lock among waiters, in ms
//
// Build: GOPATH=/usr/share/gocode GO111MODULE=off go build, with Debian's golang-go and golang-etcd-server-dev.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
)

const ttlSeconds = 60

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func newSession(client *clientv3.Client) *concurrency.Session {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttlSeconds))
	must(err)
	return session
}

func cyclesPerSecond(session *concurrency.Session, workers int, length time.Duration) float64 {
	ctx := context.Background()
	start := time.Now()
	var count int64
	var all sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		all.Add(1)
		go func(worker int) {
			defer all.Done()
			mutex := concurrency.NewMutex(session, fmt.Sprintf("/go/own/db%d", worker))
			for time.Since(start) < length {
				must(mutex.Lock(ctx))
				must(mutex.Unlock(ctx))
				atomic.AddInt64(&count, 1)
			}
		}(worker)
	}
	all.Wait()
	return float64(count) / time.Since(start).Seconds()
}

// Each waiter needs a session of its own: a key is the name of the lock and the lease.
func handOver(client *clientv3.Client, waiters int) float64 {
	ctx := context.Background()
	const name = "/go/one"
	session := newSession(client)
	holder := concurrency.NewMutex(session, name)
	must(holder.Lock(ctx))
	var released time.Time // Only the holder reads or writes it.
	var tookMs []float64
	var all sync.WaitGroup
	sessions := make([]*concurrency.Session, waiters)
	for waiter := range sessions {
		sessions[waiter] = newSession(client)
		all.Add(1)
		go func(session *concurrency.Session) {
			defer all.Done()
			mutex := concurrency.NewMutex(session, name)
			must(mutex.Lock(ctx))
			tookMs = append(tookMs, float64(time.Since(released))/1e6)
			released = time.Now()
			must(mutex.Unlock(ctx))
		}(sessions[waiter])
	}
	for {
		answer, err := client.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		must(err)
		if answer.Count == int64(waiters)+1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // Until the watch of the last waiter stands.
	released = time.Now()
	must(holder.Unlock(ctx))
	all.Wait()
	for _, each := range append(sessions, session) {
		must(each.Close())
	}
	sort.Float64s(tookMs)
	return tookMs[len(tookMs)/2]
}

func main() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 5 * time.Second})
	must(err)
	session := newSession(client)
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var count, ms int
		if n, _ := fmt.Sscanf(orders.Text(), "cycles %d %d", &count, &ms); n == 2 {
			fmt.Println(cyclesPerSecond(session, count, time.Duration(ms)*time.Millisecond))
		} else if n, _ := fmt.Sscanf(orders.Text(), "handover %d", &count); n == 1 {
			fmt.Println(handOver(client, count))
		} else {
			must(fmt.Errorf("no order: %s", orders.Text()))
		}
	}
}
