/* Forked children of a process that has a runtime, or had one; for misuse.c. */
#include <sys/wait.h>
#include <unistd.h>

/* In a child of a process that has a runtime everything is refused, also what somebody may hold the lock of. */
static void in_a_fork(gort_thread_t thread, gort_channel_t channel) {
    gort_thread_t new;
    gort_stats_t stats = {0};
    stats.size = sizeof stats;
    no_handle(thread, channel, GORT_EFORKED);
    RETURNS(GORT_EFORKED, gort_start(NULL));
    RETURNS(GORT_EFORKED, gort_shutdown(0));
    RETURNS(GORT_EFORKED, gort_spawn(&new, nothing, NULL, NULL, 0));
    RETURNS(GORT_EFORKED, gort_current(&new));
    RETURNS(GORT_EFORKED, gort_channel_create(1, &new));
    RETURNS(GORT_EFORKED, gort_sleep(1));
    RETURNS(GORT_EFORKED, gort_yield());
    RETURNS(GORT_EFORKED, gort_park(GORT_FOREVER));
    RETURNS(GORT_EFORKED, gort_enter());
    RETURNS(GORT_EFORKED, gort_leave());
    RETURNS(GORT_EFORKED, gort_blocking_begin());
    RETURNS(GORT_EFORKED, gort_blocking_end());
    RETURNS(GORT_EFORKED, gort_lock_thread());
    RETURNS(GORT_EFORKED, gort_unlock_thread());
    RETURNS(GORT_EFORKED, gort_stats(&stats));
}

static void wait_for(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *forks(void *channel) {
    gort_thread_t me;
    OK(gort_current(&me));
    OK(gort_enter());
    OK(gort_blocking_begin());
    pid_t child = fork();
    if (child == 0) {
        in_a_fork(me, *(gort_channel_t *)channel);
        _exit(0);
    }
    wait_for(child);
    OK(gort_blocking_end());
    OK(gort_leave());
    return NULL;
}

static void forking(void) {
    gort_channel_t channel;
    gort_thread_t thread;
    OK(gort_channel_create(1, &channel));
    OK(gort_spawn(&thread, receives, &channel, NULL, 0));
    pid_t child = fork();
    if (child == 0) {
        in_a_fork(thread, channel);
        _exit(0);
    }
    wait_for(child);
    OK(gort_channel_send(channel, NULL));
    OK(gort_join(thread, NULL));
    OK(gort_spawn(&thread, forks, &channel, NULL, 0));
    OK(gort_join(thread, NULL));
    OK(gort_channel_free(channel));
}

/* A child that is made after the end has lost no runtime, and may have one; but not what belongs to its parent. */
static void forking_after_the_end(gort_thread_t parents, gort_channel_t channel) {
    gort_thread_t thread;
    pid_t child = fork();
    if (child == 0) {
        no_handle(parents, channel, GORT_EFORKED);
        start();
        OK(gort_current(&thread));
        CHECK(thread != parents);
        OK(gort_spawn(&thread, nothing, NULL, NULL, 0));
        OK(gort_join(thread, NULL));
        stop();
        _exit(0);
    }
    wait_for(child);
}
