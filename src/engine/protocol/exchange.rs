//! The seam: what each protocol does for the one executor, [`user::executor`](crate::engine::user).
//!
//! A step's call ([`Protocol`]) begins an exchange, the executor sends it within the step's time,
//! lets it conclude, and judges and records what it came to. No protocol records a sample.

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

/// Call of a step, compiled before load: how requests of it are made.
pub(crate) trait Protocol {
    /// One request of it.
    type Exchange<'a>: Exchange
    where
        Self: 'a;

    /// Puts a request together, with the user's variables and the target's credentials. Nothing is
    /// sent yet.
    fn begin<'a>(
        &'a self,
        place: Place,
        transport: &Transport,
        scope: &mut impl Scope,
        scratch: &'a mut Scratch,
    ) -> Result<Self::Exchange<'a>, Unsent>;
}

/// One request of a step: sent, and answered to its end.
pub(crate) trait Exchange {
    /// Sends the request and reads its answer, with the retries and redirects that the step asks
    /// for. Dropped where the step's time is over.
    async fn send<S: Scope>(
        &mut self,
        context: &mut SendContext<'_, S>,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure>;

    /// Says what the request came to, given what sending it came to, and makes the answer in
    /// `channel` one that rules can read.
    fn conclude(
        &mut self,
        outcome: Result<(), Failure>,
        channel: &mut Channel,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure>;

    /// Time of its end, where sending returned at `now`.
    fn ended(&self, now: Instant) -> Instant {
        now
    }

    /// Place of the route that the latest message took.
    fn route(&self) -> usize;

    /// The part of the run to which a request belongs that was made in `part`.
    fn part(&self, part: Part, _failed: bool) -> Part {
        part
    }

    /// Measurements of a stream that came to its end and was meant to begin at `intended`.
    fn stream(&self, intended: Instant) -> Option<StreamSample>;

    /// Says whether it was ended with the load before all was sent, so that no check holds.
    fn is_cut_short(&self) -> bool {
        false
    }

    /// Keeps about `most` bytes of what is sent, for [`logged`](Self::logged).
    fn keep_sent(&mut self, most: usize);

    /// The request as its failures quote it.
    fn message(&self) -> &[u8];

    /// The request as the log of requests shows it, in the form of a message of HTTP; and the bytes
    /// of its body, where these are not the ones shown.
    fn logged(&self) -> (Cow<'_, [u8]>, Option<u64>) {
        (Cow::Borrowed(self.message()), None)
    }

    /// Statuses of a whole answer.
    fn statuses(channel: &Channel) -> Statuses;

    /// Class of a whole answer that is a failure by its status, unless the step says otherwise.
    fn refusal(channel: &Channel) -> Option<ErrorClass>;

    /// Status of a whole answer in words.
    fn status_line(channel: &Channel) -> String;

    /// The target's own words about its refusal; `redact` takes the secrets out of them.
    fn reason(channel: &Channel, redact: impl Fn(&[u8]) -> String) -> Option<String>;
}

/// Place of a request in the plan and the run.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Number of the step.
    pub(crate) step: u16,
    /// Part of the run.
    pub(crate) part: Part,
    /// Place of the step's route.
    pub(crate) route: usize,
}

/// Surroundings in which a request is sent: its thread's transport, and its user.
pub(crate) struct SendContext<'a, S> {
    /// Connections of the thread.
    pub(crate) transport: &'a Transport,
    /// The user's side of each target, by route.
    pub(crate) channels: &'a mut [Channel],
    /// The user's variables.
    pub(crate) scope: &'a mut S,
    /// The user's cookies.
    pub(crate) jar: &'a mut Jar,
    /// Parts of the answer that are to be kept.
    pub(crate) wanted: Wanted,
    /// End of the load, which ends streams; `None` where it does not.
    pub(crate) closing: Option<&'a Closing>,
}

/// Buffers of one user; empty for one whose requests never differ.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Buffers for a request of HTTP.
    pub(crate) request: request::Scratch,
    /// Buffer for the same with credentials, where both differ.
    pub(crate) authorized: Vec<u8>,
    /// Buffer for a message of HTTP with cookies.
    pub(crate) changed: Vec<u8>,
    /// Buffer for a message of gRPC.
    pub(crate) message: Vec<u8>,
}

/// Statuses of an answer, by protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    /// Status of HTTP; 0 where it is not what counts.
    pub(crate) http: u16,
    /// Status of gRPC.
    pub(crate) grpc: Option<u8>,
}

/// Reason why a request could not be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// A template of it has no value.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// No credentials are there for it.
    #[error(transparent)]
    Credentials(#[from] NoCredentials),
}

impl Unsent {
    /// Class under which it is counted.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Template(_) => ErrorClass::Template,
            Self::Credentials(_) => ErrorClass::Auth,
        }
    }
}
