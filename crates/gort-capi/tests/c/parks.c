/* What a program's own waits do, on goroutines: the kernel thread underneath goes on with others. */
#define _GNU_SOURCE
#include "check.h"
#include "platform.h"
#include <string.h>

struct objects;

/* A function of the system's that waits, and who ends the wait. */
struct system_wait {
    const char *name; /* NULL: the end of the list */
    void (*wait)(struct objects *);
    void (*wake)(struct objects *);
};

#ifdef _WIN32
#include "waits_windows.h"
#else
#include "waits_linux.h"
#endif

/* Something to wait for, and who ends the wait. */
struct wait {
    const char *name;
    void (*wait)(struct wait *);
    void (*wake)(struct wait *);
    const struct system_wait *of_the_system; /* or NULL */
    struct objects objects;
    gort_channel_t channel;
    gort_thread_t waiter;
    int set;
    long tid;   /* of the kernel thread that the waiter was on */
    int shared; /* the waker was on it too */
};

static void wait_as_the_system(struct wait *w) { w->of_the_system->wait(&w->objects); }
static void wake_as_the_system(struct wait *w) { w->of_the_system->wake(&w->objects); }

static void receive(struct wait *w) {
    void *value;
    OK(gort_channel_recv(w->channel, &value));
}
static void send_null(struct wait *w) { OK(gort_channel_send(w->channel, NULL)); }

static void *receives(void *w) {
    receive(w);
    return NULL;
}
static void timed_join(struct wait *w) {
    gort_thread_t thread;
    OK(gort_spawn(&thread, receives, w, NULL, 0));
    OK(gort_timed_join(thread, NULL, SECONDS(3600)));
}

static void park(struct wait *w) {
    while (!__atomic_load_n(&w->set, __ATOMIC_ACQUIRE))
        OK(gort_park(GORT_FOREVER));
}
static void unpark(struct wait *w) {
    __atomic_store_n(&w->set, 1, __ATOMIC_RELEASE);
    OK(gort_unpark(w->waiter));
}

static void *waker(void *argument) {
    struct wait *w = argument;
    w->shared = kernel_thread() == w->tid;
    w->wake(w);
    return NULL;
}

/* The waker can be on the waiter's kernel thread only if that is free, which is to say that the waiter has parked: it does nothing
 * else between its spawn of the waker and its wait. */
static void *waiter(void *argument) {
    struct wait *w = argument;
    gort_thread_t thread;
    OK(gort_current(&w->waiter));
    w->tid = kernel_thread();
    OK(gort_spawn(&thread, waker, w, NULL, 0));
    w->wait(w);
    OK(gort_join(thread, NULL));
    return NULL;
}

static void once(struct wait *w) {
    gort_thread_t thread;
    w->set = 0;
    OK(gort_spawn(&thread, waiter, w, w->name, 0));
    OK(gort_join(thread, NULL));
}

/* Tries until a waker was on the waiter's kernel thread. */
static void check(struct wait *w) {
    int live = 0, shared = 0;
    make_objects(&w->objects, w->name);
    OK(gort_channel_create(0, &w->channel));
    if (w->of_the_system != NULL) {
        OK(gort_parks(w->name, &live));
        CHECK(live);
    }
    /* On a loaded machine the waiter may lose its turn before it waits; then the two are on different threads. One time is
     * proof enough. */
    for (int attempt = 0; attempt < 10000 && !shared; attempt++) {
        once(w);
        shared = w->shared || on_threads();
    }
    if (!shared) {
        fprintf(stderr, "%s does not park\n", w->name);
        exit(1);
    }
    OK(gort_channel_free(w->channel));
    close_objects(&w->objects);
}

int main(void) {
    int all = 0;
    struct wait waits[] = {
        {.name = "gort_channel_recv", .wait = receive, .wake = send_null},
        {.name = "gort_timed_join", .wait = timed_join, .wake = send_null},
        {.name = "gort_park", .wait = park, .wake = unpark},
    };
    start();
    for (const struct system_wait *s = system_waits; s->name != NULL; s++) {
        struct wait w = {.name = s->name, .wait = wait_as_the_system, .wake = wake_as_the_system, .of_the_system = s};
        check(&w);
    }
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        check(&waits[i]);
    OK(gort_parks(NULL, &all));
    if (all != THREADS_TO_THE_PROGRAM) {
        fprintf(stderr, all ? "hooks are live that should not be\n" : "some hooks are not live\n");
        return 1;
    }
    stop();
    return 0;
}
