//! The stream of frames: made once a second while anybody watches, kept for those who come back,
//! and the same bytes for all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::contract::State;
use super::view::{self, Told, Viewer};
use crate::master::Shared;

/// Interval of the frames.
const EVERY: Duration = Duration::from_secs(1);
/// Time without viewers after which no frames are made.
const IDLE: Duration = Duration::from_secs(30);
/// Frames that are kept for viewers who come back, and most bytes of them.
const KEPT: usize = 120;
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Most viewers at once.
const MAX_VIEWERS: usize = 64;
/// Silence after which a viewer is sent a comment, since proxies cut connections that are silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Pause in milliseconds after which a browser connects again.
const RETRY: &str = "retry: 1000\n\n";

/// The frames of a run.
pub struct Feed {
    master: Shared,
    frames: Mutex<Frames>,
    /// Number of the newest frame.
    newest: watch::Sender<u64>,
    viewers: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Frames that were made.
struct Frames {
    /// Number of the newest frame. It begins with the seconds since the epoch, so that the numbers of
    /// a master that was started again are higher than those of the one before.
    id: u64,
    /// Knowledge of the viewers with that frame; `None` while nobody watches.
    told: Option<Told>,
    /// The newest frames as events of a stream, with their numbers.
    kept: VecDeque<(u64, Bytes)>,
    /// Last time at which anybody watched.
    watched: Instant,
    /// True once a frame had the verdict: none comes after it.
    is_over: bool,
}

/// Event after the frame that a viewer has.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The next frame, with its number.
    Frame(u64, Bytes),
    /// Nothing yet.
    Nothing,
    /// The next frame is not there any more, or never was.
    Lost,
}

impl Frames {
    fn new(now: Instant) -> Self {
        Self {
            id: 0,
            told: None,
            kept: VecDeque::new(),
            watched: now,
            is_over: false,
        }
    }

    /// Forgets everything that was told: the next viewer begins with a state.
    fn sleep(&mut self) {
        self.told = None;
        self.kept.clear();
    }

    /// Begins with what a state tells, in case nobody was told anything.
    fn wake(&mut self, now: Instant, all: impl FnOnce() -> Told) {
        self.watched = now;
        if self.told.is_none() {
            let seconds = Timestamp::now().as_second().max(0) as u64;
            // no viewer who slept has the frame before the next
            self.id = seconds.max(self.id + 2);
            self.told = Some(all());
            self.is_over = false;
        }
    }

    fn keep(&mut self, id: u64, event: Bytes) {
        self.id = id;
        self.kept.push_back((id, event));
        let size = |kept: &VecDeque<(u64, Bytes)>| -> usize {
            kept.iter().map(|(_, event)| event.len()).sum()
        };
        while self.kept.len() > KEPT || size(&self.kept) > KEPT_BYTES {
            self.kept.pop_front();
        }
    }

    fn after(&self, id: u64) -> Next {
        if id == self.id && self.told.is_some() {
            return Next::Nothing;
        }
        let next = self.kept.iter().find(|(kept, _)| *kept == id + 1);
        next.map_or(Next::Lost, |(id, event)| Next::Frame(*id, event.clone()))
    }
}

impl Feed {
    /// Makes the feed of a run, whose streams end with `stop`.
    pub fn new(master: Shared, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            master,
            frames: Mutex::new(Frames::new(Instant::now())),
            newest: watch::Sender::new(0),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            stop,
        })
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        // frames are replaced whole, so a panic leaves none that is half made
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of viewers who are connected.
    pub fn viewers(&self) -> usize {
        MAX_VIEWERS - self.viewers.available_permits()
    }

    /// Makes a frame each second while anybody watches; never returns.
    pub async fn run(&self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            if let Some(id) = self.advance(Instant::now()) {
                self.newest.send_replace(id);
            }
        }
    }

    /// Makes the next frame, if anybody watches, and returns its number.
    fn advance(&self, now: Instant) -> Option<u64> {
        let mut frames = self.frames();
        if self.viewers() > 0 {
            frames.watched = now;
        }
        if now.saturating_duration_since(frames.watched) > IDLE {
            frames.sleep();
        }
        if frames.is_over {
            return None;
        }
        let mut told = frames.told.take()?;
        // a frame is what was not told before, so numbers and frames are under one lock
        let id = frames.id + 1;
        let frame = self
            .master
            .with(|coordinator| view::frame(&coordinator.present(now), id, &mut told));
        frames.told = Some(told);
        frames.is_over = frame.verdict.r#final;
        let json = serde_json::to_string(&frame).expect("a frame is names, numbers and words");
        frames.keep(id, Bytes::from(format!("id: {id}\ndata: {json}\n\n")));
        Some(id)
    }

    /// Builds the whole state for a viewer, which the frames after it continue.
    pub fn state(&self, viewer: Viewer) -> State {
        let now = Instant::now();
        let mut frames = self.frames();
        self.master.with(|coordinator| {
            let present = coordinator.present(now);
            frames.wake(now, || Told::all(&present));
            view::state(&present, frames.id, viewer)
        })
    }

    /// Streams the frames after the one numbered `after` as server-sent events; `None` while there
    /// are too many viewers. A viewer who has missed frames is told to fetch the state.
    pub fn stream(
        self: Arc<Self>,
        after: u64,
    ) -> Option<impl Stream<Item = Result<Bytes, std::convert::Infallible>>> {
        let place = self.viewers.clone().try_acquire_owned().ok()?;
        let watching = Watching {
            newest: self.newest.subscribe(),
            feed: self,
            after,
            step: Step::Begin,
            _place: place,
        };
        Some(futures::stream::unfold(
            watching,
            async |mut watching: Watching| {
                let event = watching.next().await?;
                Some((Ok(event), watching))
            },
        ))
    }
}

