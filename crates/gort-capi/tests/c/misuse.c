/* Wrong uses, each of which is a code: never a crash, never a hang. */
#define _GNU_SOURCE
#include "check.h"
#include "platform.h"
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define BAD ((gort_thread_t)0x123456789abcdef)

static void *nothing(void *argument) { return argument; }

/* Everything that takes a handle, with one that stands for nothing. */
static void no_handle(gort_thread_t thread, gort_channel_t channel, int code) {
    void *value = &value;
    uint64_t id;
    RETURNS(code, gort_join(thread, &value));
    RETURNS(code, gort_timed_join(thread, &value, GORT_FOREVER));
    RETURNS(code, gort_detach(thread));
    RETURNS(code, gort_unpark(thread));
    RETURNS(code, gort_id(thread, &id));
    RETURNS(code, gort_channel_send(channel, NULL));
    RETURNS(code, gort_channel_try_send(channel, NULL));
    RETURNS(code, gort_channel_timed_send(channel, NULL, 1));
    RETURNS(code, gort_channel_recv(channel, &value));
    RETURNS(code, gort_channel_try_recv(channel, &value));
    RETURNS(code, gort_channel_timed_recv(channel, &value, 1));
    RETURNS(code, gort_channel_close(channel));
    RETURNS(code, gort_channel_free(channel));
    CHECK(value == &value);
}

/* Closing brackets that were never opened; once on each kind of caller. */
static void *unbalanced(void *argument) {
    for (int i = 0; i < 2; i++) {
        RETURNS(GORT_EUNBALANCED, gort_leave());
        RETURNS(GORT_EUNBALANCED, gort_blocking_end());
        RETURNS(GORT_EUNBALANCED, gort_unlock_thread());
        OK(gort_enter());
        OK(gort_leave());
        OK(gort_blocking_begin());
        OK(gort_blocking_end());
        OK(gort_lock_thread());
        OK(gort_unlock_thread());
    }
    return argument;
}

/* Opens brackets and ends. */
static void *leaves_open(void *argument) {
    for (int i = 0; i < 3; i++) {
        OK(gort_enter());
        OK(gort_blocking_begin());
        OK(gort_lock_thread());
    }
    return argument;
}

static void before_the_start(void) {
    gort_thread_t thread = 7;
    RETURNS(GORT_ENOTSTARTED, gort_spawn(&thread, nothing, NULL, NULL, 0));
    CHECK(thread == 0);
    OK(gort_shutdown(0));
    no_handle(0, 0, GORT_ENOHANDLE);
    no_handle(BAD, BAD, GORT_ENOHANDLE);
    /* What needs no runtime. */
    gort_stats_t stats = {0};
    stats.size = sizeof stats;
    OK(gort_stats(&stats));
    CHECK(stats.goroutines == 0 && stats.version == GORT_STATS_VERSION);
    OK(gort_sleep(1));
    OK(gort_yield());
    OK(gort_current(&thread));
    OK(gort_unpark(thread));
    OK(gort_park(GORT_FOREVER));
    OK(gort_park(0));
    unbalanced(NULL);
}

static void settings(void) {
    char text[200];
    size_t length;
    gort_config_t config = {0};
    RETURNS(GORT_EINVAL, gort_start(&config)); /* no size */
    OK(gort_last_error(text, sizeof text, &length));
    CHECK(strstr(text, "sizeof(gort_config_t)") && strlen(text) == length);
    RETURNS(GORT_ENONE, gort_last_error(text, sizeof text, &length));
    config.size = SIZE_MAX;
    RETURNS(GORT_EINVAL, gort_start(&config));
    config.size = sizeof config;
    config.procs = 5000;
    RETURNS(GORT_EINVAL, gort_start(&config));
    RETURNS(GORT_ERANGE, gort_last_error(text, 5, &length));
    CHECK(strlen(text) == 4);
    RETURNS(GORT_ERANGE, gort_last_error(NULL, 0, &length));
    RETURNS(GORT_EINVAL, gort_last_error(NULL, 5, NULL));
    OK(gort_last_error(text, length + 1, NULL));
    CHECK(strstr(text, "1 to 1024"));
    config.procs = 0;
    config.backend = 3;
    RETURNS(GORT_EINVAL, gort_start(&config));
    config.backend = 0;
    config.stack_size = 1;
    RETURNS(GORT_EINVAL, gort_start(&config));
    config.stack_size = 0;
    config.overflow_report = 9;
    RETURNS(GORT_EINVAL, gort_start(&config));
    config.overflow_report = 0;
    config.reserved = 1;
    RETURNS(GORT_EINVAL, gort_start(&config));
    config.reserved = 0;
    /* A later version's: larger, with something set, or with nothing. */
    struct {
        gort_config_t config;
        uint64_t more;
    } later = {config, 1};
    later.config.size = sizeof later;
    RETURNS(GORT_EINVAL, gort_start(&later.config));
    later.more = 0;
    OK(gort_start(&later.config));
    RETURNS(GORT_ESTARTED, gort_start(&later.config));
    RETURNS(GORT_ESTARTED, gort_start(NULL));
}

