// From C++: threads of std's, lambdas, exceptions that stay below the boundary, destructors of thread-local variables.
#include "check.h"
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> ended{0};

struct Ended {
    std::string name;
    ~Ended() { ended += name.empty() ? 0 : 1; }
};

thread_local Ended at_the_end;

// A goroutine that runs a lambda, joined by its destructor.
class Goroutine {
  public:
    template <typename F> explicit Goroutine(F f) {
        auto *body = new F(std::move(f));
        OK(gort_spawn(
            &handle, [](void *argument) -> void * {
                auto *f = static_cast<F *>(argument);
                (*f)();
                delete f;
                return nullptr;
            },
            body, "lambda", 0));
    }
    Goroutine(const Goroutine &) = delete;
    Goroutine(Goroutine &&other) noexcept : handle(other.handle) { other.handle = 0; }
    ~Goroutine() {
        if (handle != 0)
            OK(gort_join(handle, nullptr));
    }

  private:
    gort_thread_t handle = 0;
};

// Leaves when it goes.
class Inside {
  public:
    Inside() { OK(gort_enter()); }
    ~Inside() { OK(gort_leave()); }
};

int throws(int n) {
    at_the_end.name = "thrown " + std::to_string(n);
    OK(gort_yield());
    throw std::runtime_error(at_the_end.name);
}

void exceptions() {
    ended = 0;
    {
        std::vector<Goroutine> goroutines;
        for (int i = 0; i < 100; i++)
            goroutines.emplace_back([i] {
                try {
                    throws(i);
                } catch (const std::exception &e) {
                    CHECK(e.what() == "thrown " + std::to_string(i));
                }
            });
    }
    CHECK(ended == 100);
}

void locks() {
    std::mutex mutex;
    std::condition_variable changed;
    int turn = 0;
    auto body = [&](int number) {
        for (int round = 0; round < 50; round++) {
            std::unique_lock<std::mutex> lock(mutex);
            changed.wait(lock, [&] { return turn % 4 == number; });
            turn++;
            changed.notify_all();
        }
    };
    std::thread first(body, 0), second(body, 1);
    {
        Goroutine third([&] { body(2); }), fourth([&] { body(3); });
    }
    first.join();
    second.join();
    CHECK(turn == 200);
}

void channels() {
    gort_channel_t channel;
    OK(gort_channel_create(2, &channel));
    std::atomic<int> sum{0};
    auto receive = [&] {
        Inside inside;
        void *value = nullptr;
        while (gort_channel_recv(channel, &value) == GORT_OK) {
            sum += *static_cast<int *>(value);
            delete static_cast<int *>(value);
        }
    };
    {
        std::thread thread(receive);
        Goroutine goroutine(receive);
        for (int i = 1; i <= 100; i++)
            OK(gort_channel_send(channel, new int(i)));
        OK(gort_channel_close(channel));
        thread.join();
    }
    CHECK(sum == 5050);
    OK(gort_channel_free(channel));
}

} // namespace

int main() {
    gort_config_t config{};
    config.size = sizeof config;
    config.stack_size = 1 << 20;
    OK(gort_start(&config));
    exceptions();
    locks();
    channels();
    stop();
}
