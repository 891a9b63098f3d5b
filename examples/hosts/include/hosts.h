/* hosts.h: what libhosts offers to C and C++.
 *
 * Every function may be called from any thread, and from functions that libhosts calls. No thread has to be registered; the
 * first call starts what is needed. A call that waits holds up nobody but its caller: a thread of the host's blocks, and a
 * goroutine parks, which leaves its kernel thread to others.
 *
 * Functions that return a code return one of these. A Rust panic never reaches the caller's frames: it is HOSTS_FAILED. */
#ifndef HOSTS_H
#define HOSTS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	HOSTS_OK = 0,
	HOSTS_FAILED = -1,  /* hosts_last_panic() has the text; also: after hosts_shutdown() */
	HOSTS_INVALID = -2, /* an argument that must not be null is, or a number makes no sense */
	HOSTS_BUSY = -3     /* hosts_shutdown(): somebody is inside still; all goes on as before */
};

/* ---- Its life ---- */

/* Starts the runtime with `procs` processors and `stack` bytes for each goroutine; 0 leaves either to the environment
 * (GORT_PROCS, GORT_STACK_SIZE) and the defaults. May be left out: the first call of anything starts the runtime.
 * HOSTS_INVALID, and a line on standard error: it runs already, or a setting has no meaning. */
int hosts_start(unsigned procs, size_t stack);

/* Ends the runtime and its kernel threads; waits as long as that for goroutines and calls to end. Not to be called by
 * functions that libhosts calls. Afterwards calls are HOSTS_FAILED, until hosts_start(). */
int hosts_shutdown(unsigned milliseconds);

struct hosts_counts {
	size_t goroutines;     /* that have not ended */
	size_t kernel_threads; /* made by the runtime and alive */
	size_t callbacks;      /* threads of the host's that are inside now */
	size_t bound_threads;  /* threads of the host's that have been inside and live */
	size_t dead_hooks;     /* libc functions that block a kernel thread where they could park a goroutine */
	size_t backend;        /* 0: goroutines, 1: a kernel thread for each */
};

/* Fills in what there is at this moment. */
int hosts_count(struct hosts_counts *counts);

/* Copies the text of the calling thread's last panic, with a 0 at its end, cut to `size` bytes. Returns its length, 0 if there
 * was none. The next call finds none. */
size_t hosts_last_panic(char *text, size_t size);

/* ---- Work ---- */

/* A function of the host's that libhosts calls, from goroutines: at once from several kernel threads, and between two calls of
 * libhosts within it the kernel thread below may be another. Thread-local variables and errno are the goroutine's own.
 * Nothing may be thrown out of it, and it must not leave by longjmp(). A negative result means that it failed. */
typedef int64_t (*hosts_function)(void *context, int64_t index);

/* Calls function(context, index) for each index from 0 to count - 1, each on a goroutine of its own, and waits until all have
 * returned. Puts the sum of what they returned into *sum. If one fails, those that have not begun are left out, and the result
 * is the first failure's number. */
int64_t hosts_each(hosts_function function, void *context, int64_t count, int64_t *sum);

/* Calls function(context, index) on a goroutine, and does not wait. */
int hosts_later(hosts_function function, void *context, int64_t index);

/* Calls function(context, index) where the caller is, and returns its result. It may go on with another stack of the same thread, as
 * fibers do, and come back; calls that are under way on several stacks may return in any order. */
int64_t hosts_here(hosts_function function, void *context, int64_t index);

/* The same, on the stack and the thread-local storage of the kernel thread below the goroutine: for functions that need a deep
 * stack (2 MiB). Whatever waits there blocks the kernel thread. */
int64_t hosts_on_system_stack(hosts_function function, void *context, int64_t index);

/* Ties the calling goroutine to its kernel thread until hosts_unlock_thread(), for what is keyed on the kernel's thread id. Pairs
 * nest. On other threads: nothing. */
int hosts_lock_thread(void);
int hosts_unlock_thread(void);

/* Sends `value` through `stations` goroutines, linked by channels, each of which adds one. Waits for what comes out, or returns a
 * negative code. `value` is 0 or more. */
int64_t hosts_pass(int64_t value, int64_t stations);

/* A point where `size` callers meet: hosts_meet() waits until so many are in it. Null: out of memory, or the size is 0. */
struct hosts_meeting;
struct hosts_meeting *hosts_meeting_new(size_t size);
int hosts_meet(struct hosts_meeting *meeting);
void hosts_meeting_free(struct hosts_meeting *meeting);

/* ---- A store of named numbers, in SQLite ---- */

struct hosts_store;

/* Opens, or makes, the store in that file. Null: it failed, see hosts_last_panic(). */
struct hosts_store *hosts_store_open(const char *path);

/* Adds to the number of that name, which starts as 0, and waits until it is on disk. Returns what it is then, or a negative code.
 * `amount` is 0 or more. */
int64_t hosts_store_add(struct hosts_store *store, const char *name, int64_t amount);

/* The same without waiting. done(context, result) is called by a goroutine, or not at all if the result is not HOSTS_OK. */
int hosts_store_add_later(struct hosts_store *store, const char *name, int64_t amount, hosts_function done, void *context);

/* The number of that name; 0 if there is none; or a negative code. */
int64_t hosts_store_get(struct hosts_store *store, const char *name);

/* Finishes what was asked for, and closes the file. Nobody may use the store any more. */
int hosts_store_close(struct hosts_store *store);

#ifdef __cplusplus
}
#endif

#endif
