/* A host that loads plug-ins whose constructors start their runtimes, and two of them at a time. */

#include "host.h"

/* What a plug-in's constructor is to do, with the loader's lock held. */
static void (*in_constructor)(struct plugin *);

static void constructs(int (*start)(void), long (*plain_work)(long), long (*callback)(long))
{
    struct plugin p = {.start = start, .plain_work = plain_work, .callback = callback};
    in_constructor(&p);
}

static void on_construction(void (*todo)(struct plugin *))
{
    char address[32];
    in_constructor = todo;
    snprintf(address, sizeof address, "%lu", (unsigned long)constructs);
    setenv("GORT_TEST_CONSTRUCTOR", address, 1);
}

static void *only_works(void *plugin)
{
    struct plugin *p = plugin;
    CHECK(p->plain_work(EACH) == SUM, "wrong sum");
    return NULL;
}

static void starts_and_waits(struct plugin *p)
{
    CHECK(p->start() == 0, "not started");
    crowd(p, only_works);
}

static void spawns(struct plugin *p)
{
    only_works(p);
    crowd(p, only_works);
}

static void *only_calls(void *plugin)
{
    struct plugin *p = plugin;
    CHECK(p->callback(7) == 7, "not let in");
    return NULL;
}

static void only_waits(struct plugin *p)
{
    crowd(p, only_calls);
}

/* The constructor starts the runtime, or does not, and waits for other threads, which call in. */
static void constructor(char **paths)
{
    void (*todo[])(struct plugin *) = {starts_and_waits, spawns, only_waits};
    for (int round = 0; round < 30; round++) {
        on_construction(todo[round % 3]);
        struct plugin p = load(paths[0]);
        crowd(&p, works);
        unload(&p);
    }
}

static struct plugin other;

static void *starts_other(void *unused)
{
    pthread_barrier_wait(&barrier);
    CHECK(other.plain_work(EACH) == SUM, "wrong sum");
    return unused;
}

static void starts_the_other_too(struct plugin *p)
{
    (void)p;
    pthread_barrier_wait(&barrier);
    CHECK(other.plain_work(EACH) == SUM, "wrong sum");
}

/* While a constructor starts a runtime, another thread does, which may need the loader for that. */
static void constructor_races(char **paths)
{
    pthread_barrier_init(&barrier, NULL, 2);
    for (int round = 0; round < 50; round++) {
        unsetenv("GORT_TEST_CONSTRUCTOR");
        other = load(paths[0]);
        pthread_t thread = begin(starts_other, NULL);
        on_construction(starts_the_other_too);
        struct plugin p = load(paths[1]);
        end(thread);
        unload(&p);
        unload(&other);
    }
}

static struct plugin two[2];

/* Goroutine of one, callback into the other, goroutine of that, and so on. */
static long deeper(void *depth)
{
    long left = (long)depth;
    struct plugin *p = &two[left % 2];
    CHECK(p->callback(left) == left, "not let in");
    CHECK(p->work(EACH) == SUM, "wrong sum");
    return left == 0 ? 0 : 1 + p->on_goroutine(deeper, (void *)(left - 1));
}

static void *goes_deep(void *unused)
{
    for (long depth = 0; depth < 8; depth += 7)
        CHECK(deeper((void *)depth) == depth, "lost on the way");
    return unused;
}

static void *uses_both(void *number)
{
    for (long i = 0; i < 5; i++)
        works(&two[(i + (long)number) % 2]);
    return NULL;
}

static pthread_mutex_t mutex;

static long tries(void *unused)
{
    (void)unused;
    int result = pthread_mutex_trylock(&mutex);
    if (result == 0)
        pthread_mutex_unlock(&mutex);
    return result;
}

/* A goroutine of one library holds C's mutex: no goroutine of the other is taken for its owner. */
static long holds(void *unused)
{
    (void)unused;
    CHECK(pthread_mutex_lock(&mutex) == 0, "not locked");
    for (int i = 0; i < 2; i++)
        for (int one = 0; one < 50; one++)
            CHECK(two[i].on_goroutine(tries, NULL) == EBUSY, "a goroutine is taken for another");
    return pthread_mutex_unlock(&mutex);
}

static atomic_int stop;

static void *changes_credentials(void *unused)
{
    do {
        CHECK(setuid(getuid()) == 0 && setgid(getgid()) == 0, "credentials");
        usleep(2000); /* no thread can begin or end meanwhile */
    } while (!atomic_load(&stop));
    return unused;
}

static void *holds_mutex(void *unused)
{
    CHECK(two[0].on_goroutine(holds, NULL) == 0, "not unlocked");
    return unused;
}

/* Two libraries, each with its own runtime, which do not meet. `first` is unloaded first. */
static void both(char **paths, int first)
{
    pthread_t threads[CROWD];
    atomic_store(&stop, 0);
    for (int i = 0; i < 2; i++) {
        two[i] = load(paths[i]);
        CHECK(two[i].start() == 0, "not started");
    }
    CHECK(two[0].handle != two[1].handle, "they are one");
    pthread_t changer = begin(changes_credentials, NULL);
    for (long i = 0; i < CROWD; i++)
        threads[i] = begin(i == 0 ? holds_mutex : i % 2 ? goes_deep : uses_both, (void *)i);
    for (int i = 0; i < CROWD; i++)
        end(threads[i]);
    CHECK(two[first].shutdown(PATIENCE) == 0, "not shut down");
    CHECK(two[first].work(1) == -1, "let in after the end");
    let_go(&two[first]);
    crowd(&two[!first], works);
    CHECK(two[!first].shutdown(PATIENCE) == 0, "not shut down");
    let_go(&two[!first]);
    atomic_store(&stop, 1);
    end(changer);
}

static void two_libraries(char **paths)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &recursive);
    for (int round = 0; round < 3; round++) {
        both(paths, 1);
        CHECK(!mapped(paths[0], NULL) && !mapped(paths[1], NULL), "one is still there");
    }
    /* The handlers of the other, started later, call those of the first, which therefore stays. */
    for (int round = 0; round < 3; round++) {
        both(paths, 0);
        CHECK(goroutines_are_threads() || mapped(paths[0], NULL), "the first is gone");
        CHECK(goroutines_are_threads() || !mapped(paths[1], NULL) || round > 0, "the second is still there");
    }
    CHECK(setuid(getuid()) == 0, "setuid");
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"constructor", constructor}, {"constructor_races", constructor_races}, {"two_libraries", two_libraries},
    };
    return run(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
