// Times getpid as a Go program calls it: prints "getpid-go ns", as main.c does. -q is for quick.
package main

import (
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

func batch(times int) time.Duration {
	start := time.Now()
	for i := 0; i < times; i++ {
		syscall.Getpid()
	}
	return time.Since(start)
}

func main() {
	shortest, batches := 5*time.Millisecond, 9
	if len(os.Args) > 1 && os.Args[1] == "-q" {
		shortest, batches = 200*time.Microsecond, 3
	}
	times := 1
	for batch(times) < shortest {
		times *= 2
	}
	var ns []float64
	for i := 0; i < batches; i++ {
		ns = append(ns, float64(batch(times).Nanoseconds())/float64(times))
	}
	sort.Float64s(ns)
	fmt.Printf("getpid-go %.1f\n", ns[batches/2])
}
