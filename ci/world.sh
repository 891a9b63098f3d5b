#!/usr/bin/env bash
# ci/world.sh [ARGUMENT OF cargo test...]
#
# Real crates and C libraries on goroutines, against real servers: the tests of world/, with two Ps and with one, after its
# formatting and clippy; those of what lives in thread-local storage with GORT_CHAOS as well. Installs what is missing with apt-get, starts a Redis and a PostgreSQL server of its own on free ports
# and in temporary directories, and stops them at the end, whatever the end is.
#
#   ci/world.sh                     everything
#   ci/world.sh --test redis        one subject
#   GORT_WORLD_KEEP=1 ci/world.sh   starts the servers, prints how to reach them, and waits for the end of its input
set -euo pipefail
cd "$(dirname "$0")/../world"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Runs a command as somebody who is not root, since PostgreSQL refuses to be root, and in a directory that anybody may enter.
as_user() {
    (cd / && if [ "$(id -u)" = 0 ]; then runuser -u "$user" -- "$@"; else "$@"; fi)
}

# PostgreSQL's programs are in a directory with its version, and not on PATH.
postgres_bin() {
    local found
    found=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    if [ -x "$found/initdb" ]; then echo "$found"; fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until a command succeeds; shows a log and fails if it does not within ten seconds.
until_ok() {
    local log=$1
    shift
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    cat "$log" >&2
    echo "ci/world.sh: does not answer: $*" >&2
    exit 1
}

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v wrk >/dev/null || missing+=(wrk)
command -v pkg-config >/dev/null || missing+=(pkg-config)
[ -n "$(postgres_bin)" ] || missing+=(postgresql)
[ -e /usr/include/postgresql/libpq-fe.h ] || missing+=(libpq-dev)
pkg-config --exists libcurl 2>/dev/null || missing+=(libcurl4-openssl-dev)
pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
command -v c++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
if ((${#missing[@]})); then
    echo "--> installing ${missing[*]}"
    as_root apt-get update -q
    # The packages' own servers are not needed: in runlevel 1 installing them does not start them.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

user=nobody
dir=$(mktemp -d "${TMPDIR:-/tmp}/gort-world.XXXXXX")
redis_pid=
stop() {
    if [ -s "$dir/postgres/postmaster.pid" ]; then
        as_user "$bin/pg_ctl" --pgdata="$dir/postgres" --mode=immediate --silent stop || true
    fi
    if [ -n "$redis_pid" ]; then
        kill "$redis_pid" 2>/dev/null || true
        wait "$redis_pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

echo "--> Redis"
mkdir "$dir/redis"
redis_port=$(free_port)
redis-server --bind 127.0.0.1 --port "$redis_port" --unixsocket "$dir/redis/socket" --dir "$dir/redis" --save '' --appendonly no --maxclients 4000 \
    --tcp-backlog 4096 --daemonize no >"$dir/redis.log" 2>&1 &
redis_pid=$!
until_ok "$dir/redis.log" redis-cli -p "$redis_port" ping

echo "--> PostgreSQL"
bin=$(postgres_bin)
mkdir "$dir/postgres"
if [ "$(id -u)" = 0 ]; then
    chmod 711 "$dir"
    chown "$user" "$dir/postgres"
fi
as_user "$bin/initdb" --pgdata="$dir/postgres" --username=gort --auth=trust --encoding=UTF8 --locale=C --no-sync \
    >"$dir/postgres.log" 2>&1 || { cat "$dir/postgres.log" >&2; exit 1; }
postgres_port=$(free_port)
touch "$dir/postgres.log"
as_user "$bin/postgres" -D "$dir/postgres" -c listen_addresses=127.0.0.1 -p "$postgres_port" \
    -c unix_socket_directories="$dir/postgres" -c max_connections=150 -c fsync=off -c synchronous_commit=off \
    -c full_page_writes=off >>"$dir/postgres.log" 2>&1 &
until_ok "$dir/postgres.log" "$bin/pg_isready" --host=127.0.0.1 --port="$postgres_port" --quiet

export GORT_WORLD_REDIS=redis://127.0.0.1:$redis_port/
export GORT_WORLD_REDIS_UNIX=redis+unix://$dir/redis/socket
export GORT_WORLD_POSTGRES=postgresql://gort@127.0.0.1:$postgres_port/postgres
export GORT_WORLD_POSTGRES_UNIX="postgresql://gort@/postgres?host=$dir/postgres&port=$postgres_port"
GORT_WORLD_WRK=$(command -v wrk)
export GORT_WORLD_WRK

if [ -n "${GORT_WORLD_KEEP:-}" ]; then
    env | sed -n "s/^\(GORT_WORLD_[RPW][A-Z_]*\)=\(.*\)/export \1='\2'/p"
    cat >/dev/null
    exit
fi

if [ $# = 0 ]; then
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
fi
# Outside the limits of time below.
cargo test --locked --no-run "$@"
run() {
    timeout --kill-after=10 900 cargo test --locked "$@" -- --test-threads=1 --show-output --skip suites::
}

# One test at a time: what is counted is the whole process, and the machine may be small. A hang must not eat the time of others.
for procs in 2 1; do
    echo "--> GORT_PROCS=$procs"
    GORT_PROCS=$procs run "$@"
done
if [ $# = 0 ]; then
    # What lives in thread-local storage, while goroutines move to another kernel thread at every opportunity.
    local_to_threads=(cxx glibc_malloc jemalloc jemalloc_per_thread libraries mimalloc mimalloc_per_thread openssl rayon regex
        rustls sqlite suites thread_locals tracing)
    echo "--> GORT_CHAOS=1"
    GORT_CHAOS=1 GORT_PROCS=2 run "${local_to_threads[@]/#/--test=}"
fi
echo "ci/world.sh: all passed in $SECONDS s"
