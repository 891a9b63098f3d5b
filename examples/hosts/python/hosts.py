"""libhosts for Python, by ctypes. What a module of yours would keep is in this file; `main.py` tries it.

ctypes.CDLL lets go of the interpreter's lock (GIL) for the time of a call, and takes it for each callback. Both are what is
needed: a call that waits holds up no other Python thread, and a callback may come from any goroutine. (Never ctypes.PyDLL,
which keeps the lock: whoever waits then keeps it from those that it waits for.)

A callback finds Python's thread state by thread-local storage, and a goroutine has its own. So to Python each goroutine is a
thread: threading.get_ident() tells them apart, threading.local() is the goroutine's own, and a callback may call
in again and wait there, whichever kernel thread goes on with it. What is keyed on the kernel thread, such as
threading.get_native_id(), may change in between, unless the goroutine is locked to it: `locked()`.
"""

import atexit
import contextlib
import ctypes
import os

OK, FAILED, INVALID, BUSY = 0, -1, -2, -3

# Python counts on the stack of a usual thread: what its recursion limit allows takes more than a goroutine has by default. It
# is address space; memory is taken as it is touched.
STACK = 8 << 20

Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


class Counts(ctypes.Structure):
    """`struct hosts_counts`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("goroutines", "kernel_threads", "callbacks", "bound_threads", "dead_hooks", "backend")
    ]


class Error(Exception):
    """A negative code, with the text of the panic if it was one."""


def _load(path):
    library = ctypes.CDLL(path)
    for name, result, arguments in (
        ("hosts_start", ctypes.c_int, (ctypes.c_uint, ctypes.c_size_t)),
        ("hosts_shutdown", ctypes.c_int, (ctypes.c_uint,)),
        ("hosts_count", ctypes.c_int, (ctypes.POINTER(Counts),)),
        ("hosts_last_panic", ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)),
        ("hosts_each", ctypes.c_int64, (Function, ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64))),
        ("hosts_on_system_stack", ctypes.c_int64, (Function, ctypes.c_void_p, ctypes.c_int64)),
        ("hosts_lock_thread", ctypes.c_int, ()),
        ("hosts_unlock_thread", ctypes.c_int, ()),
        ("hosts_pass", ctypes.c_int64, (ctypes.c_int64, ctypes.c_int64)),
        ("hosts_meeting_new", ctypes.c_void_p, (ctypes.c_size_t,)),
        ("hosts_meet", ctypes.c_int, (ctypes.c_void_p,)),
        ("hosts_meeting_free", None, (ctypes.c_void_p,)),
        ("hosts_store_open", ctypes.c_void_p, (ctypes.c_char_p,)),
        ("hosts_store_add", ctypes.c_int64, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64)),
        ("hosts_store_get", ctypes.c_int64, (ctypes.c_void_p, ctypes.c_char_p)),
        ("hosts_store_close", ctypes.c_int, (ctypes.c_void_p,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load(os.environ.get("LIBHOSTS", "libhosts.so"))


def _checked(code):
    if code < 0:
        text = ctypes.create_string_buffer(200)
        length = _library.hosts_last_panic(text, len(text))
        raise Error(text.value.decode() if length else f"code {code}")
    return code


def start():
    """Starts the runtime, and has it ended before the interpreter is.

    A goroutine that came to wait for the interpreter's lock after that would be ended in the middle of its frames.
    """
    _checked(_library.hosts_start(0, STACK))
    atexit.register(shutdown)


def shutdown():
    """Waits until all goroutines have ended, and ends the runtime."""
    atexit.unregister(shutdown)
    _checked(_library.hosts_shutdown(60000))


def count():
    """What there is at this moment."""
    counts = Counts()
    _checked(_library.hosts_count(ctypes.byref(counts)))
    return counts


@contextlib.contextmanager
def _calling(function):
    """`function` as C calls it. What it raises must not get lost on the way: ctypes would print it and return 0."""
    raised = []

    def call(_context, index):
        try:
            return function(index)
        except BaseException as error:  # raised again below, where Python has called
            raised.append(error)
            return FAILED

    # C's pointer is good as long as this object lives.
    yield Function(call)
    if raised:
        raise raised[0]


def each(function, count):
    """Calls function(index) on `count` goroutines; returns the sum of the results. Raises what one of them raises."""
    total = ctypes.c_int64()
    with _calling(function) as call:
        code = _library.hosts_each(call, None, count, ctypes.byref(total))
    _checked(code)
    return total.value


def on_system_stack(function, index=0):
    """Calls function(index) on the stack and the thread-local storage of the kernel thread below.

    To Python that is another thread than the goroutine. What waits there blocks the kernel thread.
    """
    with _calling(function) as call:
        result = _library.hosts_on_system_stack(call, None, index)
    return _checked(result)


@contextlib.contextmanager
def locked():
    """Keeps the calling goroutine on its kernel thread."""
    _checked(_library.hosts_lock_thread())
    try:
        yield
    finally:
        _checked(_library.hosts_unlock_thread())


def pass_on(value, stations):
    """Sends a value through goroutines, each of which adds one."""
    return _checked(_library.hosts_pass(value, stations))


class Meeting:
    """A point where so many callers meet."""

    def __init__(self, size):
        self._meeting = _library.hosts_meeting_new(size)
        if not self._meeting:
            raise Error("nobody to meet")

    def meet(self):
        """Waits until all are here."""
        _checked(_library.hosts_meet(self._meeting))

    def close(self):
        """To be called when nobody is in it."""
        _library.hosts_meeting_free(self._meeting)
        self._meeting = None


class Store:
    """Named numbers in a file."""

    def __init__(self, path):
        self._store = _library.hosts_store_open(os.fsencode(path))
        if not self._store:
            _checked(FAILED)

    def add(self, name, amount):
        """Adds, and returns the new number when that is on disk."""
        return _checked(_library.hosts_store_add(self._store, name.encode(), amount))

    def get(self, name):
        """The number of that name."""
        return _checked(_library.hosts_store_get(self._store, name.encode()))

    def close(self):
        """To be called when nobody uses it."""
        _checked(_library.hosts_store_close(self._store))
        self._store = None
