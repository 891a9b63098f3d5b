/* See pump.h. */
#include "pump.h"
#include "nap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One thread of the pump, with a tally of its own: nothing is shared while events flow. */
struct worker {
    pthread_t thread;
    uint32_t number;
    uint64_t events;
    pump_handler handler;
    void *host;
    struct pump_tally tally;
};

int64_t pump_value(uint32_t thread, uint64_t event) {
    uint64_t mixed = ((uint64_t)thread << 40) + event + 1;
    mixed *= 0x9E3779B97F4A7C15u;
    return (int64_t)(mixed >> 48);
}

static void *work(void *argument) {
    struct worker *self = argument;
    struct pump_tally *tally = &self->tally;

    for (uint64_t event = 0; event < self->events; event++) {
        int64_t value = pump_value(self->number, event);
        int64_t answer = self->handler(self->host, self->number, event, value);
        tally->calls++;
        tally->sent_sum += value;
        if (answer < 0) {
            tally->refused++;
            tally->refused_sum += value;
        } else if (answer != value) {
            tally->wrong++;
        }
    }
    return NULL;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint32_t pump_run(uint32_t threads, uint64_t events, pump_handler handler, void *host,
                  struct pump_tally *tally) {
    memset(tally, 0, sizeof *tally);
    struct worker *workers = calloc(threads, sizeof *workers);
    if (workers == NULL)
        return 0;

    uint64_t start = now();
    uint32_t started = 0;
    for (; started < threads; started++) {
        struct worker *worker = &workers[started];
        worker->number = started;
        worker->events = events;
        worker->handler = handler;
        worker->host = host;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0)
            break;
    }
    for (uint32_t number = 0; number < started; number++) {
        struct worker *worker = &workers[number];
        pthread_join(worker->thread, NULL);
        tally->calls += worker->tally.calls;
        tally->refused += worker->tally.refused;
        tally->wrong += worker->tally.wrong;
        tally->sent_sum += worker->tally.sent_sum;
        tally->refused_sum += worker->tally.refused_sum;
    }
    tally->nanoseconds = now() - start;
    free(workers);
    return started;
}

static atomic_uint napping;

void pump_nap(uint64_t milliseconds) {
    atomic_fetch_add(&napping, 1);
    nap(milliseconds);
    atomic_fetch_sub(&napping, 1);
}

uint32_t pump_napping(void) {
    return atomic_load(&napping);
}
