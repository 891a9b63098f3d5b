/* gort: threads you can have a million of, callable from any C thread.
 *
 * C99 and later, C++11 and later. Compile and link with `pkg-config --cflags --libs gort`, or gort-static for libgort.a. The guide is
 * docs/c.md.
 *
 * A goroutine is a thread to all code that runs in it: it has its own stack, its own thread-local variables and errno. Where it
 * waits (in gort's functions, and in libc's, see gort_parks()) the kernel thread underneath goes on with another one.
 *
 * Codes. Functions return GORT_OK (0) or one of the codes below, which are positive; each function lists those that it may return.
 * Misuse is a code too: a handle that is over, a null pointer, a call before the start, after the shutdown, or in a forked child.
 * (What cannot be found out is whether a pointer that is not null points to what it should.)
 *
 * Threads. Unless it says otherwise, every function may be called by any goroutine and any thread of the process, and by none in a
 * signal handler. gort_unpark(), gort_dump() and gort_strerror() may be called in signal handlers.
 *
 * Times are in nanoseconds. Handles are numbers: copy them as you like; they are never used twice, and 0 is none.
 */


#ifndef GORT_H
#define GORT_H

/* Made by cbindgen from the sources of gort-capi: do not edit. */

#include <stddef.h>
#include <stdint.h>

/**
 * It is done.
 */
#define GORT_OK 0

/**
 * An argument has no meaning: null where there must be something, a number out of its range, an unknown setting.
 */
#define GORT_EINVAL 1

/**
 * The runtime has not been started: call gort_start() first.
 */
#define GORT_ENOTSTARTED 2

/**
 * The runtime runs already.
 */
#define GORT_ESTARTED 3

/**
 * The runtime has been shut down, or is being shut down, and the caller is not inside. gort_start() starts it again.
 */
#define GORT_ESHUTDOWN 4

/**
 * The process is a fork of one in which the runtime ran, or the handle comes from before the fork. Such a process can exec
 * or exit, no more.
 */
#define GORT_EFORKED 5

/**
 * No such goroutine, thread or channel: the handle was never given out, or has been joined, detached and ended, or freed.
 */
#define GORT_ENOHANDLE 6

/**
 * Somebody else has to finish first; see the function that returns it.
 */
#define GORT_EBUSY 7

/**
 * The caller would wait for itself.
 */
#define GORT_EDEADLOCK 8

/**
 * A detached goroutine, or a thread that gort_spawn() did not make, cannot be joined or detached.
 */
#define GORT_ENOTJOINABLE 9

/**
 * A leave, end or unlock without its enter, begin or lock on this thread or goroutine.
 */
#define GORT_EUNBALANCED 10

/**
 * It would have to wait.
 */
#define GORT_EAGAIN 11

/**
 * The time is over.
 */
#define GORT_ETIMEDOUT 12

/**
 * The channel is closed.
 */
#define GORT_ECLOSED 13

/**
 * Memory, stacks, kernel threads or handles are used up; gort_last_error() says which and what to do.
 */
#define GORT_ENOMEM 14

/**
 * Rust code panicked. It was stopped before it reached C; gort_last_panic() has its text.
 */
#define GORT_EPANIC 15

/**
 * The buffer is too small.
 */
#define GORT_ERANGE 16

/**
 * There is nothing to give.
 */
#define GORT_ENONE 17

/**
 * The system, or the C library, refused something; gort_last_error() says what.
 */
#define GORT_ESYSTEM 18

/**
 * A time that never comes: wait for ever.
 */
#define GORT_FOREVER UINT64_MAX

/**
 * In a gort_config_t: as the environment says, else by default.
 */
#define GORT_DEFAULT 0

/**
 * In a gort_config_t: yes.
 */
#define GORT_ON 1

/**
 * In a gort_config_t: no.
 */
#define GORT_OFF 2

/**
 * For gort_config_t.backend: stacks of their own on few kernel threads.
 */
#define GORT_GOROUTINES 1

