// C++ as it uses thread-local storage: objects with constructors and destructors, and what the language's own library keeps
// there while an exception is under way. Each function may be left by way of `pause`, which lets other goroutines run, and may
// go on on another kernel thread.

#include <atomic>
#include <exception>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

using Pause = void (*)();
using Call = void (*)(long);

namespace {

std::atomic<long> made{0}, gone{0}, wrong{0};

void expect(bool holds)
{
    if (!holds)
        wrong++;
}

// Made at first use on each thread; its destructor pauses, and uses another object that was made before it.
struct Names {
    std::map<long, std::string> all;
    Names() { made++; }
    ~Names() { gone++; }
};
thread_local Names names;

struct Owner {
    long id = 0;
    Pause pause = nullptr;
    std::vector<long> visits;
    Owner()
    {
        made++;
        names.all[-1] = "made first, so gone last";
    }
    ~Owner()
    {
        long sum = 0;
        for (long visit : visits) {
            pause();
            sum += visit;
        }
        expect(sum == id * long(visits.size()));
        expect(names.all.at(id) == std::to_string(id));
        gone++;
    }
};
thread_local Owner owner;
thread_local std::mt19937 dice(17);
thread_local long plain = 5;

// An exception that knows whose it is.
struct Mine : std::runtime_error {
    long id;
    explicit Mine(long id) : std::runtime_error(std::to_string(id)), id(id) {}
};

// Pauses when it dies, which it does while exceptions are under way; another one comes and goes meanwhile.
struct Guard {
    long id;
    Pause pause;
    int under_way;
    ~Guard()
    {
        expect(std::uncaught_exceptions() == under_way);
        pause();
        try {
            Inner inner{pause, under_way + 1};
            throw Mine(-id);
        } catch (const Mine &mine) {
            pause();
            expect(mine.id == -id);
            expect(std::uncaught_exceptions() == under_way);
        }
        pause();
        expect(std::uncaught_exceptions() == under_way);
    }
    struct Inner {
        Pause pause;
        int under_way;
        ~Inner()
        {
            pause();
            expect(std::uncaught_exceptions() == under_way);
        }
    };
};

void descend(long id, Pause pause, int depth)
{
    Guard guard{id, pause, 1};
    pause();
    if (depth == 0)
        throw Mine(id);
    descend(id, pause, depth - 1);
}

std::atomic<long> attempts{0};

struct Slow {
    long value;
    explicit Slow(Pause pause)
    {
        pause();
        // The first two fail, and leave it to others.
        if (attempts++ < 2)
            throw Mine(0);
        for (int i = 0; i < 10; i++)
            pause();
        value = 77;
    }
};

} // namespace

extern "C" {

// What is in the calling thread's objects; adds a visit. Returns the number of visits so far, or -1 if something is not this
// thread's own.
long cx_visit(long id, Pause pause)
{
    owner.pause = pause;
    if (owner.id == 0)
        owner.id = id;
    owner.visits.push_back(id);
    names.all[id] = std::to_string(id);
    pause();
    return owner.id == id && owner.visits.back() == id && names.all.size() == 2 && ++plain == 5 + long(owner.visits.size())
               ? long(owner.visits.size())
               : -1;
}

// The next number of this thread's generator, which every thread begins with the same seed.
unsigned long cx_dice() { return dice(); }

long cx_made() { return made; }
long cx_gone() { return gone; }
// What was not as expected, in all.
long cx_wrong() { return wrong; }

// Throws through `depth` frames with destructors that pause, catches, pauses, throws it again, and catches it for good.
// Returns the number that the exception carried.
long cx_unwind(long id, Pause pause, int depth)
{
    long seen = 0;
    try {
        try {
            descend(id, pause, depth);
        } catch (const Mine &mine) {
            pause();
            expect(std::current_exception() != nullptr);
            try {
                throw std::out_of_range("another, while the first is being handled");
            } catch (const std::out_of_range &) {
                pause();
            }
            expect(mine.id == id && mine.what() == std::to_string(id));
            throw;
        }
    } catch (Mine &mine) {
        pause();
        seen = mine.id;
    }
    expect(std::current_exception() == nullptr);
    expect(std::uncaught_exceptions() == 0);
    return seen;
}

// An exception to be carried to another thread.
void *cx_capture(long id)
{
    try {
        throw Mine(id);
    } catch (...) {
        return new std::exception_ptr(std::current_exception());
    }
}

// Throws and frees what `cx_capture` made; returns the number that it carries.
long cx_release(void *captured, Pause pause)
{
    std::exception_ptr exception = *static_cast<std::exception_ptr *>(captured);
    delete static_cast<std::exception_ptr *>(captured);
    try {
        pause();
        std::rethrow_exception(exception);
    } catch (const Mine &mine) {
        exception = nullptr;
        pause();
        return mine.id;
    }
}

void cx_throw(long id) { throw Mine(id); }

// Calls `f`, which lets an exception of `cx_throw` through; returns the number that the exception carried, or 0 without one.
long cx_catch(Call f, long id, Pause pause)
{
    try {
        Guard guard{id, pause, 1};
        f(id);
        guard.under_way = 0;
        return 0;
    } catch (const Mine &mine) {
        pause();
        return mine.id;
    }
}

// Calls `f`, which may let through whatever is no exception of C++; it is caught, held over a pause, and thrown again.
void cx_pass(Call f, long id, Pause pause)
{
    try {
        f(id);
    } catch (...) {
        pause();
        throw;
    }
}

// A local static, made by whoever comes first; the others wait for it.
long cx_static(Pause pause)
{
    for (;;) {
        try {
            static const Slow slow(pause);
            return slow.value;
        } catch (const Mine &) {
            pause();
        }
    }
}

long cx_attempts() { return attempts; }
}
