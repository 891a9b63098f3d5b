/* A mistake on purpose, for tools to find: memory that is used after it was freed, on a goroutine that has parked in between. */
#include "check.h"

static int64_t uses_after_free(void *context, int64_t index)
{
	char *volatile text = malloc(10); /* volatile, so that the compiler does not see it */
	(void)context;
	CHECK(text != NULL);
	text[3] = 0;
	free(text);
	CHECK_EQUAL(hosts_pass(index, 1), index + 1);
	return text[3] != 0;
}

int main(void)
{
	int64_t sum;
	CHECK_EQUAL(hosts_each(uses_after_free, NULL, 4, &sum), 0);
	return 0;
}
