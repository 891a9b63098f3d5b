/* See bench.h for what each function promises. */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* Calls made before the clock starts: they bind the thread to the runtime and warm the caches. */
#define WARM_UP 1000

/* Where threads meet before the timed calls. */
struct meeting {
    atomic_int arrived;
    enum { WAIT, GO, GIVE_UP } _Atomic word;
};

/* What one thread does, and what came of it. */
struct work {
    bench_callback cb;
    int64_t n;
    /* NULL for one that is alone. */
    struct meeting *meeting;
    int64_t pause;
    int64_t start, end;
    int ok;
};

int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t bench_add(int64_t a, int64_t b)
{
    return a + b;
}

int64_t bench_through(bench_callback cb, int64_t x)
{
    return cb(x);
}

/* The callee of the bare thread. */
static int64_t add_one(int64_t x)
{
    return bench_add(x, 1);
}

/* Waits for the others; 0 if they will not come. */
static int meet(struct meeting *m)
{
    if (m == NULL)
        return 1;
    atomic_fetch_add(&m->arrived, 1);
    while (m->word == WAIT)
        sched_yield();
    return m->word == GO;
}

static void *bound_thread(void *arg)
{
    struct work *w = arg;
    int64_t x = 0;
    for (int64_t i = 0; i < WARM_UP; i++)
        x = w->cb(x);
    if (!meet(w->meeting))
        return NULL;
    w->start = bench_now();
    for (int64_t i = 0; i < w->n; i++)
        x = w->cb(x);
    w->end = bench_now();
    w->ok = x == w->n + WARM_UP;
    return NULL;
}

static void *once_thread(void *arg)
{
    struct work *w = arg;
    w->ok = w->cb(41) == 42;
    return NULL;
}

double bench_callback_here(bench_callback cb, int64_t n)
{
    struct work w = {.cb = cb, .n = n};
    bound_thread(&w);
    return w.ok ? (double)(w.end - w.start) : -2.0;
}

double bench_callback_bound(bench_callback cb, int64_t n, int threads)
{
    struct work w[BENCH_THREADS];
    pthread_t t[BENCH_THREADS];
    struct meeting meeting = {0, WAIT};
    int made = 0, ok = threads >= 1 && threads <= BENCH_THREADS;
    while (ok && made < threads) {
        w[made] = (struct work){.cb = cb, .n = n, .meeting = &meeting};
        ok = pthread_create(&t[made], NULL, bound_thread, &w[made]) == 0;
        made += ok;
    }
    while (ok && meeting.arrived < threads)
        sched_yield();
    meeting.word = ok ? GO : GIVE_UP;
    for (int i = 0; i < made; i++)
        pthread_join(t[i], NULL);
    if (!ok)
        return -1.0;
    for (int i = 0; i < threads; i++)
        ok = ok && w[i].ok;
    int64_t start = w[0].start, end = w[0].end;
    for (int i = 1; i < threads; i++) {
        start = w[i].start < start ? w[i].start : start;
        end = w[i].end > end ? w[i].end : end;
    }
    return ok ? (double)(end - start) : -2.0;
}

static void *waking_thread(void *arg)
{
    struct work *w = arg;
    const struct timespec pause = {w->pause / 1000000000, w->pause % 1000000000};
    w->ok = 1;
    for (int64_t i = 0; i < w->n; i++) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        int64_t now = bench_now();
        w->ok = w->cb(now) == now + 1 && w->ok;
    }
    return NULL;
}

int bench_callback_wake(bench_callback cb, int64_t n, int64_t pause)
{
    struct work w = {.cb = cb, .n = n, .pause = pause};
    pthread_t t;
    if (pthread_create(&t, NULL, waking_thread, &w) != 0)
        return -1;
    pthread_join(t, NULL);
    return w.ok ? 0 : -2;
}

/* Makes and joins one thread that calls cb once; returns the nanoseconds it took, or sets *status. */
static double one_thread(bench_callback cb, int *status)
{
    struct work w = {.cb = cb};
    pthread_t t;
    int64_t start = bench_now();
    if (pthread_create(&t, NULL, once_thread, &w) != 0) {
        *status = -1;
        return 0.0;
    }
    pthread_join(t, NULL);
    double ns = (double)(bench_now() - start);
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
