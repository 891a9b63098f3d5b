/* libgort.so opened by dlopen(): the program's own calls stay libc's, gort's own waits park all the same, and it can be closed. */
#define _GNU_SOURCE
#include "platform.h"
#include <gort.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static struct {
    int (*start)(const gort_config_t *);
    int (*shutdown)(uint64_t);
    int (*spawn)(gort_thread_t *, gort_function_t, void *, const char *, size_t);
    int (*join)(gort_thread_t, void **);
    int (*create)(size_t, gort_channel_t *);
    int (*send)(gort_channel_t, void *);
    int (*recv)(gort_channel_t, void **);
    int (*free)(gort_channel_t);
    int (*parks)(const char *, int *);
} gort;

static gort_channel_t channel;
static long tid;
static int shared;

static void *sends(void *argument) {
    shared = kernel_thread() == tid;
    CHECK(gort.send(channel, argument) == GORT_OK);
    return NULL;
}

static void *receives(void *argument) {
    void *value;
    gort_thread_t sender;
    tid = kernel_thread();
    CHECK(gort.spawn(&sender, sends, argument, NULL, 0) == GORT_OK);
    CHECK(gort.recv(channel, &value) == GORT_OK && value == argument);
    CHECK(gort.join(sender, NULL) == GORT_OK);
    return NULL;
}

static void *function(library library, const char *name) {
    void *found = look_up(library, name);
    CHECK(found != NULL);
    return found;
}

int main(int count, char **arguments) {
    const char *backend = getenv("GORT_BACKEND");
    int threads = backend != NULL && backend[0] == 't';
    CHECK(count == 2);
    for (int round = 0; round < 5; round++) {
        library library = open_library(arguments[1], round % 2);
        int live = 1;
        CHECK(library != NULL);
        *(void **)&gort.start = function(library, "gort_start");
        *(void **)&gort.shutdown = function(library, "gort_shutdown");
        *(void **)&gort.spawn = function(library, "gort_spawn");
        *(void **)&gort.join = function(library, "gort_join");
        *(void **)&gort.create = function(library, "gort_channel_create");
        *(void **)&gort.send = function(library, "gort_channel_send");
        *(void **)&gort.recv = function(library, "gort_channel_recv");
        *(void **)&gort.free = function(library, "gort_channel_free");
        *(void **)&gort.parks = function(library, "gort_parks");
        CHECK(gort.start(NULL) == GORT_OK);
        CHECK(gort.parks(A_HOOK, &live) == GORT_OK && !live);
        CHECK(gort.create(0, &channel) == GORT_OK);
        for (int attempt = 0, done = 0; !done; attempt++) {
            gort_thread_t receiver;
            CHECK(attempt < 10000); /* as in parks.c: one time is proof enough */
            CHECK(gort.spawn(&receiver, receives, &channel, NULL, 0) == GORT_OK);
            CHECK(gort.join(receiver, NULL) == GORT_OK);
            done = shared || threads;
        }
        CHECK(gort.free(channel) == GORT_OK);
        CHECK(gort.shutdown(30000000000u) == GORT_OK);
        CHECK(close_library(library));
    }
    return 0;
}
