//! How much of this machine builds may use.

use std::fs;

use crate::config::Build;

/// Memory that one build is counted with, in bytes: what a C++ compiler process of a large package takes.
const MEMORY_PER_SLOT: u64 = 2 << 30;
/// Builds at once unless somebody says otherwise; beyond it they wait for each other's dependencies.
const MOST_SLOTS: u64 = 8;
/// A workspace in memory smaller than this is not worth having, in bytes.
const LEAST_TMPFS: u64 = 512 << 20;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resources {
    /// Builds at once.
    pub(super) slots: u32,
    /// Jobs of make in each.
    pub(super) jobs: usize,
    /// Memory each may write files to, in bytes; 0: none.
    pub(super) tmpfs_bytes: u64,
}

impl Resources {
    pub(super) fn of(config: &Build) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::decide(config, processors, available_memory())
    }

    fn decide(config: &Build, processors: usize, memory: u64) -> Self {
        let by_memory = (memory / MEMORY_PER_SLOT).clamp(1, MOST_SLOTS);
        let slots = match config.slots {
            0 => (processors as u64).div_ceil(2).max(2).min(by_memory),
            slots => u64::from(slots),
        };
        let jobs = match config.jobs {
            // Most of a build is not parallel; a little too many jobs use what others leave.
            0 => (2 * processors).div_ceil(usize::try_from(slots).unwrap_or(1)).clamp(1, processors),
            jobs => jobs,
        };
        let each = memory / 2 / slots;
        let tmpfs_bytes = if config.tmpfs && each >= LEAST_TMPFS { each } else { 0 };
        Self { slots: u32::try_from(slots).unwrap_or(u32::MAX), jobs, tmpfs_bytes }
    }
}

/// `MemAvailable` of `/proc/meminfo` (proc(5)), in bytes; where it cannot be read, as little as can be.
fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_follows_the_machine() {
        let decide = |processors, gib: u64| Resources::decide(&Build::default(), processors, gib << 30);
        assert_eq!(decide(2, 24), Resources { slots: 2, jobs: 2, tmpfs_bytes: 6 << 30 });
        assert_eq!(decide(32, 64), Resources { slots: 8, jobs: 8, tmpfs_bytes: 4 << 30 });
        assert_eq!(decide(4, 0), Resources { slots: 1, jobs: 4, tmpfs_bytes: 0 });
        let set = Build { slots: 3, jobs: 1, tmpfs: false, ..Build::default() };
        assert_eq!(Resources::decide(&set, 4, 8 << 30), Resources { slots: 3, jobs: 1, tmpfs_bytes: 0 });
    }
}
