#include "watch.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int watch_self(void)
{
    struct sock_filter ask = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = 1, .filter = &ask};
    long fd;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd < 0 ? -errno : (int)fd;
}

int watch_next(int fd)
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
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
            ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
            return call.data.nr;
        }
        if (ready.revents & (POLLHUP | POLLERR | POLLNVAL))
            return -1;
    }
}
