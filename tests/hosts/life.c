/* A host that loads a plug-in, uses it, and lets it go, in many ways. */

#include "host.h"
#include <dirent.h>
#include <limits.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int entries(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    CHECK(directory, "%s", path);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2;
}

static struct holdings holdings(void)
{
    struct holdings all = {.threads = entries("/proc/self/task")};
    all.descriptors = entries("/proc/self/fd");
    mapped(NULL, &all);
    return all;
}

/* Load, use from ten threads, shut down, unload: nothing stays. */
static void rounds(char **paths)
{
    enum { ROUNDS = 100, WARM = 10 };
    struct holdings before = {0}, after = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct plugin p = load(paths[0]);
        crowd(&p, works);
        unload(&p);
        if (round == WARM)
            before = holdings();
        after = holdings();
        CHECK(after.threads == 1, "%d threads in round %d", after.threads, round);
        CHECK(after.descriptors == before.descriptors || round < WARM, "%d descriptors in round %d", after.descriptors, round);
    }
    printf("%d mappings of %ld KiB, then %d of %ld KiB\n", before.mappings, before.kilobytes, after.mappings, after.kilobytes);
    /* libc keeps some stacks of threads, not always as many. One mapping of each round would be 89. */
    CHECK(after.mappings <= before.mappings + 60, "more mappings");
    CHECK(after.kilobytes <= before.kilobytes + 128 * 1024, "more memory");
}

/* Bytes of memory that malloc has given out, in the one arena that there is. */
static long allocated(void)
{
    char *text = NULL;
    size_t size = 0;
    long bytes[3] = {0};
    const char *const totals[] = {"<system type=\"current\" size=\"", "<total type=\"fast\" count=\"", "<total type=\"rest\" count=\""};
    FILE *out = open_memstream(&text, &size);
    CHECK(out && malloc_info(0, out) == 0 && fclose(out) == 0, "malloc_info");
    for (int i = 0; i < 3; i++)
        /* The last of each is that of all arenas. */
        for (char *at = text; (at = strstr(at, totals[i])) != NULL;) {
            at += strlen(totals[i]);
            bytes[i] = i == 0 ? strtol(at, NULL, 10) : strtol(strstr(at, "size=\"") + 6, NULL, 10);
        }
    free(text);
    return bytes[0] - bytes[1] - bytes[2];
}

static void *only_calls(void *plugin)
{
    struct plugin *p = plugin;
    CHECK(p->callback(7) == 7, "not let in");
    return NULL;
}

/* Loaded and unloaded, it leaves nothing in the heap; but for what libc keeps for goroutines that have allocated. */
static void heap(char **paths)
{
    enum { ROUNDS = 50, WARM = 10 };
    mallopt(M_ARENA_MAX, 1);
    void *(*const uses[])(void *) = {only_calls, works};
    for (int use = 0; use < 2; use++) {
        long before = 0;
        for (int round = 0; round < ROUNDS; round++) {
            struct plugin p = load(paths[0]);
            CHECK(p.start() == 0, "not started");
            crowd(&p, uses[use]);
            unload(&p);
            if (round == WARM)
                before = allocated();
        }
        long more = allocated() - before, each = more / (ROUNDS - WARM);
        printf("%ld bytes more, %ld each round\n", more, each);
        CHECK(each < (use && !goroutines_are_threads() ? CROWD * EACH * 2048 : 600), "%ld bytes stay each round", each);
    }
}

/* As many rounds as use up what there are of a process's 1024 keys if each leaves one. */
static void keys(char **paths)
{
    for (int round = 0; round < 1100; round++) {
        struct plugin p = load(paths[0]);
        CHECK(p.callback(1) == 1, "not let in");
        p.current_thread();
        let_go(&p);
        CHECK(!mapped(p.path, NULL), "it is still there");
    }
    pthread_key_t key;
    CHECK(pthread_key_create(&key, NULL) == 0, "no key is left");
}

enum { APART = 512, HIGHEST = 4096 };
static int readable, highest;

/* On a thread that ends: while a thread lives that has started another one, libc keeps the library for what std keeps for it. */
static void *awaits(void *plugin)
{
    struct plugin *p = plugin;
    for (int number = APART - 1; number < highest; number += APART) {
        CHECK(dup2(readable, number) == number, "no descriptor %d", number);
        CHECK(p->await(number) == 0, "no wait for descriptor %d", number);
        CHECK(close(number) == 0, "not closed");
    }
    return NULL;
}

/* What the runtime knows of descriptors, whose numbers are so far apart that it is much, goes with the library. */
static void descriptors(char **paths)
{
    enum { ROUNDS = 60, SOME = 10 };
    long most_at_first = 0, least_at_last = LONG_MAX;
    int before = entries("/proc/self/fd") + 2;
    struct rlimit limit;
    int ends[2];
    /* One heap for all threads, so that what the process holds depends on little but the library. */
    CHECK(mallopt(M_ARENA_MAX, 1) == 1, "no mallopt");
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0, "no limit");
    limit.rlim_cur = limit.rlim_max < HIGHEST ? limit.rlim_max : HIGHEST;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "no descriptors");
    CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1, "no pipe");
    readable = ends[0];
    highest = (int)limit.rlim_cur;
    for (int round = 0; round < ROUNDS; round++) {
        struct plugin p = load(paths[0]);
        end(begin(awaits, &p));
        unload(&p);
        struct holdings now = holdings();
        CHECK(now.descriptors == before, "%d descriptors in round %d", now.descriptors, round);
        if (round < SOME && now.kilobytes > most_at_first)
            most_at_first = now.kilobytes;
        if (round >= ROUNDS - SOME && now.kilobytes < least_at_last)
            least_at_last = now.kilobytes;
    }
    /* libc keeps some stacks of threads, now more, now fewer. 40 rounds' records would be 20 MiB. */
    CHECK(least_at_last <= most_at_first + 8 * 1024, "%ld KiB, then %ld", most_at_first, least_at_last);
}

