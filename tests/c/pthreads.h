/* Threads as a C program makes them, for what std's interface does not show. */
#ifndef PTHREADS_H
#define PTHREADS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*pt_fn)(void *);

/* Starts a thread that returns (void *)value; `detached`: it cannot be joined. 0 or the error's number. */
int pt_return(pthread_t *thread, long value, int detached);

/* Starts a thread that calls fn(arg) and then leaves by pthread_exit with value, `depth` frames down, within handlers of
 * pthread_cleanup_push that add to *cleaned, one each frame. */
int pt_exit(pthread_t *thread, long value, int depth, int *cleaned, pt_fn fn, void *arg);

/* Calls pthread_exit at once. */
void pt_exit_now(void);

/* What thread a start routine saw itself on. */
struct pt_seen {
    int tid;           /* the kernel's number */
    int policy;        /* of the kernel's scheduler */
    int cpus;          /* how many it may use */
    uintptr_t local;   /* the address of a local variable */
};

/* What the attributes are to ask for. */
enum pt_ask { PT_NOTHING, PT_FIFO, PT_ONE_CPU, PT_SIGNALS, PT_STACK, PT_EXPLICIT_OTHER };

/* Starts a thread with such attributes, and a stack from `stack` to stack + size if PT_STACK, joins it, and tells what it
 * saw. 0 or the error's number. */
int pt_asking(enum pt_ask ask, void *stack, size_t size, struct pt_seen *seen);

/* Whether the attributes that pthread_getattr_np finds for the caller hold the address of a local variable, and the whole
 * stack is at least `size` bytes of readable memory. */
int pt_bounds(size_t size);

/* Starts a C11 thread that returns value, or, if by_exit, leaves by thrd_exit; joins it. Its result, or -1. */
int pt_c11(int value, int by_exit);

/* Starts a C11 thread that calls fn(arg), and detaches it. 0: all went well. */
int pt_c11_detached(pt_fn fn, void *arg);

#endif
