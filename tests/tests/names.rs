//! Names on goroutines: what libc finds is found, and a name server that does not answer holds up nobody else.
//!
//! Most scenarios run in a world of their own: a child process with its own `/etc` (a mount namespace) and its own loopback
//! interface (a network namespace), where the test is the name server. It needs root, or a kernel that lets users make
//! namespaces; where neither is, the scenario says so and passes, unless `CI=true`.

use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::Rerun;
use libc::{addrinfo, c_char, c_int};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use std::{env, fs, mem, ptr};

const LONG: Duration = Duration::from_secs(40);
const WORLD: &str = "GORT_TEST_WORLD";

/// What `/etc` holds there.
const FILES: [(&str, &str); 7] = [
    ("nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\nservices: files\n"),
    ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"),
    ("hosts", "127.0.0.1 localhost\n10.1.2.3 here.test\n"),
    ("passwd", "root:x:0:0::/:/bin/sh\nada:x:1234:77:Ada:/home/ada:/bin/sh\n"),
    ("group", "root:x:0:\nengine:x:77:\nnotes:x:78:ada,charles\n"),
    ("services", "gort 4242/tcp\n"),
    ("host.conf", "multi on\n"),
];

/// Runs the test `name` in a world of its own, with that many Ps. True: the caller is there.
fn in_a_world(name: &str, procs: &str) -> bool {
    if env::var_os(WORLD).is_some() {
        loopback_up();
        return true;
    }
    let etc = env::temp_dir().join(format!("gort-names-{}-{name}-{procs}", std::process::id()));
    fs::create_dir_all(&etc).unwrap();
    FILES.iter().for_each(|(file, text)| fs::write(etc.join(file), text).unwrap());
    // SAFETY: no preconditions.
    let flags: &[&str] = if unsafe { libc::geteuid() } == 0 { &["-m", "-n"] } else { &["-m", "-n", "-r"] };
    let possible = Command::new("unshare").args(flags).arg("true").output().is_ok_and(|output| output.status.success());
    if possible {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", "mount --bind \"$0\" /etc && exec \"$@\""]).arg(&etc);
        command.arg(env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"]);
        let done = Rerun::with(command).env(WORLD, "1").env("GORT_PROCS", procs).run();
        fs::remove_dir_all(&etc).unwrap();
        done.success();
    } else {
        fs::remove_dir_all(&etc).unwrap();
        eprintln!("{name}: not run, since no namespaces can be made here");
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "CI can make namespaces");
    }
    false
}

/// A new network namespace has a loopback interface that is down.
fn loopback_up() {
    // SAFETY: the structure is ours, with a name that ends in zero; the descriptor is closed once.
    unsafe {
        let mut interface: libc::ifreq = mem::zeroed();
        interface.ifr_name[0] = b'l' as c_char;
        interface.ifr_name[1] = b'o' as c_char;
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        assert_eq!(libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut interface), 0);
        interface.ifr_ifru.ifru_flags |= libc::IFF_UP as i16;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut interface), 0);
        libc::close(socket);
    }
}

/// What was received, and from where.
type Question = (Vec<u8>, SocketAddr);

/// The name server: `NAME.test` has the address that the number in it says; `empty.test` has none; there are no others.
/// Questions for `slow…` are answered after [`Server::release`].
struct Server {
    socket: UdpSocket,
    /// Questions that wait for an answer, by name; None once they are answered at once.
    held: Mutex<Option<BTreeMap<String, Vec<Question>>>>,
}

impl Server {
    /// A server on a thread of its own.
    fn start() -> Arc<Server> {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let server = Arc::new(Server { socket, held: Mutex::new(Some(BTreeMap::new())) });
        let theirs = server.clone();
        std::thread::spawn(move || theirs.serve());
        server
    }

    fn serve(&self) {
        let mut bytes = [0; 512];
        loop {
            let (n, from) = self.socket.recv_from(&mut bytes).unwrap();
            let question = bytes[..n].to_vec();
            let name = name_in(&question).0;
            if name.starts_with("slow") {
                if let Some(held) = &mut *self.held.lock().unwrap() {
                    held.entry(name).or_default().push((question, from));
                    continue;
                }
            }
            self.answer(&question, from);
        }
    }

