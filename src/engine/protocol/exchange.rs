//! Interface of a protocol to the executor in [`user`](crate::engine::user).
//!
//! A step's call ([`Protocol`]) begins an exchange. The executor sends it within the step's time,
//! concludes it, and judges and records the result. No protocol records a sample.

use std::borrow::Cow;
use std::time::Instant;

use crate::engine::answer::capture::Wanted;
use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{Part, StreamSample};
use crate::engine::auth::NoCredentials;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::http::cookies::Jar;
use crate::engine::protocol::http::request;
use crate::engine::protocol::transport::Transport;
use crate::plan::template::{RenderError, Scope};
use crate::stats::ErrorClass;

/// Call of a step, compiled before load, that makes requests.
pub(crate) trait Protocol {
    /// Type of one request.
    type Exchange<'a>: Exchange
    where
        Self: 'a;

    /// Builds a request with the user's variables and the target's credentials. Nothing is sent
    /// yet. Fails if a template fails or there are no credentials.
    fn begin<'a>(
        &'a self,
        place: Place,
        transport: &Transport,
        scope: &mut impl Scope,
        scratch: &'a mut Scratch,
    ) -> Result<Self::Exchange<'a>, Unsent>;
}

/// One request of a step, from sending it to the end of its answer.
pub(crate) trait Exchange {
    /// Sends the request and reads its answer, with the retries and redirects of the step. The
    /// executor drops the future when the step's time is over.
    async fn send<S: Scope>(
        &mut self,
        context: &mut SendContext<'_, S>,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure>;

    /// Returns the result of the request, given that of sending it, and prepares the answer in
    /// `channel` for rules to read.
    fn conclude(
        &mut self,
        outcome: Result<(), Failure>,
        channel: &mut Channel,
        attempt: &Attempt<'_>,
        due: Due,
    ) -> Result<(), Failure>;

    /// Returns the time when the request ended; `now` is when sending returned.
    fn ended(&self, now: Instant) -> Instant {
        now
    }

    /// Returns the position of the route that the latest message took.
    fn route(&self) -> usize;

    /// Returns the part of the run to which a request made in `part` belongs.
    fn part(&self, part: Part, _failed: bool) -> Part {
        part
    }

    /// Returns the measurements of a stream that came to its end; `intended` is its intended start.
    fn stream(&self, intended: Instant) -> Option<StreamSample>;

    /// Returns whether the end of the load cut the request before all was sent, so that checks do
    /// not apply.
    fn is_cut_short(&self) -> bool {
        false
    }

    /// Keeps about `most` bytes of what is sent, for [`logged`](Self::logged).
    fn keep_sent(&mut self, most: usize);

    /// Returns the request as failures quote it.
    fn message(&self) -> &[u8];

    /// Returns the request as an HTTP message for the request log, and the size of its body if that
    /// is not the body shown.
    fn logged(&self) -> (Cow<'_, [u8]>, Option<u64>) {
        (Cow::Borrowed(self.message()), None)
    }

    /// Returns the statuses of a whole answer.
    fn statuses(channel: &Channel) -> Statuses;

    /// Returns the class of failure of a whole answer by its status, unless the step has another
    /// rule; `None` for success.
    fn refusal(channel: &Channel) -> Option<ErrorClass>;

    /// Returns the status of a whole answer in words.
    fn status_line(channel: &Channel) -> String;

    /// Returns the target's own words about a failure. `redact` removes secrets from them.
    fn reason(channel: &Channel, redact: impl Fn(&[u8]) -> String) -> Option<String>;
}

/// Time limit of a request, seen from when sending it returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// Time by which the answer must have come.
    pub(crate) until: Instant,
    /// True if that time was over, or as good as over.
    pub(crate) is_over: bool,
}

/// Position of a request in the plan and the run.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Number of the step.
    pub(crate) step: u16,
    /// Part of the run.
    pub(crate) part: Part,
    /// Position of the step's route.
    pub(crate) route: usize,
}

/// Context in which a request is sent: the thread's connections and the user's state.
pub(crate) struct SendContext<'a, S> {
    /// Connections of the thread.
    pub(crate) transport: &'a Transport,
    /// Channels of the user, by route.
    pub(crate) channels: &'a mut [Channel],
    /// Variables of the user.
    pub(crate) scope: &'a mut S,
    /// Cookies of the user.
    pub(crate) jar: &'a mut Jar,
    /// Parts of the answer to keep.
    pub(crate) wanted: Wanted,
    /// End of the load, which ends streams; `None` if it does not.
    pub(crate) closing: Option<&'a Closing>,
}

/// Buffers of one user; empty if its requests never differ.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Buffers for an HTTP request.
    pub(crate) request: request::Scratch,
    /// Buffer for an HTTP request with credentials, if both the request and the credentials differ
    /// each time.
    pub(crate) authorized: Vec<u8>,
    /// Buffer for an HTTP message with cookies.
    pub(crate) changed: Vec<u8>,
    /// Buffer for a message of any other protocol.
    pub(crate) message: Vec<u8>,
}

/// Statuses of an answer, by protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    /// HTTP status; 0 if it does not decide, as for gRPC.
    pub(crate) http: u16,
    /// gRPC status.
    pub(crate) grpc: Option<u8>,
}

/// Reason why a request could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// Template that has no value.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// Missing credentials.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
}

impl Unsent {
    /// Returns the class under which the failure is counted.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Template(_) => ErrorClass::Template,
            Self::Credentials(_) => ErrorClass::Auth,
        }
    }
}
