package main

// #cgo CFLAGS: -O2
// #cgo LDFLAGS: -lpthread
// #include "../../c/bench.h"
// int64_t goAddOne(int64_t);
// int64_t goWake(int64_t);
import "C"

import (
	"runtime"
	"sort"
	"time"
)

// goAddOne is what the C threads of the callback rows call.
//
//export goAddOne
func goAddOne(x C.int64_t) C.int64_t { return x + 1 }

// callbackBound returns the nanoseconds per call into Go by so many C threads, each of which has called before, at the same time.
func callbackBound(threads int) float64 {
	return perOp(func(n int) time.Duration {
		ns := float64(C.bench_callback_bound(C.bench_callback(C.goAddOne), C.int64_t(n), C.int(threads)))
		check(ns >= 0, "bench_callback_bound failed")
		return time.Duration(ns)
	})
}

// best returns the better of five rounds of each of two measurements, taken in turn.
func best(first, second func() float64) (float64, float64) {
	a, b := first(), second()
	for round := 1; round < 5; round++ {
		a, b = min(a, first()), min(b, second())
	}
	return a, b
}

// callbackMain returns the nanoseconds per call into Go on the process's main thread and on one that C has made. Whoever calls it
// is on the main thread.
func callbackMain() (here, other float64) {
	return best(func() float64 {
		return perOp(func(n int) time.Duration {
			ns := float64(C.bench_callback_here(C.bench_callback(C.goAddOne), C.int64_t(n)))
			check(ns >= 0, "bench_callback_here failed")
			return time.Duration(ns)
		})
	}, func() float64 { return callbackBound(1) })
}

// callbackParallel returns the nanoseconds per call of each of two C threads at the same time, and how many times as many calls
// they get done as one.
func callbackParallel() (each, gain float64) {
	one, two := best(func() float64 { return callbackBound(1) }, func() float64 { return callbackBound(2) })
	return two, 2 * one / two
}

// toWoken has room for all, since a send to one of Rust's channels without a bound does not wait either.
var toWoken chan C.int64_t

// goWake is what the C thread of the row callback_wake calls.
//
//export goWake
func goWake(calledAt C.int64_t) C.int64_t {
	toWoken <- calledAt
	return calledAt + 1
}

// callbackWake returns median and 99th percentile of the nanoseconds from a C thread's call of goWake to the moment when the
// goroutine that receives goes on.
func callbackWake() (median, late float64) {
	wakes := scaled(2000)
	toWoken = make(chan C.int64_t, wakes)
	delays := make([]float64, wakes)
	done := make(chan struct{})
	go func() {
		last := C.int64_t(0)
		for i := range delays {
			calledAt := <-toWoken
			now := C.bench_now()
			check(last < calledAt && calledAt <= now, "the calls are told apart by their times, and come in order")
			last = calledAt
			delays[i] = float64(now - calledAt)
		}
		close(done)
	}()
	status := C.bench_callback_wake(C.bench_callback(C.goWake), C.int64_t(wakes), 150_000)
	check(status == 0, "bench_callback_wake failed")
	<-done
	sort.Float64s(delays)
	at := func(percent int) float64 { return delays[max(1, (wakes*percent+99)/100)-1] }
	return at(50), at(99)
}

// callCCallback returns the nanoseconds per call of a C function that calls back.
func callCCallback() float64 {
	return perOp(func(n int) time.Duration {
		start := time.Now()
		x := C.int64_t(0)
		for i := 0; i < n; i++ {
			x = C.bench_through(C.bench_callback(C.goAddOne), x)
		}
		took := time.Since(start)
		check(int(x) == n, "a wrong sum")
		return took
	})
}

// lockedPingpong returns the nanoseconds for a message there and an answer back, of goroutines that are locked to threads.
func lockedPingpong() float64 {
	return pingpong(0, runtime.LockOSThread)
}

// callbackFirst returns the nanoseconds that one call into Go adds to the life of a fresh C thread.
func callbackFirst() float64 {
	pairs := func(n int) float64 {
		var status C.int
		ns := float64(C.bench_callback_first(C.bench_callback(C.goAddOne), C.int64_t(n), &status))
		check(status == 0, "bench_callback_first failed")
		return ns
	}
	pairs(scaled(50))
	return pairs(scaled(4000))
}

// callC returns the nanoseconds per call of a C function.
func callC() float64 {
	return perOp(func(n int) time.Duration {
		start := time.Now()
		sum := C.int64_t(0)
		for i := 0; i < n; i++ {
			sum = C.bench_add(sum, 1)
		}
		took := time.Since(start)
		check(int(sum) == n, "a wrong sum")
		return took
	})
}
