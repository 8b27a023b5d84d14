//! Ways of requests, whatever their protocol: the targets of a test, and a thread's connections to
//! them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::auth::{Credentials, RefreshedCredentials};
use crate::engine::net::pool::Pool;
use crate::engine::net::route::Route;
use crate::engine::protocol::http::authorized::AuthorizedRequests;
use crate::plan::share::Slice;
use crate::plan::template::Compiled;

/// Bytes of the buffer for all reads of a thread: connections that wait need none.
const READ_BUFFER: usize = 64 * 1024;

/// Connections that may turn out to have ended, one after the other, before a request can be sent
/// at all.
const MOST_GONE: u32 = 3;

/// Targets of a test, made ready before load and shared by all threads.
#[derive(Default)]
pub(crate) struct Targets {
    /// Way to each target, the test's own first, and behind them those of calls over gRPC.
    pub(crate) routes: Vec<Route>,
    /// Credentials of each target; a call over gRPC has its own.
    pub(crate) credentials: Vec<Option<Credentials>>,
    /// Headers of each target.
    pub(crate) headers: Vec<TargetHeaders>,
}

/// Headers of a target, for a request that was not made for it: a redirect that comes from
/// elsewhere.
#[derive(Default)]
pub(crate) struct TargetHeaders {
    /// Names and values.
    pub(crate) headers: Vec<(String, Compiled)>,
}

/// Connections and buffers of one thread.
pub(crate) struct Transport {
    /// Targets of the test.
    pub(crate) targets: Arc<Targets>,
    /// Connections to each target, by place among [`Targets::routes`].
    pub(crate) pools: Vec<Pool>,
    /// Scratch space of reads; its content has no meaning between two of them.
    pub(crate) buffer: RefCell<Box<[u8]>>,
    /// Requests that differ only by credentials which are refreshed.
    pub(crate) authorized: AuthorizedRequests,
}

impl Targets {
    /// Credentials of a target that are refreshed while the load goes on.
    pub(crate) fn refreshed(&self, route: usize) -> Option<&RefreshedCredentials> {
        self.credentials.get(route)?.as_ref()?.refreshed()
    }

    /// Takes the failures to renew tokens since the last call: place of the target, how many there
    /// were, and why the last one failed.
    pub(crate) fn take_renewal_failures(&self) -> impl Iterator<Item = (usize, u64, String)> {
        self.credentials
            .iter()
            .enumerate()
            .filter_map(|(place, credentials)| {
                let token = credentials.as_ref()?.refreshed()?.token()?;
                let (count, why) = token.take_failures()?;
                Some((place, count, why))
            })
    }
}

impl Transport {
    /// Makes the pools of the thread that carries out `slice`, with no connection in them.
    pub(crate) fn new(targets: Arc<Targets>, slice: Slice) -> Self {
        Self {
            pools: targets
                .routes
                .iter()
                .map(|route| Pool::new(slice, route))
                .collect(),
            targets,
            buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            authorized: AuthorizedRequests::default(),
        }
    }
}

/// Count of how often a message was tried.
#[derive(Default)]
pub(crate) struct Tries {
    refused: bool,
    gone: u32,
}

impl Tries {
    /// Decides whether to try once more: a stream that the target refused, which is counted and
    /// which it promises not to have looked at, or a connection on which nothing was sent.
    pub(crate) fn one_more(
        &mut self,
        outcome: &Result<(), Failure>,
        attempt: &Attempt<'_>,
    ) -> bool {
        match outcome {
            Err(Failure::Refused(_)) if !self.refused => {
                self.refused = true;
                // no answer came of it
                attempt.retry(0);
                true
            }
            Err(Failure::Gone) if self.gone < MOST_GONE => {
                self.gone += 1;
                true
            }
            _ => false,
        }
    }
}

/// Pause before a request is sent once more after `tries` retries: it doubles with each.
pub(crate) fn backoff(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.min(16))
}
