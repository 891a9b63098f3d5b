/* The smallest host: plain C, the library inside the program or beside it.
 *
 * The same file is linked with libhosts.so, with libhosts.a and, where the C library is inside too, wholly static. */
#include <string.h>

#include "check.h"

enum { GOROUTINES = SMALL ? 50 : 500 };

static int64_t meets(void *meeting, int64_t index)
{
	/* All of them are here before any goes on. */
	CHECK(hosts_meet(meeting) == HOSTS_OK);
	return hosts_pass(index, 3) == index + 3 ? index : -10;
}

static int64_t fails(void *context, int64_t index)
{
	(void)context;
	return index == 7 ? -1234 : 0;
}

static void one_life(void)
{
	struct hosts_meeting *meeting = hosts_meeting_new(GOROUTINES);
	char text[100];
	int64_t sum;
	CHECK(meeting != NULL);
	CHECK_EQUAL(hosts_each(meets, meeting, GOROUTINES, &sum), 0);
	CHECK_EQUAL(sum, (int64_t)GOROUTINES * (GOROUTINES - 1) / 2);
	hosts_meeting_free(meeting);

	CHECK_EQUAL(hosts_each(fails, NULL, 100, &sum), -1234);
	CHECK_EQUAL(hosts_each(NULL, NULL, 100, &sum), HOSTS_INVALID);
	CHECK_EQUAL(hosts_each(fails, NULL, 100, NULL), HOSTS_INVALID);

	/* A panic in Rust is a code here, and a text. */
	CHECK(hosts_store_open(NULL) == NULL);
	CHECK_EQUAL(hosts_last_panic(text, sizeof text), strlen("the path is text"));
	CHECK(strcmp(text, "the path is text") == 0);
	CHECK_EQUAL(hosts_last_panic(text, sizeof text), 0);
}

int main(void)
{
	for (int life = 0; life < 3; life++) {
		CHECK_EQUAL(hosts_start(0, 0), HOSTS_OK);
		CHECK_EQUAL(hosts_start(0, 0), HOSTS_INVALID);
		one_life();
		printf("static: life %d: %d goroutines met, carried by %s; %s\n", life, GOROUTINES,
			counts().backend == 0 ? "the scheduler" : "kernel threads",
			counts().dead_hooks == 0 ? "all hooks are live" : "without all hooks");
		CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
		CHECK_EQUAL(threads(), 1);
		CHECK_EQUAL(hosts_pass(1, 1), HOSTS_FAILED);
		CHECK_EQUAL(hosts_last_panic(NULL, 0), strlen("a callback was called after the runtime was shut down"));
	}
	return 0;
}
