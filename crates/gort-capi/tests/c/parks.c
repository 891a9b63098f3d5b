/* What a program's own waits do, on goroutines: the kernel thread underneath goes on with others. */
#define _GNU_SOURCE
#include "check.h"
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Something to wait for, and who ends the wait. */
struct wait {
    const char *name;
    void (*wait)(struct wait *);
    void (*wake)(struct wait *);
    int pipe[2];
    gort_channel_t channel;
    gort_thread_t waiter;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    sem_t semaphore;
    int set;
    long tid;   /* of the kernel thread that the waiter was on */
    int shared; /* the waker was on it too */
};

static void read_byte(struct wait *w) {
    char byte = 0;
    CHECK(read(w->pipe[0], &byte, 1) == 1 && byte == 'x');
}
static void poll_byte(struct wait *w) {
    struct pollfd fd = {w->pipe[0], POLLIN, 0};
    CHECK(poll(&fd, 1, -1) == 1);
    read_byte(w);
}
static void recv_byte(struct wait *w) {
    char byte = 0;
    CHECK(recv(w->pipe[0], &byte, 1, 0) == 1 && byte == 'x');
}
static void write_byte(struct wait *w) { CHECK(write(w->pipe[1], "x", 1) == 1); }

static void sleep_a_little(struct wait *w) {
    struct timespec time = {0, 100000};
    (void)w;
    CHECK(nanosleep(&time, NULL) == 0);
}
static void nothing(struct wait *w) { (void)w; }

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

static void wait_condition(struct wait *w) {
    CHECK(pthread_mutex_lock(&w->mutex) == 0);
    while (!w->set)
        CHECK(pthread_cond_wait(&w->condition, &w->mutex) == 0);
    CHECK(pthread_mutex_unlock(&w->mutex) == 0);
}
static void signal_condition(struct wait *w) {
    CHECK(pthread_mutex_lock(&w->mutex) == 0);
    w->set = 1;
    CHECK(pthread_cond_signal(&w->condition) == 0);
    CHECK(pthread_mutex_unlock(&w->mutex) == 0);
}

static void wait_semaphore(struct wait *w) { CHECK(sem_wait(&w->semaphore) == 0); }
static void post(struct wait *w) { CHECK(sem_post(&w->semaphore) == 0); }

static void *waker(void *argument) {
    struct wait *w = argument;
    w->shared = syscall(SYS_gettid) == w->tid;
    w->wake(w);
    return NULL;
}

/* The waker can be on the waiter's kernel thread only if that is free, which is to say that the waiter has parked: it does nothing
 * else between its spawn of the waker and its wait. */
static void *waiter(void *argument) {
    struct wait *w = argument;
    gort_thread_t thread;
    OK(gort_current(&w->waiter));
    w->tid = syscall(SYS_gettid);
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

int main(void) {
    int live = 0, all = 0;
    struct wait waits[] = {
        {.name = "read", .wait = read_byte, .wake = write_byte},
        {.name = "poll", .wait = poll_byte, .wake = write_byte},
        {.name = "recv", .wait = recv_byte, .wake = write_byte},
        {.name = "nanosleep", .wait = sleep_a_little, .wake = nothing},
        {.name = "pthread_cond_wait", .wait = wait_condition, .wake = signal_condition},
        {.name = "sem_wait", .wait = wait_semaphore, .wake = post},
        {.name = "gort_channel_recv", .wait = receive, .wake = send_null},
        {.name = "gort_timed_join", .wait = timed_join, .wake = send_null},
        {.name = "gort_park", .wait = park, .wake = unpark},
    };
    start();
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct wait *w = &waits[i];
        CHECK(strcmp(w->name, "recv") == 0 ? socketpair(AF_UNIX, SOCK_STREAM, 0, w->pipe) == 0 : pipe(w->pipe) == 0);
        OK(gort_channel_create(0, &w->channel));
        CHECK(pthread_mutex_init(&w->mutex, NULL) == 0 && pthread_cond_init(&w->condition, NULL) == 0);
        CHECK(sem_init(&w->semaphore, 0, 0) == 0);
        if (strncmp(w->name, "gort_", 5) != 0) {
            OK(gort_parks(w->name, &live));
            CHECK(live);
        }
        /* On a loaded machine the waiter may lose its turn before it waits; then the two are on different threads. One time is
         * proof enough. */
        int shared = 0;
        for (int attempt = 0; attempt < 10000 && !shared; attempt++) {
            once(w);
            shared = w->shared || on_threads();
        }
        if (!shared) {
            fprintf(stderr, "%s does not park\n", w->name);
            return 1;
        }
        OK(gort_channel_free(w->channel));
        CHECK(close(w->pipe[0]) == 0 && close(w->pipe[1]) == 0);
    }
    OK(gort_parks(NULL, &all));
    if (!all) {
        fprintf(stderr, "some hooks are not live\n");
        return 1;
    }
    stop();
    return 0;
}
