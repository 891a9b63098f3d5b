/* The C side of the foreign-call rows. The Rust program and the Go peer compile the same source, so both sides of a comparison
 * are driven by the same loops and the same clock. */
#ifndef GORT_BENCH_H
#define GORT_BENCH_H

#include <stdint.h>

/* A function that a C thread calls back. It must return its argument plus one. */
typedef int64_t (*bench_callback)(int64_t);

/* The callee of the call_c rows: returns a + b. */
int64_t bench_add(int64_t a, int64_t b);

/* Starts one thread that calls cb a few times untimed and then n times timed. Returns the nanoseconds of the n calls together,
 * or -1 if the thread could not be made, or -2 if cb returned something else than its argument plus one. */
double bench_callback_bound(bench_callback cb, int64_t n);

/* Makes and joins pairs of threads in turn: one that calls cb once and one that only adds. Returns the median over the pairs of
 * the difference of their times in nanoseconds. Failure is reported through *status: 0 for success, else -1 or -2 as above, or
 * -3 without memory. */
double bench_callback_first(bench_callback cb, int64_t pairs, int *status);

#endif