    fn answer(&self, question: &[u8], to: SocketAddr) {
        let (name, end) = name_in(question);
        let is_for_address = question[end..end + 2] == [0, 1];
        let number: Option<u16> =
            name.strip_suffix(".test").and_then(|name| name.trim_start_matches("slow").parse().ok());
        let known = number.is_some() || name == "empty.test";
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, 0, 0, 0, 0, 0]);
        answer.extend(&question[12..end + 4]);
        if let (Some(number), true) = (number, is_for_address) {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(address_of(number).octets());
        }
        self.socket.send_to(&answer, to).unwrap();
    }

    /// The slow names that were asked for and not answered.
    fn asked(&self) -> BTreeSet<String> {
        self.held.lock().unwrap().iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Answers all questions, from now on at once.
    fn release(&self) {
        let held = self.held.lock().unwrap().take().unwrap_or_default();
        held.into_values().flatten().for_each(|(question, from)| self.answer(&question, from));
    }
}

fn address_of(number: u16) -> Ipv4Addr {
    let [hi, lo] = number.to_be_bytes();
    Ipv4Addr::new(10, 9, hi, lo)
}

/// The name asked for, and where in the question its type stands.
fn name_in(question: &[u8]) -> (String, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let label = &question[at + 1..=at + usize::from(question[at])];
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).unwrap());
        at += 1 + label.len();
    }
    (name.to_lowercase(), at + 1)
}

/// `getaddrinfo` for IPv4 addresses.
fn look_up(name: &str) -> Result<Vec<Ipv4Addr>, c_int> {
    let name = CString::new(name).unwrap();
    // SAFETY: all zero is valid; the list is libc's, valid until it is freed, once.
    unsafe {
        let mut hints: addrinfo = mem::zeroed();
        (hints.ai_family, hints.ai_socktype) = (libc::AF_INET, libc::SOCK_STREAM);
        let mut list = ptr::null_mut();
        let error = libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list);
        if error != 0 {
            return Err(error);
        }
        let mut found = Vec::new();
        let mut at = list;
        while let Some(entry) = at.as_ref() {
            let address = &*entry.ai_addr.cast::<libc::sockaddr_in>();
            found.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)));
            at = entry.ai_next;
        }
        libc::freeaddrinfo(list);
        Ok(found)
    }
}

#[test]
fn localhost_from_many() {
    let all: Vec<_> = (0..200)
        .map(|_| {
            thread::spawn(|| {
                let mut found = ("localhost", 80).to_socket_addrs().unwrap();
                found.all(|address| address.ip().is_loopback() && address.port() == 80)
            })
        })
        .collect();
    assert!(all.into_iter().all(|g| g.join().unwrap()));
    let refused = on_goroutine(|| ("no such name", 80).to_socket_addrs().map(drop));
    assert!(refused.is_err());
}

/// One P, and a server that is silent: all who do not ask it go on, and only so many kernel threads are taken.
#[test]
fn a_silent_server_holds_up_nobody_else() {
    needs_goroutines!("calls on threads are not counted");
    if !in_a_world("a_silent_server_holds_up_nobody_else", "1") {
        return;
    }
    let server = Server::start();
    let done = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..300u16)
        .map(|n| {
            let done = done.clone();
            thread::spawn(move || {
                let found = look_up(&format!("slow{n}.test"));
                done.fetch_add(1, SeqCst);
                found == Ok(vec![address_of(n)])
            })
        })
        .collect();
    assert!(eventually(LONG, || server.asked().len() == 64), "{} were asked for", server.asked().len());
    let (ping, pings) = mpsc::channel();
    let (pong, pongs) = mpsc::channel();
    let echoes = thread::spawn(move || pings.into_iter().for_each(|n: u32| pong.send(n).unwrap()));
    on_goroutine(move || {
        for n in 0..5000 {
            ping.send(n).unwrap();
            assert_eq!(pongs.recv(), Ok(n));
        }
    });
    echoes.join().unwrap();
    // SAFETY: a C string; the entry is libc's, and used by nobody else here.
    let uid = on_goroutine(|| unsafe { (*libc::getpwnam(c"ada".as_ptr())).pw_uid });
    assert_eq!(uid, 1234, "who looks for a user does not wait for hosts");
    assert_eq!(done.load(SeqCst), 0, "nobody was answered");
    assert_eq!(server.asked().len(), 64, "the others wait for their turn");
    assert!(eventually(LONG, || kernel_threads() < 64 + 16), "{} kernel threads", kernel_threads());
    server.release();
    assert!(asking.into_iter().all(|g| g.join().unwrap()));
}

