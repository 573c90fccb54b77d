//! How much memory the process may hold, how much it holds, and what of it goes to what.
//!
//! `--memory` is a limit for the whole process: its resident set, as the system counts it. [`Budget`] divides it
//! once, before anything is read:
//!
//! | part | what it is for |
//! |---|---|
//! | program | code, stacks, logs of Delta tables: 128 MiB, or more where the process is larger when it starts |
//! | pipeline | batches on their way, decoded pages, the row group that is written, keys that wait for duplicates |
//! | pool | what queries sort, join and aggregate: all that remains |
//!
//! The sort for a lookup table comes after the query, in memory that the pool has let go of.
//!
//! Parts are fixed by the limit alone, never by what happens to be free. What is really held is looked at for two
//! decisions only: that an operator spills earlier than it would have to (its rows are the same), and that a run that
//! holds too much ends with an error instead of being killed. No result depends on either.

use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// The program's part: about 40 MiB when it starts, and what a run adds: pages of code that it comes through, stacks of
/// its threads, the logs of its tables. Measured: 105 MiB of code and 15 MiB of the rest.
const PROGRAM: u64 = 128 << 20;

/// The same for a process that holds more when it starts, besides what it holds then that is in no file.
const PROGRAM_GROWS: u64 = 96 << 20;

/// The least and the most that is kept for the pipeline; between them it is a sixth of the limit.
const PIPELINE: (u64, u64) = (48 << 20, 512 << 20);

/// The least with which sorts can merge what they have spilled.
const LEAST_POOL: u64 = 64 << 20;

/// How much of what is there a process takes that was not told a limit: three quarters.
const DEFAULT_SHARE: (u64, u64) = (3, 4);

/// The limit where the system does not say how much memory there is.
const FALLBACK: u64 = 4 << 30;

/// What the limit is divided into, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The limit for the process.
    pub limit: u64,
    /// For the program itself.
    pub program: u64,
    /// For rows on their way from the files through the model into files.
    pub pipeline: u64,
    /// For queries.
    pub pool: u64,
}

impl Budget {
    /// Divides `limit`.
    ///
    /// # Errors
    /// A usage error that tells the least that works, where it is less than that.
    pub fn of(limit: u64) -> Result<Self> {
        let program = PROGRAM.max((at_start() + PROGRAM_GROWS).next_multiple_of(32 << 20));
        let least = (program + PIPELINE.0 + LEAST_POOL).next_multiple_of(16 << 20);
        if limit < least {
            return Err(Error::usage("--memory is a limit for the whole process, which needs more than that")
                .with("--memory", mib(limit))
                .with("program", mib(program))
                .with("rows on their way", mib(PIPELINE.0))
                .with("queries", mib(LEAST_POOL))
                .hint(format!("give at least {}", mib(least))));
        }
        let pipeline = (limit / 6).clamp(PIPELINE.0, PIPELINE.1).min(limit - program - LEAST_POOL);
        Ok(Self { limit, program, pipeline, pool: limit - program - pipeline })
    }

    /// The pool as the query engine counts.
    pub fn pool_bytes(&self) -> usize {
        usize::try_from(self.pool).unwrap_or(usize::MAX)
    }
}

/// The limit of a process that was given none: three quarters of what its control group or the machine has.
pub fn default_limit() -> u64 {
    match available() {
        Some(bytes) => bytes / DEFAULT_SHARE.1 * DEFAULT_SHARE.0,
        None => FALLBACK,
    }
}

/// The memory of the machine, or of the narrowest control group around this process.
fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_limits(Path::new("/sys/fs/cgroup"), &groups).into_iter().chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits of the control groups that `/proc/self/cgroup` names, and of all above them: version 2 and version 1.
fn group_limits(root: &Path, groups: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (top, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        // Inside a container the group's own path is often not mounted; its limit then stands at the top.
        let own = top.join(group.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&top)) {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            // "max", and what version 1 says where there is no limit, are none.
            limits.extend(text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60));
        }
    }
    limits
}

/// The resident set of this process, in bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    Some(pages()?.0 * page_bytes())
}

