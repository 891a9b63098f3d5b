// Calls as a C compiler makes them when it checks buffers: of `read` and its kin `__read_chk` and so on are called, of
// `open` without a mode `__open_2`, where the length or the flags are known at run time only.

#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 2

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fortified.h"

// Each receives `n` bytes into a buffer whose size the compiler knows, and returns their sum, or minus the error's number.

static int sum(const unsigned char *bytes, ssize_t n)
{
	int total = 0;

	if (n < 0)
		return -errno;
	for (ssize_t i = 0; i < n; i++)
		total += bytes[i];
	return total;
}

int fortified_read(int fd, size_t n)
{
	unsigned char buffer[16];

	return sum(buffer, read(fd, buffer, n));
}

int fortified_recv(int fd, size_t n)
{
	unsigned char buffer[16];

	return sum(buffer, recv(fd, buffer, n, 0));
}

int fortified_recvfrom(int fd, size_t n)
{
	unsigned char buffer[16];

	return sum(buffer, recvfrom(fd, buffer, n, 0, 0, 0));
}

int fortified_pread(int fd, size_t n)
{
	unsigned char buffer[16];

	return sum(buffer, pread(fd, buffer, n, 1));
}

int fortified_open(const char *path, int flags)
{
	return open(path, flags);
}

// The variadic functions, as C calls them.

int variadic_open(const char *path)
{
	return open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0640);
}

int variadic_fcntl(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);

	if (copy < 100 || fcntl(copy, F_GETFD) != FD_CLOEXEC)
		return -1;
	return copy;
}

int variadic_ioctl(int fd)
{
	int n = -1;

	return ioctl(fd, FIONREAD, &n) == 0 ? n : -1;
}
