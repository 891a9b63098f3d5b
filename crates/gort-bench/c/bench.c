/* See bench.h for what each function promises. */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Calls made before the clock starts: they bind the thread to the runtime and warm the caches. */
#define WARM_UP 1000

struct work {
    bench_callback cb;
    int64_t n;
    double ns;
    int ok;
};

/* Monotonic time in nanoseconds. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int64_t bench_add(int64_t a, int64_t b)
{
    return a + b;
}

/* The callee of the bare thread. */
static int64_t add_one(int64_t x)
{
    return bench_add(x, 1);
}

static void *bound_thread(void *arg)
{
    struct work *w = arg;
    int64_t x = 0;
    for (int64_t i = 0; i < WARM_UP; i++)
        x = w->cb(x);
    double start = now_ns();
    for (int64_t i = 0; i < w->n; i++)
        x = w->cb(x);
    w->ns = now_ns() - start;
    w->ok = x == w->n + WARM_UP;
    return NULL;
}

static void *once_thread(void *arg)
{
    struct work *w = arg;
    w->ok = w->cb(41) == 42;
    return NULL;
}

double bench_callback_bound(bench_callback cb, int64_t n)
{
    struct work w = {cb, n, 0.0, 0};
    pthread_t t;
    if (pthread_create(&t, NULL, bound_thread, &w) != 0)
        return -1.0;
    pthread_join(t, NULL);
    return w.ok ? w.ns : -2.0;
}

/* Makes and joins one thread that calls cb once; returns the nanoseconds it took, or sets *status. */
static double one_thread(bench_callback cb, int *status)
{
    struct work w = {cb, 1, 0.0, 0};
    pthread_t t;
    double start = now_ns();
    if (pthread_create(&t, NULL, once_thread, &w) != 0) {
        *status = -1;
        return 0.0;
    }
    pthread_join(t, NULL);
    double ns = now_ns() - start;
    if (!w.ok)
        *status = -2;
    return ns;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_callback_first(bench_callback cb, int64_t pairs, int *status)
{
    double *difference = malloc((size_t)pairs * sizeof *difference);
    if (difference == NULL) {
        *status = -3;
        return 0.0;
    }
    *status = 0;
    for (int64_t i = 0; i < pairs && *status == 0; i++) {
        double with, without;
        /* The order within a pair changes, so that neither kind always follows the other. */
        if (i & 1) {
            with = one_thread(cb, status);
            without = one_thread(add_one, status);
        } else {
            without = one_thread(add_one, status);
            with = one_thread(cb, status);
        }
        difference[i] = with - without;
    }
    double median = 0.0;
    if (*status == 0) {
        qsort(difference, (size_t)pairs, sizeof *difference, by_value);
        median = difference[pairs / 2];
    }
    free(difference);
    return median;
}
