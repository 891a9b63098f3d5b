#include "locks.h"

#include <pthread.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

/* --- threads.h: a queue of one place --- */

struct lk_c11 {
    mtx_t lock;
    cnd_t changed;
    int full;
    long item;
};

struct lk_c11 *lk_c11_new(void)
{
    struct lk_c11 *queue = calloc(1, sizeof *queue);

    if (queue != NULL && (mtx_init(&queue->lock, mtx_timed) != thrd_success || cnd_init(&queue->changed) != thrd_success))
        abort();
    return queue;
}

void lk_c11_free(struct lk_c11 *queue)
{
    cnd_destroy(&queue->changed);
    mtx_destroy(&queue->lock);
    free(queue);
}

int lk_c11_put(struct lk_c11 *queue, long item)
{
    int wrong = mtx_lock(&queue->lock) != thrd_success;

    while (queue->full)
        wrong |= cnd_wait(&queue->changed, &queue->lock) != thrd_success;
    queue->full = 1;
    queue->item = item;
    wrong |= cnd_broadcast(&queue->changed) != thrd_success;
    return wrong | (mtx_unlock(&queue->lock) != thrd_success);
}

static struct timespec soon(long ns)
{
    struct timespec at;

    timespec_get(&at, TIME_UTC);
    at.tv_nsec += ns;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

long lk_c11_take(struct lk_c11 *queue)
{
    struct timespec at = soon(1000000);
    long item;
    int got;

    while ((got = mtx_timedlock(&queue->lock, &at)) == thrd_timedout)
        at = soon(1000000);
    if (got != thrd_success)
        return -1;
    while (!queue->full) {
        at = soon(1000000);
        got = cnd_timedwait(&queue->changed, &queue->lock, &at);
        if (got != thrd_success && got != thrd_timedout)
            return -1;
    }
    queue->full = 0;
    item = queue->item;
    if (cnd_signal(&queue->changed) != thrd_success || mtx_unlock(&queue->lock) != thrd_success)
        return -1;
    return item;
}

int lk_c11_held(struct lk_c11 *queue)
{
    struct timespec at = soon(1000000);
    int timed;

    mtx_lock(&queue->lock);
    timed = mtx_trylock(&queue->lock) == thrd_busy && mtx_timedlock(&queue->lock, &at) == thrd_timedout;
    mtx_unlock(&queue->lock);
    return timed;
}

static once_flag flag = ONCE_FLAG_INIT;
static int calls;

static void call(void)
{
    calls++;
    thrd_yield();
}

int lk_c11_once(void)
{
    call_once(&flag, call);
    return calls;
}

/* --- cancelling a thread that waits for a condition --- */

struct cancelled {
    pthread_mutex_t *lock;
    pthread_cond_t *cond;
    int *waits;
    int cleaned;
};

static void clean(void *arg)
{
    struct cancelled *it = arg;

    it->cleaned = pthread_mutex_unlock(it->lock) == 0; /* an error-checking mutex: only its owner can */
}

static void *wait_for_ever(void *arg)
{
    struct cancelled *it = arg;

    pthread_mutex_lock(it->lock);
    pthread_cleanup_push(clean, it);
    *it->waits = 1;
    for (;;)
        pthread_cond_wait(it->cond, it->lock);
    pthread_cleanup_pop(1);
    return NULL;
}

int lk_cancel_a_wait(pthread_mutex_t *lock, pthread_cond_t *cond)
{
    int waits = 0;
    struct cancelled it = {.lock = lock, .cond = cond, .waits = &waits};
    pthread_t thread;
    void *result;

    if (pthread_create(&thread, NULL, wait_for_ever, &it) != 0)
        return 0;
    for (int seen = 0; !seen;) {
        pthread_mutex_lock(lock);
        seen = waits; /* it has let go of the lock, so it waits */
        pthread_mutex_unlock(lock);
    }
    pthread_cancel(thread);
    pthread_join(thread, &result);
    return result == PTHREAD_CANCELED && it.cleaned;
}
