// A C++17 program with a pool of std::thread, futures and exceptions, around a library of goroutines.
//
// Exceptions stay on the side of C++: whatever Rust calls is noexcept, catches, and hands over a number; the exception itself
// waits in an exception_ptr until the call of C++'s own that led there rethrows it. Three kinds of traffic:
//
//   pool -> goroutines    tasks of the pool call in, and wait there; std::future brings their results
//   goroutines -> C++     parallel() calls any callable from goroutines, and throws what the first failing one has thrown
//   goroutines -> future  later() gives a std::future that a goroutine makes ready
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "check.h"

// ---- What a program keeps: the library in C++'s own terms ----

namespace hosts {

// A code of hosts.h as an exception; the text is that of the panic, if it was one.
class error : public std::runtime_error {
public:
	explicit error(std::int64_t code) : std::runtime_error(text(code)), code(code) {}
	const std::int64_t code;

private:
	static std::string text(std::int64_t code)
	{
		char panic[200];
		return hosts_last_panic(panic, sizeof panic) > 0 ? panic : "code " + std::to_string(code);
	}
};

// Calls f(0) ... f(count - 1), each on a goroutine, and returns the sum. Throws what one of them has thrown.
template <class F> std::int64_t parallel(std::int64_t count, F &&f)
{
	struct call {
		std::remove_reference_t<F> &f;
		std::mutex lock;
		std::exception_ptr thrown;
	} call{ f, {}, nullptr };
	std::int64_t sum = 0;
	const auto code = hosts_each(
		[](void *context, std::int64_t index) noexcept -> std::int64_t {
			auto &call = *static_cast<struct call *>(context);
			try {
				return call.f(index);
			} catch (...) {
				const std::lock_guard<std::mutex> held(call.lock);
				if (!call.thrown)
					call.thrown = std::current_exception();
				return HOSTS_FAILED;
			}
		},
		&call, count, &sum);
	if (call.thrown)
		std::rethrow_exception(call.thrown);
	if (code != HOSTS_OK)
		throw error(code);
	return sum;
}

// The result of f(), computed on a goroutine, later.
template <class F> auto later(F f) -> std::future<decltype(f())>
{
	using task = std::packaged_task<decltype(f())()>;
	auto owned = std::make_unique<task>(std::move(f));
	auto result = owned->get_future();
	const auto code = hosts_later(
		[](void *context, std::int64_t) noexcept -> std::int64_t {
			// A packaged_task keeps what its function throws for the future.
			(*std::unique_ptr<task>(static_cast<task *>(context)))();
			return HOSTS_OK;
		},
		owned.get(), 0);
	if (code != HOSTS_OK)
		throw error(code);
	owned.release();
	return result;
}

} // namespace hosts

// ---- The program ----

namespace {

constexpr int THREADS = 8, TASKS = SMALL ? 40 : 400, GOROUTINES = SMALL ? 40 : 200, ROUNDS = SMALL ? 10 : 50;

// A pool of threads as many a program has one.
class pool {
public:
	explicit pool(int size)
	{
		for (int i = 0; i < size; i++)
			workers.emplace_back([this] { work(); });
	}

	~pool()
	{
		{
			const std::lock_guard<std::mutex> held(lock);
			closed = true;
		}
		changed.notify_all();
		for (auto &worker : workers)
			worker.join();
	}

	template <class F> auto submit(F f) -> std::future<decltype(f())>
	{
		auto task = std::make_shared<std::packaged_task<decltype(f())()>>(std::move(f));
		auto result = task->get_future();
		{
			const std::lock_guard<std::mutex> held(lock);
			tasks.emplace_back([task] { (*task)(); });
		}
		changed.notify_one();
		return result;
	}

private:
	void work()
	{
		for (;;) {
			std::function<void()> task;
			{
				std::unique_lock<std::mutex> held(lock);
				changed.wait(held, [this] { return closed || !tasks.empty(); });
				if (tasks.empty())
					return;
				task = std::move(tasks.front());
				tasks.pop_front();
			}
			task();
		}
	}

