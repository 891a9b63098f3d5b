package main

// #cgo CFLAGS: -O2
// #cgo LDFLAGS: -lpthread
// #include "../../c/bench.h"
// int64_t goAddOne(int64_t);
import "C"

import "time"

// goAddOne is what the C threads of the callback rows call.
//
//export goAddOne
func goAddOne(x C.int64_t) C.int64_t { return x + 1 }

// callbackBound returns the nanoseconds per call into Go by a C thread that has called before.
func callbackBound() float64 {
	return perOp(func(n int) time.Duration {
		ns := float64(C.bench_callback_bound(C.bench_callback(C.goAddOne), C.int64_t(n)))
		check(ns >= 0, "bench_callback_bound failed")
		return time.Duration(ns)
	})
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
