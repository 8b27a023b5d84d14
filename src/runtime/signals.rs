//! SIGINT, SIGTERM and SIGHUP: the first drains within a bounded time, the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Time from the first signal after which the process ends whatever it is doing, beyond the time
/// that running iterations are given.
pub const END_WITHIN: Duration = Duration::from_secs(15);

/// Signals of the process that ask it to end; clones share what was received.
#[derive(Debug, Clone)]
pub struct Signals {
    drain: CancellationToken,
    number: Arc<AtomicI32>,
    /// Milliseconds from the first signal to the end of the process.
    within: Arc<AtomicU64>,
}

/// Streams of the signals.
struct Streams {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where hang-ups are ignored, as `nohup` has it.
    hang_up: Option<Signal>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            drain: CancellationToken::new(),
            number: Arc::default(),
            within: Arc::new(AtomicU64::new(END_WITHIN.as_millis() as u64)),
        }
    }
}

impl Signals {
    /// Takes over the signals of the process. Call once. A thread of their own waits for them, so
    /// that they are heard whatever else the process is busy with. Fails when the system refuses a
    /// handler or the thread.
    pub fn install() -> std::io::Result<Self> {
        let signals = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let streams = {
            let _entered = runtime.enter();
            Streams::new()?
        };
        let received = signals.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || received.watch(&runtime, streams))?;
        Ok(signals)
    }

    /// Token that the first signal cancels.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Sets the time from the first signal after which the process ends at the latest, with the
    /// exit code of that signal. Has no effect after the signal. [`END_WITHIN`] if it is never set.
    pub fn end_within(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.within.store(millis, Ordering::Release);
    }

    /// Exit code that says which signal came first: 129, 130 or 143. `None` before the first.
    pub fn exit_code(&self) -> Option<u8> {
        match self.number.load(Ordering::Acquire) {
            0 => None,
            number => Some(128 + number as u8),
        }
    }

    /// Waits for signals, and ends the process at the second or when its time is over.
    #[allow(
        clippy::disallowed_methods,
        reason = "whoever sent the signals no longer wants to wait"
    )]
    fn watch(&self, runtime: &Runtime, mut streams: Streams) {
        let number = runtime.block_on(streams.next());
        self.receive(number);
        let within = Duration::from_millis(self.within.load(Ordering::Acquire));
        let second = runtime.block_on(async { tokio::time::timeout(within, streams.next()).await });
        std::process::exit(128 + second.unwrap_or(number));
    }

    /// Notes the first signal.
    fn receive(&self, number: i32) {
        self.number.store(number, Ordering::Release);
        self.drain.cancel();
    }
}

impl Streams {
    fn new() -> std::io::Result<Self> {
        let hang_up = match is_ignored(libc::SIGHUP) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits for the next signal, and returns its number.
    async fn next(&mut self) -> i32 {
        let Self {
            interrupt,
            terminate,
            hang_up,
        } = self;
        let hang_up = async {
            match hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => libc::SIGINT,
            _ = terminate.recv() => libc::SIGTERM,
            _ = hang_up => libc::SIGHUP,
        }
    }
}

/// Returns whether the process was started with a signal ignored.
#[allow(unsafe_code, reason = "sigaction that only asks")]
fn is_ignored(number: i32) -> bool {
    let mut present = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one, for which there is room
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), present.as_mut_ptr()) };
    // SAFETY: zeroes are a valid action, and the call writes nothing else
    let present = unsafe { present.assume_init() };
    asked == 0 && present.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_drains_and_is_remembered() {
        let signals = Signals::default();
        assert_eq!(
            (signals.drain().is_cancelled(), signals.exit_code()),
            (false, None)
        );
        signals.receive(libc::SIGTERM);
        assert!(signals.drain().is_cancelled());
        assert_eq!(signals.exit_code(), Some(143));
    }

    #[test]
    fn a_signal_that_nobody_ignores_is_told_from_one_that_is_ignored() {
        // the test harness leaves both alone: Rust ignores SIGPIPE in every program
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGSEGV));
    }
}
