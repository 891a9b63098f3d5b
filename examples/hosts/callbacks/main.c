/* C that calls back on the goroutine that called it, and waits there: qsort, bsearch, SQLite.
 *
 * On each of many goroutines: Rust calls crowd(), that calls qsort(), that calls compare(), that calls Rust again, and there the
 * goroutine parks, below the frames of all of them. It may go on on another kernel thread; C sees nothing of that, since the
 * stack and all thread-local variables are the goroutine's own. qsort() has no argument for a context, so that compare()
 * finds its own in such a variable. The first comparison of every goroutine waits until all of them are in one: so many sorts
 * are under way at a time, on a handful of kernel threads. */
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>

#include "check.h"

enum { GOROUTINES = SMALL ? 20 : 300, VALUES = SMALL ? 10 : 24, ROWS = 12, THREADS = 8 };

/* ---- What waits in a callback ---- */

/* Where a crowd meets once, in the first callback of each of its members. */
struct crowd {
	struct hosts_meeting *meeting;
	int most_threads; /* seen by the member with the index 0, while all were there */
};

/* The member that runs here. */
struct member {
	struct crowd *crowd;
	int64_t index;
	int64_t callbacks;
};

static __thread struct member *self;

/* What each callback does: the first one waits for the crowd, each asks another goroutine. Returns its argument. */
static int64_t wait_for_others(int64_t value)
{
	struct member *before = self;
	if (self->callbacks++ == 0 && self->crowd != NULL) {
		CHECK(hosts_meet(self->crowd->meeting) == HOSTS_OK);
		if (self->index == 0)
			self->crowd->most_threads = threads();
		CHECK(hosts_meet(self->crowd->meeting) == HOSTS_OK);
	}
	CHECK_EQUAL(hosts_pass(value, 1), value + 1);
	CHECK(self == before);
	return value;
}

/* ---- qsort and bsearch ---- */

static int compare(const void *left, const void *right)
{
	int64_t l = *(const int64_t *)left, r = *(const int64_t *)right;
	wait_for_others(l);
	return (l > r) - (l < r);
}

/* A value that looks like chance. */
static int64_t scrambled(int64_t index, int64_t place)
{
	return (int64_t)(((uint64_t)index * 2654435761u + (uint64_t)place * 40503u) % 1000003u);
}

static int64_t sort_and_search(struct member *member)
{
	int64_t values[VALUES], before = 0, after = 0;
	for (int i = 0; i < VALUES; i++)
		before += values[i] = scrambled(member->index, i);
	qsort(values, VALUES, sizeof values[0], compare);
	for (int i = 0; i < VALUES; i++) {
		after += values[i];
		CHECK(i == 0 || values[i - 1] <= values[i]);
	}
	CHECK_EQUAL(after, before);
	for (int i = 0; i < VALUES; i++) {
		int64_t key = scrambled(member->index, i);
		int64_t *found = bsearch(&key, values, VALUES, sizeof values[0], compare);
		CHECK(found != NULL && *found == key);
	}
	return member->callbacks > 2 * VALUES ? 1 : 0;
}

/* ---- SQLite ---- */

/* relay(x): x, after having waited. */
static void relay(sqlite3_context *context, int count, sqlite3_value **arguments)
{
	(void)count;
	sqlite3_result_int64(context, wait_for_others(sqlite3_value_int64(arguments[0])));
}

/* A collation: the other way round, after having waited. */
static int reversed(void *context, int left_size, const void *left, int right_size, const void *right)
{
	int size = left_size < right_size ? left_size : right_size, order = memcmp(right, left, (size_t)size);
	CHECK(context == NULL);
	wait_for_others(left_size);
	return order != 0 ? order : right_size - left_size;
}

static int64_t query(sqlite3 *db, const char *text)
{
	sqlite3_stmt *statement;
	int64_t value;
	CHECK_EQUAL(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
	CHECK_EQUAL(sqlite3_step(statement), SQLITE_ROW);
	value = sqlite3_column_int64(statement, 0);
	CHECK_EQUAL(sqlite3_step(statement), SQLITE_DONE);
	sqlite3_finalize(statement);
	return value;
}

static int64_t sqlite(struct member *member)
{
	sqlite3 *db;
	char text[200];
	CHECK_EQUAL(sqlite3_open(":memory:", &db), SQLITE_OK);
	CHECK_EQUAL(sqlite3_create_function(db, "relay", 1, SQLITE_UTF8, NULL, relay, NULL, NULL), SQLITE_OK);
	CHECK_EQUAL(sqlite3_create_collation(db, "reversed", SQLITE_UTF8, NULL, reversed), SQLITE_OK);
	snprintf(text, sizeof text,
		"CREATE TABLE numbers AS "
		"WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < %d) SELECT x FROM n", ROWS);
	CHECK_EQUAL(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQUAL(query(db, "SELECT sum(relay(x)) FROM numbers"), ROWS * (ROWS + 1) / 2);
	CHECK_EQUAL(query(db, "SELECT x FROM (SELECT x FROM numbers ORDER BY CAST(x AS TEXT) COLLATE reversed LIMIT 1)"), 9);
	CHECK_EQUAL(sqlite3_close(db), SQLITE_OK);
	return member->callbacks > ROWS ? 1 : 0;
}

/* ---- Who does it ---- */

struct work {
	const char *name;
	int64_t (*body)(struct member *member);
};

static const struct work works[] = { { "qsort and bsearch", sort_and_search }, { "SQLite", sqlite } };
enum { WORKS = sizeof works / sizeof works[0] };

struct task {
	const struct work *work;
	struct crowd crowd;
};

/* A member of a crowd, on a goroutine. */
static int64_t on_goroutine(void *context, int64_t index)
{
	struct task *task = context;
	struct member member = { &task->crowd, index, 0 };
	int64_t done;
	CHECK(self == NULL); /* each goroutine begins with fresh variables */
	self = &member;
	done = task->work->body(&member);
	CHECK(self == &member);
	return done;
}

/* The same on a thread of the host's. */
static void *on_thread(void *work)
{
	struct member member = { NULL, 0, 0 };
	self = &member;
	CHECK_EQUAL(((const struct work *)work)->body(&member), 1);
	return NULL;
}

int main(void)
{
	for (int i = 0; i < WORKS; i++) {
		struct task task = { &works[i], { hosts_meeting_new(GOROUTINES), 0 } };
		pthread_t host_threads[THREADS];
		int64_t done;
		CHECK(task.crowd.meeting != NULL);
		CHECK_EQUAL(hosts_each(on_goroutine, &task, GOROUTINES, &done), 0);
		CHECK_EQUAL(done, GOROUTINES);
		hosts_meeting_free(task.crowd.meeting);
		if (goroutines_park())
			CHECK(task.crowd.most_threads <= 1 + few_threads());
		for (int t = 0; t < THREADS; t++)
			CHECK_EQUAL(pthread_create(&host_threads[t], NULL, on_thread, (void *)&works[i]), 0);
		for (int t = 0; t < THREADS; t++)
			CHECK_EQUAL(pthread_join(host_threads[t], NULL), 0);
		printf("callbacks: %s: %d goroutines in it at once, on %d kernel threads; then %d threads\n", works[i].name,
			GOROUTINES, task.crowd.most_threads, THREADS);
	}
	CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
	CHECK_EQUAL(threads(), 1);
	return 0;
}
