/* What the programs ask of the system by other names here and there, and what differs between systems:
 *
 *   kernel_thread()             the number of the calling kernel thread
 *   library, open_library(), look_up(), close_library()
 *   A_HOOK                      a function that gort has a hook for
 *   names()                     checks that the hooks are where they should be
 *   THREADS_TO_THE_PROGRAM      whether a goroutine is a thread to the program's own code, with keys of its own
 *   GORTS_END_COMES_FIRST       whether, when a thread ends, gort's part in it comes before the destructors of the program's keys
 *
 * LINKED_STATICALLY is defined where gort is part of the program. */
#ifndef PLATFORM_H
#define PLATFORM_H

#ifdef _WIN32
#include "platform_windows.h"
#else
#include "platform_linux.h"
#endif

#endif
