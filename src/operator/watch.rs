//! One watch of one resource, kept up by itself: no other watch waits for its retries, each retry
//! begins on a fresh connection with a new list, and a silent one is given up.
//!
//! The watcher of kube is not used: it hides bookmarks, which are the sign of life of an idle
//! watch, and a Controller of kube pauses all of its watches for the error of one.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::{Api, ListParams, WatchParams};
use kube::core::WatchEvent;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::api::{ApiError, kube_call};
use super::connection::Connection;
use super::metrics::Metrics;
#[cfg(doc)]
use super::sight::SILENCE;
use super::sight::{Sight, WINDOW};
use crate::runtime::backoff::Backoff;

/// Delays after failures of a watch: an API server that is back is seen within seconds.
const FAILED: Backoff = Backoff {
    first: Duration::from_millis(500),
    most: Duration::from_secs(3),
};
/// Delays after refusals, which only somebody's change mends.
const REFUSED: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(15),
};
/// Shortest time between the begins of two calls of one watch, should they end at once.
const APART: Duration = Duration::from_secs(1);
/// Time after which a watch begins anew with a list, whatever it has seen: a change that never
/// arrived is made up for then.
const RESYNC: Duration = Duration::from_secs(600);
/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Receiver of what a watch shows: first a whole list, then each change, again and again.
pub trait Sink<K>: Send {
    /// Takes one event. Waits while there is no room for it.
    fn take(&mut self, event: Event<K>) -> impl Future<Output = ()> + Send;
}

/// Watch of one resource.
pub struct Watch<K> {
    /// API of the resource, in a namespace or in all.
    pub api: Api<K>,
    /// Label selector; empty for all objects.
    pub selector: String,
    /// Record of whether the watch works.
    pub sight: Arc<Sight>,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// Connection to begin anew with; none in tests that have none.
    pub connection: Option<Arc<Connection>>,
    /// Time without anything shown after which the watch is given up: [`SILENCE`] outside tests.
    pub silence: Duration,
}

/// End of one life of a watch, which began with a list.
enum End {
    /// The time for another list has come.
    Resync,
    /// The API server no longer has the changes since the list.
    Expired,
}

/// Error that ends one life of a watch.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The stream broke, or holds what cannot be read.
    #[error("the stream of changes failed: {0}")]
    Stream(#[source] Box<kube::Error>),
    /// The API server ended the stream with an error.
    #[error("the API server ended the stream of changes: {0}")]
    Ended(Box<kube::core::Status>),
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the API server named no resourceVersion")]
    NoVersion,
}

impl WatchError {
    /// Returns the time that the API server asks to be left alone for, as far as it is followed.
    fn asked(&self) -> Duration {
        match self {
            WatchError::Api(error) => error.retry_after().min(REFUSED.most),
            _ => Duration::ZERO,
        }
    }

    /// Returns whether the API server refuses the watch, as opposed to being in trouble.
    fn is_refusal(&self) -> bool {
        match self {
            WatchError::Api(ApiError::Kube { source, .. }) => {
                matches!(&**source, kube::Error::Api(status) if is_refusal(status))
            }
            WatchError::Ended(status) => is_refusal(status),
            _ => false,
        }
    }
}

