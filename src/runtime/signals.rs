//! SIGINT and SIGTERM: the first drains, the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGINT and SIGTERM of the process; clones share what was received.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    drain: CancellationToken,
    number: Arc<AtomicI32>,
}

impl Signals {
    /// Takes over SIGINT and SIGTERM of the process. Call once, inside a Tokio runtime. Fails when
    /// the system refuses a handler.
    pub fn install() -> std::io::Result<Self> {
        let signals = Self::default();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let received = signals.clone();
        tokio::spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => libc::SIGINT,
                    _ = terminate.recv() => libc::SIGTERM,
                };
                if !received.receive(number) {
                    #[allow(
                        clippy::disallowed_methods,
                        reason = "the second signal: whoever sent it no longer wants to wait"
                    )]
                    std::process::exit(128 + number);
                }
            }
        });
        Ok(signals)
    }

    /// Token that the first signal cancels.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Exit code that says which signal came first: 130 or 143. `None` before the first.
    pub fn exit_code(&self) -> Option<u8> {
        match self.number.load(Ordering::Acquire) {
            0 => None,
            number => Some(128 + number as u8),
        }
    }

    /// Notes a signal, and returns whether it is the first.
    fn receive(&self, number: i32) -> bool {
        let first = self
            .number
            .compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        self.drain.cancel();
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_drains_and_is_remembered_and_the_second_is_told_apart() {
        let signals = Signals::default();
        assert_eq!(
            (signals.drain().is_cancelled(), signals.exit_code()),
            (false, None)
        );
        assert!(signals.receive(libc::SIGTERM));
        assert!(signals.drain().is_cancelled());
        assert!(!signals.receive(libc::SIGINT));
        assert_eq!(signals.exit_code(), Some(143));
    }
}
