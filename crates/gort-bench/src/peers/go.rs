//! The Go peer is a program of its own in `peers/go`, built when a run first asks for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the program next to this one and returns its path, or why there is none.
///
/// The Go command is `GORT_BENCH_GO` or the `go` on `PATH`. Go's own build cache makes a second build short.
pub fn build() -> Result<String, String> {
    let go = command().ok_or("go: not installed")?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/go");
    let this = std::env::current_exe().map_err(|e| format!("go: {e}"))?;
    let program = this.with_file_name("gort-bench-go");
    let status = Command::new(&go)
        .arg("build")
        .arg("-o")
        .arg(&program)
        .arg(".")
        .current_dir(sources)
        // The installed toolchain or none: no downloads in the midst of a measurement.
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "1")
        .env("GORT_INTERPOSE", "0")
        .status()
        .map_err(|e| format!("go: cannot start {}: {e}", go.display()))?;
    if !status.success() {
        return Err(format!("go: build failed, {status}"));
    }
    let program = program.to_str().ok_or("go: the path is not UTF-8")?;
    Ok(program.to_owned())
}

/// Finds the Go command.
fn command() -> Option<PathBuf> {
    if let Some(go) = std::env::var_os("GORT_BENCH_GO") {
        return Some(go.into());
    }
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join("go"));
    candidates.find(|candidate| candidate.is_file())
}
