/* See platform.h. */
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline long kernel_thread(void) { return syscall(SYS_gettid); }

typedef void *library;

static inline library open_library(const char *path, int global) {
    return dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
}
static inline void *look_up(library library, const char *name) { return dlsym(library, name); }
static inline int close_library(library library) { return dlclose(library) == 0; }

/* All of libc's names that gort has are in the program, or in the library, also those which only other libraries need: it is not
 * the program's doing, which asks for none of them. */
#define names()                                                                                                        \
    do {                                                                                                               \
        Dl_info ours, found;                                                                                           \
        CHECK(dladdr((void *)(uintptr_t)gort_start, &ours) != 0);                                                      \
        CHECK(dladdr(dlsym(RTLD_DEFAULT, "semtimedop"), &found) != 0);                                                 \
        CHECK(ours.dli_fbase == found.dli_fbase);                                                                      \
    } while (0)

#define A_HOOK "read"
#define THREADS_TO_THE_PROGRAM 1
#define GORTS_END_COMES_FIRST 1
