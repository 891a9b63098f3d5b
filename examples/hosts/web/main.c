/* A web server in C, on libmicrohttpd and its threads, whose pages are made by goroutines and kept in SQLite.
 *
 *   web pool|connections DIRECTORY
 *
 * With `pool` four threads of libmicrohttpd serve all connections, with `connections` each has a thread. Prints the port, serves
 * until SIGTERM or SIGINT, and ends cleanly. The store is a file in the directory.
 *
 *   /add?name=N&amount=A     adds to a number, and says what it is when that is on disk; this thread waits
 *   /later?name=N&amount=A   the same; the connection is suspended meanwhile and its thread serves others (pool only)
 *   /get?name=N              says what a number is
 *   /pass?value=V            sends a value through 20 goroutines
 *   /counts                  threads and goroutines */
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <signal.h>
#include <string.h>

#include "check.h"

enum { POOL_THREADS = 4, STATIONS = 20 };

static struct hosts_store *store;
static int suspends;

/* ---- Replies ---- */

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* What a function of libhosts has returned: a number, or a code that says why not. */
static enum MHD_Result reply_number(struct MHD_Connection *connection, int64_t number)
{
	char text[200];
	if (number == HOSTS_INVALID)
		return reply(connection, MHD_HTTP_BAD_REQUEST, "an argument is missing or makes no sense\n");
	if (number < 0)
		return reply(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, hosts_last_panic(text, sizeof text) > 0 ? text : "it failed\n");
	snprintf(text, sizeof text, "%" PRId64 "\n", number);
	return reply(connection, MHD_HTTP_OK, text);
}

static enum MHD_Result reply_counts(struct MHD_Connection *connection)
{
	struct hosts_counts now = counts();
	char text[200];
	snprintf(text, sizeof text,
		"goroutines %zu\nkernel_threads %zu\nbound_threads %zu\ncallbacks %zu\nthreads %d\nbackend %zu\ndead_hooks %zu\n",
		now.goroutines, now.kernel_threads, now.bound_threads, now.callbacks, threads(), now.backend, now.dead_hooks);
	return reply(connection, MHD_HTTP_OK, text);
}

/* ---- Requests ---- */

static const char *argument(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

/* The argument as a number; HOSTS_INVALID if it is none. */
static int64_t number(struct MHD_Connection *connection, const char *name)
{
	const char *text = argument(connection, name);
	char *end;
	long long value;
	if (text == NULL || *text == '\0')
		return HOSTS_INVALID;
	errno = 0;
	value = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' ? value : HOSTS_INVALID;
}

/* A connection that is suspended until a goroutine has its number. */
struct suspended {
	struct MHD_Connection *connection;
	int64_t number;
};

/* On a goroutine. From here on the connection is its thread's again. */
static int64_t resume(void *context, int64_t result)
{
	struct suspended *suspended = context;
	suspended->number = result;
	MHD_resume_connection(suspended->connection);
	return HOSTS_OK;
}

static enum MHD_Result add_later(struct MHD_Connection *connection, void **state)
{
	struct suspended *suspended = malloc(sizeof *suspended);
	int code;
	CHECK(suspended != NULL);
	suspended->connection = connection;
	*state = suspended;
	MHD_suspend_connection(connection);
	code = hosts_store_add_later(store, argument(connection, "name"), number(connection, "amount"), resume, suspended);
	if (code != HOSTS_OK)
		resume(suspended, code);
	return MHD_YES;
}

/* What a connection that is suspended no longer waits for. */
static enum MHD_Result finish(struct MHD_Connection *connection, void **state)
{
	struct suspended *suspended = *state;
	int64_t number = suspended->number;
	free(suspended);
	*state = NULL;
	return reply_number(connection, number);
}

/* Called by threads of libmicrohttpd's. */
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *upload, size_t *upload_size, void **state)
{
	(void)context;
	(void)version;
	(void)upload;
	(void)upload_size;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (*state != NULL)
		return finish(connection, state);
	if (strcmp(url, "/later") == 0 && suspends)
		return add_later(connection, state);
	if (strcmp(url, "/add") == 0 || strcmp(url, "/later") == 0)
		return reply_number(connection, hosts_store_add(store, argument(connection, "name"), number(connection, "amount")));
	if (strcmp(url, "/get") == 0)
		return reply_number(connection, hosts_store_get(store, argument(connection, "name")));
	if (strcmp(url, "/pass") == 0)
		return reply_number(connection, hosts_pass(number(connection, "value"), STATIONS));
	if (strcmp(url, "/counts") == 0)
		return reply_counts(connection);
	return reply(connection, MHD_HTTP_NOT_FOUND, "no such page\n");
}

/* ---- The server ---- */

static struct MHD_Daemon *start(const char *mode)
{
	if (strcmp(mode, "pool") == 0) {
		suspends = 1;
		return MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME,
			0, NULL, NULL, answer, NULL,
			MHD_OPTION_THREAD_POOL_SIZE, (unsigned)POOL_THREADS, MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_END);
	}
	CHECK(strcmp(mode, "connections") == 0);
	return MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL,
		0, NULL, NULL, answer, NULL,
		MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_END);
}

int main(int count, char **arguments)
{
	struct MHD_Daemon *daemon;
	char path[4096];
	sigset_t ends;
	int signal;
	if (count != 3) {
		fprintf(stderr, "usage: web pool|connections DIRECTORY\n");
		return 2;
	}
	/* Before any thread is made, so that all of them leave these signals to sigwait(). */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &ends, NULL), 0);

	CHECK(snprintf(path, sizeof path, "%s/store.db", arguments[2]) < (int)sizeof path);
	store = hosts_store_open(path);
	CHECK(store != NULL);
	(void)goroutines_park();
	daemon = start(arguments[1]);
	CHECK(daemon != NULL);
	printf("port %u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);

	CHECK_EQUAL(sigwait(&ends, &signal), 0);
	/* First the threads that call in, then what they call. */
	MHD_stop_daemon(daemon);
	CHECK_EQUAL(hosts_store_close(store), HOSTS_OK);
	CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
	CHECK_EQUAL(threads(), 1);
	printf("web: %s: ended, no thread is left\n", arguments[1]);
	return 0;
}