/// A viewer's connection.
struct Watching {
    feed: Arc<Feed>,
    newest: watch::Receiver<u64>,
    /// Number of the last frame that was sent.
    after: u64,
    step: Step,
    _place: OwnedSemaphorePermit,
}

/// Progress of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Frames,
    End,
}

impl Watching {
    /// Waits for the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        match self.step {
            Step::Begin => {
                self.step = Step::Frames;
                return Some(Bytes::from_static(RETRY.as_bytes()));
            }
            Step::End => return None,
            Step::Frames => {}
        }
        loop {
            self.newest.borrow_and_update();
            let next = self.feed.frames().after(self.after);
            match next {
                Next::Frame(id, event) => {
                    self.after = id;
                    return Some(event);
                }
                Next::Lost => {
                    self.step = Step::End;
                    return Some(Bytes::from_static(b"event: reset\ndata: {}\n\n"));
                }
                Next::Nothing => {}
            }
            let stop = self.feed.stop.clone();
            tokio::select! {
                // the sender is the feed's, which this holds
                _ = self.newest.changed() => {}
                () = tokio::time::sleep(SILENCE) => return Some(Bytes::from_static(b": still here\n\n")),
                () = stop.cancelled() => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64) -> Bytes {
        Bytes::from(format!("{id}"))
    }

    fn awake() -> Frames {
        let mut frames = Frames::new(Instant::now());
        frames.wake(Instant::now(), Told::default);
        frames
    }

    #[test]
    fn a_viewer_who_comes_back_gets_every_frame_since() {
        let mut frames = awake();
        let begin = frames.id;
        for id in begin + 1..=begin + 3 {
            frames.keep(id, event(id));
        }
        let mut after = begin;
        while let Next::Frame(id, found) = frames.after(after) {
            assert_eq!((id, found), (after + 1, event(after + 1)));
            after = id;
        }
        assert_eq!(after, begin + 3);
        assert_eq!(frames.after(after), Next::Nothing);
    }

    #[test]
    fn a_viewer_who_was_away_for_too_long_begins_again() {
        let mut frames = awake();
        let begin = frames.id;
        for id in begin + 1..=begin + 1 + KEPT as u64 {
            frames.keep(id, event(id));
        }
        assert_eq!(frames.after(begin), Next::Lost);
        assert_eq!(frames.kept.len(), KEPT);
        // of another master, which ended before this one began
        assert_eq!(frames.after(17), Next::Lost);
        assert_eq!(frames.after(u64::MAX - 1), Next::Lost);
    }

    #[test]
    fn what_nobody_watched_is_missed_by_a_viewer_who_slept() {
        let mut frames = awake();
        let slept = frames.id;
        frames.sleep();
        assert_eq!(frames.after(slept), Next::Lost);
        frames.wake(Instant::now(), Told::default);
        let id = frames.id + 1;
        frames.keep(id, event(id));
        assert_eq!(frames.after(slept), Next::Lost);
        assert_eq!(frames.after(id - 1), Next::Frame(id, event(id)));
    }

    #[test]
    fn few_large_frames_are_kept() {
        let mut frames = awake();
        for _ in 0..10 {
            let id = frames.id + 1;
            frames.keep(id, Bytes::from(vec![0; KEPT_BYTES / 4]));
        }
        assert_eq!(frames.kept.len(), 4);
    }
}
