#include "pthreads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

/* Missing before glibc 2.32. */
extern int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *mask) __attribute__((weak));

static void *same(void *arg)
{
    return arg;
}

int pt_return(pthread_t *thread, long value, int detached)
{
    pthread_attr_t attr;
    int error;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    error = pthread_create(thread, &attr, same, (void *)value);
    pthread_attr_destroy(&attr);
    return error;
}

struct leaving {
    long value;
    int depth;
    int *cleaned;
    pt_fn fn;
    void *arg;
};

static void add(void *arg)
{
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
}

/* Through a pointer, so that the compiler does not know that it never returns. */
static void (*volatile leave_by)(void *) = pthread_exit;

static __attribute__((noinline)) void down(const struct leaving *leaving, int depth)
{
    pthread_cleanup_push(add, leaving->cleaned);
    if (depth == 0)
        leave_by((void *)leaving->value);
    else
        down(leaving, depth - 1);
    pthread_cleanup_pop(0);
}

static void *leave(void *arg)
{
    struct leaving leaving = *(struct leaving *)arg;

    free(arg);
    leaving.fn(leaving.arg);
    down(&leaving, leaving.depth - 1);
    return NULL; /* not reached */
}

int pt_exit(pthread_t *thread, long value, int depth, int *cleaned, pt_fn fn, void *arg)
{
    struct leaving *leaving = malloc(sizeof *leaving);
    int error;

    if (leaving == NULL)
        return ENOMEM;
    *leaving = (struct leaving){.value = value, .depth = depth, .cleaned = cleaned, .fn = fn, .arg = arg};
    error = pthread_create(thread, NULL, leave, leaving);
    if (error != 0)
        free(leaving);
    return error;
}

void pt_exit_now(void)
{
    pthread_exit(NULL);
}

static void *see(void *arg)
{
    struct pt_seen *seen = arg;
    cpu_set_t cpus;

    seen->tid = gettid();
    seen->policy = sched_getscheduler(0);
    seen->cpus = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : -1;
    seen->local = (uintptr_t)&cpus;
    return arg;
}

int pt_asking(enum pt_ask ask, void *stack, size_t size, struct pt_seen *seen)
{
    pthread_attr_t attr;
    pthread_t thread;
    void *value;
    cpu_set_t cpus;
    sigset_t signals;
    int error = 0, cpu;

    pthread_attr_init(&attr);
    switch (ask) {
    case PT_NOTHING:
        break;
    case PT_FIFO:
    case PT_EXPLICIT_OTHER:
        pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
        error = pthread_attr_setschedpolicy(&attr, ask == PT_FIFO ? SCHED_FIFO : SCHED_OTHER);
        if (ask == PT_FIFO && error == 0)
            error = pthread_attr_setschedparam(&attr, &(struct sched_param){.sched_priority = 1});
        break;
    case PT_ONE_CPU:
        sched_getaffinity(0, sizeof cpus, &cpus);
        for (cpu = 0; !CPU_ISSET(cpu, &cpus); cpu++)
            continue;
        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
        error = pthread_attr_setaffinity_np(&attr, sizeof cpus, &cpus);
        break;
    case PT_SIGNALS:
        sigemptyset(&signals);
        error = pthread_attr_setsigmask_np ? pthread_attr_setsigmask_np(&attr, &signals) : ENOSYS;
        break;
    case PT_STACK:
        error = pthread_attr_setstack(&attr, stack, size);
        break;
    }
    if (error == 0)
        error = pthread_create(&thread, &attr, see, seen);
    pthread_attr_destroy(&attr);
    if (error == 0)
        error = pthread_join(thread, &value);
    if (error == 0 && value != seen)
        error = EINVAL;
    return error;
}

int pt_bounds(size_t size)
{
    pthread_attr_t attr;
    void *low;
    size_t length, guard;
    char local = 1;
    int inside;

    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return 0;
    inside = pthread_attr_getstack(&attr, &low, &length) == 0 && pthread_attr_getguardsize(&attr, &guard) == 0 &&
             (uintptr_t)&local >= (uintptr_t)low && (uintptr_t)&local - (uintptr_t)low < length && length >= size &&
             guard >= 4096;
    pthread_attr_destroy(&attr);
    if (!inside)
        return 0;
    return *(volatile char *)low == 0; /* the last byte, untouched */
}

static int same11(void *arg)
{
    return (int)(intptr_t)arg;
}

static int leave11(void *arg)
{
    thrd_exit((int)(intptr_t)arg);
}

int pt_c11(int value, int by_exit)
{
    thrd_t thread;
    int result = -1;

    if (thrd_create(&thread, by_exit ? leave11 : same11, (void *)(intptr_t)value) != thrd_success)
        return -1;
    return thrd_join(thread, &result) == thrd_success ? result : -1;
}

struct call {
    pt_fn fn;
    void *arg;
};

static int call11(void *arg)
{
    struct call call = *(struct call *)arg;

    free(arg);
    call.fn(call.arg);
    return 0;
}

int pt_c11_detached(pt_fn fn, void *arg)
{
    struct call *call = malloc(sizeof *call);
    thrd_t thread;

    if (call == NULL)
        return thrd_nomem;
    *call = (struct call){.fn = fn, .arg = arg};
    if (thrd_create(&thread, call11, call) != thrd_success) {
        free(call);
        return thrd_error;
    }
    return thrd_detach(thread);
}
