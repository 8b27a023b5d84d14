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

/// Size in bytes of the buffer for all reads of a thread, so that waiting connections need none.
const READ_BUFFER: usize = 64 * 1024;

/// Most connections, one after another, that may have ended before a request could be sent.
const MOST_GONE: u32 = 3;

/// Targets of a test, prepared before load and shared by all threads.
#[derive(Default)]
pub(crate) struct Targets {
    /// Routes of the targets, the test's own first and then those for calls over gRPC.
    pub(crate) routes: Vec<Route>,
    /// Credentials of each target. Calls over gRPC have their own.
    pub(crate) credentials: Vec<Option<Credentials>>,
    /// Headers of each target.
    pub(crate) headers: Vec<TargetHeaders>,
}

/// Headers of a target for a request that was built for another: one that a redirect leads to it.
#[derive(Default)]
pub(crate) struct TargetHeaders {
    /// Names and values of the headers.
    pub(crate) headers: Vec<(String, Compiled)>,
}

/// Connections and buffers of one thread.
pub(crate) struct Transport {
    /// Targets of the test.
    pub(crate) targets: Arc<Targets>,
    /// Connections to each target, by place among [`Targets::routes`].
    pub(crate) pools: Vec<Pool>,
    /// Scratch space for reads, without meaning between two of them.
    pub(crate) buffer: RefCell<Box<[u8]>>,
    /// Requests that differ only by refreshed credentials.
    pub(crate) authorized: AuthorizedRequests,
}

impl Targets {
    /// Returns the credentials of a target if they are refreshed during the load.
    pub(crate) fn refreshed(&self, route: usize) -> Option<&RefreshedCredentials> {
        self.credentials.get(route)?.as_ref()?.refreshed()
    }

    /// Returns the failures to renew tokens since the last call: position of the target, their
    /// number, and the reason of the last one.
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

    /// Returns the failed look-ups of targets that no request waited for since the last call:
    /// position of the route, their number, and the reason of the last one.
    pub(crate) fn take_lookup_failures(&self) -> impl Iterator<Item = (usize, u64, String)> {
        self.routes.iter().enumerate().filter_map(|(place, route)| {
            let (count, why) = route.take_failures()?;
            Some((place, count, why))
        })
    }
}

impl Transport {
    /// Creates the pools of the thread that carries out `slice`, with no connection in them.
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

/// Counter of the attempts to send a message.
#[derive(Default)]
pub(crate) struct Tries {
    refused: bool,
    gone: u32,
    met_end: bool,
}

impl Tries {
    /// Returns whether to try once more: after a refused stream, which is counted and which the
    /// target did not process, or after a connection on which nothing was sent.
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

    /// Returns whether to try once more after a kept-alive connection ended under a request, which
    /// is counted. Only for a request that may be done twice.
    pub(crate) fn after_end(
        &mut self,
        outcome: &Result<(), Failure>,
        attempt: &Attempt<'_>,
    ) -> bool {
        let again = !self.met_end && matches!(outcome, Err(Failure::Stale));
        if again {
            self.met_end = true;
            attempt.retry(0);
        }
        again
    }

    /// Returns whether a kept-alive connection ended under the request.
    pub(crate) fn has_met_end(&self) -> bool {
        self.met_end
    }
}

/// Returns the pause before a request is sent again after `tries` retries: `first`, doubled with
/// each.
pub(crate) fn backoff(first: Duration, tries: u32) -> Duration {
    first.saturating_mul(1 << tries.min(16))
}
