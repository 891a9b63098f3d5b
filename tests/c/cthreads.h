/* Threads, frames and fibers of a host program that is written in C and calls in. */
#ifndef CTHREADS_H
#define CTHREADS_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
typedef uintptr_t ct_thread;
#else
#include <pthread.h>
typedef pthread_t ct_thread;
#endif

typedef void (*ct_fn)(void *arg);
typedef int64_t (*ct_each_fn)(void *arg, uint64_t i);

/* Makes a thread with a stack of `stack` bytes (0: the default) that calls fn(arg) once. Returns 0 or the error's number, as
   pthread_create does. */
int ct_start(ct_thread *thread, size_t stack, ct_fn fn, void *arg);

/* Waits until the thread has ended. Returns 0 or the error's number. Once for each. */
int ct_join(ct_thread thread);

/* Makes `threads` threads, lets all of them start at once, has each call fn(arg, i) for i from 0 to calls - 1, and
   joins them. Returns the sum of all results, or -1 if the threads could not be made. */
int64_t ct_crowd(unsigned threads, ct_each_fn fn, void *arg, uint64_t calls);

/* Calls fn(arg, i) for i from 0 to calls - 1 on this thread. Returns the sum of the results. */
int64_t ct_each(ct_each_fn fn, void *arg, uint64_t calls);

/* Calls fn(arg) from a frame that holds values in memory, registers and thread-local storage. Returns 0, or what was
   not as before: bits 1 memory, 2 registers, 4 the address of errno (not looked at on Windows, where it is the kernel
   thread's), 8 thread-local storage, 16 the rounding mode. */
int ct_through(ct_fn fn, void *arg);

/* Calls fn(arg) with `bytes` more of the stack in use. */
void ct_at_depth(size_t bytes, ct_fn fn, void *arg);

/* Calls fn(arg) with rounding mode `mode` (as of fenv.h) in force, and puts the old one back. Returns 1 if the mode
   is in force after the call, for its name and for a division alike. */
int ct_rounding(int mode, ct_fn fn, void *arg);

/* The numbers of the four rounding modes: to nearest, down, up, towards zero. */
extern const int ct_rounding_modes[4];

/* Writes to `bytes` of stack, 64 KiB a frame. Returns how many it found as written. */
size_t ct_deep(size_t bytes);

/* Blocks this kernel thread for `us` microseconds, behind the back of every hook, then calls fn(arg). */
void ct_block_then(unsigned us, ct_fn fn, void *arg);

/* A fiber of the host, on memory of the host. */
struct ct_fiber;

/* A fiber that will run fn(arg) on the `size` bytes at `stack`. */
struct ct_fiber *ct_fiber_new(void *stack, size_t size, ct_fn fn, void *arg);
/* Runs the fiber from where it is until it leaves or ends. Returns 1 once it has ended. */
int ct_fiber_run(struct ct_fiber *fiber);
/* Called on the fiber: goes back to whoever runs it. */
void ct_fiber_leave(struct ct_fiber *fiber);
void ct_fiber_free(struct ct_fiber *fiber);

/* What the library's destructor calls when the process exits; NULL: nothing. */
void ct_at_exit(void (*fn)(void));

#endif
