/* Ways by which C leaves frames without a return: longjmp, pthread_exit, pthread_cancel. */
#ifndef JUMPS_H
#define JUMPS_H

#include "cthreads.h"

/* Goes down `depth` frames of C, calls fn(arg) there, and comes back by longjmp; `rounds` times. Returns how often all
   that the frame at the top holds was as before. */
int jp_within(int depth, int rounds, ct_fn fn, void *arg);

/* As jp_within, as compiled with _FORTIFY_SOURCE: longjmp checks where it goes. */
int jp_within_fortified(int depth, int rounds, ct_fn fn, void *arg);

/* Raises SIGUSR2 `rounds` times, each time in frames that fn(arg) has been called from; the handler, on the alternate
   stack, comes back by siglongjmp. Returns how often it did. */
int jp_from_handler(int rounds, ct_fn fn, void *arg);

/* Calls fn(arg) `times` times, with `room` bytes of stack in use, from a frame that jp_over_now jumps to. Returns how
   often it did. */
int jp_over(int times, size_t room, ct_fn fn, void *arg);
/* Jumps to the innermost frame of jp_over on this thread or goroutine, over whatever lies between. */
void jp_over_now(void);

/* Calls fn; 1 if it came back by jp_elsewhere_now, on whatever stack and identity that was called. One at a time. */
int jp_elsewhere(ct_fn fn, void *arg);
void jp_elsewhere_now(void);

/* Calls fn(arg) below `depth` frames of C, each with a cleanup handler that adds 1 to *cleaned, and then ends the thread by
   pthread_exit in the innermost of them. */
void ex_after(int depth, int *cleaned, ct_fn fn, void *arg);
/* pthread_exit. */
void ex_now(void *value);

/* Makes a thread that calls fn(arg) and then comes to cancellation points for ever, below a cleanup handler that adds 1 to
   *cleaned. `requested`: it has asked for its own cancellation before it calls fn, and comes to no cancellation point
   between; otherwise fn sees to it that the thread is cancelled. `at_once`: requests are acted on at any instruction.
   Returns 1 if the thread was cancelled, when it has been joined; -1 if it could not be made. */
int ex_cancel(int requested, int at_once, int *cleaned, ct_fn fn, void *arg);

/* A cancellation point. */
void ex_point(void *unused);

/* Stores numbers in a C frame, in a thread-local variable and in errno, calls fn(arg), and returns 0 if all are as before;
   else bits: 1 the frame, 2 the variable, 4 errno, 8 its address. */
int er_kept(int number, ct_fn fn, void *arg);

/* Calls fn(arg, levels), which may call this again with one level less, from a frame that holds numbers. Returns what fn
   returned, and 1 more if the frame is as before. */
typedef int (*er_level_fn)(void *arg, int levels);
int er_level(er_level_fn fn, void *arg, int levels);

#endif
