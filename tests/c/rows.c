#include "rows.h"

#include <semaphore.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

void rw_plain(void (*fn)(void))
{
    fn();
}

long rw_after(ct_fn fn, void *arg, long value)
{
    volatile long kept = value;

    fn(arg);
    return kept;
}

long rw_texts(long (*fn)(void *arg, const char *text), void *arg)
{
    char text[10000];
    long sum;

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    sum = fn(arg, "");
    sum += fn(arg, "word");
    sum += fn(arg, text);
    return sum;
}

static __thread int variable;

void rw_set(int value)
{
    variable = value;
}

int rw_get(void)
{
    return variable;
}

void rw_glider(struct rw_life *life)
{
    memset(life, 0, sizeof *life);
    life->now[0][1] = life->now[1][2] = life->now[2][0] = life->now[2][1] = life->now[2][2] = 1;
}

void rw_row(struct rw_life *life, unsigned y)
{
    unsigned x;
    int dx, dy;

    for (x = 0; x < RW_SIDE; x++) {
        int around = 0;
        for (dy = -1; dy <= 1; dy++)
            for (dx = -1; dx <= 1; dx++)
                if (dx != 0 || dy != 0)
                    around += life->now[(y + RW_SIDE + dy) % RW_SIDE][(x + RW_SIDE + dx) % RW_SIDE];
        life->next[y][x] = around == 3 || (around == 2 && life->now[y][x]);
    }
}

void rw_generation(struct rw_life *life, void (*start)(void *arg, unsigned y), void (*wait)(void *arg), void *arg)
{
    unsigned y;

    for (y = 0; y < RW_SIDE; y++)
        start(arg, y);
    wait(arg);
    memcpy(life->now, life->next, sizeof life->now);
}

void rw_print(const struct rw_life *life, char *text)
{
    unsigned x, y;

    for (y = 0; y < RW_SIDE; y++) {
        for (x = 0; x < RW_SIDE; x++)
            *text++ = life->now[y][x] ? 'X' : '.';
        *text++ = '\n';
    }
    *text = '\0';
}

struct victim {
    ct_fn fn;
    void *arg;
    sem_t waits;
};

static void *victim_main(void *arg)
{
    struct victim *victim = arg;

    victim->fn(victim->arg);
    sem_post(&victim->waits);
    for (;;)
        pause();
    return NULL;
}

int rw_cancelled(ct_fn fn, void *arg)
{
    struct victim victim = {.fn = fn, .arg = arg};
    pthread_t thread;
    void *result = NULL;

    sem_init(&victim.waits, 0, 0);
    if (pthread_create(&thread, NULL, victim_main, &victim) != 0)
        return 0;
    while (sem_wait(&victim.waits) != 0)
        ;
    pthread_cancel(thread);
    pthread_join(thread, &result);
    sem_destroy(&victim.waits);
    return result == PTHREAD_CANCELED;
}

int rw_pattern(ct_fn fn, void *arg)
{
    volatile uint64_t words[1024];
    int i, same = 0;

    for (i = 0; i < 1024; i++)
        words[i] = (uint64_t)i * 0x9e3779b97f4a7c15u;
    fn(arg);
    for (i = 0; i < 1024; i++)
        same += words[i] == (uint64_t)i * 0x9e3779b97f4a7c15u;
    return same;
}
