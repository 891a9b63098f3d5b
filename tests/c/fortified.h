#ifndef FORTIFIED_H
#define FORTIFIED_H

#include <stddef.h>

int fortified_read(int fd, size_t n);
int fortified_recv(int fd, size_t n);
int fortified_recvfrom(int fd, size_t n);
int fortified_pread(int fd, size_t n);
int fortified_open(const char *path, int flags);
int variadic_open(const char *path);
int variadic_fcntl(int fd);
int variadic_ioctl(int fd);

#endif
