/* What C hosts that load plug-ins with a runtime of their own have in common. They are not linked with Rust. A host is called as
 *
 *     HOST SCENARIO PLUGIN...
 *
 * and ends with 0, or says what was not as it should be and ends with 1. */

#ifndef HOST_H
#define HOST_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef long (*function)(void *);

/* What a plug-in exports; see plugin/src/exports.rs. */
struct plugin {
    void *handle;
    const char *path;
    int (*start)(void);
    int (*shutdown)(unsigned);
    long (*work)(long);
    long (*plain_work)(long);
    int (*await)(int);
    long (*callback)(long);
    long (*on_goroutine)(function, void *);
    int (*hold)(function, void *);
    void (*release)(void);
    long (*bound)(void);
    int (*current_thread)(void);
};

#define PATIENCE 30000u
#define CROWD 10
#define EACH 20L
#define SUM (EACH * (EACH - 1) / 2)

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _exit(1);
}

#define CHECK(condition, ...) \
    do \
        if (!(condition)) \
            fail("line " LINE(__LINE__) ": " __VA_ARGS__); \
    while (0)
#define LINE(number) LINE_(number)
#define LINE_(number) #number

static void *symbol(void *handle, const char *name)
{
    void *found = dlsym(handle, name);
    CHECK(found, "%s: %s", name, dlerror());
    return found;
}

static struct plugin load(const char *path)
{
    struct plugin p = {.path = path, .handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    CHECK(p.handle, "%s", dlerror());
    p.start = symbol(p.handle, "plugin_start");
    p.shutdown = symbol(p.handle, "plugin_shutdown");
    p.work = symbol(p.handle, "plugin_work");
    p.plain_work = symbol(p.handle, "plugin_plain_work");
    p.await = symbol(p.handle, "plugin_await");
    p.callback = symbol(p.handle, "plugin_callback");
    p.on_goroutine = symbol(p.handle, "plugin_on_goroutine");
    p.hold = symbol(p.handle, "plugin_hold");
    p.release = symbol(p.handle, "plugin_release");
    p.bound = symbol(p.handle, "plugin_bound");
    p.current_thread = symbol(p.handle, "plugin_current_thread");
    return p;
}

/* What the process holds. */
struct holdings {
    int threads, descriptors, mappings;
    long kilobytes;
};

/* Whether a mapping is of the file at `path`, and, if wanted, how much there is in all. */
static int mapped(const char *path, struct holdings *all)
{
    char line[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps, "maps");
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2, "%s", line);
        found |= path && strstr(line, path) != NULL;
        if (all) {
            all->mappings++;
            all->kilobytes += (long)((to - from) / 1024);
        }
    }
    fclose(maps);
    return found;
}

static void let_go(struct plugin *p)
{
    CHECK(dlclose(p->handle) == 0, "%s", dlerror());
}

static void unload(struct plugin *p)
{
    CHECK(p->shutdown(PATIENCE) == 0, "not shut down");
    let_go(p);
    CHECK(!mapped(p->path, NULL), "%s is still there", p->path);
}

static pthread_t begin(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, argument) == 0, "no thread");
    return thread;
}

static void end(pthread_t thread)
{
    CHECK(pthread_join(thread, NULL) == 0, "not joined");
}

static void *works(void *plugin)
{
    struct plugin *p = plugin;
    CHECK(p->work(EACH) == SUM, "wrong sum");
    CHECK(p->callback(7) == 7, "not let in");
    return NULL;
}

static void crowd(struct plugin *p, void *(*run)(void *))
{
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++)
        threads[i] = begin(run, p);
    for (int i = 0; i < CROWD; i++)
        end(threads[i]);
}

/* By the environment, of which the plug-ins read it too. */
static int goroutines_are_threads(void)
{
    const char *backend = getenv("GORT_BACKEND");
    return backend && !strcmp(backend, "threads");
}

static pthread_barrier_t barrier;

/* A scenario's name, and what it does with the plug-ins that are named after it. */
struct scenario {
    const char *name;
    void (*run)(char **);
};

static int run(const struct scenario *scenarios, size_t count, int argc, char **argv)
{
    CHECK(argc > 2, "SCENARIO PLUGIN...");
    for (size_t i = 0; i < count; i++)
        if (!strcmp(scenarios[i].name, argv[1])) {
            scenarios[i].run(argv + 2);
            return 0;
        }
    fail("no scenario %s", argv[1]);
    return 1;
}

#endif
