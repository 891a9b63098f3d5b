// A C++17 program whose threads run fibers of Boost.Context that call into a library of goroutines.
//
// A fiber may go back to whoever runs it in the middle of a call in: from a function of its own that the library has called. So
// several calls of one thread are under way at a time, on several stacks, and they return in any order. Four subjects:
//
//   last in, first out    as calls do on one stack
//   any order             all orders in which four fibers can return, and many orders of more
//   a loop                a thread's fibers await goroutines; who is ready first goes on first
//   another thread        a fiber goes on elsewhere, between calls in
//
// And what ends the process: a fiber that is given up, destroyed or moved to another thread within a call in. Each of these is a
// process of its own: this program, with a word behind its name.
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include "check.h"
#include "fiber.hpp"

namespace {

using fibers::fiber;

constexpr int THREADS = SMALL ? 2 : 4, FIBERS = SMALL ? 6 : 24, ROUNDS = SMALL ? 3 : 10;

// Calls f() below a frame of Rust's, on this thread and this stack.
template <class F> std::int64_t within(F &&f)
{
	return hosts_here(
		[](void *f, std::int64_t) noexcept -> std::int64_t { return (*static_cast<std::remove_reference_t<F> *>(f))(); }, &f, 0);
}

// What is kept over changes of stacks: a variable of each frame's, which a wait is not to spoil.
void wait(int number) { CHECK_EQUAL(hosts_pass(number, 2), number + 2); }

// ---- Orders ----

// Fibers go in one after the other, wait there, and come out in this order.
void come_out(const std::vector<int> &order)
{
	std::vector<int> log;
	std::vector<std::unique_ptr<fiber>> all;
	for (int i = 0; i < static_cast<int>(order.size()); i++)
		all.push_back(std::make_unique<fiber>([i, &log](fiber &self) {
			wait(i);
			const auto result = within([&]() -> std::int64_t {
				wait(i);
				self.leave();
				wait(i);
				log.push_back(i);
				return 100 + i;
			});
			CHECK_EQUAL(result, 100 + i);
			self.leave();
			wait(i);
		}));
	for (auto &one : all)
		CHECK(one->run());
	// Other threads may be in as well; this one counts once, however often it is in.
	CHECK(counts().callbacks >= 1 && counts().callbacks <= 1 + THREADS);
	for (const int i : order) {
		// Between two that are in, the thread calls in from its own stack too.
		wait(i);
		CHECK(all[i]->run());
	}
	for (auto &one : all)
		CHECK(!one->run());
	CHECK(log == order);
}

void last_in_first_out()
{
	for (int size = 1; size <= 8; size++) {
		std::vector<int> order;
		for (int i = size; i-- > 0;)
			order.push_back(i);
		come_out(order);
	}
}

void any_order()
{
	std::vector<int> order{ 0, 1, 2, 3 };
	do
		come_out(order);
	while (std::next_permutation(order.begin(), order.end()));
}

// Calls within calls, up to three deep, on many stacks, by turns that a seed decides.
int deeper(fiber &self, int levels)
{
	if (levels == 0)
		return 0;
	return static_cast<int>(within([&]() -> std::int64_t {
		self.leave();
		wait(levels);
		return 1 + deeper(self, levels - 1);
	}));
}

void by_turns()
{
	for (unsigned seed = 1; seed <= ROUNDS; seed++) {
		std::vector<std::unique_ptr<fiber>> all;
		int ended = 0;
		for (int i = 0; i < 8; i++)
			all.push_back(std::make_unique<fiber>([&ended](fiber &self) {
				for (int levels = 1; levels <= 3; levels++)
					CHECK_EQUAL(deeper(self, levels), levels);
				ended++;
			}));
		for (unsigned random = seed; !all.empty();) {
			random = random * 1664525 + 1013904223;
			auto &one = all[(random >> 16) % all.size()];
			// Run by the thread, or by it in a call in.
			const bool goes_on = random >> 31 ? one->run() : within([&]() -> std::int64_t { return one->run(); }) != 0;
			if (!goes_on) {
				std::swap(one, all.back());
				all.pop_back();
			}
		}
		CHECK_EQUAL(ended, 8);
	}
}

// ---- A loop of fibers, as a host has one ----

class loop {
public:
	template <class F> void add(F body)
	{
		alive++;
		ready(new fiber([this, body = std::move(body)](fiber &self) mutable { body(*this, self); }));
	}

	// Until all have ended.
	void run()
	{
		while (alive > 0) {
			fiber *next;
			{
				std::unique_lock<std::mutex> held(lock);
				changed.wait(held, [this] { return !queue.empty(); });
				next = queue.front();
				queue.pop_front();
			}
			if (!next->run()) {
				delete next;
				alive--;
			}
		}
	}