/**
 * For gort_config_t.backend: a kernel thread each; for tools that know threads only.
 */
#define GORT_KERNEL_THREADS 2

/**
 * The version of gort_stats_t that this header describes.
 */
#define GORT_STATS_VERSION 1

/**
 * How to start the runtime. Set everything to zero, then `size` to sizeof(gort_config_t), then what you want otherwise:
 *
 *     gort_config_t config = {0};
 *     config.size = sizeof config;
 *     config.procs = 4;
 *
 * Zero means: what the environment says (GORT_PROCS, GORT_STACK_SIZE, GORT_BACKEND, GORT_OVERFLOW_REPORT,
 * GORT_DEADLOCK_REPORT, GORT_THREADS), else the default. Later versions may have more fields behind these; `size` says which
 * ones a program knows.
 */
typedef struct gort_config_t {
    /**
     * sizeof(gort_config_t).
     */
    size_t size;
    /**
     * How many goroutines run at a time: 1 to 1024. Default: the CPUs that the process may use.
     */
    uint32_t procs;
    /**
     * What goroutines are: GORT_GOROUTINES (default) or GORT_KERNEL_THREADS.
     */
    uint32_t backend;
    /**
     * Bytes of stack of a goroutine: 16384 or more. Default: 216 KiB. Memory is taken up as it is used.
     */
    size_t stack_size;
    /**
     * GORT_ON: a handler for SIGSEGV and SIGBUS that reports a goroutine's stack overflow with its name, and passes every other
     * fault on to the handler that was there. Default: off; gort installs no signal handler.
     */
    uint32_t overflow_report;
    /**
     * GORT_OFF: no report on standard error when all goroutines wait and nothing can wake them any more. Default: on.
     */
    uint32_t deadlock_report;
    /**
     * GORT_ON: pthread_create() makes goroutines from now on, where it is gort's (see gort_parks()). Default: off.
     */
    uint32_t threads_as_goroutines;
    /**
     * Zero.
     */
    uint32_t reserved;
} gort_config_t;

/**
 * Names a goroutine, or a thread that has asked for its handle. Never used twice in a process; 0 names nobody.
 */
typedef uint64_t gort_thread_t;

/**
 * What a goroutine runs: takes the argument of gort_spawn() and returns what gort_join() gives. It ends by returning: neither by
 * pthread_exit() nor, in C++, by an exception, which ends the process as it does on a std::thread.
 */
typedef void *(*gort_function_t)(void *argument);

/**
 * Names a channel: a queue of pointers for any number of senders and receivers, goroutines and threads alike. 0 names none.
 */
typedef uint64_t gort_channel_t;

/**
 * What the runtime counts. Later versions may have more fields behind these; none goes, none changes its meaning.
 */
typedef struct gort_stats_t {
    /**
     * Set it to sizeof(gort_stats_t) before the call.
     */
    uint32_t size;
    /**
     * The library's GORT_STATS_VERSION: what it has filled in, as far as there was room.
     */
    uint32_t version;
    /**
     * Goroutines that run at a time.
     */
    uint64_t procs;
    /**
     * Kernel threads of gort's that are alive, one that watches apart.
     */
    uint64_t kernel_threads;
    /**
     * Those of them that sleep for want of work.
     */
    uint64_t idle_threads;
    /**
     * Goroutines that have been spawned and have not ended.
     */
    uint64_t goroutines;
    /**
     * The most threads of others that were bound at one time.
     */
    uint64_t bound_threads_most;
    /**
     * Threads of others that are bound: they have entered or called in, and have not exited.
     */
    uint64_t bound_threads;
    /**
     * Those of them that are inside.
     */
    uint64_t inside;
} gort_stats_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The meaning of a code, in English. Never null; the text is constant and is not to be freed.
 *
 * Any thread may call it at any time; async-signal-safe.
 */
const char *gort_strerror(int code);

