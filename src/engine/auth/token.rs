//! A bearer token: got before the load, renewed before it expires by one task of the process, never
//! while a request waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use crate::engine::auth::fetch::{Fetched, Fetcher};
use crate::engine::record::redactor::Redactor;

/// A token is renewed so long before its end at most.
const MOST_AHEAD: Duration = Duration::from_secs(300);
/// A token whose end nobody told is renewed after this.
const UNTOLD: Duration = Duration::from_secs(600);
/// Between a failed renewal and the next try at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(crate) struct Token {
    fetcher: Fetcher,
    /// Counts the changes of `state`.
    version: AtomicU64,
    state: Mutex<State>,
    /// Knows each token.
    redactor: OnceLock<Arc<Redactor>>,
}

struct State {
    /// The header's value, or why there is none.
    header: Result<Arc<str>, String>,
    /// Renewals that failed and nobody has told of yet, and why the last one did.
    failed: Option<(u64, String)>,
}

/// Renews a token for as long as it lives.
pub(crate) struct Renewal(AbortHandle);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Token {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        let state = State {
            header: Err("there is no token yet".into()),
            failed: None,
        };
        Self {
            fetcher,
            version: AtomicU64::new(0),
            state: Mutex::new(state),
            redactor: OnceLock::new(),
        }
    }

    /// Gets the first token; what comes after it is the renewal's.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        redactor: Arc<Redactor>,
    ) -> Result<Renewal, String> {
        self.redactor.get_or_init(|| redactor);
        let first = self.fetcher.fetch().await?;
        let life = self.take(first);
        Ok(Renewal(
            tokio::spawn(self.clone().renew(life)).abort_handle(),
        ))
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// `Bearer` and the token.
    pub(crate) fn header(&self) -> Result<Arc<str>, String> {
        self.state().header.clone()
    }

    /// Renewals that failed since this was last asked, and why the last one did.
    pub(crate) fn take_failures(&self) -> Option<(u64, String)> {
        self.state().failed.take()
    }

    /// When to renew it, and when it ends.
    fn take(&self, Fetched { token, life, asked }: Fetched) -> Life {
        if let Some(redactor) = self.redactor.get() {
            redactor.learn(token.as_bytes());
        }
        self.set(Ok(format!("Bearer {token}").into()));
        let whole = life.unwrap_or(UNTOLD);
        let ahead = (whole / 5).min(MOST_AHEAD);
        Life {
            renew: asked + (whole - ahead),
            end: life.map(|life| asked + life),
        }
    }

    async fn renew(self: Arc<Self>, mut life: Life) {
        loop {
            sleep_until(life.renew.into()).await;
            let mut pause = FIRST_PAUSE;
            life = loop {
                match self.fetch_until(life.end).await {
                    Ok(fetched) => break self.take(fetched),
                    Err(why) => self.failed(&why, life.end),
                }
                let tick = life.end.map_or(pause, |end| {
                    pause.min(end.saturating_duration_since(Instant::now()))
                });
                // one that has ended is asked for at the usual pace
                let next = Instant::now() + if tick.is_zero() { pause } else { tick };
                sleep_until(next.into()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            };
        }
    }

    /// The old one may end while the answer is waited for.
    async fn fetch_until(&self, end: Option<Instant>) -> Result<Fetched, String> {
        let fetch = self.fetcher.fetch();
        let mut fetch = std::pin::pin!(fetch);
        let Some(end) = end.filter(|end| *end > Instant::now()) else {
            return fetch.await;
        };
        tokio::select! {
            fetched = &mut fetch => return fetched,
            () = sleep_until(end.into()) => self.set(Err("the token has expired, and a new one has not come yet".into())),
        }
        fetch.await
    }

    fn failed(&self, why: &str, end: Option<Instant>) {
        tracing::warn!("a token could not be renewed: {why}");
        if end.is_some_and(|end| end <= Instant::now()) {
            self.set(Err(format!(
                "the token has expired and could not be renewed: {why}"
            )));
        }
        let mut state = self.state();
        let before = state.failed.take().map_or(0, |(count, _)| count);
        state.failed = Some((before + 1, format!("the token could not be renewed: {why}")));
    }

    fn set(&self, header: Result<Arc<str>, String>) {
        self.state().header = header;
        self.version.fetch_add(1, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

struct Life {
    renew: Instant,
    /// `None`: nobody said.
    end: Option<Instant>,
}
