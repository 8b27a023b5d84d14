//! Time limits of a client: a step's timeout, and the pause of a user whose target is down.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use tokio::time::Sleep;

use crate::engine::user::client::End;

/// Timer that is rarely set: it stays at the deadline of an earlier request and is set again only
/// when it fires too early. Requests that end in time do not touch it.
#[derive(Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    /// True if the timer holds the task's waker, which stays the same for the task's life.
    registered: bool,
}

impl Deadline {
    /// Waits for `future`, but not beyond `at`. Returns its value, `None` if the time was over
    /// first, and when that was. It is pinned by the caller: taken by value it would be in the
    /// caller's memory twice.
    ///
    /// The clock decides, not which of the two shows first: after a stall of this process both the
    /// answer and the timer are there, and the answer may have come at any time.
    pub(crate) async fn bound<T>(
        &mut self,
        at: Instant,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> (Option<T>, Instant) {
        let value = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.has_passed(at, cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        let now = Instant::now();
        (value.filter(|_| now <= at), now)
    }

    fn has_passed(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if sleep.deadline().into_std() > at {
            sleep.as_mut().reset(at.into());
            self.registered = false;
        }
        loop {
            if self.registered && !sleep.is_elapsed() {
                return false;
            }
            if sleep.as_mut().poll(cx).is_pending() {
                self.registered = true;
                return false;
            }
            if Instant::now() >= at {
                return true;
            }
            sleep.as_mut().reset(at.into());
            self.registered = false;
        }
    }
}

/// Pause that grows while every request fails at once, so that a user does not spin on a target
/// that is down.
pub(crate) struct Backoff {
    next: Option<Duration>,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);

    /// Shortest time of an iteration that needs no pause after it: it does not come round often
    /// enough to burn CPU.
    const SLOW: Duration = Duration::from_millis(5);

    /// Creates the pauses of a user, none of which is longer than `longest`; zero for none.
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            next: None,
            longest,
        }
    }

    /// Returns the pause after an iteration with this end that took `took`; `None` unless the target
    /// seems down.
    pub(crate) fn after(&mut self, end: End, took: Duration) -> Option<Duration> {
        self.next = match end {
            End::Unanswered if took < Self::SLOW && !self.longest.is_zero() => {
                let next = self.next.map_or(Self::FIRST, |last| last * 2);
                Some(next.min(self.longest))
            }
            End::Answered | End::UserOver | End::Unanswered => None,
        };
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn waiting_grows_to_a_second_and_ends_with_an_answer() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let at_once = Duration::from_millis(1);
        let waits: Vec<_> = (0..9)
            .map(|_| backoff.after(End::Unanswered, at_once).unwrap().as_millis())
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff.after(End::Answered, at_once), None);
    }

    #[test]
    fn an_iteration_that_took_time_needs_no_pause_and_the_longest_may_be_none() {
        let pause = |longest: u64, took: u64| {
            let mut backoff = Backoff::new(Duration::from_millis(longest));
            let took = Duration::from_millis(took);
            (0..9)
                .filter_map(|_| backoff.after(End::Unanswered, took))
                .max()
        };
        assert_eq!(pause(1000, 5), None);
        assert_eq!(pause(1000, 4), Some(Duration::from_secs(1)));
        assert_eq!(pause(3, 0), Some(Duration::from_millis(3)));
        assert_eq!(pause(0, 0), None);
    }

    #[tokio::test]
    async fn a_deadline_holds_after_an_earlier_and_a_later_one() {
        let mut deadline = Deadline::default();
        for _ in 0..2 {
            let far = Instant::now() + Duration::from_secs(3600);
            let (value, now) = deadline.bound(far, pin!(tokio::task::yield_now())).await;
            assert_eq!((value, now < far), (Some(()), true));
            let near = Instant::now() + Duration::from_millis(2);
            let never = pin!(std::future::pending::<()>());
            let (value, now) = deadline.bound(near, never).await;
            assert_eq!((value, now >= near), (None, true));
        }
    }

    #[tokio::test]
    async fn what_is_there_after_the_deadline_is_late_however_long_it_has_been_there() {
        let passed = Instant::now();
        while Instant::now() == passed {}
        for _ in 0..2 {
            let (value, now) = Deadline::default()
                .bound(passed, pin!(std::future::ready(())))
                .await;
            assert_eq!((value, now > passed), (None, true));
        }
        // a process that stalls in the poll that finds the answer
        let at = Instant::now() + Duration::from_millis(1);
        let stalled = pin!(async { while Instant::now() <= at {} });
        assert_eq!(Deadline::default().bound(at, stalled).await.0, None);
    }
}
