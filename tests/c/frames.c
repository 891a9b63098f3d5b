/* Frames of C around calls: what of cthreads.h has to do with no system. */
#include "cthreads.h"

#include <errno.h>
#include <fenv.h>
#include <string.h>

#ifdef _WIN32
#include <malloc.h>
#else
#include <alloca.h>
#endif

const int ct_rounding_modes[4] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};

int64_t ct_each(ct_each_fn fn, void *arg, uint64_t calls)
{
    int64_t sum = 0;
    uint64_t i;

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
#ifndef _WIN32
    if (error != &errno)
        wrong |= 4;
#else
    (void)error; /* belongs to the kernel thread, which may be another one: only the value goes along */
#endif
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
