/* Joins with a deadline: in vain, in time, at the last moment, and what may follow a join in vain. */
#define _GNU_SOURCE
#include "check.h"
#include "platform.h"
#include <pthread.h>
#include <stdint.h>

/* A goroutine that ends when it is told to, and what it returns. */
static void *until_told(void *channel) {
    void *value;
    OK(gort_channel_recv(*(gort_channel_t *)channel, &value));
    return value;
}

static void *untouched = &untouched;

/* In vain, as often as one likes; then in time. On goroutines and on other threads. */
static void *in_vain_then_in_time(void *argument) {
    const uint64_t times[] = {0, 1, 1000, 1000000, GORT_FOREVER - 1, GORT_FOREVER};
    for (size_t last = 4; last < 6; last++) {
        gort_channel_t channel;
        gort_thread_t thread;
        int told;
        OK(gort_channel_create(1, &channel));
        OK(gort_spawn(&thread, until_told, &channel, "until-told", 0));
        for (int i = 0; i < 8; i++) {
            void *result = untouched;
            RETURNS(GORT_ETIMEDOUT, gort_timed_join(thread, i % 2 ? &result : NULL, times[i % 4]));
            CHECK(result == untouched);
        }
        void *result = untouched;
        OK(gort_channel_send(channel, &told));
        OK(gort_timed_join(thread, &result, times[last]));
        CHECK(result == &told);
        RETURNS(GORT_ENOHANDLE, gort_timed_join(thread, &result, times[last]));
        OK(gort_channel_free(channel));
    }
    return argument;
}

/* After a join in vain the handle may be joined without a deadline, or detached, before the goroutine ends or after. */
static void *in_vain_then_otherwise(void *argument) {
    gort_channel_t channel;
    gort_thread_t thread;
    gort_stats_t stats = {0};
    stats.size = sizeof stats;
    OK(gort_channel_create(1, &channel));
    for (int way = 0; way < 3; way++) {
        OK(gort_stats(&stats));
        uint64_t alive = stats.goroutines;
        OK(gort_spawn(&thread, until_told, &channel, NULL, 0));
        RETURNS(GORT_ETIMEDOUT, gort_timed_join(thread, NULL, 1000));
        if (way == 0)
            OK(gort_detach(thread));
        OK(gort_channel_send(channel, NULL));
        if (way == 1)
            OK(gort_join(thread, NULL));
        do {
            OK(gort_yield());
            OK(gort_stats(&stats));
        } while (stats.goroutines > alive);
        if (way == 2)
            OK(gort_detach(thread));
        RETURNS(GORT_ENOHANDLE, gort_unpark(thread));
        RETURNS(GORT_ENOHANDLE, gort_timed_join(thread, NULL, 0));
    }
    OK(gort_channel_free(channel));
    return argument;
}

/* Goroutines that end about when the patience of who joins them does. */
static void *ends_soon(void *round) {
    for (intptr_t i = (intptr_t)round % 7; i > 0; i--)
        OK(i % 2 ? gort_yield() : gort_sleep((uint64_t)i * 5000));
    return round;
}

static void *at_the_last_moment(void *argument) {
    for (intptr_t round = 0; round < 300; round++) {
        gort_thread_t thread;
        void *result = untouched;
        int code;
        OK(gort_spawn(&thread, ends_soon, (void *)round, NULL, 0));
        while ((code = gort_timed_join(thread, &result, (uint64_t)(round % 11) * 3000)) == GORT_ETIMEDOUT)
            CHECK(result == untouched);
        OK(code);
        CHECK((intptr_t)result == round);
    }
    return argument;
}

/* A goroutine has not ended before the destructors of its keys have. */
static pthread_key_t key;

static void destructor(void *channel) {
    void *value;
    OK(gort_channel_send(*(gort_channel_t *)channel, NULL));
    OK(gort_channel_recv(*(gort_channel_t *)channel, &value));
}

static void *has_a_key(void *channel) {
    CHECK(pthread_setspecific(key, channel) == 0);
    return channel;
}

static void *destructors_are_awaited(void *argument) {
    if (!THREADS_TO_THE_PROGRAM)
        return argument;
    gort_channel_t channel;
    gort_thread_t thread;
    void *value, *result = untouched;
    OK(gort_channel_create(0, &channel));
    OK(gort_spawn(&thread, has_a_key, &channel, NULL, 0));
    OK(gort_channel_recv(channel, &value)); /* its function has returned */
    RETURNS(GORT_ETIMEDOUT, gort_timed_join(thread, &result, 100000));
    CHECK(result == untouched);
    OK(gort_channel_send(channel, NULL));
    OK(gort_timed_join(thread, &result, SECONDS(1000)));
    CHECK(result == &channel);
    OK(gort_channel_free(channel));
    return argument;
}

/* While somebody waits others get a code; when he has given up they may. */
static void *waits_for_it(void *thread) {
    return (void *)(intptr_t)gort_timed_join(*(gort_thread_t *)thread, NULL, SECONDS(1000));
}

static void *one_at_a_time(void *argument) {
    gort_channel_t channel;
    gort_thread_t thread, waiter;
    void *code;
    int mine;
    OK(gort_channel_create(1, &channel));
    OK(gort_spawn(&thread, until_told, &channel, NULL, 0));
    OK(gort_spawn(&waiter, waits_for_it, &thread, NULL, 0));
    /* It may be the one who is told GORT_EBUSY, and so end, if it comes while we have the handle. */
    while ((mine = gort_timed_join(thread, NULL, 0)) == GORT_ETIMEDOUT && gort_timed_join(waiter, &code, 0) == GORT_ETIMEDOUT)
        OK(gort_yield());
    if (mine == GORT_EBUSY) {
        RETURNS(GORT_EBUSY, gort_join(thread, NULL));
        RETURNS(GORT_EBUSY, gort_detach(thread));
        OK(gort_channel_send(channel, NULL));
        OK(gort_join(waiter, &code));
        RETURNS(GORT_OK, (int)(intptr_t)code);
    } else {
        RETURNS(GORT_EBUSY, (int)(intptr_t)code);
        OK(gort_channel_send(channel, NULL));
        OK(gort_join(thread, NULL));
    }
    RETURNS(GORT_ENOHANDLE, gort_timed_join(thread, NULL, 0));
    OK(gort_channel_free(channel));
    return argument;
}

int main(void) {
    static void *(*const parts[])(void *) = {
        in_vain_then_in_time, in_vain_then_otherwise, at_the_last_moment, destructors_are_awaited, one_at_a_time,
    };
    CHECK(pthread_key_create(&key, destructor) == 0);
    start();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        gort_thread_t goroutine;
        pthread_t thread;
        OK(gort_spawn(&goroutine, parts[i], NULL, "joins", 0));
        OK(gort_timed_join(goroutine, NULL, GORT_FOREVER));
        CHECK(pthread_create(&thread, NULL, parts[i], NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        parts[i](NULL);
    }
    stop();
    CHECK(pthread_key_delete(key) == 0);
    return 0;
}