/**
 * Starts the runtime. Call it once, from any thread, before the first gort_spawn(); after gort_shutdown() it may be called again,
 * with other settings. It may be called in a library's constructor.
 *
 * @param config  the settings, or NULL for all defaults.
 * @return GORT_OK;
 *   GORT_EINVAL: a setting, or a variable of the environment, has no meaning, and gort_last_error() names it;
 *   GORT_ESTARTED: it runs already;
 *   GORT_EBUSY: another thread shuts it down at this moment;
 *   GORT_ENOMEM: no memory, no address space, or no kernel thread;
 *   GORT_ESYSTEM: the C library does not allow goroutines to have thread-local storage (GORT_BACKEND=threads needs none);
 *   GORT_EFORKED.
 */
int gort_start(const struct gort_config_t *config);

/**
 * Ends the runtime: waits until all goroutines have ended and all threads have left, then ends gort's kernel threads and gives back
 * what they hold. After it the library may be unloaded. If the runtime does not run this does nothing.
 *
 * From the call on nobody comes in from outside: gort_spawn() and gort_enter() return GORT_ESHUTDOWN. What is inside goes on; no
 * goroutine is cancelled. Tell them to end, for example by closing their channels. Handles stay good: a goroutine that has ended
 * can be joined afterwards, and channels work between threads.
 *
 * Not in a library's constructor or destructor.
 *
 * @param patience  nanoseconds to wait at most; GORT_FOREVER is allowed.
 * @return GORT_OK;
 *   GORT_EBUSY: not all have ended in time (gort_last_error() says how many), and the runtime goes on as if nothing had been
 *   asked; or another thread starts or ends it at this moment;
 *   GORT_EDEADLOCK: the caller is a goroutine, or has entered, so it would wait for itself;
 *   GORT_EFORKED.
 */
int gort_shutdown(uint64_t patience);

/**
 * Starts a goroutine that runs `function(argument)`. Any thread or goroutine may call it.
 *
 * @param thread  where the handle goes (0 if it fails), for gort_join() or gort_detach(), one of which must follow; or NULL: the
 *   goroutine is detached from the beginning.
 * @param function  what it runs.
 * @param argument  passed to it; gort never looks at what it points to.
 * @param name  for reports, copied; or NULL.
 * @param stack_size  bytes of stack at least; 0: as configured.
 * @return GORT_OK;
 *   GORT_EINVAL: `function` is NULL;
 *   GORT_ENOTSTARTED;
 *   GORT_ESHUTDOWN;
 *   GORT_ENOMEM: no stack, no memory or no kernel thread to be had, and gort_last_error() says what to do;
 *   GORT_EFORKED.
 */
int gort_spawn(gort_thread_t *thread, gort_function_t function, void *argument, const char *name, size_t stack_size);

/**
 * Waits until a goroutine has ended, destructors of its thread-local variables included, and gives its result. The handle is over
 * then. On a goroutine it parks.
 *
 * @param thread  of gort_spawn().
 * @param result  where what the function has returned goes; or NULL.
 * @return GORT_OK;
 *   GORT_ENOHANDLE: it has been joined already, or there was no such goroutine;
 *   GORT_EBUSY: somebody else waits for it already;
 *   GORT_ENOTJOINABLE: it is detached, or is a thread that gort_spawn() did not make;
 *   GORT_EDEADLOCK: it is the caller;
 *   GORT_EPANIC: Rust code in it panicked; gort_last_panic() has the text, and the handle is over;
 *   GORT_EFORKED.
 */
int gort_join(gort_thread_t thread, void **result);

/**
 * As gort_join(), waiting for at most so many nanoseconds. If the time is over first nothing has changed: the handle is as good as
 * before, for another gort_timed_join(), gort_join() or gort_detach().
 *
 * @param thread  of gort_spawn().
 * @param result  where what the function has returned goes, untouched if the time is over; or NULL.
 * @param timeout  nanoseconds to wait at most; 0: only look; or GORT_FOREVER.
 * @return as gort_join(); GORT_ETIMEDOUT: it had not ended in time.
 */
