// Locks as C++ uses them: libstdc++ makes them of pthread objects.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

namespace {

struct Queue {
    std::mutex lock;
    std::condition_variable changed;
    std::deque<long> items;
};

struct Pair {
    std::shared_timed_mutex lock;
    long a = 0, b = 0;
};

std::once_flag flag;
int attempts;

} // namespace

extern "C" {

Queue *lk_cpp_queue_new() { return new Queue; }

void lk_cpp_queue_free(Queue *queue) { delete queue; }

void lk_cpp_put(Queue *queue, long item)
{
    std::unique_lock<std::mutex> held(queue->lock);
    queue->changed.wait(held, [queue] { return queue->items.size() < 4; });
    queue->items.push_back(item);
    queue->changed.notify_all();
}

long lk_cpp_take(Queue *queue)
{
    std::unique_lock<std::mutex> held(queue->lock);
    while (!queue->changed.wait_for(held, std::chrono::milliseconds(1), [queue] { return !queue->items.empty(); })) {
    }
    long item = queue->items.front();
    queue->items.pop_front();
    queue->changed.notify_all();
    return item;
}

Pair *lk_cpp_pair_new() { return new Pair; }

void lk_cpp_pair_free(Pair *pair) { delete pair; }

void lk_cpp_pair_add(Pair *pair)
{
    std::unique_lock<std::shared_timed_mutex> held(pair->lock, std::defer_lock);
    while (!held.try_lock_for(std::chrono::milliseconds(1))) {
    }
    pair->a++;
    pair->b++;
}

long lk_cpp_pair_read(Pair *pair)
{
    std::shared_lock<std::shared_timed_mutex> held(pair->lock);
    return pair->a == pair->b ? pair->a : -1;
}

// The first call throws, which leaves the flag as it was.
int lk_cpp_once()
{
    int thrown = 0;
    for (int i = 0; i < 2; i++) {
        try {
            std::call_once(flag, [] {
                if (++attempts == 1)
                    throw std::runtime_error("not yet");
            });
        } catch (const std::runtime_error &) {
            thrown++;
        }
    }
    return thrown * 10 + attempts;
}
}
