/* Locks as C uses them: a queue made with threads.h, and a wait that is cancelled. */
#ifndef LOCKS_H
#define LOCKS_H

#include <pthread.h>

struct lk_c11;

struct lk_c11 *lk_c11_new(void);
void lk_c11_free(struct lk_c11 *queue);
/* Waits until the place is free; returns 0. */
int lk_c11_put(struct lk_c11 *queue, long item);
/* Waits, by short timed waits, for an item. */
long lk_c11_take(struct lk_c11 *queue);
/* 1 if a lock that is held is busy, and times out. */
int lk_c11_held(struct lk_c11 *queue);
/* How often the function of the one call_once has run. */
int lk_c11_once(void);

/* Makes a thread that waits, and cancels it there. 1 if it held the lock (which must check for errors) in its cleanup. */
int lk_cancel_a_wait(pthread_mutex_t *lock, pthread_cond_t *cond);

#endif
