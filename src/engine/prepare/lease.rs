//! Lease of a worker: the time until which it may make load, by a clock that goes on while the
//! process or its machine stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// End of a lease that has none.
const UNLIMITED: u64 = u64::MAX;

/// Lease that all threads of a worker share. Clones are the same lease.
#[derive(Debug, Clone)]
pub struct Lease(Arc<AtomicU64>);

impl Default for Lease {
    /// Makes a lease without an end, for load that no master knows of.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(UNLIMITED)))
    }
}

impl Lease {
    /// Begins the lease anew: it ends `grace` after `from`, a time of [`uptime_micros`].
    pub fn begin(&self, from: u64, grace: Duration) {
        self.0.store(end(from, grace), Ordering::Relaxed);
    }

    /// Moves the end of the lease to `grace` after `from`, unless it ends later.
    pub fn extend(&self, from: u64, grace: Duration) {
        self.0.fetch_max(end(from, grace), Ordering::Relaxed);
    }

    /// Returns when the lease ran out, if it has.
    pub(crate) fn ended(&self) -> Option<Instant> {
        let until = self.until()?;
        let over = uptime_micros().checked_sub(until)?;
        Instant::now().checked_sub(Duration::from_micros(over))
    }

    /// Returns whether the lease has run out.
    pub fn is_over(&self) -> bool {
        self.until().is_some_and(|until| uptime_micros() >= until)
    }

    fn until(&self) -> Option<u64> {
        let until = self.0.load(Ordering::Relaxed);
        (until != UNLIMITED).then_some(until)
    }
}

fn end(from: u64, grace: Duration) -> u64 {
    from.saturating_add(grace.as_micros() as u64)
}

/// Returns the time since the machine was started, in microseconds, including that in which it or
/// this process was suspended. Only differences mean anything.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "CLOCK_BOOTTIME")]
pub fn uptime_micros() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct lives through the call, which fails for no clock of Linux
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Returns the time since the process first asked, in microseconds: this system has no clock that
/// is known to count suspension.
#[cfg(not(target_os = "linux"))]
pub fn uptime_micros() -> u64 {
    use std::sync::LazyLock;
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    FIRST.elapsed().as_micros() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_from_what_was_heard_and_is_never_shortened_by_what_comes_late() {
        let (lease, now, second) = (Lease::default(), uptime_micros(), Duration::from_secs(1));
        assert!(!lease.is_over());
        assert_eq!(lease.ended(), None);
        lease.begin(now.saturating_sub(5_000_000), second);
        assert!(lease.is_over());
        let ago = Instant::now() - lease.ended().unwrap();
        assert!(ago >= 4 * second && ago < 60 * second, "{ago:?}");
        lease.extend(now, Duration::from_secs(60));
        lease.extend(now.saturating_sub(5_000_000), second);
        assert!(!lease.is_over());
    }
}