static void *stays(void *plugin)
{
    struct plugin *p = plugin;
    /* What std keeps for a thread that has started another has a destructor, for which libc keeps the library. */
    if (!goroutines_are_threads())
        CHECK(p->plain_work(EACH) == SUM, "wrong sum");
    CHECK(p->callback(7) == 7, "not let in");
    p->current_thread();
    pthread_barrier_wait(&barrier); /* it may go */
    pthread_barrier_wait(&barrier); /* it is gone */
    return NULL;
}

/* Threads that have called in outlive the library. */
static void survivors(char **paths)
{
    pthread_t threads[CROWD];
    pthread_barrier_init(&barrier, NULL, CROWD + 1);
    for (int round = 0; round < 10; round++) {
        struct plugin p = load(paths[0]);
        CHECK(p.callback(1) == 1, "not let in");
        for (int i = 0; i < CROWD; i++)
            threads[i] = begin(stays, &p);
        pthread_barrier_wait(&barrier);
        unload(&p);
        /* All threads get a signal for this, which the library had a handler for. */
        CHECK(setuid(getuid()) == 0, "setuid");
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < CROWD; i++)
            end(threads[i]);
        CHECK(entries("/proc/self/task") == 1, "threads are left");
    }
    /* Nothing of it is called in the child either. */
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %d", status);
}

static atomic_long calls;

static long count(void *unused)
{
    (void)unused;
    return atomic_fetch_add(&calls, 1);
}

static void *holds_a_goroutine(void *plugin)
{
    struct plugin *p = plugin;
    CHECK(p->hold(count, NULL) == 0, "no goroutine");
    return NULL;
}

static void wait_for_calls(void)
{
    for (long now = atomic_load(&calls); atomic_load(&calls) < now + 10;)
        usleep(100);
}

/* Closed while its runtime runs, it stays. */
static void resident(char **paths)
{
    for (int round = 0; round < 10; round++) {
        struct plugin p = load(paths[0]);
        end(begin(holds_a_goroutine, &p));
        wait_for_calls();
        let_go(&p);
        CHECK(mapped(p.path, NULL), "it is gone");
        wait_for_calls();
        p = load(paths[0]);
        CHECK(p.shutdown(0) == -1, "shut down though a goroutine runs");
        crowd(&p, works);
        p.release();
        unload(&p);
    }
}

static atomic_int changes;

/* In front of libc's, for what the library calls. */
int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    int (*next)(uid_t, uid_t, uid_t) = (int (*)(uid_t, uid_t, uid_t))dlsym(RTLD_NEXT, "setresuid");
    atomic_fetch_add(&changes, 1);
    return next(real, effective, saved);
}

/* Shut down and started again, before it is unloaded. */
static void again(char **paths)
{
    for (int round = 0; round < 5; round++) {
        struct plugin p = load(paths[0]);
        crowd(&p, works);
        for (int life = 0; life < 5; life++) {
            atomic_store(&changes, 0);
            CHECK(p.shutdown(PATIENCE) == 0 && p.shutdown(PATIENCE) == 0, "not shut down");
            /* By this it learns that no thread is in its handler any more, if it had one. */
            CHECK(atomic_load(&changes) == !goroutines_are_threads(), "%d changes", atomic_load(&changes));
            CHECK(p.work(1) == -1 && p.callback(1) == -1, "let in after the end");
            CHECK(p.start() == 0 && p.start() == -1, "not started once");
            crowd(&p, works);
        }
        unload(&p);
    }
}

static atomic_int started;

static void *starts(void *plugin)
{
    struct plugin *p = plugin;
    pthread_barrier_wait(&barrier);
    if (p->start() == 0)
        atomic_fetch_add(&started, 1);
    return works(p);
}

static void *first_calls(void *plugin)
{
    pthread_barrier_wait(&barrier);
    return works(plugin);
}

/* Started by the first callback, and by ten threads at once. */
static void first(char **paths)
{
    pthread_barrier_init(&barrier, NULL, CROWD);
    for (int round = 0; round < 10; round++) {
        struct plugin p = load(paths[0]);
        crowd(&p, first_calls);
        unload(&p);
        atomic_store(&started, 0);
        p = load(paths[0]);
        crowd(&p, starts);
        CHECK(atomic_load(&started) <= 1, "started %d times", atomic_load(&started));
        unload(&p);
    }
}

static void *calls_for_ever(void *plugin)
{
    struct plugin *p = plugin;
    pthread_barrier_wait(&barrier);
    while (p->callback(p->work(3)) != 0)
        ;
    return NULL;
}

/* The process ends while threads call in, the runtime running or not. */
static void exits(char **paths, int shut)
{
    static struct plugin p;
    pthread_barrier_init(&barrier, NULL, CROWD + 1);
    p = load(paths[0]);
    CHECK(p.start() == 0, "not started");
    for (int i = 0; i < CROWD; i++)
        pthread_detach(begin(calls_for_ever, &p));
    pthread_barrier_wait(&barrier);
    if (shut)
        CHECK(p.shutdown(PATIENCE) == 0, "not shut down");
    exit(0);
}

static void exits_running(char **paths)
{
    exits(paths, 0);
}

static void exits_shut_down(char **paths)
{
    exits(paths, 1);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"rounds", rounds}, {"keys", keys}, {"descriptors", descriptors}, {"survivors", survivors}, {"resident", resident},
        {"again", again}, {"heap", heap}, {"first", first}, {"exits_running", exits_running}, {"exits_shut_down", exits_shut_down},
    };
    return run(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
