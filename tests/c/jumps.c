#include "jumps.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "jumps_within.h"

int jp_within(int depth, int rounds, ct_fn fn, void *arg)
{
    return within(depth, rounds, fn, arg);
}

static __thread sigjmp_buf from_handler;

static void on_signal(int signal)
{
    (void)signal;
    siglongjmp(from_handler, 1);
}

int jp_from_handler(int rounds, ct_fn fn, void *arg)
{
    struct sigaction action;
    volatile int round, came = 0;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR2, &action, NULL);
    for (round = 0; round < rounds; round++) {
        if (sigsetjmp(from_handler, 1) == 0) {
            fn(arg);
            raise(SIGUSR2);
        } else {
            came++;
        }
    }
    return came;
}

static __thread jmp_buf *over;

static __attribute__((noinline)) void call_with_room(size_t room, ct_fn fn, void *arg)
{
    if (room == 0)
        fn(arg);
    else
        ct_at_depth(room, fn, arg);
}

int jp_over(int times, size_t room, ct_fn fn, void *arg)
{
    jmp_buf here, *outer = over;
    volatile int i, came = 0;

    for (i = 0; i < times; i++) {
        over = &here;
        if (setjmp(here) == 0)
            call_with_room(room, fn, arg);
        else
            came++;
    }
    over = outer;
    return came;
}

void jp_over_now(void)
{
    longjmp(*over, 1);
}

/* Through pointers, so that the compiler does not know that they do not return. */
static void (*volatile leave_by)(void *) = pthread_exit;

static void add(void *count)
{
    __atomic_fetch_add((int *)count, 1, __ATOMIC_RELAXED);
}

void ex_now(void *value)
{
    leave_by(value);
}

void ex_after(int depth, int *cleaned, ct_fn fn, void *arg)
{
    pthread_cleanup_push(add, cleaned);
    if (depth > 1) {
        ex_after(depth - 1, cleaned, fn, arg);
    } else {
        fn(arg);
        leave_by(NULL);
    }
    pthread_cleanup_pop(0);
}

/* Not a variable of the thread's: the jump is made under another identity. */
static jmp_buf *from_elsewhere;

int jp_elsewhere(ct_fn fn, void *arg)
{
    jmp_buf here;

    from_elsewhere = &here;
    if (setjmp(here) == 0) {
        fn(arg);
        return 0;
    }
    return 1;
}

void jp_elsewhere_now(void)
{
    longjmp(*from_elsewhere, 1);
}

struct cancelled {
    int requested, at_once;
    int *cleaned;
    ct_fn fn;
    void *arg;
};

void ex_point(void *unused)
{
    (void)unused;
    usleep(100);
}

static void *be_cancelled(void *arg)
{
    struct cancelled *cancelled = arg;

    if (cancelled->requested) {
        /* Its own request: acted on at the next cancellation point. */
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        pthread_cancel(pthread_self());
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    } else if (cancelled->at_once) {
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    }
    pthread_cleanup_push(add, cancelled->cleaned);
    cancelled->fn(cancelled->arg);
    for (;;)
        ex_point(NULL);
    pthread_cleanup_pop(0);
    return NULL;
}

int ex_cancel(int requested, int at_once, int *cleaned, ct_fn fn, void *arg)
{
    struct cancelled cancelled = {requested, at_once, cleaned, fn, arg};
    pthread_t thread;
    void *result = NULL;

    if (pthread_create(&thread, NULL, be_cancelled, &cancelled) != 0)
        return -1;
    pthread_join(thread, &result);
    return result == PTHREAD_CANCELED;
}

int er_kept(int number, ct_fn fn, void *arg)
{
    static _Thread_local int mine;
    volatile int bytes[64];
    int *error = &errno;
    int outer = mine, kept = 0;
    size_t i;

    for (i = 0; i < 64; i++)
        bytes[i] = number + (int)i;
    mine = number;
    errno = number;
    fn(arg);
    if (errno != number)
        kept |= 4;
    for (i = 0; i < 64; i++)
        if (bytes[i] != number + (int)i)
            kept |= 1;
    if (mine != number)
        kept |= 2;
    if (error != &errno)
        kept |= 8;
    mine = outer;
    return kept;
}

int er_level(er_level_fn fn, void *arg, int levels)
{
    volatile int numbers[8];
    int i, as_before, below;

    for (i = 0; i < 8; i++)
        numbers[i] = levels ^ i;
    below = fn(arg, levels);
    as_before = 1;
    for (i = 0; i < 8; i++)
        as_before &= numbers[i] == (levels ^ i);
    return below + as_before;
}
