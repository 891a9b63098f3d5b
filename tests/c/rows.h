/* The C halves of scenarios that Go's tests of cgo have, for callbacks and threads. */
#ifndef ROWS_H
#define ROWS_H

#include "cthreads.h"

/* Calls fn(). */
void rw_plain(void (*fn)(void));

/* Calls fn(arg), and returns value afterwards. */
long rw_after(ct_fn fn, void *arg, long value);

/* Hands three texts to fn: an empty one, a word, and one of 9,999 characters. Returns the sum of what it returned. */
long rw_texts(long (*fn)(void *arg, const char *text), void *arg);

/* A variable of each thread's own. */
void rw_set(int value);
int rw_get(void);

/* The game of life on a torus of RW_SIDE times RW_SIDE cells. */
#define RW_SIDE 16
struct rw_life {
    unsigned char now[RW_SIDE][RW_SIDE], next[RW_SIDE][RW_SIDE];
};

/* Puts a glider on an empty board. */
void rw_glider(struct rw_life *life);
/* Makes one row of the next generation. */
void rw_row(struct rw_life *life, unsigned y);
/* One generation: calls start(arg, y) for each row, which sees to it that rw_row is called for it, then wait(arg). */
void rw_generation(struct rw_life *life, void (*start)(void *arg, unsigned y), void (*wait)(void *arg), void *arg);
/* Adds the cells' rows as text to `text`, which has RW_SIDE * (RW_SIDE + 1) + 1 bytes. */
void rw_print(const struct rw_life *life, char *text);

/* Makes a thread that calls fn(arg) and then waits in C, cancels it there and joins it. 1 if it ended by that. */
int rw_cancelled(ct_fn fn, void *arg);

/* Calls fn(arg) from a frame that holds 1024 words of a pattern. Returns how many are as they were. */
int rw_pattern(ct_fn fn, void *arg);

#endif
