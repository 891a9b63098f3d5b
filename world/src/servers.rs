//! Where the servers that are programs of their own can be found. `ci/world.sh` starts them and says so in the environment.

use std::env;

fn from_script(name: &str, what: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("no {what} ({name} is not set): run ci/world.sh"))
}

/// The URL of a Redis server: `redis://127.0.0.1:PORT/`.
///
/// # Panics
/// There is none.
pub fn redis() -> String {
    from_script("GORT_WORLD_REDIS", "Redis server")
}

/// The URL of the same server by a socket in the file system.
///
/// # Panics
/// There is none.
pub fn redis_unix() -> String {
    from_script("GORT_WORLD_REDIS_UNIX", "Redis server")
}

/// The URL of a PostgreSQL database in which tables may be made: `postgresql://USER@127.0.0.1:PORT/DATABASE`. Both
/// the crate `postgres` and libpq understand it.
///
/// # Panics
/// There is none.
pub fn postgres() -> String {
    from_script("GORT_WORLD_POSTGRES", "PostgreSQL server")
}

/// The URL of the same database by a socket in the file system.
///
/// # Panics
/// There is none.
pub fn postgres_unix() -> String {
    from_script("GORT_WORLD_POSTGRES_UNIX", "PostgreSQL server")
}

/// The path of the program `wrk`, which asks a web server as fast as it answers.
///
/// # Panics
/// It is not installed.
pub fn wrk() -> String {
    from_script("GORT_WORLD_WRK", "program wrk")
}
