/* Seeing which system calls a thread makes, by a seccomp filter that asks a supervisor about each. */
#ifndef WATCH_H
#define WATCH_H

/* From now on every system call of the calling thread waits until somebody hands it to watch_next. Returns the
   supervisor's descriptor, or -errno. */
int watch_self(void);

/* The same for the calls that make threads, of the calling thread and of those that it makes. */
int watch_clones(void);

/* Waits for the next system call and, unless `decide` returns an error's number for it, lets it go on. Returns the call's
   number; -1 when all threads that are watched have ended. */
int watch_next(int fd, int (*decide)(void));

#endif