int gort_timed_join(gort_thread_t thread, void **result, uint64_t timeout);

/**
 * Lets a goroutine go on without anybody who waits for it. Its handle is good until it ends.
 *
 * @param thread  of gort_spawn().
 * @return GORT_OK;
 *   GORT_ENOHANDLE: it has been joined already, or there was no such goroutine;
 *   GORT_EBUSY: somebody waits for it;
 *   GORT_ENOTJOINABLE: it is detached already, or is a thread that gort_spawn() did not make;
 *   GORT_EFORKED.
 */
int gort_detach(gort_thread_t thread);

/**
 * The number of a goroutine or thread, as reports show it. Never used twice in a process.
 *
 * @param thread  a handle.
 * @param id  where the number goes.
 * @return GORT_OK; GORT_EINVAL: `id` is NULL; GORT_ENOHANDLE; GORT_EFORKED.
 */
int gort_id(gort_thread_t thread, uint64_t *id);

/**
 * The handle of the caller: a goroutine or any other thread, which can be unparked by it. That of a thread ends with the thread.
 *
 * @param thread  where the handle goes.
 * @return GORT_OK;
 *   GORT_EINVAL: `thread` is NULL;
 *   GORT_ENOHANDLE: the thread is ending and never had a handle;
 *   GORT_ENOMEM;
 *   GORT_EFORKED.
 */
int gort_current(gort_thread_t *thread);

/**
 * Waits for at least so long. A goroutine parks; another thread sleeps in the kernel. Needs no runtime.
 *
 * @param nanoseconds  how long; GORT_FOREVER is 584 years.
 * @return GORT_OK; GORT_EFORKED.
 */
int gort_sleep(uint64_t nanoseconds);

/**
 * Lets other goroutines run first; on a thread that is none, other threads. Needs no runtime.
 *
 * @return GORT_OK; GORT_EFORKED.
 */
int gort_yield(void);

/**
 * Waits until somebody calls gort_unpark() with the caller's handle; returns at once if somebody has since the last gort_park().
 * It may return for no reason, so look at what you wait for, and park again. On goroutines and on other threads; needs no
 * runtime.
 *
 * @param timeout  nanoseconds to wait at most, or GORT_FOREVER.
 * @return GORT_OK, whatever has ended the wait; GORT_EFORKED.
 */
int gort_park(uint64_t timeout);

/**
 * Ends the gort_park() of a goroutine or thread: the one that waits now, or the next one. What was written before is seen after
 * that park.
 *
 * From anywhere: any goroutine, any thread, with or without a runtime. Async-signal-safe: it neither waits nor allocates, takes no
 * lock, and leaves errno alone. (One condition, for a library that dlopen() has loaded: a thread's first access to its
 * thread-local storage may allocate. Call any function of gort's once on a thread before a signal handler does.)
 *
 * @param thread  a handle.
 * @return GORT_OK; GORT_ENOHANDLE: it has been joined, or was detached or a thread, and has ended; GORT_EFORKED.
 */
int gort_unpark(gort_thread_t thread);

/**
 * Makes a channel. It needs no runtime.
 *
 * @param capacity  how many pointers it holds; 0: a sender waits until a receiver waits for its pointer. Memory is taken up as
 *   it is used.
 * @param channel  where the handle goes, for gort_channel_free() in the end.
 * @return GORT_OK; GORT_EINVAL: `channel` is NULL; GORT_ENOMEM; GORT_EFORKED.
 */
int gort_channel_create(size_t capacity, gort_channel_t *channel);

/**
 * Sends a pointer, waiting for room: a goroutine parks, another thread blocks. What was written before is seen by the receiver.
 *
 * @param channel  a handle.
 * @param value  the pointer; NULL is one as well.
 * @return GORT_OK: it is in the channel, or a receiver takes it;
 *   GORT_ECLOSED: the channel is closed, also while waiting, and the pointer is still the caller's;
 *   GORT_ENOHANDLE;
 *   GORT_EFORKED.
 */