	std::mutex lock;
	std::condition_variable changed;
	std::deque<std::function<void()>> tasks;
	bool closed = false;
	std::vector<std::thread> workers;
};

// Of these there is one for each thread or goroutine that asks, and none at the end.
struct per_thread {
	static std::atomic<int> alive;
	int uses = 0;
	per_thread() { alive++; }
	~per_thread() { alive--; }
};
std::atomic<int> per_thread::alive{ 0 };
thread_local per_thread mine;

void pool_calls_in()
{
	pool threads(THREADS);
	std::vector<std::future<std::int64_t>> results;
	for (int i = 0; i < TASKS; i++)
		results.push_back(threads.submit([i] {
			// On the pool's thread; its goroutines call C++ again, which calls in once more.
			return hosts::parallel(4, [i](std::int64_t index) { return hosts_pass(i + index, 2); });
		}));
	std::int64_t sum = 0;
	for (auto &result : results)
		sum += result.get();
	CHECK_EQUAL(sum, 4LL * TASKS * (TASKS - 1) / 2 + TASKS * (0 + 1 + 2 + 3 + 4 * 2));
	CHECK(counts().bound_threads >= THREADS);
}

void exceptions_stay()
{
	int caught = 0;
	for (int i = 0; i < ROUNDS; i++) {
		try {
			hosts::parallel(20, [i](std::int64_t index) -> std::int64_t {
				// Parks in the middle of a try block, and in a handler: the exception under way is the goroutine's own.
				try {
					CHECK_EQUAL(hosts_pass(index, 1), index + 1);
					throw std::out_of_range(std::to_string(index));
				} catch (const std::out_of_range &inner) {
					CHECK_EQUAL(hosts_pass(index, 1), index + 1);
					CHECK(std::stoll(inner.what()) == index);
					if (index == i % 20)
						throw std::invalid_argument("round " + std::to_string(i));
				}
				return 0;
			});
		} catch (const std::invalid_argument &thrown) {
			CHECK(thrown.what() == "round " + std::to_string(i));
			caught++;
		}
	}
	CHECK_EQUAL(caught, ROUNDS);
	CHECK_EQUAL(std::uncaught_exceptions(), 0);

	// The other way: a panic of Rust's is a code, and an exception only from there on.
	try {
		if (hosts_store_open(nullptr) == nullptr)
			throw hosts::error(HOSTS_FAILED);
		CHECK(false);
	} catch (const hosts::error &thrown) {
		CHECK(thrown.what() == std::string("the path is text"));
	}
	try {
		hosts::parallel(-1, [](std::int64_t) { return 0; });
		CHECK(false);
	} catch (const hosts::error &thrown) {
		CHECK(thrown.code == HOSTS_INVALID);
	}
}

void futures_from_goroutines()
{
	std::vector<std::future<std::string>> results;
	for (int i = 0; i < GOROUTINES; i++)
		results.push_back(hosts::later([i]() -> std::string {
			CHECK_EQUAL(hosts_pass(i, 1), i + 1);
			if (i % 10 == 0)
				throw std::runtime_error("tenth");
			return std::to_string(i);
		}));
	int thrown = 0;
	for (int i = 0; i < GOROUTINES; i++) {
		try {
			CHECK(results[i].get() == std::to_string(i));
		} catch (const std::runtime_error &) {
			CHECK(i % 10 == 0);
			thrown++;
		}
	}
	CHECK_EQUAL(thrown, GOROUTINES / 10);
}

void variables_and_locks()
{
	const std::unique_ptr<hosts_meeting, void (*)(hosts_meeting *)> meeting(hosts_meeting_new(GOROUTINES), hosts_meeting_free);
	std::mutex lock;
	std::vector<std::int64_t> order;
	const int before = per_thread::alive;
	std::atomic<int> most{ 0 };
	hosts::parallel(GOROUTINES, [&](std::int64_t index) {
		CHECK_EQUAL(mine.uses++, 0);
		CHECK_EQUAL(hosts_meet(meeting.get()), HOSTS_OK);
		if (index == 0)
			most = threads();
		// All hold an object of their own now; C++'s mutex parks goroutines that must wait for it.
		CHECK_EQUAL(per_thread::alive, before + GOROUTINES);
		CHECK_EQUAL(hosts_meet(meeting.get()), HOSTS_OK);
		const std::lock_guard<std::mutex> held(lock);
		CHECK_EQUAL(hosts_pass(index, 1), index + 1);
		CHECK_EQUAL(mine.uses++, 1);
		order.push_back(index);
		return 0;
	});
	CHECK_EQUAL(order.size(), GOROUTINES);
	CHECK_EQUAL(std::accumulate(order.begin(), order.end(), std::int64_t{ 0 }), GOROUTINES * (GOROUTINES - 1) / 2);
	CHECK_EQUAL(per_thread::alive, before); // destructors have run when the call returns
	if (goroutines_park())
		CHECK(most <= 1 + few_threads());
	std::cout << "cxx: " << GOROUTINES << " goroutines with objects of their own at once, on " << most << " kernel threads\n";
}

} // namespace

int main()
{
	pool_calls_in();
	exceptions_stay();
	futures_from_goroutines();
	variables_and_locks();
	CHECK_EQUAL(hosts_shutdown(60000), HOSTS_OK);
	CHECK_EQUAL(threads(), 1);
	std::cout << "cxx: " << TASKS << " tasks of " << THREADS << " threads, exceptions and futures: all right\n";
}