static void nulls(void) {
    gort_channel_t channel;
    gort_thread_t thread = 7;
    gort_stats_t stats = {0};
    int parks;
    OK(gort_channel_create(1, &channel));
    RETURNS(GORT_EINVAL, gort_spawn(&thread, NULL, NULL, NULL, 0));
    RETURNS(GORT_EINVAL, gort_spawn(NULL, NULL, NULL, NULL, 0));
    RETURNS(GORT_EINVAL, gort_current(NULL));
    RETURNS(GORT_EINVAL, gort_id(0, NULL));
    RETURNS(GORT_EINVAL, gort_channel_create(1, NULL));
    RETURNS(GORT_EINVAL, gort_channel_recv(channel, NULL));
    RETURNS(GORT_EINVAL, gort_channel_try_recv(channel, NULL));
    RETURNS(GORT_EINVAL, gort_channel_timed_recv(channel, NULL, 1));
    RETURNS(GORT_EINVAL, gort_stats(NULL));
    RETURNS(GORT_EINVAL, gort_stats(&stats));
    stats.size = 100000;
    RETURNS(GORT_EINVAL, gort_stats(&stats));
    RETURNS(GORT_ENONE, gort_last_panic(NULL, 1, NULL));
    RETURNS(GORT_ESYSTEM, gort_dump(-1));
    RETURNS(GORT_EINVAL, gort_parks("read", NULL));
    RETURNS(GORT_ENONE, gort_parks("no_such_function", &parks));
    OK(gort_channel_free(channel));
    CHECK(strcmp(gort_strerror(-5), gort_strerror(1000)) == 0 && gort_strerror(0)[0] != 0);
}

/* Wakes up two joiners, of whom one is too late. */
static void *joins(void *thread) {
    return (void *)(intptr_t)gort_join(*(gort_thread_t *)thread, NULL);
}

static void *receives(void *channel) {
    void *value;
    return (void *)(intptr_t)gort_channel_recv(*(gort_channel_t *)channel, &value);
}

static void *joins_itself(void *out) {
    gort_thread_t me;
    OK(gort_current(&me));
    RETURNS(GORT_EDEADLOCK, gort_join(me, NULL));
    RETURNS(GORT_EDEADLOCK, gort_timed_join(me, NULL, 0));
    RETURNS(GORT_EDEADLOCK, gort_shutdown(0));
    *(gort_thread_t *)out = me;
    return out;
}

static void handles(void) {
    gort_channel_t channel;
    gort_thread_t thread, me, said, ended;
    void *codes[2];
    /* Twice, each. */
    OK(gort_spawn(&thread, nothing, NULL, NULL, 0));
    OK(gort_join(thread, NULL));
    no_handle(thread, thread, GORT_ENOHANDLE);
    OK(gort_channel_create(0, &channel));
    OK(gort_channel_close(channel));
    RETURNS(GORT_ECLOSED, gort_channel_close(channel));
    RETURNS(GORT_ECLOSED, gort_channel_send(channel, NULL));
    RETURNS(GORT_ENOHANDLE, gort_join(channel, NULL));
    OK(gort_channel_free(channel));
    no_handle(channel, channel, GORT_ENOHANDLE);
    /* Two join one goroutine: one of them has it, and the other a code. */
    OK(gort_channel_create(0, &channel));
    OK(gort_spawn(&thread, receives, &channel, NULL, 0));
    gort_thread_t joiners[2];
    for (int i = 0; i < 2; i++)
        OK(gort_spawn(&joiners[i], joins, &thread, NULL, 0));
    OK(gort_channel_send(channel, NULL));
    for (int i = 0; i < 2; i++)
        OK(gort_join(joiners[i], &codes[i]));
    CHECK((codes[0] == GORT_OK) != (codes[1] == GORT_OK));
    intptr_t other = (intptr_t)codes[codes[0] == GORT_OK];
    CHECK(other == GORT_EBUSY || other == GORT_ENOHANDLE);
    /* Detached, while it lives; it may look for the channel when all of this has returned. */
    static gort_channel_t detached;
    detached = channel;
    OK(gort_spawn(&thread, receives, &detached, NULL, 0));
    OK(gort_detach(thread));
    RETURNS(GORT_ENOTJOINABLE, gort_detach(thread));
    RETURNS(GORT_ENOTJOINABLE, gort_join(thread, NULL));
    RETURNS(GORT_ENOTJOINABLE, gort_timed_join(thread, NULL, 0));
    /* Detached, when it has ended: nothing is left of it. */
    gort_stats_t stats = {0};
    stats.size = sizeof stats;
    OK(gort_stats(&stats));
    uint64_t alive = stats.goroutines;
    OK(gort_spawn(&ended, nothing, NULL, NULL, 0));
    do {
        OK(gort_yield());
        OK(gort_stats(&stats));
    } while (stats.goroutines > alive);
    OK(gort_detach(ended));
    RETURNS(GORT_ENOHANDLE, gort_unpark(ended));
    /* It cannot be shut down, or waited for, by who is inside; nor without patience. */
    OK(gort_enter());
    RETURNS(GORT_EDEADLOCK, gort_shutdown(SECONDS(1)));
    OK(gort_leave());
    RETURNS(GORT_EBUSY, gort_shutdown(0));
    /* Freed under somebody who waits. */
    OK(gort_channel_free(channel));
    /* A thread is not joined by its handle. */
    OK(gort_current(&me));
    RETURNS(GORT_ENOTJOINABLE, gort_join(me, NULL));
    RETURNS(GORT_ENOTJOINABLE, gort_timed_join(me, NULL, GORT_FOREVER));
    RETURNS(GORT_ENOTJOINABLE, gort_detach(me));
    /* Itself. */
    OK(gort_spawn(&thread, joins_itself, &said, NULL, 0));
    OK(gort_join(thread, NULL));
    CHECK(said == thread);
}

