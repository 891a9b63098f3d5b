/* Each function, used as it should be. */
#define _GNU_SOURCE
#include "check.h"
#include "platform.h"
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

static void *twice(void *number) { return (void *)((intptr_t)number * 2); }

static void spawning(void) {
    gort_thread_t threads[100];
    uint64_t id, other;
    for (intptr_t i = 0; i < 100; i++) {
        OK(gort_spawn(&threads[i], twice, (void *)i, i % 2 ? "twice" : NULL, i % 10 ? 0 : 1 << 20));
        CHECK(threads[i] != 0);
    }
    OK(gort_id(threads[0], &id));
    OK(gort_id(threads[1], &other));
    CHECK(id != other);
    for (intptr_t i = 0; i < 100; i++) {
        void *result = NULL;
        OK(gort_join(threads[i], i == 50 ? NULL : &result));
        CHECK(i == 50 || (intptr_t)result == i * 2);
    }
}

/* The sum of what comes out of a channel until it is closed. */
struct sum {
    gort_channel_t from;
    intptr_t sum;
};

static void *add(void *argument) {
    struct sum *sum = argument;
    void *value;
    int code;
    while ((code = gort_channel_recv(sum->from, &value)) == GORT_OK)
        sum->sum += (intptr_t)value;
    RETURNS(GORT_ECLOSED, code);
    return NULL;
}

static void *add_with_patience(void *argument) {
    struct sum *sum = argument;
    void *value;
    int code;
    while ((code = gort_channel_timed_recv(sum->from, &value, 1000)) != GORT_ECLOSED) {
        if (code == GORT_OK)
            sum->sum += (intptr_t)value;
        else
            RETURNS(GORT_ETIMEDOUT, code);
    }
    return NULL;
}

/* Goroutines and threads, on both sides of channels of several sizes. */
static void channels(void) {
    const size_t capacities[] = {0, 1, 10};
    for (size_t c = 0; c < 3; c++) {
        gort_channel_t channel;
        OK(gort_channel_create(capacities[c], &channel));
        struct sum sums[4] = {{channel, 0}, {channel, 0}, {channel, 0}, {channel, 0}};
        gort_thread_t goroutines[2];
        pthread_t threads[2];
        OK(gort_spawn(&goroutines[0], add, &sums[0], "adds", 0));
        OK(gort_spawn(&goroutines[1], add_with_patience, &sums[1], NULL, 0));
        CHECK(pthread_create(&threads[0], NULL, add, &sums[2]) == 0);
        CHECK(pthread_create(&threads[1], NULL, add_with_patience, &sums[3]) == 0);
        for (intptr_t i = 1; i <= 1000; i++) {
            int code = i % 3 ? gort_channel_send(channel, (void *)i) : gort_channel_try_send(channel, (void *)i);
            if (code == GORT_EAGAIN)
                code = gort_channel_timed_send(channel, (void *)i, GORT_FOREVER);
            OK(code);
        }
        OK(gort_channel_close(channel));
        intptr_t sum = 0;
        for (int i = 0; i < 2; i++) {
            OK(gort_join(goroutines[i], NULL));
            CHECK(pthread_join(threads[i], NULL) == 0);
            sum += sums[i].sum + sums[i + 2].sum;
        }
        CHECK(sum == 500500);
        OK(gort_channel_free(channel));
    }
}

/* A goroutine and a thread hand a turn to each other by park and unpark. */
struct turns {
    gort_channel_t introductions;
    int turn; /* by __atomic */
};

struct player {
    struct turns *turns;
    int number;
};

static void *play(void *argument) {
    struct player *player = argument;
    struct turns *turns = player->turns;
    gort_thread_t me, *other;
    OK(gort_current(&me));
    if (player->number == 0) {
        OK(gort_channel_send(turns->introductions, &me));
        OK(gort_channel_recv(turns->introductions, (void **)&other));
    } else {
        OK(gort_channel_recv(turns->introductions, (void **)&other));
        OK(gort_channel_send(turns->introductions, &me));
    }
    for (int round = player->number; round < 200; round += 2) {
        while (__atomic_load_n(&turns->turn, __ATOMIC_ACQUIRE) != round)
            OK(gort_park(round % 3 ? GORT_FOREVER : 1000000));
        __atomic_store_n(&turns->turn, round + 1, __ATOMIC_RELEASE);
        /* Its handle lies on the other's stack, which stays until both have finished. */
        OK(gort_unpark(*other));
    }
    while (__atomic_load_n(&turns->turn, __ATOMIC_ACQUIRE) < 200)
        OK(gort_park(GORT_FOREVER));
    gort_thread_t again;
    OK(gort_current(&again));
    CHECK(again == me);
    /* Neither may end before the other has unparked it for the last time. */
    OK(player->number == 0 ? gort_channel_send(turns->introductions, NULL)
                           : gort_channel_recv(turns->introductions, (void **)&other));
    return NULL;
}

