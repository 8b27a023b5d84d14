//! Waits for a moment to within some 50 us, where tokio's timer knows only milliseconds.
//!
//! On Linux a `timerfd` wakes the thread among the runtime's other events, so that hardly any CPU
//! is spent spinning and the reported CPU is that of the requests. Elsewhere, or without a free
//! file descriptor, tokio's timer and a short yielding spin do.

use std::time::{Duration, Instant};

/// Longest time by which tokio's timer is late, since it rounds up to milliseconds.
const COARSE: Duration = Duration::from_micros(1200);

/// Time by which the timer is set early; the rest is spun.
///
/// A sleeping thread wakes some 40 us late, and 170 us at the 99th percentile, measured on an
/// otherwise idle virtual machine. With this lead the median is 0 us, and the 99th percentile 40
/// us.
#[cfg(target_os = "linux")]
const LEAD: Duration = Duration::from_micros(60);

/// Shortest gap before a moment for which waking early pays. Below it, spinning before each moment
/// would be a large part of the CPU that a run reports.
#[cfg(target_os = "linux")]
const WORTH_LEAD: Duration = Duration::from_micros(500);

/// Timer that is more exact than the runtime's.
pub(crate) struct Pacer {
    #[cfg(target_os = "linux")]
    timer: Option<linux::Timer>,
}

impl Pacer {
    /// Creates a pacer for the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: linux::Timer::new().ok(),
        }
    }

    /// Waits until `at` or slightly later, and returns the time then.
    pub(crate) async fn until(&mut self, at: Instant) -> Instant {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &mut self.timer {
            let is_far = at
                .checked_duration_since(Instant::now())
                .is_some_and(|wait| wait >= WORTH_LEAD);
            let awake = if is_far { at - LEAD } else { at };
            if timer.until(awake).await.is_ok() {
                return spin_until(at).await;
            }
        }
        sleep_and_spin_until(at).await
    }
}

async fn sleep_and_spin_until(at: Instant) -> Instant {
    if let Some(before) = at.checked_sub(COARSE) {
        tokio::time::sleep_until(before.into()).await;
    }
    spin_until(at).await
}

/// Spins until `at`, yielding to other tasks.
async fn spin_until(at: Instant) -> Instant {
    loop {
        let now = Instant::now();
        if now >= at {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    use std::time::Instant;

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// Timer of the kernel, as an event source of the runtime.
    pub(crate) struct Timer(AsyncFd<OwnedFd>);

    #[allow(unsafe_code, reason = "timerfd")]
    impl Timer {
        /// Opens a timer.
        pub(crate) fn new() -> io::Result<Self> {
            // SAFETY: a call without pointers
            let fd = unsafe {
                libc::timerfd_create(
                    libc::CLOCK_MONOTONIC,
                    libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
                )
            };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is open and has no other owner
            let owned = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: it stays the same open descriptor for as long as it is owned here
            Ok(Self(unsafe {
                AsyncFd::register_with_interest(owned, Interest::READABLE)
            }?))
        }

        /// Waits until `at`.
        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            let Some(wait) = at
                .checked_duration_since(Instant::now())
                .filter(|wait| !wait.is_zero())
            else {
                return Ok(());
            };
            let zero = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let value = libc::timespec {
                tv_sec: wait.as_secs() as libc::time_t,
                tv_nsec: wait.subsec_nanos().into(),
            };
            let spec = libc::itimerspec {
                it_interval: zero,
                it_value: value,
            };
            // SAFETY: the descriptor is open and the struct lives through the call
            if unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &spec, std::ptr::null_mut()) }
                < 0
            {
                return Err(io::Error::last_os_error());
            }
            // setting the timer forgets earlier expiries, so it need not be read; an event from
            // before is seen by the clock
            loop {
                let mut ready = self.0.readable_mut().await?;
                ready.clear_ready();
                if Instant::now() >= at {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_is_never_met_early_and_the_past_costs_nothing() {
        let mut pacer = Pacer::new();
        for micros in [0, 300, 50, 2500, 700] {
            let at = Instant::now() + Duration::from_micros(micros);
            assert!(pacer.until(at).await >= at);
            assert!(sleep_and_spin_until(at).await >= at);
        }
    }
}
