/* gort_unpark() in signal handlers: on every thread of the process, gort's own included, whatever they are at. */
#define _GNU_SOURCE
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>

static gort_thread_t sleeper, ended;
static long signals_seen, wrong; /* by __atomic */

static void handler(int signal) {
    (void)signal;
    int saved = errno;
    errno = 77;
    __atomic_fetch_add(&signals_seen, 1, __ATOMIC_RELEASE);
    if (gort_unpark(sleeper) != GORT_OK || gort_unpark(ended) != GORT_ENOHANDLE || gort_unpark(0) != GORT_ENOHANDLE ||
        gort_strerror(GORT_OK)[0] == 0 || errno != 77)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    errno = saved;
}

/* Counts the wake-ups that handlers make, and acknowledges each signal that it sees. */
static void *sleeps(void *acknowledge) {
    long seen = 0;
    while (seen >= 0) {
        long now = __atomic_load_n(&signals_seen, __ATOMIC_ACQUIRE);
        if (now == seen) {
            OK(gort_park(GORT_FOREVER));
            continue;
        }
        seen = now;
        int code = gort_channel_try_send(*(gort_channel_t *)acknowledge, (void *)(intptr_t)seen);
        if (code == GORT_ECLOSED)
            break;
        CHECK(code == GORT_OK || code == GORT_EAGAIN);
    }
    return NULL;
}

static void *works(void *argument) {
    void *memory[20];
    for (int i = 0; i < 20; i++)
        CHECK((memory[i] = malloc(100 + (size_t)i * 500)) != NULL);
    OK(gort_yield());
    for (int i = 0; i < 20; i++)
        free(memory[i]);
    return argument;
}

int main(void) {
    gort_channel_t acknowledge;
    gort_thread_t first;
    void *value = NULL;
    struct sigaction action;
    start();
    OK(gort_channel_create(1, &acknowledge));
    OK(gort_spawn(&first, works, NULL, NULL, 0));
    OK(gort_join(first, NULL));
    ended = first;
    OK(gort_spawn(&first, sleeps, &acknowledge, "sleeper", 0));
    sleeper = first;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);

    /* One at a time: none is lost, though nothing but the handler wakes the sleeper. */
    for (long i = 1; i <= 500; i++) {
        CHECK(raise(SIGUSR1) == 0);
        do
            OK(gort_channel_recv(acknowledge, &value));
        while ((intptr_t)value < i);
    }

    /* A storm, which interrupts spawning, joining, malloc and channels on whatever thread the kernel chooses. */
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    long before = __atomic_load_n(&signals_seen, __ATOMIC_ACQUIRE);
    while (__atomic_load_n(&signals_seen, __ATOMIC_ACQUIRE) < before + 500) {
        gort_thread_t workers[20];
        for (int i = 0; i < 20; i++)
            OK(gort_spawn(&workers[i], works, NULL, NULL, 0));
        for (int i = 0; i < 20; i++)
            OK(gort_join(workers[i], NULL));
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(__atomic_load_n(&wrong, __ATOMIC_RELAXED) == 0);
    OK(gort_channel_close(acknowledge));
    CHECK(raise(SIGUSR1) == 0);
    /* A pending alarm may come between the end of the sleeper and that of the process. */
    action.sa_handler = SIG_IGN;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    OK(gort_join(first, NULL));
    OK(gort_channel_free(acknowledge));
    stop();
    return 0;
}
