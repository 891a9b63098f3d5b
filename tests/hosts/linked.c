/* A program that is linked with a plug-in, and ends by exit() in many states of its runtime.
 *
 *     HOST SCENARIO
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int plugin_start(void);
int plugin_shutdown(unsigned);
long plugin_work(long);
long plugin_callback(long);
long plugin_on_goroutine(long (*)(void *), void *);

#define CROWD 10

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "not so: %s\n", what);
        _exit(1);
    }
}
#define CHECK(condition) check(condition, #condition)

static atomic_int called;

static void *calls_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        plugin_callback(plugin_work(3));
        atomic_fetch_add(&called, 1);
    }
    return NULL;
}

static void *calls_once(void *unused)
{
    CHECK(plugin_callback(1) == 1);
    return unused;
}

static void storm(void *(*run)(void *))
{
    pthread_t thread;
    for (int i = 0; i < CROWD; i++) {
        CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
        CHECK(pthread_detach(thread) == 0);
    }
    while (atomic_load(&called) < CROWD)
        plugin_callback(1);
}

static long exits(void *unused)
{
    (void)unused;
    exit(0);
}

static void *only_calls_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        plugin_callback(1);
        atomic_fetch_add(&called, 1);
    }
    return NULL;
}

static int is(const char *scenario, const char *name)
{
    return scenario != NULL && strcmp(scenario, name) == 0;
}

static int started_before;

/* Called by the plug-in's constructor, which is before the loader has said that it wants to be called at the end. */
static void before_main(int (*start)(void), long (*work)(long), long (*callback)(long))
{
    started_before = start() == 0 && work(5) == 10 && callback(7) == 7;
}

/* Begins anew, with the address of that function where the plug-in's constructor looks for it. The program's addresses are always
 * the same: it is linked so. */
static void with_constructor(char **argv)
{
    char address[30];
    if (getenv("GORT_TEST_CONSTRUCTOR") == NULL) {
        sprintf(address, "%lu", (unsigned long)before_main);
        CHECK(setenv("GORT_TEST_CONSTRUCTOR", address, 1) == 0);
        execv("/proc/self/exe", argv);
    }
    CHECK(started_before);
}

int main(int argc, char **argv)
{
    const char *scenario = argc > 1 ? argv[1] : NULL;
    if (is(scenario, "constructor") || is(scenario, "constructor_shut_down"))
        with_constructor(argv);
    puts("it ends");
    if (is(scenario, "running")) {
        CHECK(plugin_work(5) == 10);
    } else if (is(scenario, "inside")) {
        plugin_on_goroutine(exits, NULL);
    } else if (is(scenario, "storm")) {
        CHECK(plugin_start() == 0);
        storm(calls_for_ever);
    } else if (is(scenario, "shut_down")) {
        CHECK(plugin_start() == 0);
        storm(calls_for_ever);
        CHECK(plugin_shutdown(30000) == 0);
        storm(calls_for_ever);
    } else if (is(scenario, "callbacks")) {
        /* None of which needs the runtime. */
        pthread_t thread;
        CHECK(plugin_callback(7) == 7);
        CHECK(pthread_create(&thread, NULL, calls_once, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    } else if (is(scenario, "callbacks_storm")) {
        storm(only_calls_for_ever);
    } else if (is(scenario, "constructor_shut_down")) {
        CHECK(plugin_shutdown(30000) == 0);
        storm(only_calls_for_ever);
    } else if (is(scenario, "again")) {
        for (int life = 0; life < 3; life++) {
            CHECK(plugin_start() == 0 && plugin_work(5) == 10);
            CHECK(plugin_shutdown(30000) == 0);
        }
    } else if (is(scenario, "child")) {
        int status;
        CHECK(plugin_work(5) == 10);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            exit(0);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    } else {
        CHECK(is(scenario, "unused") || is(scenario, "constructor"));
    }
    return 0;
}
