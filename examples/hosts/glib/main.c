/* GLib: its worker threads, main loops and sources call in, wait, and are called back.
 *
 *   GThreadPool     workers call libhosts, which calls back from goroutines; these report to the main loop (g_idle_add)
 *   sources         a source of the main loop calls in and waits for the answer
 *   GTask           runs on GLib's own pool and returns to the main loop
 *   a loop for each of 200 goroutines, all waiting in poll() at the same time, on a handful of kernel threads */
#include <gio/gio.h>

#include "check.h"

enum {
	WORKERS = 8,
	JOBS = SMALL ? 20 : 100,
	PARTS = 5,
	TICKS = SMALL ? 10 : 50,
	TASKS = SMALL ? 10 : 40,
	LOOPS = SMALL ? 20 : 200,
	MESSAGES = 5
};

/* All fields that are not atomic belong to the main loop. */
struct program {
	GMainLoop *loop;
	GThread *main;
	GThreadPool *pool;
	gint jobs_sum;     /* atomic */
	int parts, parts_sum;
	int ticks;
	int tasks;
};

/* Ends the loop when everything has been counted. */
static void look(struct program *program)
{
	if (program->parts == JOBS * PARTS && program->ticks == TICKS && program->tasks == TASKS)
		g_main_loop_quit(program->loop);
}

/* ---- Workers ---- */

struct part {
	struct program *program;
	int number;
};

/* On the main loop. */
static gboolean part_is_done(gpointer data)
{
	struct part *part = data;
	CHECK(g_thread_self() == part->program->main);
	part->program->parts++;
	part->program->parts_sum += part->number;
	look(part->program);
	g_free(part);
	return G_SOURCE_REMOVE;
}

/* On a goroutine. */
static int64_t do_part(void *program, int64_t number)
{
	struct part *part = g_new(struct part, 1);
	CHECK_EQUAL(hosts_pass(number, 1), number + 1);
	*part = (struct part){ program, (int)number };
	g_idle_add(part_is_done, part);
	return number;
}

/* On one of the pool's threads. */
static void do_job(gpointer job, gpointer program)
{
	int64_t sum;
	CHECK_EQUAL(hosts_each(do_part, program, PARTS, &sum), 0);
	CHECK_EQUAL(sum, PARTS * (PARTS - 1) / 2);
	g_atomic_int_add(&((struct program *)program)->jobs_sum, GPOINTER_TO_INT(job));
}

/* ---- A source, and tasks ---- */

