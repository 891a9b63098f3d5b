/* pump: a small C library with threads of its own, as many real ones have.
 *
 * It stands for a driver, a codec or a database client: it starts threads with pthread_create, calls the
 * host back from them, and blocks in the kernel. It knows nothing of Rust or of gort.
 */
#ifndef PUMP_H
#define PUMP_H

#include <stdint.h>

/* Called for each event, from any of the library's threads. Returns the event's value to acknowledge it,
 * or a negative number to refuse it. */
typedef int64_t (*pump_handler)(void *host, uint32_t thread, uint64_t event, int64_t value);

/* What the library saw. Sums are of the events' values. */
struct pump_tally {
    uint64_t calls;       /* calls of the handler */
    uint64_t refused;     /* calls that returned a negative number */
    uint64_t wrong;       /* calls that returned another value than they were given */
    int64_t sent_sum;     /* of all events */
    int64_t refused_sum;  /* of the refused ones */
    uint64_t nanoseconds; /* from the first thread's start until the last one's end */
};

/* The value of an event; never negative. */
int64_t pump_value(uint32_t thread, uint64_t event);

/* Starts `threads` threads that call `handler` with `events` events each, waits for all of them to end and
 * fills in `tally`. Returns the number of threads that could be started. */
uint32_t pump_run(uint32_t threads, uint64_t events, pump_handler handler, void *host,
                  struct pump_tally *tally);

/* Blocks the calling kernel thread for so long, by the bare system call. */
void pump_nap(uint64_t milliseconds);

/* How many callers are inside pump_nap now. */
uint32_t pump_napping(void);

#endif
