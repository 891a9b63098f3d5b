#include "cthreads.h"

#include <alloca.h>
#include <errno.h>
#include <fenv.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

const int ct_rounding_modes[4] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};

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

int ct_start(pthread_t *thread, size_t stack, ct_fn fn, void *arg)
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

struct member {
    pthread_t thread;
    pthread_barrier_t *gate;
    ct_each_fn fn;
    void *arg;
    unsigned long calls;
    long sum;
};

static void *member_main(void *arg)
{
    struct member *member = arg;

    pthread_barrier_wait(member->gate);
    member->sum = ct_each(member->fn, member->arg, member->calls);
    return NULL;
}

long ct_crowd(unsigned threads, ct_each_fn fn, void *arg, unsigned long calls)
{
    struct member *members = calloc(threads, sizeof *members);
    pthread_barrier_t gate;
    long sum = 0;
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

long ct_each(ct_each_fn fn, void *arg, unsigned long calls)
{
    long sum = 0;
    unsigned long i;

    for (i = 0; i < calls; i++)
        sum += fn(arg, i);
    return sum;
}

int ct_through(ct_fn fn, void *arg)
{
    static __thread uint64_t mine;
    unsigned char bytes[512];
    uint64_t seed = (uint64_t)(uintptr_t)arg * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)bytes;
    uint64_t a = seed * 3, b = seed * 5, c = seed * 7, d = ~seed, e = seed ^ 1, f = seed ^ 2, g = seed ^ 4, h = seed ^ 8;
    volatile double source = (double)(seed >> 12) + 1;
    double p, q, r, s, t, u, v, w;
    uint64_t *slot = &mine, outer = mine;
    int *error = &errno;
    int round = fegetround();
    int wrong = 0;
    size_t i;

    memset(bytes, (int)(seed & 0xff), sizeof bytes);
    mine = seed;
    /* Opaque to the compiler: these stay in registers over the call as far as there are any that a callee keeps, the
       bytes in memory. */
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h) : "r"(bytes) : "memory");
    p = source, q = source, r = source, s = source, t = source, u = source, v = source, w = source;
    fn(arg);
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(g), "+r"(h) : "r"(bytes) : "memory");
    for (i = 0; i < sizeof bytes; i++)
        if (bytes[i] != (unsigned char)(seed & 0xff))
            wrong |= 1;
    if (a != seed * 3 || b != seed * 5 || c != seed * 7 || d != ~seed)
        wrong |= 2;
    if (e != (seed ^ 1) || f != (seed ^ 2) || g != (seed ^ 4) || h != (seed ^ 8))
        wrong |= 2;
    if (p != source || q != source || r != source || s != source || t != source || u != source || v != source || w != source)
        wrong |= 2;
    if (error != &errno)
        wrong |= 4;
    if (slot != &mine || mine != seed)
        wrong |= 8;
    if (round != fegetround())
        wrong |= 16;
    mine = outer;
    return wrong;
}

void ct_at_depth(size_t bytes, ct_fn fn, void *arg)
{
    volatile char *room = alloca(bytes + 1);

    room[0] = 1;
    room[bytes] = 1;
    fn(arg);
    room[0] = 2; /* the room is in use until here */
}

int ct_rounding(int mode, ct_fn fn, void *arg)
{
    volatile double one = 1.0, three = -3.0;
    int outer = fegetround(), same;
    double before, after;

    fesetround(mode);
    before = one / three;
    fn(arg);
    after = one / three;
    same = before == after && fegetround() == mode;
    fesetround(outer);
    return same;
}

static __attribute__((noinline)) size_t touch(size_t frames)
{
    volatile unsigned char room[64 << 10];
    size_t i, found = 0;

    for (i = 0; i < sizeof room; i++)
        room[i] = (unsigned char)(i + frames);
    if (frames > 1)
        found = touch(frames - 1);
    for (i = 0; i < sizeof room; i++)
        found += room[i] == (unsigned char)(i + frames);
    return found;
}

size_t ct_deep(size_t bytes)
{
    size_t frame = 64 << 10;

    return touch((bytes + frame - 1) / frame);
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
