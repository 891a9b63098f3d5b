#!/usr/bin/env python3
"""Runs the web server, makes load on it, and verifies every reply.

    load.py COMMAND pool|connections [CONNECTIONS [REQUESTS]]

Each connection adds to a number of its own, whose replies it knows beforehand, and to one that all share, of which the last
must be the sum. The server's threads are counted under load and afterwards.
"""

import http.client
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading

STATIONS = 20
POOL_THREADS = 4
# GORT_CHAOS, a mode for tests, has many goroutines go on as kernel threads for a while.
FEW_THREADS = 16 * (8 if "GORT_CHAOS" in os.environ else 1)


def get(connection, path, status=200):
    """The text of a page, which has that status."""
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    assert response.status == status, f"{path}: {response.status}: {text}"
    return text


def client(port, index, requests, enough):
    """What one connection asks for. `enough`: checks the server's counts while there is load."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    own = 0
    for i in range(requests):
        page = ("add", "later")[i % 2]
        own += i
        assert int(get(connection, f"/{page}?name=own{index}&amount={i}")) == own
        assert int(get(connection, f"/{page}?name=all&amount=1")) > 0
        assert int(get(connection, f"/get?name=own{index}")) == own
        assert int(get(connection, f"/pass?value={i}")) == i + STATIONS
        if i == requests // 2:
            enough(counts(get(connection, "/counts")))
    get(connection, "/add?name=x", 400)
    get(connection, "/pass?value=-5", 400)
    assert "a number needs a name" in get(connection, "/add?name=&amount=1", 500)
    get(connection, "/nothing", 404)
    connection.close()


def counts(text):
    """The lines of /counts."""
    return {name: int(value) for name, value in (line.split() for line in text.split("\n") if line)}


def load(port, connections, requests, enough):
    """All clients at once; the first error ends the program."""
    errors = []

    def run(index):
        try:
            client(port, index, requests, enough)
        except BaseException as error:  # shown below, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def check(port, mode, connections, requests):
    """The load, and what the server says meanwhile and afterwards."""
    most = []

    def enough(now):
        most.append(now["threads"])
        if now["backend"] == 0 and now["dead_hooks"] == 0:
            # main and the handlers (with a thread for each connection also the acceptor); on some more run all goroutines.
            handlers = POOL_THREADS if mode == "pool" else connections + 2
            assert now["threads"] <= 1 + handlers + FEW_THREADS, now

    load(port, connections, requests, enough)
    assert len(most) == connections
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    assert int(get(connection, "/get?name=all")) == connections * requests
    now = counts(get(connection, "/counts"))
    enough(now)
    connection.close()
    # The store's writer, and what the last replies have not quite left.
    assert now["goroutines"] <= 1 + connections, now
    total = connections * (requests * 4 + 5) + 2
    print(f"web: {mode}: {connections} connections, {total} requests, {max(most)} threads; then {now}")


def main():
    command, mode = shlex.split(sys.argv[1]), sys.argv[2]
    connections = int(sys.argv[3]) if len(sys.argv) > 3 else 32
    requests = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen([*command, mode, directory], stdout=subprocess.PIPE, text=True)
        try:
            port = int(server.stdout.readline().split()[1])
            check(port, mode, connections, requests)
            server.send_signal(signal.SIGTERM)
            assert "no thread is left" in server.stdout.read()
            assert server.wait(timeout=120) == 0
        finally:
            server.kill()


main()