/// The part of the resident set that is in no file, which the system can't take back when it needs memory.
pub fn anonymous_bytes() -> Option<u64> {
    let (resident, shared) = pages()?;
    Some(resident.saturating_sub(shared) * page_bytes())
}

/// Resident pages, and those of them that are pages of files.
fn pages() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split_whitespace().skip(1).map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// The largest resident set of this process so far, in bytes (0 where the system does not tell).
pub fn peak_resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What was held in no file when this was first asked.
fn at_start() -> u64 {
    static AT_START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *AT_START.get_or_init(|| anonymous_bytes().unwrap_or(0))
}

fn page_bytes() -> u64 {
    // SAFETY: asks the system for a number and touches no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Makes the allocator give large pieces back to the system as soon as they are freed; for the start of a program,
/// before there are threads.
///
/// glibc raises its thresholds as it sees large pieces come and go, and gives each thread an arena of its own: measured
/// on a day of 50 M rows with a sort that spills, the process held half as much again as was in use. The price is
/// within the noise (1 to 2 % of CPU time).
pub fn return_what_is_freed() {
    at_start();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const OPTIONS: [(libc::c_int, libc::c_int); 3] =
            [(libc::M_MMAP_THRESHOLD, 256 << 10), (libc::M_TRIM_THRESHOLD, 256 << 10), (libc::M_ARENA_MAX, 2)];
        for (option, value) in OPTIONS {
            // SAFETY: sets a number inside the allocator; one that it refuses changes nothing.
            unsafe { libc::mallopt(option, value) };
        }
    }
}

/// Gives back to the system what the allocator keeps of memory that is not in use: between steps of a run.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the allocator locks its arenas itself; nothing that is in use moves.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A size in whole MiB, as `--memory` takes it; what is less, in KiB.
pub fn mib(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{}KiB", bytes.div_ceil(1 << 10)) } else { format!("{}MiB", bytes.div_ceil(1 << 20)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_parts_are_the_limit() {
        for mib in [400, 512, 1024, 4096, 65536] {
            let budget = Budget::of(mib << 20).unwrap();
            assert_eq!(budget.program + budget.pipeline + budget.pool, mib << 20, "{budget:?}");
            assert!(budget.pool >= LEAST_POOL && budget.pipeline >= PIPELINE.0.min(budget.limit / 6), "{budget:?}");
        }
        let half = |limit: u64| Budget::of(limit).unwrap().pool * 2 > limit;
        assert!(half(1 << 30) && half(8 << 30));
    }

    #[test]
    fn too_little_says_what_is_enough() {
        let error = Budget::of(100 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let hint = error.hint_text().unwrap();
        let least: u64 = hint.trim_start_matches("give at least ").trim_end_matches("MiB").parse().unwrap();
        assert!(Budget::of(least << 20).is_ok(), "{hint}");
        assert!(Budget::of((least - 1) << 20).is_err(), "{hint}");
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("memory.max", "max\n");
        put("a/memory.max", "3000\n");
        put("a/b/memory.max", "max\n");
        put("memory/x/memory.limit_in_bytes", "2000\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group_limits(root.path(), "0::/a/b\n"), [3000]);
        assert_eq!(group_limits(root.path(), "4:cpu:/x\n7:hugetlb,memory:/x\n"), [2000]);
        // A group that is not mounted here: that of the top.
        put("memory.max", "5000\n");
        assert_eq!(group_limits(root.path(), "0::/elsewhere/c\n"), [5000]);
        assert_eq!(group_limits(root.path(), "nonsense\n"), Vec::<u64>::new());
        assert_eq!(total("MemFree: 3 kB\nMemTotal:       16 kB\n"), Some(16 << 10));
    }

    #[test]
    fn what_is_held_is_known() {
        let (now, peak) = (resident_bytes().unwrap(), peak_resident_bytes());
        assert!(now > 1 << 20 && peak >= now / 2, "{now} {peak}");
        assert!(anonymous_bytes().is_some_and(|bytes| bytes < now * 2), "{now}");
        assert!(default_limit() > 1 << 20);
    }
}
