/* See platform.h. */
#include <windows.h>

static inline long kernel_thread(void) { return (long)GetCurrentThreadId(); }

typedef HMODULE library;

static inline library open_library(const char *path, int global) {
    (void)global; /* names are never the process's */
    return LoadLibraryA(path);
}
static inline void *look_up(library library, const char *name) {
    return (void *)(uintptr_t)GetProcAddress(library, name);
}
static inline int close_library(library library) { return FreeLibrary(library) != 0; }

#define A_HOOK "Sleep"

/* Hooks and keys are those of the module that gort is part of. */
#ifdef LINKED_STATICALLY
#define THREADS_TO_THE_PROGRAM 1
#else
#define THREADS_TO_THE_PROGRAM 0
#endif

/* A thread of pthread_create() runs the destructors of its keys itself. */
#define GORTS_END_COMES_FIRST 0

#define names()                                                                                                        \
    do {                                                                                                               \
        int live;                                                                                                      \
        OK(gort_parks("WaitOnAddress", &live));                                                                        \
        CHECK(live == THREADS_TO_THE_PROGRAM);                                                                         \
    } while (0)
