//! What the machine, or the cgroup that the process lives in, has to give.

use std::{fs, path::Path};

/// The resources that defaults are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the machine or of the tightest cgroup above the process.
    pub memory_bytes: u64,
    /// File descriptors that the process may hold, once it has raised its soft limit.
    pub descriptors_max: u64,
}

/// Where nothing can be read, a small machine is assumed.
const FALLBACK: Machine = Machine {
    memory_bytes: 2 << 30,
    descriptors_max: 1_024,
};

impl Machine {
    /// This machine. Raises the soft limit of file descriptors to the hard one:
    /// the usual soft limit of 1,024 is for programs that use `select`.
    #[must_use]
    pub fn here() -> Self {
        Self {
            memory_bytes: memory_bytes().unwrap_or(FALLBACK.memory_bytes),
            descriptors_max: raise_descriptors().unwrap_or(FALLBACK.descriptors_max),
        }
    }
}

fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    let cgroup = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| limit_of_cgroup(&text, Path::new("/sys/fs/cgroup")));
    machine.into_iter().chain(cgroup).min()
}

/// `MemTotal:       24635832 kB`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The smallest limit on the way from the process's cgroup to the root: version
/// 2 (`0::/a/b`, `memory.max`) or version 1 (`4:memory:/a/b`, `memory.limit_in_bytes`).
fn limit_of_cgroup(cgroups: &str, root: &Path) -> Option<u64> {
    let mut least = None;
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        // In a container the path is that of the host, and the root is its own.
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = fs::read_to_string(root.join(folder).join(file));
            let limit = limit.ok().and_then(|text| text.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}

#[cfg(unix)]
fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    // More than that is an "unlimited" that no process of ours needs.
    const ENOUGH: u64 = 1 << 20;
    let wanted = limits.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limits.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return Some(wanted);
    }
    limits.current
}

#[cfg(not(unix))]
fn raise_descriptors() -> Option<u64> {
    // Handles are not limited to a number there; what follows from it is.
    Some(1 << 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_cgroup_counts() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("pods/one");
        fs::create_dir_all(&pod).unwrap();
        fs::write(pod.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("pods/memory.max"), "4096\n").unwrap();
        assert_eq!(limit_of_cgroup("0::/pods/one\n", root.path()), Some(4096));
        assert_eq!(limit_of_cgroup("0::/other\n", root.path()), None);
        assert_eq!(
            total_of("MemTotal:       2 kB\nMemFree: 1 kB\n"),
            Some(2048)
        );
    }

    #[test]
    fn this_machine_has_memory_and_descriptors() {
        let machine = Machine::here();
        assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.descriptors_max > 8, "{machine:?}");
    }
}