static gboolean tick(gpointer data)
{
	struct program *program = data;
	CHECK_EQUAL(hosts_pass(program->ticks, 3), program->ticks + 3);
	program->ticks++;
	look(program);
	return program->ticks < TICKS ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void run_task(GTask *task, gpointer source, gpointer number, GCancellable *cancellable)
{
	(void)source;
	(void)cancellable;
	g_task_return_int(task, hosts_pass(GPOINTER_TO_INT(number), 2));
}

static void task_is_done(GObject *source, GAsyncResult *result, gpointer data)
{
	struct program *program = data;
	GTask *task = G_TASK(result);
	GError *error = NULL;
	(void)source;
	CHECK_EQUAL(g_task_propagate_int(task, &error), GPOINTER_TO_INT(g_task_get_task_data(task)) + 2);
	CHECK(error == NULL);
	program->tasks++;
	look(program);
}

static void main_loop(void)
{
	GError *error = NULL;
	struct program program = { .loop = g_main_loop_new(NULL, FALSE), .main = g_thread_self() };
	program.pool = g_thread_pool_new(do_job, &program, WORKERS, TRUE, &error);
	CHECK(error == NULL);
	for (int i = 1; i <= JOBS; i++)
		CHECK(g_thread_pool_push(program.pool, GINT_TO_POINTER(i), NULL));
	g_timeout_add(1, tick, &program);
	for (int i = 0; i < TASKS; i++) {
		GTask *task = g_task_new(NULL, NULL, task_is_done, &program);
		g_task_set_task_data(task, GINT_TO_POINTER(i), NULL);
		g_task_run_in_thread(task, run_task);
		g_object_unref(task);
	}
	g_main_loop_run(program.loop);
	g_thread_pool_free(program.pool, FALSE, TRUE);
	g_main_loop_unref(program.loop);
	CHECK_EQUAL(program.jobs_sum, JOBS * (JOBS + 1) / 2);
	CHECK_EQUAL(program.parts_sum, JOBS * PARTS * (PARTS - 1) / 2);
	printf("glib: %d jobs of %d workers, %d idle callbacks, %d ticks, %d tasks\n", JOBS, WORKERS, program.parts, TICKS, TASKS);
}

/* ---- A main loop on each goroutine ---- */

struct crowd {
	struct hosts_meeting *meeting;
	GMainContext *contexts[LOOPS];
	int most_threads;
};

struct member {
	GMainLoop *loop;
	GThread *self;
	int messages;
};

static gboolean message(gpointer data)
{
	struct member *member = data;
	CHECK(g_thread_self() == member->self);
	CHECK_EQUAL(hosts_pass(member->messages, 1), member->messages + 1);
	if (++member->messages == MESSAGES)
		g_main_loop_quit(member->loop);
	return G_SOURCE_REMOVE;
}

/* Who sends messages to all others' loops. */
struct sender {
	struct crowd *crowd;
	struct member *members;
};

static int64_t loop_on_goroutine(void *data, int64_t index)
{
	struct sender *sender = data;
	struct crowd *crowd = sender->crowd;
	struct member *self = &sender->members[index];
	GMainContext *context = g_main_context_new();
	*self = (struct member){ g_main_loop_new(context, FALSE), g_thread_self(), 0 };
	g_main_context_push_thread_default(context);
	crowd->contexts[index] = context;
	CHECK_EQUAL(hosts_meet(crowd->meeting), HOSTS_OK); /* with the sender: every context is there */
	g_main_loop_run(self->loop);
	CHECK(g_main_context_get_thread_default() == context);
	g_main_context_pop_thread_default(context);
	CHECK_EQUAL(self->messages, MESSAGES);
	CHECK(g_thread_self() == self->self);
	CHECK_EQUAL(hosts_meet(crowd->meeting), HOSTS_OK); /* with the sender: it needs no context any more */
	g_main_loop_unref(self->loop);
	g_main_context_unref(context);
	return 1;
}

/* A thread of GLib's. */
static gpointer send_messages(gpointer data)
{
	struct sender *sender = data;
	CHECK_EQUAL(hosts_meet(sender->crowd->meeting), HOSTS_OK);
	for (int m = 0; m < MESSAGES; m++) {
		for (int i = 0; i < LOOPS; i++) {
			/* Not g_main_context_invoke(), which would run it here while nobody is in the loop. */
			GSource *source = g_idle_source_new();
			g_source_set_callback(source, message, &sender->members[i], NULL);
			g_source_attach(source, sender->crowd->contexts[i]);
			g_source_unref(source);
			if (threads() > sender->crowd->most_threads)
				sender->crowd->most_threads = threads();
		}
	}
	CHECK_EQUAL(hosts_meet(sender->crowd->meeting), HOSTS_OK);
	return NULL;
}

static void loops_on_goroutines(void)
{
	struct crowd crowd = { .meeting = hosts_meeting_new(LOOPS + 1) };
	struct member members[LOOPS];
	struct sender sender = { &crowd, members };
	GThread *thread = g_thread_new("sender", send_messages, &sender);
	int64_t sum;
	CHECK_EQUAL(hosts_each(loop_on_goroutine, &sender, LOOPS, &sum), 0);
	CHECK_EQUAL(sum, LOOPS);
	g_thread_join(thread);
	hosts_meeting_free(crowd.meeting);
	if (goroutines_park())
		CHECK(crowd.most_threads <= 20 + few_threads());
	printf("glib: %d main loops on goroutines, %d messages each, on %d kernel threads\n", LOOPS, MESSAGES, crowd.most_threads);
}

int main(void)
{
	main_loop();
	loops_on_goroutines();
	CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
	CHECK_EQUAL(counts().kernel_threads, 0); /* GLib keeps some of its own */
	return 0;
}