int gort_channel_send(gort_channel_t channel, void *value);

/**
 * As gort_channel_send(), without waiting.
 *
 * @return as gort_channel_send(); GORT_EAGAIN: there is no room.
 */
int gort_channel_try_send(gort_channel_t channel, void *value);

/**
 * As gort_channel_send(), waiting for at most so many nanoseconds.
 *
 * @return as gort_channel_send(); GORT_ETIMEDOUT: there was no room in time.
 */
int gort_channel_timed_send(gort_channel_t channel, void *value, uint64_t timeout);

/**
 * Receives the oldest pointer, waiting for one: a goroutine parks, another thread blocks.
 *
 * @param channel  a handle.
 * @param value  where the pointer goes; untouched if there is none.
 * @return GORT_OK;
 *   GORT_ECLOSED: the channel is closed, and everything that was sent has been received;
 *   GORT_EINVAL: `value` is NULL;
 *   GORT_ENOHANDLE;
 *   GORT_EFORKED.
 */
int gort_channel_recv(gort_channel_t channel, void **value);

/**
 * As gort_channel_recv(), without waiting.
 *
 * @return as gort_channel_recv(); GORT_EAGAIN: there is nothing.
 */
int gort_channel_try_recv(gort_channel_t channel, void **value);

/**
 * As gort_channel_recv(), waiting for at most so many nanoseconds.
 *
 * @return as gort_channel_recv(); GORT_ETIMEDOUT: nothing came in time.
 */
int gort_channel_timed_recv(gort_channel_t channel, void **value, uint64_t timeout);

/**
 * Closes a channel: nothing can be sent any more, what is in it can still be received, and everybody who waits goes on.
 *
 * @return GORT_OK; GORT_ECLOSED: it was closed before; GORT_ENOHANDLE; GORT_EFORKED.
 */
int gort_channel_close(gort_channel_t channel);

/**
 * Closes a channel and ends its handle. Who waits in it gets GORT_ECLOSED; whoever comes later, GORT_ENOHANDLE. Pointers that are in
 * it are forgotten: receive until GORT_ECLOSED if they own something.
 *
 * @return GORT_OK; GORT_ENOHANDLE: it has been freed already, or there was no such channel; GORT_EFORKED.
 */
int gort_channel_free(gort_channel_t channel);

/**
 * Enters the runtime on whatever thread this is. Until the matching gort_leave() the thread counts as inside: gort_shutdown()
 * waits for it, and it may spawn while the runtime is being shut down. A thread's first call binds it to the runtime until it
 * exits; later ones make no system call. Pairs nest. On a goroutine, which is inside anyway, pairs are only counted.
 *
 * A request of pthread_cancel() does not wait for gort_leave(): the thread ends at its next cancellation point in C, and counts
 * as one that has left. (A request that comes while C has called Rust waits until that has returned.)
 *
 * No other function needs it. Use it around code that must not be cut in two by a shutdown.
 *
 * @return GORT_OK; GORT_ESHUTDOWN: nobody is let in any more; GORT_EFORKED.
 */
int gort_enter(void);

/**
 * Undoes one gort_enter() of this thread or goroutine. A thread that exits without it is taken for having left.
 *
 * @return GORT_OK; GORT_EUNBALANCED: it has not entered, or has left; GORT_EFORKED.
 */
int gort_leave(void);

/**
 * Declares that what follows, until gort_blocking_end(), may block the kernel thread: a system call or a library that gort does not
 * see into. Other goroutines get the processor after some 20 microseconds. Without it they get it too, after up to 15
 * milliseconds. Costs a few nanoseconds; sections nest; on a thread that is no goroutine they are only counted. A goroutine that
 * ends within a section has ended it.
 *
 * @return GORT_OK; GORT_EFORKED.
 */
int gort_blocking_begin(void);

