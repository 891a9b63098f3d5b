#!/usr/bin/env python3
"""Python that calls goroutines from 32 threads, and is called by goroutines. LIBHOSTS names libhosts.so."""

import os
import tempfile
import threading

import hosts

THREADS = 32
ROUNDS = 20
GOROUTINES = 100


def run_threads(body):
    """Runs body(index) on 32 threads of Python's; raises what one of them raises."""
    errors = []

    def run(index):
        try:
            body(index)
        except BaseException as error:  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def calls_from_threads():
    """32 threads call in and wait; goroutines call Python back, which calls in again."""
    calls = []

    def body(thread):
        for round_ in range(ROUNDS):
            assert hosts.pass_on(thread, 3) == thread + 3

            def square(index):
                calls.append(index)
                return hosts.pass_on(index, 1) * index

            assert hosts.each(square, 5) == sum((i + 1) * i for i in range(5))

    run_threads(body)
    assert len(calls) == THREADS * ROUNDS * 5, len(calls)
    assert hosts.count().callbacks == 0
    print(f"python: {THREADS} threads called in {THREADS * ROUNDS * 2} times and got {len(calls)} callbacks")


def exceptions():
    """What a callback raises comes out where Python has called; a panic comes as an error."""

    def fails(index):
        if index == 3:
            raise KeyError("three")
        return index

    for _ in range(ROUNDS):
        try:
            hosts.each(fails, 10)
            raise AssertionError("no exception")
        except KeyError as error:
            assert error.args == ("three",)
    try:
        hosts.Store(os.path.join(os.devnull, "no such directory"))
        raise AssertionError("no exception")
    except hosts.Error as error:
        assert "no such directory" in str(error), error


def a_goroutine_is_a_thread():
    """Many goroutines are in Python at once, each with what Python keeps for a thread, and stay themselves over waits."""
    meeting = hosts.Meeting(GOROUTINES)
    local = threading.local()
    idents, moved, most = [], [], []

    def body(index):
        ident, native = threading.get_ident(), threading.get_native_id()
        idents.append(ident)
        assert not hasattr(local, "index")
        local.index = index
        meeting.meet()  # all are in a callback now
        if index == 0:
            most.append(len(os.listdir("/proc/self/task")))
        meeting.meet()
        for i in range(5):
            assert hosts.pass_on(i, 1) == i + 1
            assert threading.get_ident() == ident and local.index == index
        moved.append(threading.get_native_id() != native)
        return index

    assert hosts.each(body, GOROUTINES) == GOROUTINES * (GOROUTINES - 1) // 2
    assert len(set(idents)) == GOROUTINES
    if hosts.count().backend == 0 and "GORT_CHAOS" not in os.environ:
        assert most[0] < GOROUTINES // 2, most  # they wait for each other without a kernel thread each
    meeting.close()
    print(
        f"python: {GOROUTINES} goroutines in callbacks at once, on {most[0]} kernel threads; "
        f"{sum(moved)} went on on another one"
    )


def locked_to_a_kernel_thread():
    """What is keyed on the kernel thread stays the same while the goroutine is locked to it."""

    def body(index):
        with hosts.locked():
            native = threading.get_native_id()
            for i in range(5):
                assert hosts.pass_on(i, 1) == i + 1
                assert threading.get_native_id() == native
        return index

    assert hosts.each(body, 20) == 190


def deep(levels):
    """Recursion through C's frames, as deep as Python allows."""
    return max(map(deep, (levels - 1,))) if levels else 0


def stacks():
    """A goroutine's own stack is large enough for Python's recursion limit; so is the system stack for half of it."""

    def body(index):
        assert deep(400) == 0
        here = threading.get_ident()
        native = threading.get_native_id()

        def below(_):
            # The kernel thread itself, which Python takes for another thread than the goroutine.
            assert (threading.get_ident() == here) == (hosts.count().backend == 1)
            assert threading.get_native_id() == native
            assert hosts.pass_on(index, 1) == index + 1  # blocks the kernel thread
            assert threading.get_native_id() == native
            return deep(200)

        assert hosts.on_system_stack(below) == 0
        try:
            deep(100_000)
            raise AssertionError("no end")
        except RecursionError:
            pass
        return index

    assert hosts.each(body, 10) == 45


def store():
    """32 threads and their goroutines add to numbers in a file."""
    with tempfile.TemporaryDirectory() as directory:
        numbers = hosts.Store(os.path.join(directory, "store.db"))

        def body(thread):
            def add(index):
                assert numbers.add(f"thread {thread}", index) >= index
                return numbers.add("all", 1) and 1

            assert hosts.each(add, 5) == 5
            assert numbers.get(f"thread {thread}") == 10

        run_threads(body)
        assert numbers.get("all") == THREADS * 5
        numbers.close()


def main():
    """Everything, and then nothing may be left."""
    hosts.start()
    calls_from_threads()
    exceptions()
    a_goroutine_is_a_thread()
    locked_to_a_kernel_thread()
    stacks()
    store()
    hosts.shutdown()
    left = hosts.count()
    assert (left.goroutines, left.kernel_threads, left.callbacks, left.bound_threads) == (0, 0, 0, 1), left
    print("python: all right")


main()