fn is_refusal(status: &kube::core::Status) -> bool {
    matches!(status.code, 401 | 403 | 404 | 405)
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Watches until `stop`.
    pub async fn run(self, mut sink: impl Sink<K>, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let mut listed = false;
            let end = tokio::select! {
                end = self.live(&mut sink, &mut listed) => end,
                () = stop.cancelled() => return,
            };
            // a list that came shows that the trouble before it is over
            failures = if listed { 0 } else { failures };
            let delay = match end {
                Ok(End::Resync | End::Expired) => APART,
                Err(error) => {
                    failures += 1;
                    self.note(&error, began);
                    match error.is_refusal() {
                        true => REFUSED.jittered(failures),
                        false => FAILED.jittered(failures).max(error.asked()),
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Notes why the watch failed, and has the next attempt made on a fresh connection.
    fn note(&self, error: &WatchError, began: Instant) {
        self.metrics.watch_failed(self.sight.kind);
        tracing::warn!(
            resource = self.sight.kind,
            namespace = self.sight.place,
            %error,
            "a watch failed and is begun anew"
        );
        if error.is_refusal() {
            self.sight.refuse(error.to_string());
            return;
        }
        self.sight.fail(error.to_string());
        if let Some(connection) = &self.connection {
            connection.renew(began);
        }
    }

    /// Lists all objects, then shows what changes. `listed` becomes true once the list is whole.
    async fn live(&self, sink: &mut impl Sink<K>, listed: &mut bool) -> Result<End, WatchError> {
        let began = Instant::now();
        let mut version = self.list(sink).await?;
        *listed = true;
        // spread, so that not all watches list at once
        let resync = RESYNC.mul_f64(0.8 + 0.4 * rand::random::<f64>());
        while began.elapsed() < resync {
            let opened = Instant::now();
            let params = WatchParams::default().timeout(WINDOW);
            let params = match self.selector.as_str() {
                "" => params,
                selector => params.labels(selector),
            };
            let watching = self.api.watch(&params, &version);
            let stream = match kube_call("watch", self.sight.kind, watching).await {
                Err(ApiError::Kube { source, .. }) if is_expired(&source) => {
                    return Ok(End::Expired);
                }
                other => other?,
            };
            self.sight.prove(Instant::now());
            let stream = std::pin::pin!(stream.into_stream());
            if !self.follow(stream, &mut version, sink).await? {
                return Ok(End::Expired);
            }
            tokio::time::sleep(APART.saturating_sub(opened.elapsed())).await;
        }
        Ok(End::Resync)
    }

    /// Shows all objects, page by page, and returns the version that the list is of.
    async fn list(&self, sink: &mut impl Sink<K>) -> Result<String, WatchError> {
        let mut params = ListParams::default().limit(PAGE);
        if !self.selector.is_empty() {
            params = params.labels(&self.selector);
        }
        sink.take(Event::Init).await;
        loop {
            let page = kube_call("list", self.sight.kind, self.api.list(&params)).await?;
            self.sight.prove(Instant::now());
            for object in page.items {
                sink.take(Event::InitApply(object)).await;
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                sink.take(Event::InitDone).await;
                let version = page.metadata.resource_version;
                return version
                    .filter(|version| !version.is_empty())
                    .ok_or(WatchError::NoVersion);
            }
        }
    }

    /// Shows the changes of one call, and keeps `version` at the last one. False when the API
    /// server no longer has those that follow.
    async fn follow(
        &self,
        mut stream: impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
        version: &mut String,
        sink: &mut impl Sink<K>,
    ) -> Result<bool, WatchError> {
        loop {
            let event = match tokio::time::timeout(self.silence, stream.next()).await {
                Err(_) => return Err(WatchError::Silent(self.silence)),
                Ok(None) => return Ok(true),
                Ok(Some(Err(error))) if is_expired(&error) => return Ok(false),
                Ok(Some(Err(error))) => return Err(WatchError::Stream(Box::new(error))),
                Ok(Some(Ok(event))) => event,
            };
            let event = match event {
                WatchEvent::Error(status) if status.code == 410 => return Ok(false),
                WatchEvent::Error(status) => return Err(WatchError::Ended(status)),
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    None
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    *version = object.resource_version().ok_or(WatchError::NoVersion)?;
                    Some(Event::Apply(object))
                }
                WatchEvent::Deleted(object) => {
                    *version = object.resource_version().ok_or(WatchError::NoVersion)?;
                    Some(Event::Delete(object))
                }
            };
            self.sight.prove(Instant::now());
            if let Some(event) = event {
                sink.take(event).await;
            }
        }
    }
}

/// Returns whether the version to go on from is too old, so that only a new list helps.
fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

#[cfg(test)]
mod tests;
