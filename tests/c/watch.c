#include "watch.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Installs a filter for the calling thread. Returns the supervisor's descriptor, or -errno. */
static int watch(struct sock_filter *filter, unsigned short len)
{
    struct sock_fprog program = {.len = len, .filter = filter};
    long fd;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd < 0 ? -errno : (int)fd;
}

int watch_self(void)
{
    struct sock_filter ask = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);

    return watch(&ask, 1);
}

int watch_next(int fd, int (*decide)(void))
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;

    for (;;) {
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
            return -1;
        if (ready.revents & POLLIN) {
            memset(&call, 0, sizeof call);
            if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
                continue; /* a signal, or the caller has died */
            memset(&answer, 0, sizeof answer);
            answer.id = call.id;
            answer.error = decide ? -decide() : 0;
            answer.flags = answer.error ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
            ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
            return call.data.nr;
        }
        if (ready.revents & (POLLHUP | POLLERR | POLLNVAL))
            return -1;
    }
}

int watch_clones(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };

    return watch(program, sizeof program / sizeof program[0]);
}