	// By a fiber: the result of f() on a goroutine. Others have their turn meanwhile.
	template <class F> std::int64_t await(fiber &self, F f)
	{
		struct request {
			loop &of;
			fiber &self;
			F &f;
			std::int64_t result;
		} request{ *this, self, f, 0 };
		const auto code = hosts_later(
			[](void *context, std::int64_t) noexcept -> std::int64_t {
				auto &request = *static_cast<struct request *>(context);
				request.result = request.f();
				request.of.ready(&request.self);
				return HOSTS_OK;
			},
			&request, 0);
		CHECK_EQUAL(code, HOSTS_OK);
		self.leave();
		return request.result;
	}

private:
	void ready(fiber *one)
	{
		const std::lock_guard<std::mutex> held(lock);
		queue.push_back(one);
		changed.notify_one(); // with the lock, so that the loop is there still
	}

	std::mutex lock;
	std::condition_variable changed;
	std::deque<fiber *> queue;
	int alive = 0;
};

void awaits_goroutines()
{
	loop fibers;
	std::int64_t sum = 0;
	for (int i = 0; i < FIBERS; i++)
		fibers.add([i, &sum](loop &fibers, fiber &self) {
			for (int round = 0; round < ROUNDS; round++) {
				auto ask = [&] { return fibers.await(self, [&] { return hosts_pass(i, 1 + (i + round) % 3); }); };
				// By turns between calls in and within one, which others may outlast.
				const auto answer = round % 2 ? ask() : within(ask);
				CHECK_EQUAL(answer, i + 1 + (i + round) % 3);
				try {
					throw std::runtime_error(std::to_string(round));
				} catch (const std::runtime_error &thrown) {
					wait(i);
					CHECK(thrown.what() == std::to_string(round));
				}
				sum++;
			}
		});
	fibers.run();
	CHECK_EQUAL(sum, FIBERS * ROUNDS);
}

// ---- From thread to thread ----

void another_thread()
{
	fiber traveller([](fiber &self) {
		for (int i = 0; i < ROUNDS; i++) {
			CHECK_EQUAL(within([&]() -> std::int64_t { wait(i); return i; }), i);
			self.leave();
		}
	});
	for (int i = 0; i < ROUNDS; i++)
		std::thread([&] { CHECK(traveller.run()); }).join();
	CHECK(!traveller.run());
	CHECK(counts().bound_threads <= 1);
}

// ---- What ends the process ----

// A fiber that has gone into a call and not come out.
std::unique_ptr<fiber> inside()
{
	auto one = std::make_unique<fiber>([](fiber &self) { within([&]() -> std::int64_t { self.leave(); return 0; }); });
	CHECK(one->run());
	return one;
}

int misuse(const std::string &what)
{
	const rlimit none = { 0, 0 };
	setrlimit(RLIMIT_CORE, &none);
	if (what == "given-up")
		std::thread([] { inside().release(); }).join();
	if (what == "destroyed")
		inside();
	if (what == "moved") {
		auto one = inside();
		std::thread([&] { wait(1); one->run(); }).join();
	}
	return 0;
}

// Runs the program with that word; it must abort, and say this.
void aborts(const char *program, const char *what, const std::string &says)
{
	int ends[2], status;
	CHECK(pipe(ends) == 0);
	const pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		execl(program, program, what, nullptr);
		_exit(99);
	}
	close(ends[1]);
	std::string text;
	char part[1000];
	for (ssize_t length; (length = read(ends[0], part, sizeof part)) > 0;)
		text.append(part, static_cast<std::size_t>(length));
	close(ends[0]);
	CHECK(waitpid(child, &status, 0) == child);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || text.find(says) == std::string::npos) {
		std::cerr << what << ": status " << status << ", and it said: " << text << '\n';
		exit(1);
	}
}

} // namespace

int main(int argc, char **argv)
{
	if (argc > 1)
		return misuse(argv[1]);
	const std::array<void (*)(), 4> parts{ last_in_first_out, any_order, by_turns, awaits_goroutines };
	// On the main thread, then on several at a time, on each of which fibers come out in orders of their own.
	for (const auto part : parts)
		part();
	CHECK_EQUAL(counts().callbacks, 0);
	std::vector<std::thread> threads;
	for (int i = 0; i < THREADS; i++)
		threads.emplace_back([&parts, i] {
			for (std::size_t j = 0; j < parts.size(); j++)
				parts[(i + j) % parts.size()]();
		});
	for (auto &thread : threads)
		thread.join();
	another_thread();
	CHECK_EQUAL(counts().callbacks, 0);
	CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
	CHECK_EQUAL(::threads(), 1);
	aborts(argv[0], "given-up", "gort: a thread ended within a callback");
	aborts(argv[0], "moved", "gort: a callback returned on another thread");
	aborts(argv[0], "destroyed", "forced_unwind"); // by C++: what Rust calls is noexcept
	std::cout << "fibers: " << FIBERS << " on each of " << 1 + THREADS << " threads, in and out in any order: all right\n";
}
