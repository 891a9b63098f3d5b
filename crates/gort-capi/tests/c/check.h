/* What the programs share: a check that says what was expected. */
#ifndef CHECK_H
#define CHECK_H

#include <gort.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program unless the condition holds. */
#define CHECK(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Ends the program unless the call returns this code. */
#define RETURNS(code, call)                                                                                            \
    do {                                                                                                               \
        int code_returned = (call);                                                                                    \
        if (code_returned != (code)) {                                                                                 \
            char text[500] = "";                                                                                       \
            gort_last_error(text, sizeof text, NULL);                                                                  \
            fprintf(stderr, "%s:%d: %s: %d (%s), not %s; %s\n", __FILE__, __LINE__, #call, code_returned,              \
                    gort_strerror(code_returned), #code, text);                                                        \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define OK(call) RETURNS(GORT_OK, call)

#define SECONDS(n) ((uint64_t)(n) * 1000000000u)

/* Starts the runtime with all defaults, which the environment sets. */
static inline void start(void) { OK(gort_start(NULL)); }

/* Ends it; nobody may be left. */
static inline void stop(void) { OK(gort_shutdown(SECONDS(30))); }

/* Whether goroutines are kernel threads here, which never park. */
static inline int on_threads(void) {
    const char *backend = getenv("GORT_BACKEND");
    return backend != NULL && backend[0] == 't';
}

#endif
