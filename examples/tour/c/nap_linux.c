/* See nap.h. */
#include "nap.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The nanosleep system call without the C library's function of that name, which a host may replace.
 * Returns 0, or another number if a signal cut the sleep short; the rest is then in `time`. */
static long raw_nanosleep(struct timespec *time) {
#if defined(__x86_64__) && defined(__LP64__)
    long result;
    __asm__ volatile("syscall" /* nanosleep(time, time) */
                     : "=a"(result)
                     : "0"((long)SYS_nanosleep), "D"(time), "S"(time)
                     : "rcx", "r11", "memory");
    return result;
#else
    return syscall(SYS_nanosleep, time, time);
#endif
}

void nap(uint64_t milliseconds) {
    struct timespec left = {
        .tv_sec = (time_t)(milliseconds / 1000),
        .tv_nsec = (long)(milliseconds % 1000) * 1000000,
    };
    while (raw_nanosleep(&left) != 0) {
    }
}