extern "C" {
    fn gethostbyname(name: *const c_char) -> *const libc::hostent;
    fn gethostbyname_r(
        name: *const c_char,
        entry: *mut libc::hostent,
        buffer: *mut c_char,
        len: usize,
        found: *mut *mut libc::hostent,
        h_errno: *mut c_int,
    ) -> c_int;
    fn gethostbyaddr(address: *const u8, len: libc::socklen_t, family: c_int) -> *const libc::hostent;
    fn getservbyname_r(
        name: *const c_char,
        protocol: *const c_char,
        entry: *mut libc::servent,
        buffer: *mut c_char,
        len: usize,
        found: *mut *mut libc::servent,
    ) -> c_int;
    fn __h_errno_location() -> *mut c_int;
}

const HOST_NOT_FOUND: c_int = 1;
const NO_DATA: c_int = 4;

/// The first address of an entry, in the byte order of the network.
///
/// # Safety
/// The entry is a valid one for IPv4.
unsafe fn first(entry: *const libc::hostent) -> [u8; 4] {
    // SAFETY: the caller's promise.
    unsafe { *(*(*entry).h_addr_list).cast::<[u8; 4]>() }
}

#[test]
fn hosts_are_found_or_not() {
    if !in_a_world("hosts_are_found_or_not", "2") {
        return;
    }
    Server::start();
    on_goroutine(|| {
        assert_eq!(look_up("517.test"), Ok(vec![Ipv4Addr::new(10, 9, 2, 5)]));
        assert_eq!(look_up("here.test"), Ok(vec![Ipv4Addr::new(10, 1, 2, 3)]));
        assert_eq!(look_up("missing.test"), Err(libc::EAI_NONAME));
        assert_eq!(look_up("empty.test"), Err(-5), "EAI_NODATA");
        let with_std: Vec<_> = ("517.test", 99).to_socket_addrs().unwrap().collect();
        assert_eq!(with_std, [SocketAddr::from(([10, 9, 2, 5], 99))]);
    });
    // h_errno is each goroutine's own.
    let all: Vec<_> = (0..20)
        .map(|i| {
            thread::spawn(move || {
                let (name, error) = [(c"missing.test", HOST_NOT_FOUND), (c"empty.test", NO_DATA)][i % 2];
                for _ in 0..10 {
                    // SAFETY: a C string; the location is this goroutine's.
                    unsafe {
                        assert!(gethostbyname(name.as_ptr()).is_null());
                        thread::yield_now();
                        assert_eq!(*__h_errno_location(), error);
                    }
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    // SAFETY: C strings; the entries are libc's, and used by nobody else here; buffers are as long as libc is told.
    on_goroutine(|| unsafe {
        assert_eq!(first(gethostbyname(c"517.test".as_ptr())), [10, 9, 2, 5]);
        let by_address = gethostbyaddr([10, 1, 2, 3].as_ptr(), 4, libc::AF_INET);
        assert_eq!(CStr::from_ptr((*by_address).h_name), c"here.test");
        let (mut buffer, mut found, mut error) = ([0; 1024], ptr::null_mut(), -9);
        let mut entry = MaybeUninit::<libc::hostent>::zeroed();
        let mut call = |name: &CStr, len| {
            let (entry, buffer) = (entry.as_mut_ptr(), buffer.as_mut_ptr());
            (gethostbyname_r(name.as_ptr(), entry, buffer, len, &mut found, &mut error), found, error)
        };
        assert_eq!(call(c"here.test", 4).0, libc::ERANGE);
        let (result, host, _) = call(c"here.test", 1024);
        assert_eq!((result, first(host)), (0, [10, 1, 2, 3]));
        assert_eq!(call(c"missing.test", 1024).2, HOST_NOT_FOUND);

        let mut address: libc::sockaddr_in = mem::zeroed();
        address.sin_family = libc::AF_INET as u16;
        address.sin_port = 4242u16.to_be();
        address.sin_addr.s_addr = u32::from_ne_bytes([10, 1, 2, 3]);
        let (mut host, mut service) = ([0 as c_char; 64], [0 as c_char; 64]);
        let size = size_of_val(&address) as u32;
        let at = (&raw const address).cast();
        assert_eq!(libc::getnameinfo(at, size, host.as_mut_ptr(), 64, service.as_mut_ptr(), 64, 0), 0);
        assert_eq!(CStr::from_ptr(host.as_ptr()), c"here.test");
        assert_eq!(CStr::from_ptr(service.as_ptr()), c"gort");
    });
}

/// Users, groups and services: on a goroutine as on a thread, errno included.
///
/// Row T-05.
#[test]
fn users_groups_and_services() {
    if !in_a_world("users_groups_and_services", "2") {
        return;
    }
    let errno = |call: &dyn Fn()| {
        // SAFETY: the location is the caller's own.
        unsafe { *libc::__errno_location() = 1234 };
        call();
        std::io::Error::last_os_error().raw_os_error().unwrap()
    };
    // SAFETY: C strings; what is returned is libc's, and used by nobody else here; buffers are as long as libc is told.
    let body = move || unsafe {
        let ada = libc::getpwnam(c"ada".as_ptr());
        assert_eq!(((*ada).pw_uid, (*ada).pw_gid, CStr::from_ptr((*ada).pw_dir)), (1234, 77, c"/home/ada"));
        assert_eq!(CStr::from_ptr((*libc::getpwuid(1234)).pw_name), c"ada");
        assert_eq!((*libc::getgrnam(c"engine".as_ptr())).gr_gid, 77);
        assert_eq!(CStr::from_ptr((*libc::getgrgid(78)).gr_name), c"notes");
        let port = (*libc::getservbyname(c"gort".as_ptr(), c"tcp".as_ptr())).s_port;
        assert_eq!(u16::from_be(port as u16), 4242);
        assert_eq!(CStr::from_ptr((*libc::getservbyport(port, ptr::null())).s_name), c"gort");

        let mut buffer = [0; 512];
        let (mut user, mut found) = (mem::zeroed(), ptr::null_mut());
        assert_eq!(libc::getpwuid_r(1234, &mut user, buffer.as_mut_ptr(), 512, &mut found), 0);
        assert_eq!((found, user.pw_gid), (&raw mut user, 77));
        assert_eq!(libc::getpwnam_r(c"ada".as_ptr(), &mut user, buffer.as_mut_ptr(), 5, &mut found), libc::ERANGE);
        assert_eq!(libc::getpwnam_r(c"bob".as_ptr(), &mut user, buffer.as_mut_ptr(), 512, &mut found), 0);
        assert!(found.is_null());
        let (mut group, mut found) = (mem::zeroed(), ptr::null_mut());
        assert_eq!(libc::getgrgid_r(78, &mut group, buffer.as_mut_ptr(), 512, &mut found), 0);
        assert_eq!(CStr::from_ptr(*group.gr_mem.add(1)), c"charles");
        assert_eq!(libc::getgrnam_r(c"notes".as_ptr(), &mut group, buffer.as_mut_ptr(), 512, &mut found), 0);
        assert_eq!(group.gr_gid, 78);
        let (mut service, mut found) = (MaybeUninit::zeroed(), ptr::null_mut());
        let (name, service) = (c"gort".as_ptr(), service.as_mut_ptr());
        let none = ptr::null();
        assert_eq!(getservbyname_r(name, none, service, buffer.as_mut_ptr(), 512, &mut found), 0);
        assert_eq!(u16::from_be((*service).s_port as u16), 4242);
        let (mut groups, mut n) = ([0; 8], 8);
        assert_eq!(libc::getgrouplist(c"ada".as_ptr(), 77, groups.as_mut_ptr(), &mut n), 2);
        assert_eq!(groups[..2], [77, 78]);
        (
            errno(&|| assert!(libc::getpwnam(c"bob".as_ptr()).is_null())),
            errno(&|| assert!(libc::getgrgid(4711).is_null())),
            libc::initgroups(c"root".as_ptr(), 0),
        )
    };
    let on_thread = body();
    for _ in 0..10 {
        assert_eq!(on_goroutine(body), on_thread);
    }
}
