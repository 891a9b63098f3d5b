// Exceptions of C++ above, below and on both sides of callbacks.

#include <exception>
#include <stdexcept>
#include <string>

typedef void (*th_fn)(void *arg);

namespace {

// Counts those that are alive.
struct Alive {
    int *count;
    explicit Alive(int *count) : count(count) { ++*count; }
    ~Alive() { --*count; }
};

struct Number : std::runtime_error {
    long id;
    explicit Number(long id) : std::runtime_error("number " + std::to_string(id)), id(id) {}
};

__attribute__((noinline)) void throw_below(long id, int depth, int *alive)
{
    Alive one(alive);
    if (depth == 0)
        throw Number(id);
    throw_below(id, depth - 1, alive);
}

} // namespace

extern "C" {

// Throws and catches; calls fn(arg) from the handler, throws the same on from there, and catches it again: with another
// exception thrown and caught inside meanwhile. Returns the number of the exception that arrives, or -1 if anything is
// not as it should be.
long th_rethrow(long id, th_fn fn, void *arg)
{
    int alive = 0;
    try {
        try {
            throw_below(id, 3, &alive);
        } catch (const Number &outer) {
            fn(arg);
            if (outer.id != id || std::uncaught_exceptions() != 0)
                return -1;
            try {
                throw_below(id + 1, 2, &alive);
            } catch (const Number &inner) {
                fn(arg);
                if (inner.id != id + 1)
                    return -1;
            }
            fn(arg);
            throw;
        }
    } catch (const Number &number) {
        fn(arg);
        if (alive != 0 || std::string(number.what()) != "number " + std::to_string(id))
            return -1;
        return number.id;
    }
    return -1;
}

// Throws.
void th_throw(long id) { throw Number(id); }

// Calls fn(arg), which calls th_throw; returns the number if it arrives, which it does not where frames of a callback
// lie between.
long th_catch(th_fn fn, void *arg)
{
    try {
        fn(arg);
    } catch (const Number &number) {
        return number.id;
    }
    return 0;
}

}
