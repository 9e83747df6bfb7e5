// Goroutines, channels, timers, garbage collection.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	var group sync.WaitGroup
	var sum int64
	results := make(chan int, 16)
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for j := 0; j < 100; j++ {
				atomic.AddInt64(&sum, 1)
				if j%10 == 0 {
					runtime.Gosched()
				}
			}
			results <- n
		}(i)
	}
	go func() { group.Wait(); close(results) }()
	var all []int
	for n := range results {
		all = append(all, n)
	}
	sort.Ints(all)
	fmt.Println(sum, len(all), all[0], all[999])

	start := time.Now()
	select {
	case <-time.After(30 * time.Millisecond):
		fmt.Println("timer", time.Since(start) >= 30*time.Millisecond)
	}
	var mutex sync.Mutex
	cond := sync.NewCond(&mutex)
	ready := false
	go func() { time.Sleep(time.Millisecond); mutex.Lock(); ready = true; cond.Broadcast(); mutex.Unlock() }()
	mutex.Lock()
	for !ready {
		cond.Wait()
	}
	mutex.Unlock()

	var keep [][]byte
	for i := 0; i < 2000; i++ {
		block := make([]byte, 64<<10)
		block[i] = byte(i)
		if i%100 == 0 {
			keep = append(keep, block)
		}
	}
	runtime.GC()
	fmt.Println(len(keep), keep[1][100])
	defer fmt.Println("deferred")
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var pointer *int
		*pointer = 1
	}()
	host, err := os.Hostname()
	fmt.Println(host != "", err)
}
