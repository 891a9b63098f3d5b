/* Compiled twice: as it is, and with _FORTIFY_SOURCE. */

/* A variable, so that the compiler does not see through it. */
static void (*volatile next_down)(int depth, jmp_buf *up, ct_fn fn, void *arg);

static __attribute__((noinline)) void down_and_jump(int depth, jmp_buf *up, ct_fn fn, void *arg)
{
    volatile char room[200];

    room[0] = (char)depth;
    if (depth > 0) {
        next_down(depth - 1, up, fn, arg);
    } else {
        fn(arg);
        longjmp(*up, room[0] + 1);
    }
    room[1] = room[0];
}

static int within(int depth, int rounds, ct_fn fn, void *arg)
{
    static _Thread_local int mine;
    volatile int round, as_before = 0;
    volatile int bytes[64];
    jmp_buf up;
    size_t i;

    next_down = down_and_jump;
    for (round = 0; round < rounds; round++) {
        volatile int same = 1;

        for (i = 0; i < 64; i++)
            bytes[i] = round + (int)i;
        mine = round;
        if (setjmp(up) == 0)
            next_down(depth, &up, fn, arg);
        for (i = 0; i < 64; i++)
            if (bytes[i] != round + (int)i)
                same = 0;
        if (mine != round)
            same = 0;
        as_before += same;
    }
    return as_before;
}
