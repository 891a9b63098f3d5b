//! `wrk`, the load generator that HTTP servers are often measured with, where it is installed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long it runs; it knows whole seconds only.
const TIME: &str = "2s";

/// Finds it on `PATH`.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join("wrk"));
    candidates.find(|candidate| candidate.is_file())
}

/// Lets it load the server with one thread and `connections`. Returns the requests per second; an error if it
/// fails, or counted errors.
pub fn run(program: &Path, address: SocketAddr, connections: usize) -> Result<f64, String> {
    let output = Command::new(program)
        .args(["-t", "1", "-c", &connections.to_string(), "-d", TIME, &format!("http://{address}/")])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    if !output.status.success() {
        return Err(format!("wrk: {}", output.status));
    }
    rate(&String::from_utf8_lossy(&output.stdout))
}

/// Reads its report.
fn rate(report: &str) -> Result<f64, String> {
    let after = |label: &str| report.lines().find_map(|line| line.trim().strip_prefix(label));
    for label in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(errors) = after(label) {
            return Err(format!("wrk: {label}{errors}"));
        }
    }
    let rate = after("Requests/sec:").and_then(|number| number.trim().parse().ok());
    rate.ok_or_else(|| format!("wrk: no rate in {report:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_and_errors_are_not_overlooked() {
        let good = "  2 requests in 1.00s, 1.00KB read\nRequests/sec:  12345.67\nTransfer/sec:      1.00MB\n";
        assert_eq!(rate(good), Ok(12345.67));
        let bad = format!("  Socket errors: connect 0, read 3, write 0, timeout 0\n{good}");
        assert!(rate(&bad).unwrap_err().contains("read 3"));
        assert!(rate("").is_err());
    }
}