/**
 * Ends the section that the latest gort_blocking_begin() of this thread or goroutine has begun. A goroutine whose processor has
 * gone to others waits here for its turn. errno is left alone.
 *
 * @return GORT_OK; GORT_EUNBALANCED: there is no section to end; GORT_EFORKED.
 */
int gort_blocking_end(void);

/**
 * Ties the calling goroutine to the kernel thread that it runs on, for libraries that are keyed on it (OpenGL, namespaces, JNI). No
 * other goroutine runs there until gort_unlock_thread(). Pairs nest. If the goroutine ends while it is locked, its kernel thread
 * ends too. On a thread that is no goroutine pairs are only counted.
 *
 * @return GORT_OK; GORT_EFORKED.
 */
int gort_lock_thread(void);

/**
 * Undoes one gort_lock_thread().
 *
 * @return GORT_OK; GORT_EUNBALANCED: there is none to undo; GORT_EFORKED.
 */
int gort_unlock_thread(void);

/**
 * Whether calls of a libc function in this process come to gort, so that they park goroutines. They do in a program that is linked with
 * libgort (unless GORT_INTERPOSE=0), and do not where libgort was loaded by dlopen().
 *
 * On Windows it is a function of the system's, for example "Sleep", and calls come to gort in a program that libgort.a is part of; not
 * in one that uses gort.dll.
 *
 * @param name  of the function, for example "read"; or NULL: all that gort has.
 * @param parks  where the answer goes, 1 or 0.
 * @return GORT_OK; GORT_ENONE: gort has no such function; GORT_EINVAL: `parks` is NULL.
 */
int gort_parks(const char *name, int *parks);

/**
 * Fills in figures of this moment. Nothing is stopped for it, so they may be some nanoseconds apart. Zero, but for `procs`, before
 * the start.
 *
 * @param stats  where they go; stats->size says how much room there is.
 * @return GORT_OK; GORT_EINVAL: `stats` is NULL, or its size is none that a gort_stats_t ever had; GORT_EFORKED.
 */
int gort_stats(struct gort_stats_t *stats);

/**
 * Writes what the runtime does at this moment, as text for people: processors, kernel threads, and of each goroutine its number and
 * name and what it does or waits for. Nothing is stopped for it. The text, which docs/debugging.md explains, may change from one
 * version to the next; it says so if the runtime does not run, or the process is a fork.
 *
 * From anywhere. Async-signal-safe, under the condition of gort_unpark(): it neither allocates nor takes a lock, and leaves errno
 * alone. It waits for the descriptor only, blocking the kernel thread.
 *
 * @param fd  an open descriptor, for example 2; on Windows one of the C runtime that gort is linked with.
 * @return GORT_OK; GORT_ESYSTEM: not all of it could be written.
 */
int gort_dump(int fd);

/**
 * The text, in UTF-8, of the last panic of Rust code that was stopped on the calling thread or goroutine: by a function that has
 * returned GORT_EPANIC, or in a callback. It is given once.
 *
 * @param buffer  where it goes, with a zero behind it.
 * @param size  bytes of the buffer; 0 to ask for the length only.
 * @param length  where the number of its bytes goes, without the zero; or NULL.
 * @return GORT_OK;
 *   GORT_ENONE: there is none;
 *   GORT_ERANGE: the buffer holds its beginning; the text can be asked for again;
 *   GORT_EINVAL: `buffer` is NULL and `size` is not 0.
 */
int gort_last_panic(char *buffer, size_t size, size_t *length);

/**
 * The text, in UTF-8, of the last failure on the calling thread or goroutine that has more to say than its code, such as which
 * setting is wrong or which limit was reached. It is given once.
 *
 * @param buffer  where it goes, with a zero behind it.
 * @param size  bytes of the buffer; 0 to ask for the length only.
 * @param length  where the number of its bytes goes, without the zero; or NULL.
 * @return as gort_last_panic().
 */
int gort_last_error(char *buffer, size_t size, size_t *length);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GORT_H */
