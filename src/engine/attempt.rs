//! One request under way, as every room below the users knows it: clock marks, phases, bytes, and
//! a sink for what happens to it.
//!
//! A leaf: nothing here knows sockets, protocols, users or the recorder. `failure` says why a
//! request got no whole answer, `sample` what is measured of one.

pub(crate) mod failure;
pub(crate) mod sample;

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{Part, Phases};

/// Sink for what happens to requests while they are under way. What they come to in the end is a
/// [`Sample`](sample::Sample).
pub(crate) trait Events {
    /// Counts a connection that was opened.
    fn connected(&self);

    /// Counts a try of which a byte was written and that is given up for another.
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
    /// Sink for what happens to it.
    pub(crate) events: &'a dyn Events,
    /// Time of the first byte written, as near as matters: set when the request is about to be.
    pub(crate) began: Cell<Instant>,
    /// Bytes of the current message that were written.
    pub(crate) written: Cell<usize>,
    /// Time of the first byte of the answer; not read from the clock where the last one came
    /// with it.
    answered: Cell<Option<Instant>>,
    phases: Cell<Phases>,
    done: Cell<bool>,
    /// The step whose limits it is held against.
    limited: Cell<Option<(u16, Part)>>,
    /// Sums of the messages before this one: tries that failed, hops of a redirect.
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
    /// Looking up the target's name, or finding it known; `None` for a Unix socket.
    pub(crate) dns: Option<Duration>,
    /// Connecting, a proxy's tunnel included.
    pub(crate) connect: Duration,
    /// TLS handshake; `None` where there is none.
    pub(crate) tls: Option<Duration>,
}

impl<'a> Attempt<'a> {
    /// Begins a request. `now` counts as the first byte written where a connection is open already.
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

    /// Names the step whose limits the request is held against: cut, it counts as missed there.
    pub(crate) fn limit(&self, step: Option<(u16, Part)>) {
        self.limited.set(step);
    }

    /// Makes ready for a further message of the same request, after an answer of `received` bytes.
    /// Returns whether any byte of the message before was written.
    pub(crate) fn next_message(&self, received: u64) -> bool {
        let written = self.written.take();
        let mut before = self.before.get();
        if written > 0 {
            before.began = before.began.or(Some(self.began.get()));
            before.sent_bytes += written as u64;
            before.received_bytes += received;
        }
        self.before.set(before);
        self.began.set(Instant::now());
        self.answered.set(None);
        self.phases.take();
        written > 0
    }

    /// Makes ready to send the same message once more, which counts as a retry if any byte of it
    /// was written.
    pub(crate) fn retry(&self, received: u64) {
        if self.next_message(received) {
            self.events.retried();
        }
    }

    /// Classifies a timeout by whether any byte had been sent.
    pub(crate) fn timed_out(&self) -> Failure {
        if self.written.get() > 0 {
            Failure::Timeout
        } else {
            Failure::TimeoutBeforeSent
        }
    }

    /// Ends the request, which came to its end at `ended` by itself or by a timeout and will be
    /// recorded as such. The last answer was `received` bytes long.
    pub(crate) fn finish(&self, ended: Instant, received: u64) -> Totals {
        self.done.set(true);
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

    /// Marks that a part of the answer came which is not the last one.
    pub(crate) fn answer_continues(&self) {
        if self.answered.get().is_none() {
            self.answered.set(Some(Instant::now()));
        }
    }

    /// Takes the times of a connection that was opened for the request, and counts it.
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
            self.events.interrupted();
        }
        if let Some((step, part)) = self.limited.get() {
            self.events.missed(step, part);
        }
    }
}
