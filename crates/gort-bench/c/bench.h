/* The C side of the foreign-call rows. The Rust program and the Go peer compile the same source, so both sides of a comparison
 * are driven by the same loops and the same clock. */
#ifndef GORT_BENCH_H
#define GORT_BENCH_H

#include <stdint.h>

/* A function that a C thread calls back. It must return its argument plus one. */
typedef int64_t (*bench_callback)(int64_t);

/* The callee of the call_c rows: returns a + b. */
int64_t bench_add(int64_t a, int64_t b);

/* The callee of the call_c_callback row: returns cb(x). */
int64_t bench_through(bench_callback cb, int64_t x);

/* Monotonic time in nanoseconds. */
int64_t bench_now(void);

/* Calls cb a few times untimed and then n times timed, on the calling thread. Returns the nanoseconds of the n calls together, or
 * -2 if cb returned something else than its argument plus one. */
double bench_callback_here(bench_callback cb, int64_t n);

/* Starts so many threads, at most BENCH_THREADS, each of which calls cb a few times untimed and then, together with the others, n
 * times timed. Returns the nanoseconds from the first timed call to the end of the last one, or -1 if a thread could not be made,
 * or -2 if cb returned something else than its argument plus one. */
#define BENCH_THREADS 64
double bench_callback_bound(bench_callback cb, int64_t n, int threads);

/* Starts a thread that calls cb n times with the time at the call, as of bench_now, and sleeps for pause nanoseconds before each.
 * Returns 0 when the thread has ended, or -1 or -2 as above. */
int bench_callback_wake(bench_callback cb, int64_t n, int64_t pause);

/* Makes and joins pairs of threads in turn: one that calls cb once and one that only adds. Returns the median over the pairs of
 * the difference of their times in nanoseconds. Failure is reported through *status: 0 for success, else -1 or -2 as above, or
 * -3 without memory. */
double bench_callback_first(bench_callback cb, int64_t pairs, int *status);

#endif
