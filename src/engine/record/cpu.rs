//! CPU time of this process: used, available, and withheld by the container's quota.

use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// CPU time of one lap in microseconds, over all threads of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lap {
    /// Time that the process used.
    pub(crate) used: u64,
    /// Time that it could have used: the lesser of cores and quota, times the lap.
    pub(crate) available: u64,
    /// Time for which the quota held back threads that could have run.
    pub(crate) throttled: u64,
}

/// Meter of the CPU time of this process.
pub(crate) struct CpuMeter {
    /// Most cores that may be in use at once.
    cores: f64,
    group: Option<Group>,
    used: u64,
    throttled: u64,
    since: Instant,
}

impl CpuMeter {
    /// Creates a meter whose first lap begins at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        let group = Group::of_this_process();
        let threads = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let cores = group
            .as_ref()
            .and_then(Group::quota)
            .map_or(threads, |quota| quota.min(threads));
        let throttled = group.as_ref().map_or(0, Group::throttled_micros);
        Self {
            cores,
            group,
            used: process_cpu_micros(),
            throttled,
            since: now,
        }
    }

    /// Returns the CPU time since the last lap, and begins the next.
    pub(crate) fn lap(&mut self, now: Instant) -> Lap {
        let used = process_cpu_micros();
        let throttled = self.group.as_ref().map_or(0, Group::throttled_micros);
        let lap = Lap {
            used: used.saturating_sub(self.used),
            available: (self.cores * now.saturating_duration_since(self.since).as_secs_f64() * 1e6)
                as u64,
            throttled: throttled.saturating_sub(self.throttled),
        };
        (self.used, self.throttled, self.since) = (used, throttled, now);
        lap
    }
}

/// Returns the CPU time that the process has used, in microseconds.
#[allow(unsafe_code, reason = "getrusage")]
pub(crate) fn process_cpu_micros() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills the struct it is given, and RUSAGE_SELF with a valid pointer cannot
    // fail
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

/// Control group that limits this process. Versions 1 and 2 keep the same facts in different files.
#[derive(Debug, PartialEq, Eq)]
enum Group {
    V2(PathBuf),
    V1(PathBuf),
}

impl Group {
    /// Finds the group of this process; `None` if there are no groups, as on systems other than
    /// Linux, or they cannot be read.
    fn of_this_process() -> Option<Self> {
        let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find(&membership, Path::new("/sys/fs/cgroup"))
    }

    /// Finds the group by `membership`, which has a line `hierarchy:controllers:path` for each
    /// hierarchy; that of version 2 names no controller.
    ///
    /// In a container the path may be the host's, while the container's own group is mounted at the
    /// root.
    fn find(membership: &str, root: &Path) -> Option<Self> {
        let lines = membership.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?, parts.next()?.trim_start_matches('/')))
        });
        let candidates = lines.flat_map(|(controllers, path)| {
            let is_v1 = controllers.split(',').any(|controller| controller == "cpu");
            let root = if is_v1 {
                root.join(controllers)
            } else {
                root.to_owned()
            };
            let is_either = is_v1 || controllers.is_empty();
            [root.join(path), root]
                .into_iter()
                .filter(move |_| is_either)
                .map(move |folder| {
                    if is_v1 {
                        Self::V1(folder)
                    } else {
                        Self::V2(folder)
                    }
                })
        });
        candidates.into_iter().find(|group| {
            group
                .read("cpu.stat")
                .is_some_and(|stat| stat.contains("throttled"))
        })
    }

    fn read(&self, file: &str) -> Option<String> {
        let (Self::V2(folder) | Self::V1(folder)) = self;
        std::fs::read_to_string(folder.join(file)).ok()
    }

    /// Returns how many cores the group may use on average; `None` if there is no limit.
    fn quota(&self) -> Option<f64> {
        let (quota, period) = match self {
            Self::V2(_) => {
                let text = self.read("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            }
            Self::V1(_) => {
                let number = |file| self.read(file)?.trim().parse::<f64>().ok();
                (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            }
        };
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    }

    /// Returns the time in microseconds for which threads were held back since the group was made.
    fn throttled_micros(&self) -> u64 {
        let (field, unit) = match self {
            Self::V2(_) => ("throttled_usec", 1),
            // nanoseconds
            Self::V1(_) => ("throttled_time", 1000),
        };
        let stat = self.read("cpu.stat").unwrap_or_default();
        let value = stat
            .lines()
            .find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok());
        value.unwrap_or(0) / unit
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn without_control_groups_there_is_no_quota() {
        let nothing = folder(&[]);
        for membership in ["", "0::/\n", "nonsense", "4:memory:/a\n0::/a\n"] {
            assert_eq!(Group::find(membership, nothing.path()), None);
        }
        // the group of the root has no throttling
        assert_eq!(
            Group::find("0::/\n", folder(&[("cpu.stat", "usage_usec 5\n")]).path()),
            None
        );
    }

    #[test]
    fn version_2_is_read_where_the_container_sees_it() {
        let stat = "usage_usec 9000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 1234\n";
        let root = folder(&[
            ("cpu.stat", stat),
            ("cpu.max", "150000 100000\n"),
            ("a/cpu.stat", stat),
            ("a/cpu.max", "max 100000\n"),
        ]);
        let mounted_at_root = Group::find("0::/kubepods/of/the/host\n", root.path()).unwrap();
        assert_eq!(
            (mounted_at_root.quota(), mounted_at_root.throttled_micros()),
            (Some(1.5), 1234)
        );
        let below = Group::find("0::/a\n", root.path()).unwrap();
        assert_eq!(
            (below.quota(), below),
            (None, Group::V2(root.path().join("a")))
        );
    }

    #[test]
    fn version_1_counts_in_nanoseconds() {
        let root = folder(&[
            (
                "cpu,cpuacct/b/cpu.stat",
                "nr_periods 5\nnr_throttled 2\nthrottled_time 5000000\n",
            ),
            ("cpu,cpuacct/b/cpu.cfs_quota_us", "50000\n"),
            ("cpu,cpuacct/b/cpu.cfs_period_us", "100000\n"),
        ]);
        let group = Group::find("9:memory:/b\n4:cpu,cpuacct:/b\n0::/\n", root.path()).unwrap();
        assert_eq!((group.quota(), group.throttled_micros()), (Some(0.5), 5000));
        fs::write(root.path().join("cpu,cpuacct/b/cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(group.quota(), None);
    }

    #[test]
    fn a_lap_is_what_there_was_since_the_one_before() {
        let now = Instant::now();
        let mut meter = CpuMeter {
            cores: 1.5,
            group: None,
            used: process_cpu_micros(),
            throttled: 0,
            since: now,
        };
        let lap = meter.lap(now + Duration::from_secs(2));
        assert_eq!((lap.available, lap.throttled), (3_000_000, 0));
        assert_eq!(meter.lap(now + Duration::from_secs(3)).available, 1_500_000);
    }
}
