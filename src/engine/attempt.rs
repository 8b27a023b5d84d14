//! One request under way: clock marks, phases, bytes, and a sink for its events.
//!
//! A leaf: nothing here knows sockets, protocols, users or the recorder. `failure` says why a
//! request got no whole answer, `sample` holds its measurements.

pub(crate) mod failure;
mod handshake;
pub(crate) mod sample;

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{Part, Phases};

/// Sink for events of requests while they are under way. The result of a finished request is a
/// [`Sample`](sample::Sample).
pub(crate) trait Events {
    /// Counts a connection that was opened.
    fn connected(&self);

    /// Counts a message that is in flight from `at` on: its first byte was written.
    fn departed(&self, at: Instant);

    /// Counts a message that was answered, or given up, at `at` and is in flight no more.
    fn arrived(&self, at: Instant);

    /// Counts an attempt of which a byte was written and that is repeated.
    fn retried(&self);

    /// Counts a redirect that was answered and is followed.
    fn redirected(&self);

    /// Counts a request that was cut after a byte of it was written.
    fn interrupted(&self);

    /// Counts a request of a step with limits that was cut at the end of the run.
    fn missed(&self, step: u16, part: Part);

    /// Counts messages of a stream that were sent at `at`.
    fn messages_sent(&self, step: u16, part: Part, at: Instant, count: u32);

    /// Counts a message or an event of a stream that came at `at`. `gap` is the time since the
    /// one before it, of those that count.
    fn message_received(&self, step: u16, part: Part, at: Instant, gap: Option<Duration>);
}

/// A request under way, with its retries and redirects. Dropped before [`finish`](Self::finish)
/// (the run was cut), it counts as interrupted if a byte of it was written.
pub(crate) struct Attempt<'a> {
    /// Sink for the request's events.
    pub(crate) events: &'a dyn Events,
    /// Time of the first byte written: set just before the request is written.
    pub(crate) began: Cell<Instant>,
    /// Bytes of the current message that were written.
    written: Cell<usize>,
    /// Time of the first byte of the answer; `None` if the whole answer came in one read.
    answered: Cell<Option<Instant>>,
    phases: Cell<Phases>,
    done: Cell<bool>,
    /// Step whose limits apply to the request, and the part of the run.
    limited: Cell<Option<(u16, Part)>>,
    /// Sums over the earlier messages of the request: failed attempts, hops of a redirect.
    before: Cell<Before>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Before {
    began: Option<Instant>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Sums of a finished request over all its messages.
pub(crate) struct Totals {
    /// Time of the first byte of the first message.
    pub(crate) began: Instant,
    /// Phases of the last message.
    pub(crate) phases: Phases,
    /// Bytes written, of all messages.
    pub(crate) sent_bytes: u64,
    /// Bytes read, of all answers.
    pub(crate) received_bytes: u64,
}

/// Time that each part of opening a connection took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opened {
    /// Time to resolve the target's name or find it in the cache; `None` for a Unix socket.
    pub(crate) dns: Option<Duration>,
    /// Time to connect, including a proxy's tunnel.
    pub(crate) connect: Duration,
    /// Time of the TLS handshake; `None` without TLS.
    pub(crate) tls: Option<Duration>,
}

impl<'a> Attempt<'a> {
    /// Begins a request. `now` counts as the time of the first byte written if a connection is open
    /// already.
    pub(crate) fn new(events: &'a dyn Events, now: Instant) -> Self {
        Self {
            events,
            began: Cell::new(now),
            written: Cell::new(0),
            answered: Cell::new(None),
            phases: Cell::default(),
            done: Cell::new(false),
            limited: Cell::new(None),
            before: Cell::default(),
        }
    }

    /// Sets the step whose limits apply: a request that is cut counts as missed for that step.
    pub(crate) fn limit(&self, step: Option<(u16, Part)>) {
        self.limited.set(step);
    }

    /// Prepares for a further message of the same request, after an answer of `received` bytes.
    /// Returns whether any byte of the message before was written.
    pub(crate) fn next_message(&self, received: u64) -> bool {
        let now = Instant::now();
        let written = self.written.take();
        let mut before = self.before.get();
        if written > 0 {
            self.events.arrived(now);
            before.began = before.began.or(Some(self.began.get()));
            before.sent_bytes += written as u64;
            before.received_bytes += received;
        }
        self.before.set(before);
        self.began.set(now);
        self.answered.set(None);
        self.phases.take();
        written > 0
    }

    /// Prepares to send the same message once more, which counts as a retry if any byte of it was
    /// written.
    pub(crate) fn retry(&self, received: u64) {
        if self.next_message(received) {
            self.events.retried();
        }
    }

    /// Sets the number of bytes of the current message that were written. With the first of them
    /// the message is in flight.
    pub(crate) fn wrote(&self, bytes: usize) {
        if self.written.replace(bytes) == 0 && bytes > 0 {
            self.events.departed(self.began.get());
        }
    }

    /// Returns the number of bytes of the current message that were written.
    pub(crate) fn written(&self) -> usize {
        self.written.get()
    }

    /// Classifies a timeout by whether any byte had been sent.
    pub(crate) fn timed_out(&self) -> Failure {
        if self.written.get() > 0 {
            Failure::Timeout
        } else {
            Failure::TimeoutBeforeSent
        }
    }

    /// Ends the request, which completed or timed out at `ended`, and returns its sums. `received`
    /// is the size of the last answer in bytes.
    pub(crate) fn finish(&self, ended: Instant, received: u64) -> Totals {
        self.done.set(true);
        if self.written.get() > 0 {
            self.events.arrived(ended);
        }
        let mut phases = self.phases.get();
        if received > 0 {
            let answered = self.answered.get();
            phases.wait = Some(
                answered
                    .unwrap_or(ended)
                    .saturating_duration_since(self.began.get()),
            );
            phases.download = Some(answered.map_or(Duration::ZERO, |answered| {
                ended.saturating_duration_since(answered)
            }));
        }
        let Before {
            began,
            sent_bytes,
            received_bytes,
        } = self.before.get();
        Totals {
            began: began.unwrap_or(self.began.get()),
            phases,
            sent_bytes: sent_bytes + self.written.get() as u64,
            received_bytes: received_bytes + received,
        }
    }

    /// Returns whether the connection was opened for this message and nothing has come on it.
    pub(crate) fn is_first_on_connection(&self) -> bool {
        self.phases.get().connect.is_some() && self.answered.get().is_none()
    }

    /// Marks that a part of the answer came and more of it is to come.
    pub(crate) fn answer_continues(&self) {
        if self.answered.get().is_none() {
            self.answered.set(Some(Instant::now()));
        }
    }

    /// Records the times of a connection that was opened for the request, and counts the
    /// connection.
    pub(crate) fn opened(&self, opened: Opened) {
        let Opened { dns, connect, tls } = opened;
        self.phases.set(Phases {
            dns,
            connect: Some(connect),
            tls,
            ..self.phases.get()
        });
        self.events.connected();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.done.get() {
            return;
        }
        if self.written.get() > 0 {
            self.events.arrived(Instant::now());
            self.events.interrupted();
        }
        if let Some((step, part)) = self.limited.get() {
            self.events.missed(step, part);
        }
    }
}
