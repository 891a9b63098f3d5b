#include "cthreads.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

struct start {
    ct_fn fn;
    void *arg;
};

static void *start_main(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    start.fn(start.arg);
    return NULL;
}

int ct_start(ct_thread *thread, size_t stack, ct_fn fn, void *arg)
{
    struct start *start = malloc(sizeof *start);
    pthread_attr_t attr;
    int error;

    if (start == NULL)
        return ENOMEM;
    start->fn = fn;
    start->arg = arg;
    pthread_attr_init(&attr);
    error = stack != 0 ? pthread_attr_setstacksize(&attr, stack) : 0;
    if (error == 0)
        error = pthread_create(thread, &attr, start_main, start);
    pthread_attr_destroy(&attr);
    if (error != 0)
        free(start);
    return error;
}

int ct_join(ct_thread thread)
{
    return pthread_join(thread, NULL);
}

struct member {
    pthread_t thread;
    pthread_barrier_t *gate;
    ct_each_fn fn;
    void *arg;
    uint64_t calls;
    int64_t sum;
};

static void *member_main(void *arg)
{
    struct member *member = arg;

    pthread_barrier_wait(member->gate);
    member->sum = ct_each(member->fn, member->arg, member->calls);
    return NULL;
}

int64_t ct_crowd(unsigned threads, ct_each_fn fn, void *arg, uint64_t calls)
{
    struct member *members = calloc(threads, sizeof *members);
    pthread_barrier_t gate;
    int64_t sum = 0;
    unsigned i;

    if (members == NULL || pthread_barrier_init(&gate, NULL, threads) != 0)
        return -1;
    for (i = 0; i < threads; i++) {
        members[i] = (struct member){.gate = &gate, .fn = fn, .arg = arg, .calls = calls};
        if (pthread_create(&members[i].thread, NULL, member_main, &members[i]) != 0)
            return -1; /* those that wait at the gate keep the array */
    }
    for (i = 0; i < threads; i++) {
        pthread_join(members[i].thread, NULL);
        sum += members[i].sum;
    }
    pthread_barrier_destroy(&gate);
    free(members);
    return sum;
}

void ct_block_then(unsigned us, ct_fn fn, void *arg)
{
    usleep(us);
    fn(arg);
}

struct ct_fiber {
    ucontext_t here, back;
    ct_fn fn;
    void *arg;
    int ended;
};

static void fiber_main(unsigned high, unsigned low)
{
    struct ct_fiber *fiber = (struct ct_fiber *)(uintptr_t)((uint64_t)high << 32 | low);

    fiber->fn(fiber->arg);
    fiber->ended = 1;
}

struct ct_fiber *ct_fiber_new(void *stack, size_t size, ct_fn fn, void *arg)
{
    struct ct_fiber *fiber = calloc(1, sizeof *fiber);
    uint64_t self = (uint64_t)(uintptr_t)fiber;

    if (fiber == NULL)
        return NULL;
    fiber->fn = fn;
    fiber->arg = arg;
    getcontext(&fiber->here);
    fiber->here.uc_stack.ss_sp = stack;
    fiber->here.uc_stack.ss_size = size;
    fiber->here.uc_link = &fiber->back;
    makecontext(&fiber->here, (void (*)(void))fiber_main, 2, (unsigned)(self >> 32), (unsigned)self);
    return fiber;
}

int ct_fiber_run(struct ct_fiber *fiber)
{
    if (!fiber->ended)
        swapcontext(&fiber->back, &fiber->here);
    return fiber->ended;
}

void ct_fiber_leave(struct ct_fiber *fiber)
{
    swapcontext(&fiber->here, &fiber->back);
}

void ct_fiber_free(struct ct_fiber *fiber)
{
    free(fiber);
}

static void (*at_exit)(void);

void ct_at_exit(void (*fn)(void))
{
    at_exit = fn;
}

static __attribute__((destructor)) void on_exit_of_process(void)
{
    if (at_exit != NULL)
        at_exit();
}