/* The handle of a thread that has ended. */
static void *says_who(void *out) {
    OK(gort_current(out));
    return NULL;
}

static void brackets(void) {
    gort_thread_t goroutine, ended;
    pthread_t thread;
    for (int i = 0; i < 20; i++) {
        OK(gort_spawn(&goroutine, i % 2 ? leaves_open : unbalanced, NULL, NULL, 0));
        OK(gort_join(goroutine, NULL));
        CHECK(pthread_create(&thread, NULL, i % 2 ? leaves_open : unbalanced, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    unbalanced(NULL);
    CHECK(pthread_create(&thread, NULL, says_who, &ended) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    no_handle(ended, 0, GORT_ENOHANDLE);
}

/* Enters in the destructor of a key, after gort's own has run where that comes first; and leaves, or does not. */
static pthread_key_t key;

static void destructor(void *round) {
    if ((intptr_t)round == 1 && !GORTS_END_COMES_FIRST)
        OK(gort_leave()); /* what the thread has entered itself */
    RETURNS(GORT_EUNBALANCED, gort_leave());
    OK(gort_enter());
    OK(gort_enter());
    if ((intptr_t)round < 3)
        CHECK(pthread_setspecific(key, (void *)((intptr_t)round + 1)) == 0);
    OK(gort_leave());
    OK(gort_leave());
    RETURNS(GORT_EUNBALANCED, gort_leave());
}

static void *ends_with_a_key(void *argument) {
    OK(gort_enter());
    CHECK(pthread_setspecific(key, (void *)(intptr_t)1) == 0);
    return argument; /* without leaving: its end is taken for that */
}

static void at_a_threads_end(void) {
    pthread_t thread;
    gort_stats_t stats = {0};
    stats.size = sizeof stats;
    CHECK(pthread_key_create(&key, destructor) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(pthread_create(&thread, NULL, ends_with_a_key, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    OK(gort_stats(&stats));
    CHECK(stats.inside == 0 && stats.bound_threads <= 1);
}

#ifdef _WIN32
#include "forks_windows.h"
#else
#include "forks_linux.h"
#endif

static void after_the_end(void) {
    gort_channel_t channel;
    gort_thread_t ended, thread, parents;
    void *value;
    OK(gort_spawn(&ended, nothing, &channel, NULL, 0));
    OK(gort_current(&parents));
    OK(gort_channel_create(1, &channel));
    stop();
    stop();
    RETURNS(GORT_ESHUTDOWN, gort_spawn(&thread, nothing, NULL, NULL, 0));
    RETURNS(GORT_ESHUTDOWN, gort_spawn(NULL, nothing, NULL, NULL, 0));
    RETURNS(GORT_ESHUTDOWN, gort_enter());
    RETURNS(GORT_EUNBALANCED, gort_leave());
    OK(gort_join(ended, &value));
    CHECK(value == &channel);
    OK(gort_channel_send(channel, NULL));
    OK(gort_channel_recv(channel, &value));
    OK(gort_sleep(1));
    OK(gort_blocking_begin());
    OK(gort_blocking_end());
    forking_after_the_end(parents, channel);
    OK(gort_channel_free(channel));
}

int main(void) {
    before_the_start();
    settings();
    for (int life = 0; life < 2; life++) {
        nulls();
        handles();
        brackets();
        at_a_threads_end();
        CHECK(pthread_key_delete(key) == 0);
        forking();
        after_the_end();
        if (life == 0)
            start();
    }
    return 0;
}
