//! How many processors this process may keep busy: the affinity mask, and the quota of its control groups.
//!
//! A container with "2 CPUs" on a machine of 64 usually sees all 64 in its mask and gets throttled when it uses them for
//! more than its quota per period. A scheduler that starts 64 busy threads there stalls all of them for most of each
//! period, so the quota, rounded up, is the better number.
//!
//! The quota in force is the smallest on the way from the process's group up to the root of the mounted hierarchy.
//! Inside a container the mount often shows only a part of the hierarchy, named in `mountinfo`; the group's path then has
//! that part as a prefix, which is taken off.

use std::ffi::CString;

use super::file::read_file;
use super::syscall::syscall;

/// Longest path, control file or `mountinfo` that is looked at.
const SMALL_FILE: usize = 256;
const LARGE_FILE: usize = 256 * 1024;

/// Number of processors that the process may keep busy: at least 1, at most as many as the calling thread's affinity
/// mask allows, and not more than the CPU quota of its control groups, rounded up. Allocates.
pub(crate) fn available_cpus() -> usize {
    let affinity = affinity().max(1);
    quota().map_or(affinity, |quota| quota.clamp(1, affinity))
}

/// Number of bits in the affinity mask of the calling thread; 1 if the kernel does not tell.
fn affinity() -> usize {
    // The kernel wants room for as many processors as it could ever have. 8192 is the largest that it can be built for.
    let mut mask = [0u64; 8192 / 64];
    let args = [0, size_of_val(&mask), mask.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: the kernel writes at most the given number of bytes into an array of that size.
    match unsafe { syscall(libc::SYS_sched_getaffinity, args) } {
        Ok(_) => mask.iter().map(|word| word.count_ones() as usize).sum(),
        Err(_) => 1,
    }
}

/// The quota in force, in whole processors; `None` if there is none or it cannot be found out.
fn quota() -> Option<usize> {
    let mut buffer = vec![0; LARGE_FILE];
    let groups = read_file(c"/proc/self/cgroup", &mut buffer).ok()?.to_vec();
    let mounts = read_file(c"/proc/self/mountinfo", &mut buffer).ok()?;
    [Hierarchy::V2, Hierarchy::V1].into_iter().filter_map(|kind| smallest_quota(kind, &groups, mounts)).min()
}

/// The two kinds of control-group hierarchy, which may be mounted side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hierarchy {
    V1,
    V2,
}

/// The smallest quota from the group of this process up to the mount's root.
fn smallest_quota(kind: Hierarchy, groups: &[u8], mounts: &[u8]) -> Option<usize> {
    let path = group_path(kind, groups)?;
    let (root, mount) = mount_point(kind, mounts)?;
    directories(path, &root, &mount)
        .filter_map(|directory| match kind {
            Hierarchy::V2 => quota_v2(&read_in(&directory, "cpu.max")?),
            Hierarchy::V1 => {
                quota_v1(&read_in(&directory, "cpu.cfs_quota_us")?, &read_in(&directory, "cpu.cfs_period_us")?)
            }
        })
        .min()
}

/// A small file's content.
fn read_in(directory: &[u8], name: &str) -> Option<Vec<u8>> {
    let path = CString::new([directory, b"/", name.as_bytes()].concat()).ok()?;
    let mut buffer = [0; SMALL_FILE];
    read_file(&path, &mut buffer).ok().map(<[u8]>::to_vec)
}

/// This process's group in a hierarchy, from `/proc/self/cgroup`: lines of `number:controllers:path`, where version 2 has
/// no controllers.
fn group_path(kind: Hierarchy, groups: &[u8]) -> Option<&[u8]> {
    groups.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |&b| b == b':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let found = match kind {
            Hierarchy::V2 => number == b"0" && controllers.is_empty(),
            Hierarchy::V1 => controllers.split(|&b| b == b',').any(|c| c == b"cpu"),
        };
        found.then_some(path)
    })
}

/// Where a hierarchy is mounted, and which of its groups is seen there, from `/proc/self/mountinfo`: lines of
/// `id parent device root mount options … - type source options`.
fn mount_point(kind: Hierarchy, mounts: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    mounts.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b' ');
        let (root, mount) = (fields.nth(3)?, fields.next()?);
        let mut tail = fields.skip_while(|&field| field != b"-").skip(1);
        let (kind_of_file_system, options) = (tail.next()?, tail.nth(1)?);
        let found = match kind {
            Hierarchy::V2 => kind_of_file_system == b"cgroup2",
            Hierarchy::V1 => kind_of_file_system == b"cgroup" && options.split(|&b| b == b',').any(|o| o == b"cpu"),
        };
        found.then(|| (unescape(root), unescape(mount)))
    })
}

/// `mountinfo` writes blanks and backslashes in names as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let octal = tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                out.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &tail[3..];
            }
            None => out.push(byte),
        }
    }
    out
}

