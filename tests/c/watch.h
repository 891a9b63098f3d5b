/* Seeing which system calls a thread makes, by a seccomp filter that asks a supervisor about each. */
#ifndef WATCH_H
#define WATCH_H

/* From now on every system call of the calling thread waits until somebody hands it to watch_next. Returns the
   supervisor's descriptor, or -errno. */
int watch_self(void);

/* Waits for the next system call and lets it go on. Returns its number; -1 when the thread has ended. */
int watch_next(int fd);

#endif
