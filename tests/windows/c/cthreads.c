/* Windows' threads and fibers, for cthreads.h. */
#include "cthreads.h"

#include <errno.h>
#include <process.h>
#include <stdlib.h>
#include <windows.h>

struct start {
    ct_fn fn;
    void *arg;
};

static unsigned __stdcall start_main(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    start.fn(start.arg);
    return 0;
}

int ct_start(ct_thread *thread, size_t stack, ct_fn fn, void *arg)
{
    struct start *start = malloc(sizeof *start);

    if (start == NULL)
        return ENOMEM;
    start->fn = fn;
    start->arg = arg;
    *thread = _beginthreadex(NULL, (unsigned)stack, start_main, start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (*thread != 0)
        return 0;
    free(start);
    return EAGAIN;
}

int ct_join(ct_thread thread)
{
    DWORD waited = WaitForSingleObject((HANDLE)thread, INFINITE);

    CloseHandle((HANDLE)thread);
    return waited == WAIT_OBJECT_0 ? 0 : EINVAL;
}

struct member {
    HANDLE gate;
    ct_each_fn fn;
    void *arg;
    uint64_t calls;
    int64_t sum;
    ct_thread thread;
};

static void member_main(void *arg)
{
    struct member *member = arg;

    WaitForSingleObject(member->gate, INFINITE);
    member->sum = ct_each(member->fn, member->arg, member->calls);
}

int64_t ct_crowd(unsigned threads, ct_each_fn fn, void *arg, uint64_t calls)
{
    struct member *members = calloc(threads, sizeof *members);
    HANDLE gate = CreateEventA(NULL, TRUE, FALSE, NULL);
    int64_t sum = 0;
    unsigned i;

    if (members == NULL || gate == NULL)
        return -1;
    for (i = 0; i < threads; i++) {
        members[i] = (struct member){.gate = gate, .fn = fn, .arg = arg, .calls = calls};
        if (ct_start(&members[i].thread, 0, member_main, &members[i]) != 0)
            return -1; /* those that wait at the gate keep the array */
    }
    SetEvent(gate);
    for (i = 0; i < threads; i++) {
        ct_join(members[i].thread);
        sum += members[i].sum;
    }
    CloseHandle(gate);
    free(members);
    return sum;
}

void ct_block_then(unsigned us, ct_fn fn, void *arg)
{
    Sleep((us + 999) / 1000);
    fn(arg);
}

struct ct_fiber {
    void *self, *back;
    ct_fn fn;
    void *arg;
    int ended;
};

static void WINAPI fiber_main(void *arg)
{
    struct ct_fiber *fiber = arg;

    fiber->fn(fiber->arg);
    fiber->ended = 1;
    SwitchToFiber(fiber->back);
}

/* Windows gives its fibers stacks of its own; of the memory only the size counts. */
struct ct_fiber *ct_fiber_new(void *stack, size_t size, ct_fn fn, void *arg)
{
    struct ct_fiber *fiber = calloc(1, sizeof *fiber);

    (void)stack;
    if (fiber == NULL)
        return NULL;
    fiber->fn = fn;
    fiber->arg = arg;
    fiber->self = CreateFiberEx(0, size, 0, fiber_main, fiber);
    return fiber;
}

int ct_fiber_run(struct ct_fiber *fiber)
{
    if (!fiber->ended) {
        fiber->back = IsThreadAFiber() ? GetCurrentFiber() : ConvertThreadToFiber(NULL);
        SwitchToFiber(fiber->self);
    }
    return fiber->ended;
}

void ct_fiber_leave(struct ct_fiber *fiber)
{
    SwitchToFiber(fiber->back);
}

void ct_fiber_free(struct ct_fiber *fiber)
{
    DeleteFiber(fiber->self);
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