static void parking(void) {
    struct turns turns = {0, 0};
    OK(gort_channel_create(0, &turns.introductions));
    struct player players[2] = {{&turns, 0}, {&turns, 1}};
    gort_thread_t goroutine;
    OK(gort_spawn(&goroutine, play, &players[1], "player", 0));
    play(&players[0]);
    OK(gort_join(goroutine, NULL));
    OK(gort_channel_free(turns.introductions));
}

/* Brackets, which nest, on a goroutine and on a thread. */
static void *brackets(void *argument) {
    (void)argument;
    OK(gort_enter());
    OK(gort_enter());
    OK(gort_blocking_begin());
    OK(gort_blocking_begin());
    OK(gort_lock_thread());
    OK(gort_sleep(1000));
    errno = 77;
    OK(gort_blocking_end());
    OK(gort_blocking_end());
    CHECK(errno == 77);
    OK(gort_yield());
    OK(gort_unlock_thread());
    OK(gort_leave());
    OK(gort_leave());
    return NULL;
}

static void bracketing(void) {
    gort_thread_t goroutine;
    pthread_t thread;
    OK(gort_spawn(&goroutine, brackets, NULL, NULL, 0));
    CHECK(pthread_create(&thread, NULL, brackets, NULL) == 0);
    brackets(NULL);
    OK(gort_join(goroutine, NULL));
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A detached goroutine, before and after its end, and one that was never asked for. */
static void *tell(void *channel) {
    OK(gort_channel_send(*(gort_channel_t *)channel, NULL));
    return NULL;
}

static void detaching(void) {
    gort_channel_t channel;
    gort_thread_t thread;
    void *value;
    OK(gort_channel_create(1, &channel));
    for (int i = 0; i < 20; i++) {
        OK(gort_spawn(&thread, tell, &channel, NULL, 0));
        if (i % 2)
            OK(gort_channel_recv(channel, &value));
        OK(gort_detach(thread));
        if (i % 2 == 0)
            OK(gort_channel_recv(channel, &value));
        OK(gort_spawn(NULL, tell, &channel, "nobody's", 0));
        OK(gort_channel_recv(channel, &value));
    }
    OK(gort_channel_free(channel));
}

static void figures(void) {
    gort_stats_t stats;
    memset(&stats, 0xff, sizeof stats);
    stats.size = sizeof stats;
    OK(gort_enter());
    OK(gort_stats(&stats));
    CHECK(stats.version == GORT_STATS_VERSION && stats.size == sizeof stats);
    CHECK(stats.procs == 1 || stats.procs == 2);
    CHECK(stats.inside == 1 && stats.bound_threads >= 1 && stats.bound_threads_most >= stats.bound_threads);
    OK(gort_leave());
    /* A program that knows the first field only, of those that count. */
    memset(&stats, 0xff, sizeof stats);
    stats.size = 16;
    OK(gort_stats(&stats));
    CHECK(stats.procs != UINT64_MAX && stats.kernel_threads == UINT64_MAX);
}

/* A goroutine that waits is in the dump, by its name. */
static void dumping(void) {
    gort_channel_t channel;
    gort_thread_t thread;
    char text[20000];
    int found = 0;
    struct sum sum = {0, 0};
    OK(gort_channel_create(0, &channel));
    sum.from = channel;
    OK(gort_spawn(&thread, add, &sum, "in-the-dump", 0));
    OK(gort_channel_send(channel, NULL)); /* it has begun */
    FILE *file = tmpfile();
    CHECK(file != NULL);
    errno = 77;
    OK(gort_dump(fileno(file)));
    CHECK(errno == 77);
    rewind(file);
    while (fgets(text, sizeof text, file) != NULL)
        found += strstr(text, "in-the-dump") != NULL;
    CHECK(found == 1);
    CHECK(fclose(file) == 0);
    OK(gort_channel_close(channel));
    OK(gort_join(thread, NULL));
    OK(gort_channel_free(channel));
}

int main(void) {
    names();
    for (int life = 0; life < 3; life++) {
        start();
        spawning();
        channels();
        parking();
        bracketing();
        detaching();
        figures();
        dumping();
        stop();
    }
    return 0;
}
