package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// both runs body(1) and body(2) as goroutines that begin together, and waits for them.
func both(body func(me int)) {
	var ready atomic.Int32
	var done sync.WaitGroup
	for me := 1; me <= 2; me++ {
		me := me
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Add(1)
			for ready.Load() < 2 {
				runtime.Gosched()
			}
			body(me)
		}()
	}
	done.Wait()
}

// yields returns the nanoseconds per yield of two goroutines that do nothing else; on one processor they must alternate.
func yields(procs int) float64 {
	if procs == 1 {
		const checked = 1000
		var last, changes atomic.Int64
		both(func(me int) {
			for i := 0; i < checked; i++ {
				if last.Swap(int64(me)) != int64(me) {
					changes.Add(1)
				}
				runtime.Gosched()
			}
		})
		check(changes.Load() > checked, "yields did not let the other run")
	}
	return perOp(func(n int) time.Duration {
		var start, end [3]time.Time
		both(func(me int) {
			start[me] = time.Now()
			for i := 0; i < (n+1)/2; i++ {
				runtime.Gosched()
			}
			end[me] = time.Now()
		})
		first, last := start[1], end[1]
		if start[2].Before(first) {
			first = start[2]
		}
		if end[2].After(last) {
			last = end[2]
		}
		return last.Sub(first)
	})
}

// pingpong returns the nanoseconds for a message there and an answer back. Both goroutines call prepare first.
func pingpong(buffer int, prepare func()) float64 {
	prepare()
	return perOp(func(n int) time.Duration {
		there, back, total := make(chan uint64, buffer), make(chan uint64, buffer), make(chan uint64)
		go func() {
			prepare()
			sum := uint64(0)
			for i := 0; i < n; i++ {
				value := <-there
				sum += value
				back <- value + 1
			}
			total <- sum
		}()
		start := time.Now()
		for value := uint64(0); value < uint64(n); value++ {
			there <- value
			check(<-back == value+1, "a wrong answer")
		}
		took := time.Since(start)
		check(<-total == uint64(n)*uint64(n-1)/2, "messages were lost")
		return took
	})
}

// spawnJoin returns the nanoseconds to spawn one goroutine and receive its result.
func spawnJoin() float64 {
	return perOp(func(n int) time.Duration {
		result := make(chan int)
		sum := 0
		start := time.Now()
		for i := 0; i < n; i++ {
			go func(value int) { result <- value }(i)
			sum += <-result
		}
		took := time.Since(start)
		check(sum == n*(n-1)/2, "results were lost")
		return took
	})
}

// spawnMany returns the nanoseconds per goroutine to spawn a crowd and wait for it.
func spawnMany() float64 {
	crowd := scaled(100_000)
	perCrowd := perOp(func(n int) time.Duration {
		var count atomic.Int64
		start := time.Now()
		for i := 0; i < n; i++ {
			var done sync.WaitGroup
			done.Add(crowd)
			for j := 0; j < crowd; j++ {
				go func() {
					count.Add(1)
					done.Done()
				}()
			}
			done.Wait()
		}
		took := time.Since(start)
		check(count.Load() == int64(n*crowd), "goroutines were lost")
		return took
	})
	return perCrowd / float64(crowd)
}

// node sends the sum of the numbers from first on, one per leaf below this node.
func node(up chan<- int, first, leaves int) {
	if leaves == 1 {
		up <- first
		return
	}
	results := make(chan int)
	for child := 0; child < 10; child++ {
		go node(results, first+child*leaves/10, leaves/10)
	}
	sum := 0
	for child := 0; child < 10; child++ {
		sum += <-results
	}
	up <- sum
}

// skynet returns the milliseconds for a tree of a million leaves.
func skynet() float64 {
	tree := func(leaves int) time.Duration {
		start := time.Now()
		result := make(chan int)
		go node(result, 0, leaves)
		check(<-result == leaves*(leaves-1)/2, "a wrong sum")
		return time.Since(start)
	}
	leaves := 10
	for leaves*10 <= scaled(1_000_000) {
		leaves *= 10
	}
	tree(min(leaves, 1000))
	return tree(leaves).Seconds() * 1e3
}

// mutex returns the nanoseconds per lock, increment and unlock of 100 goroutines.
func mutex() float64 {
	const lockers = 100
	each := scaled(10_000)
	perCrowd := perOp(func(n int) time.Duration {
		var lock sync.Mutex
		counter := 0
		start := time.Now()
		for i := 0; i < n; i++ {
			var done sync.WaitGroup
			for j := 0; j < lockers; j++ {
				done.Add(1)
				go func() {
					defer done.Done()
					for k := 0; k < each; k++ {
						lock.Lock()
						counter++
						lock.Unlock()
					}
				}()
			}
			done.Wait()
		}
		took := time.Since(start)
		check(counter == n*lockers*each, "increments were lost")
		return took
	})
	return perCrowd / float64(lockers*each)
}

// sleep returns the milliseconds until all of a crowd have slept one millisecond.
func sleep() float64 {
	nap := func(crowd int) time.Duration {
		var rested atomic.Int64
		var done sync.WaitGroup
		start := time.Now()
		for i := 0; i < crowd; i++ {
			done.Add(1)
			go func() {
				defer done.Done()
				layDown := time.Now()
				time.Sleep(time.Millisecond)
				if time.Since(layDown) >= time.Millisecond {
					rested.Add(1)
				}
			}()
		}
		done.Wait()
		took := time.Since(start)
		check(rested.Load() == int64(crowd), "some woke before their time")
		return took
	}
	crowd := scaled(100_000)
	nap(max(1, crowd/100))
	return nap(crowd).Seconds() * 1e3
}

// parked returns the nanoseconds to create a goroutine that waits and the bytes it then holds, with a million waiting at once.
func parked() (create, held float64) {
	round := func(crowd int) (time.Duration, int) {
		var arrived, woken atomic.Int64
		gate, all := make(chan struct{}), make(chan struct{})
		var done sync.WaitGroup
		start := time.Now()
		for i := 0; i < crowd; i++ {
			done.Add(1)
			go func() {
				defer done.Done()
				if arrived.Add(1) == int64(crowd) {
					close(all)
				}
				<-gate
				woken.Add(1)
			}()
		}
		<-all
		took := time.Since(start)
		bytes := heldBytes() - heldAtStart
		close(gate)
		done.Wait()
		check(woken.Load() == int64(crowd), "some did not return")
		return took, bytes
	}
	crowd := scaled(1_000_000)
	round(max(1, crowd/1000))
	took, bytes := round(crowd)
	return float64(took.Nanoseconds()) / float64(crowd), float64(bytes) / float64(crowd)
}
