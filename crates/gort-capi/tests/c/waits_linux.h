/* What the system has to wait for, and who ends the wait; for parks.c. */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct objects {
    int pipe[2];
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    sem_t semaphore;
    int set;
};

static void make_objects(struct objects *o, const char *name) {
    CHECK(strcmp(name, "recv") == 0 ? socketpair(AF_UNIX, SOCK_STREAM, 0, o->pipe) == 0 : pipe(o->pipe) == 0);
    CHECK(pthread_mutex_init(&o->mutex, NULL) == 0 && pthread_cond_init(&o->condition, NULL) == 0);
    CHECK(sem_init(&o->semaphore, 0, 0) == 0);
}
static void close_objects(struct objects *o) { CHECK(close(o->pipe[0]) == 0 && close(o->pipe[1]) == 0); }

static void read_byte(struct objects *o) {
    char byte = 0;
    CHECK(read(o->pipe[0], &byte, 1) == 1 && byte == 'x');
}
static void poll_byte(struct objects *o) {
    struct pollfd fd = {o->pipe[0], POLLIN, 0};
    CHECK(poll(&fd, 1, -1) == 1);
    read_byte(o);
}
static void recv_byte(struct objects *o) {
    char byte = 0;
    CHECK(recv(o->pipe[0], &byte, 1, 0) == 1 && byte == 'x');
}
static void write_byte(struct objects *o) { CHECK(write(o->pipe[1], "x", 1) == 1); }

static void sleep_a_little(struct objects *o) {
    struct timespec time = {0, 100000};
    (void)o;
    CHECK(nanosleep(&time, NULL) == 0);
}
static void nothing(struct objects *o) { (void)o; }

static void wait_condition(struct objects *o) {
    CHECK(pthread_mutex_lock(&o->mutex) == 0);
    while (!o->set)
        CHECK(pthread_cond_wait(&o->condition, &o->mutex) == 0);
    o->set = 0;
    CHECK(pthread_mutex_unlock(&o->mutex) == 0);
}
static void signal_condition(struct objects *o) {
    CHECK(pthread_mutex_lock(&o->mutex) == 0);
    o->set = 1;
    CHECK(pthread_cond_signal(&o->condition) == 0);
    CHECK(pthread_mutex_unlock(&o->mutex) == 0);
}

static void wait_semaphore(struct objects *o) { CHECK(sem_wait(&o->semaphore) == 0); }
static void post(struct objects *o) { CHECK(sem_post(&o->semaphore) == 0); }

static const struct system_wait system_waits[] = {
    {"read", read_byte, write_byte},
    {"poll", poll_byte, write_byte},
    {"recv", recv_byte, write_byte},
    {"nanosleep", sleep_a_little, nothing},
    {"pthread_cond_wait", wait_condition, signal_condition},
    {"sem_wait", wait_semaphore, post},
    {NULL, NULL, NULL},
};