/// The directories of a group and of all groups above it, down to the mount's root, which is always the last one.
fn directories(path: &[u8], root: &[u8], mount: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // A group outside the part that is mounted cannot be looked at; the root of the mount still can.
    let root: &[u8] = if root == b"/" { b"" } else { root };
    let below = match path.strip_prefix(root) {
        Some(rest) if rest.is_empty() || rest[0] == b'/' => rest,
        _ => b"",
    };
    let below: Vec<&[u8]> = below.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
    // A path that goes up leaves the mounted part.
    let depth = if below.contains(&&b".."[..]) { 0 } else { below.len() };
    let steps: Vec<Vec<u8>> = (0..=depth)
        .rev()
        .map(|n| below[..n].iter().fold(mount.to_vec(), |path, part| [&path, &b"/"[..], part].concat()))
        .collect();
    steps.into_iter()
}

/// `cpu.max` of version 2: `quota period`, in microseconds, or `max period`.
fn quota_v2(content: &[u8]) -> Option<usize> {
    let mut words = core::str::from_utf8(content).ok()?.split_ascii_whitespace();
    whole_cpus(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

/// `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1; a quota of −1 is none.
fn quota_v1(quota: &[u8], period: &[u8]) -> Option<usize> {
    let number = |content| core::str::from_utf8(content).ok().and_then(|s: &str| s.trim().parse::<u64>().ok());
    whole_cpus(number(quota)?, number(period)?)
}

/// Processors per period, rounded up; never 0.
fn whole_cpus(quota: u64, period: u64) -> Option<usize> {
    if period == 0 || quota == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_the_mask() {
        let cpus = available_cpus();
        assert!((1..=affinity()).contains(&cpus));
    }

    #[test]
    fn quotas() {
        for (content, expected) in [
            ("max 100000\n", None),
            ("200000 100000\n", Some(2)),
            ("150000 100000\n", Some(2)),
            ("1000 100000\n", Some(1)),
            ("100001 100000", Some(2)),
            ("0 100000\n", None),
            ("100000 0\n", None),
            ("100000\n", None),
            ("18446744073709551615 1", Some(usize::MAX)),
            ("99999999999999999999 1", None),
            ("", None),
            ("-5 100000", None),
        ] {
            assert_eq!(quota_v2(content.as_bytes()), expected, "{content:?}");
        }
        assert_eq!(quota_v2(b"\xff\xfe 1"), None);
        for (quota, period, expected) in [
            ("-1\n", "100000\n", None),
            ("50000\n", "100000\n", Some(1)),
            ("350000\n", "100000\n", Some(4)),
            ("", "100000\n", None),
            ("100000\n", "junk", None),
        ] {
            assert_eq!(quota_v1(quota.as_bytes(), period.as_bytes()), expected, "{quota:?} {period:?}");
        }
    }

    #[test]
    fn groups() {
        let hybrid = b"4:memory:/a\n2:cpuacct:/x\n1:cpu,cpuset:/jobs/7:3\n0::/user.slice\n";
        assert_eq!(group_path(Hierarchy::V2, hybrid), Some(&b"/user.slice"[..]));
        assert_eq!(group_path(Hierarchy::V1, hybrid), Some(&b"/jobs/7:3"[..]));
        assert_eq!(group_path(Hierarchy::V1, b"0::/\n"), None);
        assert_eq!(group_path(Hierarchy::V2, b"1:cpu:/\n"), None);
        assert_eq!(group_path(Hierarchy::V2, b""), None);
    }

    #[test]
    fn mounts() {
        let text = b"20 1 0:5 / /proc rw - proc proc rw\n\
            30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            31 20 0:27 /docker/ab /sys/fs/my\\040groups rw shared:1 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(Hierarchy::V1, text), Some((b"/".to_vec(), b"/sys/fs/cgroup/cpu,cpuacct".to_vec())));
        assert_eq!(mount_point(Hierarchy::V2, text), Some((b"/docker/ab".to_vec(), b"/sys/fs/my groups".to_vec())));
        assert_eq!(mount_point(Hierarchy::V2, b"20 1 0:5 / /proc rw - proc proc rw\n\nbroken line\n"), None);
        assert_eq!(unescape(b"a\\"), b"a\\");
        assert_eq!(unescape(b"\\134x\\09"), b"\\x\\09");
    }

    #[test]
    fn directories_walk_up_and_stay_inside() {
        let walk = |path: &str, root: &str| -> Vec<String> {
            directories(path.as_bytes(), root.as_bytes(), b"/m").map(|d| String::from_utf8(d).unwrap()).collect()
        };
        assert_eq!(walk("/a/b", "/"), ["/m/a/b", "/m/a", "/m"]);
        assert_eq!(walk("/", "/"), ["/m"]);
        assert_eq!(walk("/docker/ab/x", "/docker/ab"), ["/m/x", "/m"]);
        assert_eq!(walk("/docker/ab", "/docker/ab"), ["/m"]);
        assert_eq!(walk("/docker/abc", "/docker/ab"), ["/m"]);
        assert_eq!(walk("/elsewhere", "/docker/ab"), ["/m"]);
        assert_eq!(walk("/../..", "/"), ["/m"]);
    }
}
