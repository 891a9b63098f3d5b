/* check.h: what the examples verify themselves with. */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "hosts.h"

/* 1: less of everything, for tools that make programs slow. */
#ifndef SMALL
#define SMALL 0
#endif

/* Ends the program, saying where, unless the condition holds. */
#define CHECK(condition)                                                                     \
	do {                                                                                 \
		if (!(condition)) {                                                          \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                             \
		}                                                                            \
	} while (0)

/* The same of two whole numbers, which it shows. */
#define CHECK_EQUAL(left, right)                                                                                   \
	do {                                                                                                       \
		long long left_ = (left), right_ = (right);                                                        \
		if (left_ != right_) {                                                                             \
			fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #left, left_, right_); \
			exit(1);                                                                                   \
		}                                                                                                  \
	} while (0)

/* How many kernel threads the process has. */
static inline int threads(void)
{
	DIR *directory = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;
	CHECK(directory != NULL);
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* The counts of libhosts. */
static inline struct hosts_counts counts(void)
{
	struct hosts_counts now;
	CHECK(hosts_count(&now) == HOSTS_OK);
	return now;
}

/* Whether goroutines park, in the host's code and its libraries' too: then many of them need few kernel threads. (Where a tool
 * has its own definitions of libc's names, some of them do not.) */
static inline int goroutines_park(void)
{
	struct hosts_counts now = counts();
	CHECK(now.dead_hooks == 0 || SMALL);
	return now.backend == 0 && now.dead_hooks == 0;
}

/* Of how many kernel threads, beside the host's own, a crowd of goroutines makes do. Some are about to sleep or to end.
 * GORT_CHAOS, a mode for tests, has many goroutines go on as kernel threads for a while. */
static inline int few_threads(void)
{
	return getenv("GORT_CHAOS") != NULL ? 16 * 8 : 16;
}

#endif
