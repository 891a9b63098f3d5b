//! Libraries with thread-local variables that are loaded while goroutines run, and again and again: variables at fixed
//! offsets (initial-exec), variables that the loader finds room for at first use (global-dynamic), and objects of C++'s
//! with destructors.

use gort_tests::library::{error, Directory, Library};
use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS};
use std::cell::Cell;
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Barrier;

/// Goroutines.
const CLIENTS: usize = 1_000;

/// Names of the models, as compilers have them.
const MODELS: [&str; 2] = ["-ftls-model=initial-exec", "-ftls-model=global-dynamic"];

/// Gives its argument to the thread's variables, and returns what was there before, or -1 if they do not agree.
const EXCHANGE: &CStr = c"exchange";

const SOURCE: &str = "
    static __thread long first = 42;
    static __thread long zeros[8];
    static __thread long last = 42;
    long exchange(long with)
    {
        long old = first;
        for (int i = 0; i < 8; i++) {
            if (zeros[i] != (old == 42 ? 0 : old + i))
                return -1;
            zeros[i] = with + i;
        }
        if (last != old)
            return -1;
        first = last = with;
        return old;
    }
";

/// `exchange` with an object whose destructor tells the executable how often it was used.
const OBJECTS: &str = "
    #include <string>
    #include <vector>
    static long (*told)(long);
    struct Object {
        std::vector<std::string> all{\"42\"};
        ~Object() { told(long(all.size()) - 1); }
    };
    static thread_local Object object;
    extern \"C\" long tell(long f)
    {
        told = reinterpret_cast<long (*)(long)>(f);
        return 0;
    }
    extern \"C\" long exchange(long with)
    {
        long old = std::stol(object.all.back());
        object.all.push_back(std::to_string(with));
        return old;
    }
";

fn both(directory: &Directory) -> Vec<PathBuf> {
    MODELS.iter().map(|model| directory.library(&format!("late{}.so", &model[12..]), SOURCE, &["-O2", model])).collect()
}

fn open(path: &PathBuf) -> Library {
    Library::open(path).unwrap_or_else(|| panic!("{:?}", error()))
}

/// The most kernel threads: whoever waits for one of the loader's locks waits in the kernel. Loading, unloading, the first use of
/// a variable and the first destructor of a thread take them, so in the worst case all goroutines wait at a time.
fn threads(goroutines: usize) -> usize {
    MOST_THREADS + goroutines
}

/// A variable of the program's own, to be left alone by all that comes and goes.
fn own(i: usize) -> bool {
    thread_local!(static OWN: Cell<usize> = const { Cell::new(usize::MAX) });
    let before = OWN.replace(i);
    before == i || before == usize::MAX
}

/// All goroutines run when a library is loaded, use it, let each other run, and are there still when the next one is loaded
/// where it was.
///
/// Row L-05.
#[test]
fn loaded_while_goroutines_run() {
    const ROUNDS: usize = 5;
    let n = scaled(CLIENTS);
    let directory = Directory::new();
    let paths = both(&directory);
    let watch = Watch::start("libraries, loaded late");
    let (opened, used) = (Barrier::new(n + 1), Barrier::new(n + 1));
    let libraries = std::sync::Mutex::new(Vec::new());
    let exchange = |k: usize, with| {
        let at = libraries.lock().expect("nobody panicked")[k];
        // SAFETY: the libraries are loaded until all have used them, and the function is of this type.
        unsafe { std::mem::transmute::<usize, extern "C" fn(i64) -> i64>(at)(with) }
    };
    gort::thread::scope(|s| {
        for i in 0..n {
            let (opened, used, exchange) = (&opened, &used, &exchange);
            s.spawn(move || {
                for round in 0..ROUNDS {
                    assert!(own(i));
                    opened.wait();
                    let mine = (1000 + i * ROUNDS + round) as i64;
                    for (k, model) in MODELS.iter().enumerate() {
                        assert_eq!(exchange(k, mine), 42, "{model} in round {round}");
                    }
                    gort::thread::yield_now();
                    for (k, model) in MODELS.iter().enumerate() {
                        assert_eq!(exchange(k, -mine), mine, "{model} in round {round}");
                    }
                    // A goroutine that begins only now.
                    let fresh = || (0..MODELS.len()).all(|k| exchange(k, 7) == 42 && exchange(k, 8) == 7);
                    assert!(i % 10 != 0 || gort::thread::scope(|s| s.spawn(fresh).join().expect("no panic")));
                    assert!(own(i));
                    used.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            let loaded: Vec<_> = paths.iter().map(open).collect();
            *libraries.lock().expect("nobody panicked") =
                loaded.iter().map(|library| library.symbol(EXCHANGE) as usize).collect();
            opened.wait();
            used.wait();
            loaded.into_iter().for_each(Library::close);
            assert!(paths.iter().all(|path| Library::loaded(path).is_none()), "{:?}", error());
        }
    });
    watch.at_most(threads(n));
}

/// Goroutines load and unload libraries as they please, while others are born, use their own variables, and die.
#[test]
fn loaded_and_unloaded_all_the_time() {
    const EACH: usize = 5;
    let n = scaled(CLIENTS);
    let directory = Directory::new();
    let paths = both(&directory);
    let watch = Watch::start("libraries, coming and going");
    let stop = AtomicBool::new(false);
    gort::thread::scope(|s| {
        let others = s.spawn(|| {
            let mut born = 0;
            while !stop.load(SeqCst) {
                crowd(50, |i| {
                    assert!(own(i));
                    gort::thread::yield_now();
                    assert!(own(i));
                });
                born += 50;
            }
            born
        });
        crowd(n, |i| {
            for k in 0..EACH {
                let path = &paths[(i + k) % paths.len()];
                let library = open(path);
                let mine = (1000 + i) as i64;
                let before = library.call_with(EXCHANGE, mine);
                // It may have gone and come since we used it last, or not; nobody else's value may be in it.
                assert!(before == 42 || before == mine, "{before} in {i}");
                gort::thread::yield_now();
                assert_eq!(library.call_with(EXCHANGE, mine), mine);
                assert!(own(i));
                library.close();
            }
        });
        stop.store(true, SeqCst);
        let born = others.join().expect("no panic");
        println!("{} times loaded or held, while {born} goroutines came and went", n * EACH);
    });
    assert!(paths.iter().all(|path| Library::loaded(path).is_none()));
    // And one after another, so that each time it is loaded and unloaded for good.
    gort::thread::scope(|s| {
        let alone = || {
            (0..200).for_each(|k| {
                let library = open(&paths[k % paths.len()]);
                assert_eq!(library.call_with(EXCHANGE, 5), 42, "the {k}th time");
                library.close();
            })
        };
        s.spawn(alone).join().expect("no panic");
    });
    watch.at_most(threads(n));
}

/// Destructors of a library's thread-local objects run when the goroutine ends, though the library has been given up.
#[test]
fn objects_of_a_library_that_was_given_up() {
    use std::sync::atomic::AtomicI64;
    static TOLD: AtomicI64 = AtomicI64::new(0);
    extern "C" fn told(uses: i64) -> i64 {
        gort::thread::yield_now();
        TOLD.fetch_add(uses, SeqCst)
    }
    let n = scaled(CLIENTS);
    let directory = Directory::new();
    let path = directory.library("objects.so", OBJECTS, &["-xc++", "-O2"]);
    let watch = Watch::start("libraries, objects with destructors");
    for round in 1..=3 {
        crowd(n, |i| {
            let library = open(&path);
            library.call_with(c"tell", told as *const () as i64);
            let mut before = 42;
            for k in 0..3 {
                let with = (i * 10 + k) as i64;
                assert_eq!(library.call_with(EXCHANGE, with), before);
                before = with;
                gort::thread::yield_now();
            }
            library.close();
        });
        assert_eq!(TOLD.load(SeqCst), round * 3 * n as i64);
    }
    watch.at_most(threads(n));
}
