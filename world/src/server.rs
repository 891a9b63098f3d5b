//! A server in plain std::net: a goroutine that accepts, and a goroutine for each connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long the server waits when the process has no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(5);

/// Connections that may wait to be accepted. Where std's 128 are exceeded, as they are by a thousand clients at once, Linux
/// falls back on SYN cookies, and then resets connections whose first bytes come in more than one segment.
const QUEUE: libc::c_int = 4096;

/// What a server counts.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Connections ever accepted.
    pub accepted: usize,
    /// Connections that are open now.
    pub open: usize,
    /// The most that were open at a time.
    pub most_open: usize,
    /// Connections that ended with an error.
    pub failed: usize,
    /// What the first of these errors was.
    pub first_error: Option<String>,
    /// Times that there was no descriptor for a connection, and the server waited.
    pub backed_off: usize,
}

struct Shared {
    counts: Mutex<(Counts, bool)>,
    changed: Condvar,
}

impl Shared {
    fn update<T>(&self, f: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().expect("nothing panics while it is locked");
        let result = f(&mut counts.0);
        drop(counts);
        self.changed.notify_all();
        result
    }
}

/// A running server.
pub struct Server {
    listener: Arc<TcpListener>,
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: gort::thread::JoinHandle<()>,
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1 that calls `serve` for each connection, on a goroutine of its own.
    pub fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Server {
        Server::on("127.0.0.1:0", serve)
    }

    /// The same on that address.
    pub fn on(at: impl ToSocketAddrs, serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Server {
        let listener = Arc::new(TcpListener::bind(at).expect("a free port"));
        // SAFETY: the socket is open. Calling `listen` again makes the queue longer.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), QUEUE) }, 0, "{}", io::Error::last_os_error());
        let addr = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { counts: Mutex::default(), changed: Condvar::new() });
        let accepting = gort::thread::spawn({
            let (listener, shared, serve) = (listener.clone(), shared.clone(), Arc::new(serve));
            move || accept(&listener, &shared, &serve)
        });
        Server { listener, addr, shared, accepting }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        self.shared.counts.lock().expect("nothing panics while it is locked").0.clone()
    }

    /// Waits until `condition` holds for the counts.
    pub fn wait(&self, condition: impl Fn(&Counts) -> bool) -> Counts {
        let counts = self.shared.counts.lock().expect("nothing panics while it is locked");
        self.shared
            .changed
            .wait_while(counts, |c| !condition(&c.0))
            .expect("nothing panics while it is locked")
            .0
            .clone()
    }

    /// Stops accepting, waits until all connections have ended, and returns the counts.
    pub fn stop(self) -> Counts {
        self.shared.counts.lock().expect("nothing panics while it is locked").1 = true;
        // SAFETY: the listener is open. A shutdown ends a call to accept that waits, with EINVAL.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        self.accepting.join().expect("it ends when told to");
        let counts = self.shared.counts.lock().expect("nothing panics while it is locked");
        self.shared.changed.wait_while(counts, |c| c.0.open > 0).expect("nothing panics while it is locked").0.clone()
    }
}

fn accept<F>(listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<F>)
where
    F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
{
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                shared.update(|c| {
                    c.accepted += 1;
                    c.open += 1;
                    c.most_open = c.most_open.max(c.open);
                });
                let (shared, serve) = (shared.clone(), serve.clone());
                gort::thread::spawn(move || {
                    let result = serve(stream);
                    shared.update(|c| {
                        c.open -= 1;
                        if let Err(e) = result {
                            c.failed += 1;
                            c.first_error.get_or_insert_with(|| e.to_string());
                        }
                    });
                });
            }
            Err(_) if shared.counts.lock().expect("nothing panics while it is locked").1 => return,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                shared.update(|c| c.backed_off += 1);
                std::thread::sleep(BACK_OFF);
            }
            // The peer gave up before it was accepted.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ECONNABORTED)) => {}
            Err(e) => panic!("accept: {e}"),
        }
    }
}
