//! Bearer token that is fetched before the load and renewed by a background task before it expires,
//! so that no request waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use crate::engine::auth::fetch::{Fetched, Fetcher};
use crate::engine::record::redactor::Redactor;

/// Longest time before its expiry that a token is renewed; a short-lived one is renewed after four
/// fifths of its lifetime.
const MOST_AHEAD: Duration = Duration::from_secs(300);
/// Lifetime assumed for a token whose answer does not say when it expires.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// Pause after the first failed renewal; each further failure doubles it up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two tries to renew a token.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bearer token that is kept fresh for all requests of the process.
pub(crate) struct Token {
    fetcher: Fetcher,
    /// Number of changes to `state` so far.
    version: AtomicU64,
    state: Mutex<State>,
    /// Redactor that learns every token, so that none is shown.
    redactor: OnceLock<Arc<Redactor>>,
}

struct State {
    /// Value of the `Authorization` header, or the reason why there is none.
    header: Result<Arc<str>, String>,
    /// Number of failed renewals that have not been reported yet, and the reason of the last one.
    failed: Option<(u64, String)>,
}

/// Task that renews a token until this handle is dropped.
pub(crate) struct Renewal(AbortHandle);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Token {
    /// Creates a token that has not been fetched yet.
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

    /// Returns why the token's endpoint may not be reached; `None` if it may, or its name does not
    /// resolve.
    pub(crate) async fn refusal(&self) -> Option<String> {
        self.fetcher.refusal().await
    }

    /// Fetches the first token and starts the task that renews it. `redactor` learns every token.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        redactor: Arc<Redactor>,
    ) -> Result<Renewal, String> {
        self.redactor.get_or_init(|| redactor);
        let first = self.fetcher.fetch().await?;
        let validity = self.take(first);
        Ok(Renewal(
            tokio::spawn(self.clone().renew(validity)).abort_handle(),
        ))
    }

    /// Returns how often the token or its error has changed; requests built for another version are
    /// stale.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the header's value, `Bearer` and the token, or the reason why there is none.
    pub(crate) fn header(&self) -> Result<Arc<str>, String> {
        self.state().header.clone()
    }

    /// Returns the number of renewals that failed since the last call and the reason of the last
    /// one.
    pub(crate) fn take_failures(&self) -> Option<(u64, String)> {
        self.state().failed.take()
    }

    /// Publishes a fetched token and returns when to renew it and when it ends.
    fn take(
        &self,
        Fetched {
            token,
            lifetime,
            asked,
        }: Fetched,
    ) -> Validity {
        if let Some(redactor) = self.redactor.get() {
            redactor.learn_token(token.as_bytes());
        }
        self.set(Ok(format!("Bearer {token}").into()));
        let whole = lifetime.unwrap_or(DEFAULT_LIFETIME);
        let ahead = (whole / 5).min(MOST_AHEAD);
        Validity {
            renew: asked + (whole - ahead),
            end: lifetime.map(|lifetime| asked + lifetime),
        }
    }

    async fn renew(self: Arc<Self>, mut validity: Validity) {
        loop {
            sleep_until(validity.renew.into()).await;
            let mut pause = FIRST_PAUSE;
            validity = loop {
                match self.fetch_until(validity.end).await {
                    Ok(fetched) => break self.take(fetched),
                    Err(why) => self.failed(&why, validity.end),
                }
                let tick = validity.end.map_or(pause, |end| {
                    pause.min(end.saturating_duration_since(Instant::now()))
                });
                // one that has ended is asked for at the usual pace
                let next = Instant::now() + if tick.is_zero() { pause } else { tick };
                sleep_until(next.into()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            };
        }
    }

    /// Fetches a new token; if the old one ends meanwhile, `header` is an error until the answer
    /// comes.
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

struct Validity {
    renew: Instant,
    /// Time when the token expires; `None` if it is not known.
    end: Option<Instant>,
}
