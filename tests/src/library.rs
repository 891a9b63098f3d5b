//! Shared libraries that tests compile, load and unload.

use std::ffi::{c_int, c_long, c_void, CStr, CString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// A directory of libraries, removed at the end.
pub struct Directory(PathBuf);

impl Default for Directory {
    fn default() -> Directory {
        Directory::new()
    }
}

impl Directory {
    /// An empty directory.
    ///
    /// # Panics
    /// There is no temporary directory to make one in.
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, SeqCst);
        let path = std::env::temp_dir().join(format!("gort-libraries-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    /// Compiles the program of C that is the file `source`, and returns its path. The environment may name another compiler, in
    /// `CC`.
    ///
    /// # Panics
    /// The compiler refused.
    pub fn program(&self, source: impl AsRef<Path>, flags: &[&str]) -> PathBuf {
        let source = source.as_ref();
        let program = self.0.join(source.file_stem().expect("a file"));
        let mut command = Command::new(std::env::var("CC").unwrap_or("cc".into()));
        command.arg("-o").args([&program, source]).args(flags);
        assert!(command.status().expect("there is a compiler").success(), "{command:?}");
        program
    }

    /// Copies a library, and returns the copy's path: to the loader it is another one.
    ///
    /// # Panics
    /// There is no such file.
    pub fn copy(&self, library: impl AsRef<Path>, name: &str) -> PathBuf {
        let copy = self.0.join(name);
        let library = library.as_ref();
        fs::copy(library, &copy).unwrap_or_else(|e| panic!("{}: {e}", library.display()));
        copy
    }

    /// Compiles a library, of C or, where the first of the flags is `-xc++`, of C++, and returns its path. The environment may
    /// name other compilers, in `CC` and `CXX`.
    ///
    /// # Panics
    /// The compiler refused.
    pub fn library(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (c, object) = (self.0.join(name).with_extension("c"), self.0.join(name));
        fs::create_dir_all(object.parent().expect("it is in the directory")).expect("a directory");
        fs::write(&c, source).expect("a file");
        let cpp = flags.first() == Some(&"-xc++");
        // The kind of source is said before the source, what is linked after it.
        let (before, after) = flags.split_at(usize::from(cpp));
        let (variable, compiler) = if cpp { ("CXX", "c++") } else { ("CC", "cc") };
        let mut command = Command::new(std::env::var(variable).unwrap_or(compiler.into()));
        command.args(["-shared", "-fPIC"]).args(before).arg("-o").args([&object, &c]).args(after);
        assert!(command.status().expect("there is a compiler").success(), "{command:?}");
        object
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// A loaded library.
#[derive(Debug)]
pub struct Library(usize);

impl Library {
    /// Loads the library at `path`, or takes another reference to it; an empty path is the executable's. None: the loader
    /// refused, and [`error`] says why.
    ///
    /// # Panics
    /// No library has such a path.
    pub fn open(path: impl AsRef<Path>) -> Option<Library> {
        Library::open_with(path, libc::RTLD_NOW | libc::RTLD_LOCAL)
    }

    /// As [`Library::open`], if it is loaded already.
    ///
    /// # Panics
    /// As for [`Library::open`].
    pub fn loaded(path: impl AsRef<Path>) -> Option<Library> {
        Library::open_with(path, libc::RTLD_NOW | libc::RTLD_NOLOAD)
    }

    fn open_with(path: impl AsRef<Path>, flags: c_int) -> Option<Library> {
        let path = CString::new(path.as_ref().to_str().expect("text")).expect("no zero in it");
        // SAFETY: the constructors of the libraries of tests are as safe as their tests.
        unsafe { Library::from_handle(libc::dlopen(path.as_ptr(), flags)) }
    }

    /// The library that `dlopen` returned, if it returned one.
    ///
    /// # Safety
    /// The handle is null or `dlopen`'s, and is not used elsewhere.
    pub unsafe fn from_handle(handle: *mut c_void) -> Option<Library> {
        (!handle.is_null()).then_some(Library(handle as usize))
    }

    /// The address of a name.
    ///
    /// # Panics
    /// The library has no such name.
    pub fn symbol(&self, name: &CStr) -> *mut c_void {
        // SAFETY: the library is loaded.
        let at = unsafe { libc::dlsym(self.0 as *mut c_void, name.as_ptr()) };
        assert!(!at.is_null(), "{name:?}");
        at
    }

    /// Calls an `int f(void)` of the library's.
    ///
    /// # Panics
    /// The library has no such name.
    pub fn call(&self, name: &CStr) -> i32 {
        // SAFETY: the callers name functions of this type.
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(self.symbol(name))() }
    }

    /// Calls a `long f(long)` of the library's.
    ///
    /// # Panics
    /// The library has no such name.
    pub fn call_with(&self, name: &CStr, argument: i64) -> i64 {
        // SAFETY: the callers name functions of this type.
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(c_long) -> c_long>(self.symbol(name))(argument) }
    }

    /// Gives the reference up.
    ///
    /// # Panics
    /// The loader refused.
    pub fn close(self) {
        // SAFETY: nobody uses the library through this reference any more.
        assert_eq!(unsafe { libc::dlclose(self.0 as *mut c_void) }, 0);
    }
}

/// The text of the last error of the loader's on this thread or goroutine.
pub fn error() -> Option<String> {
    // SAFETY: the text is copied before the next call.
    unsafe {
        let text = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
