/* How the system blocks a kernel thread for so long, by the bare system call: nothing that a host may replace is called. */
#ifndef NAP_H
#define NAP_H

#include <stdint.h>

void nap(uint64_t milliseconds);

#endif
