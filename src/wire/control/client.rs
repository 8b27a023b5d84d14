//! Client of a master, which trusts it as little as any stranger: every part of a call is bounded
//! in time and every answer in size, so that a master that lies, drips or says nothing costs its
//! caller no more than these bounds.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Method, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{
    ACKNOWLEDGE, Acknowledge, GRANT, Grant, PROGRESS, Progress, RESULT, SCALE, STOP, Scale, Stop,
};
use crate::wire::RunResult;
use crate::wire::bounds::{self, Bounds};
use crate::wire::layout::server_name;

/// Times of the parts of a call.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Longest time to connect, with TLS.
    connect: Duration,
    /// Longest time to send a request and receive the head of its answer, connecting included.
    head: Duration,
    /// Longest time between two pieces of a body.
    piece: Duration,
    /// Longest time of a whole call.
    whole: Duration,
    /// Longest time of a whole call for a result.
    result: Duration,
}

const TIMES: Times = Times {
    connect: Duration::from_secs(3),
    head: Duration::from_secs(8),
    piece: Duration::from_secs(5),
    whole: Duration::from_secs(10),
    result: Duration::from_secs(30),
};

/// Most bytes of a refusal's body that are read for its message.
const MAX_REFUSAL: usize = 1024;
/// Most characters of a refusal's message.
const MAX_MESSAGE: usize = 256;

/// Limits of the answer to one call.
struct Limits {
    /// Bytes from which on a body is large: only so many large ones are read at once as the client
    /// has room for.
    large: usize,
    /// Bounds of the body.
    json: Bounds,
}

/// Limits of [`Progress`], the answer to all calls but one.
const OF_PROGRESS: Limits = Limits {
    large: 64 * 1024,
    json: Bounds {
        bytes: 8 * 1024 * 1024,
        depth: 16,
        objects: 2_000,
        values: 20_000,
    },
};

/// Limits of a [`RunResult`].
const OF_RESULT: Limits = Limits {
    large: 1024 * 1024,
    json: Bounds {
        bytes: 64 * 1024 * 1024,
        ..bounds::RESULT
    },
};

/// Part of a call, which has a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Connection and TLS.
    Connect,
    /// Request and head of the answer.
    Head,
    /// Body of the answer.
    Body,
    /// The whole call.
    Whole,
}

impl Part {
    fn words(self) -> &'static str {
        match self {
            Part::Connect => "take a connection",
            Part::Head => "begin its answer",
            Part::Body => "go on with its answer",
            Part::Whole => "end its answer",
        }
    }
}

/// Failures of a call.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The client cannot be made.
    #[error("cannot make a client for the master of run {run}: {source}")]
    Client {
        /// Id of the run.
        run: String,
        /// Error of the client, such as a certificate that is none.
        source: reqwest::Error,
    },
    /// The master cannot be reached, or proved not to be the run's.
    #[error("cannot reach the master of run {run} at {address}: {why}")]
    Unreachable {
        /// Id of the run.
        run: String,
        /// Address that was called.
        address: SocketAddr,
        /// Cause, without the URL.
        why: String,
    },
    /// The master was silent, or too slow.
    #[error("the master of run {run} at {address} did not {} within {} s", part.words(), within.as_secs())]
    Late {
        /// Id of the run.
        run: String,
        /// Address that was called.
        address: SocketAddr,
        /// Part of the call that took too long.
        part: Part,
        /// Time that the part has.
        within: Duration,
    },
    /// The master answered with a status other than success.
    #[error("the master of run {run} refused {path} with {status}: {message}")]
    Refused {
        /// Id of the run.
        run: String,
        /// Path that was called.
        path: &'static str,
        /// Status of the answer.
        status: StatusCode,
        /// Body of the answer without control characters, at most 256 characters.
        message: String,
    },
    /// The answer is too large to be read.
    #[error("the answer of the master of run {run} to {path} has more than {bytes} bytes")]
    TooLarge {
        /// Id of the run.
        run: String,
        /// Path that was called.
        path: &'static str,
        /// Most bytes of such an answer.
        bytes: usize,
    },
    /// The answer is not of the form that was asked for.
    #[error("the answer of the master of run {run} to {path} cannot be read: {why}")]
    Malformed {
        /// Id of the run.
        run: String,
        /// Path that was called.
        path: &'static str,
        /// Fault of the answer, in at most 256 characters.
        why: String,
    },
}

impl ControlError {
    /// Returns the outcome of the call as one word, for a metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            ControlError::Client { .. } => "client",
            ControlError::Unreachable { .. } => "unreachable",
            ControlError::Late { .. } => "late",
            ControlError::Refused { .. } => "refused",
            ControlError::TooLarge { .. } => "too_large",
            ControlError::Malformed { .. } => "malformed",
        }
    }
}

/// Answer of a master that may be large.
#[derive(Debug)]
pub struct Large<T> {
    /// The answer.
    pub value: T,
    /// Room that a large answer takes up; whoever keeps the answer keeps this too.
    pub room: Option<OwnedSemaphorePermit>,
}

/// Calls to the master of one run. It speaks HTTPS with the run's own authority, follows no
/// redirect, and ignores proxies and certificates of its surroundings.
pub struct Client {
    run: String,
    address: SocketAddr,
    http: reqwest::Client,
    token: String,
    /// Room for large answers.
    room: Arc<Semaphore>,
    times: Times,
}

impl Client {
    /// Makes a client. `ca` is the run's authority (PEM); `address` the master Pod's, since a
    /// Service could lead to another master. Fails when `ca` is no certificate.
    pub fn new(
        run: &str,
        address: SocketAddr,
        ca: &str,
        token: &str,
    ) -> Result<Self, ControlError> {
        Self::with_room(run, address, ca, token, Arc::new(Semaphore::new(1)))
    }

    /// Makes a client as [`Client::new`] does, which shares with others the room for large answers:
    /// at most one answer beyond 64 KiB, or beyond 1 MiB for a result, a permit.
    pub fn with_room(
        run: &str,
        address: SocketAddr,
        ca: &str,
        token: &str,
        room: Arc<Semaphore>,
    ) -> Result<Self, ControlError> {
        Self::with_times(run, address, ca, token, room, TIMES)
    }

    /// Makes a client that gives its master a fiftieth of the time.
    #[cfg(test)]
    pub fn hasty(
        run: &str,
        address: SocketAddr,
        ca: &str,
        token: &str,
    ) -> Result<Self, ControlError> {
        let times = Times {
            connect: TIMES.connect / 50,
            head: TIMES.head / 50,
            piece: TIMES.piece / 50,
            whole: TIMES.whole / 50,
            result: TIMES.result / 50,
        };
        Self::with_times(run, address, ca, token, Arc::new(Semaphore::new(1)), times)
    }

    fn with_times(
        run: &str,
        address: SocketAddr,
        ca: &str,
        token: &str,
        room: Arc<Semaphore>,
        times: Times,
    ) -> Result<Self, ControlError> {
        let wrap = |source| ControlError::Client {
            run: run.to_owned(),
            source,
        };
        let ca = Certificate::from_pem(ca.as_bytes()).map_err(wrap)?;
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .resolve(&server_name(run), address)
            .connect_timeout(times.connect)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(wrap)?;
        Ok(Self {
            run: run.to_owned(),
            address,
            http,
            token: token.to_owned(),
            room,
            times,
        })
    }

    /// Asks how far the run is.
    pub async fn progress(&self) -> Result<Progress, ControlError> {
        self.about_progress(Method::GET, PROGRESS, None::<&()>)
            .await
    }

    /// Asks for the result; `None` while it is not final.
    pub async fn result(&self) -> Result<Option<RunResult>, ControlError> {
        Ok(self.large_result().await?.value)
    }

    /// Asks for the result as [`Client::result`] does, and hands over the room that it takes up.
    pub async fn large_result(&self) -> Result<Large<Option<RunResult>>, ControlError> {
        let whole = self.times.result;
        self.call(Method::GET, RESULT, None::<&()>, &OF_RESULT, whole)
            .await
    }

    /// Grants the run. Refused for another run or incarnation, or an old epoch.
    pub async fn grant(&self, grant: &Grant) -> Result<Progress, ControlError> {
        self.about_progress(Method::POST, GRANT, Some(grant)).await
    }

    /// Stops the run. Refused for another run.
    pub async fn stop(&self, stop: &Stop) -> Result<Progress, ControlError> {
        self.about_progress(Method::POST, STOP, Some(stop)).await
    }

    /// Changes the number of workers. Refused for another run, and for a number that no run has.
    pub async fn scale(&self, scale: &Scale) -> Result<Progress, ControlError> {
        self.about_progress(Method::POST, SCALE, Some(scale)).await
    }

    /// Says that the result is stored. Refused for another run.
    pub async fn acknowledge(&self) -> Result<Progress, ControlError> {
        let run = self.run.clone();
        self.about_progress(Method::POST, ACKNOWLEDGE, Some(&Acknowledge { run }))
            .await
    }

    async fn about_progress(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
    ) -> Result<Progress, ControlError> {
        let whole = self.times.whole;
        let answer: Large<Progress> = self.call(method, path, body, &OF_PROGRESS, whole).await?;
        let progress = answer.value.bounded();
        progress.map_err(|why| self.malformed(path, why.to_owned()))
    }

    /// Makes one call within its limits.
    async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
        limits: &'static Limits,
        whole: Duration,
    ) -> Result<Large<T>, ControlError> {
        match timeout(whole, self.unhurried(method, path, body, limits)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.late(Part::Whole, whole)),
        }
    }

    async fn unhurried<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
        limits: &'static Limits,
    ) -> Result<Large<T>, ControlError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let message = self.refusal(response).await;
            return Err(ControlError::Refused {
                run: self.run.clone(),
                path,
                status,
                message,
            });
        }
        let (bytes, room) = self.body(response, path, limits).await?;
        let value = if bytes.len() > limits.large {
            // long enough to keep other tasks of the thread waiting
            tokio::task::spawn_blocking(move || read(&bytes, limits.json))
                .await
                .map_err(|_| self.malformed(path, "reading it failed".to_owned()))?
        } else {
            read(&bytes, limits.json)
        };
        let value = value.map_err(|why| self.malformed(path, why))?;
        Ok(Large { value, room })
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
    ) -> Result<Response, ControlError> {
        let url = format!(
            "https://{}:{}{path}",
            server_name(&self.run),
            self.address.port()
        );
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        match timeout(self.times.head, request.send()).await {
            Err(_) => Err(self.late(Part::Head, self.times.head)),
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
                Err(self.late(Part::Connect, self.times.connect))
            }
            Ok(Err(error)) => Err(self.unreachable(error)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Reads a body up to its limit. One that is large waits for room first.
    async fn body(
        &self,
        mut response: Response,
        path: &'static str,
        limits: &Limits,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ControlError> {
        let too_large = || ControlError::TooLarge {
            run: self.run.clone(),
            path,
            bytes: limits.json.bytes,
        };
        if response
            .content_length()
            .is_some_and(|length| length > limits.json.bytes as u64)
        {
            return Err(too_large());
        }
        let (mut bytes, mut room) = (Vec::new(), None);
        while let Some(piece) = timeout(self.times.piece, response.chunk())
            .await
            .map_err(|_| self.late(Part::Body, self.times.piece))?
            .map_err(|error| self.unreachable(error))?
        {
            let length = bytes.len() + piece.len();
            if length > limits.json.bytes {
                return Err(too_large());
            }
            if length > limits.large && room.is_none() {
                // closed never: the semaphore lives as long as its clients
                room = self.room.clone().acquire_owned().await.ok();
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, room))
    }

    /// Reads the words of a refusal, as far as they come at once.
    async fn refusal(&self, mut response: Response) -> String {
        let mut bytes = Vec::new();
        while let Ok(Ok(Some(piece))) = timeout(self.times.piece, response.chunk()).await {
            bytes.extend(piece.iter().take(MAX_REFUSAL - bytes.len()));
            if bytes.len() >= MAX_REFUSAL {
                break;
            }
        }
        plain(&String::from_utf8_lossy(&bytes), MAX_MESSAGE)
    }

    fn late(&self, part: Part, within: Duration) -> ControlError {
        ControlError::Late {
            run: self.run.clone(),
            address: self.address,
            part,
            within,
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> ControlError {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = match error.source() {
            None => String::new(),
            Some(_) => format!(": {cause}"),
        };
        ControlError::Unreachable {
            run: self.run.clone(),
            address: self.address,
            why: plain(&format!("{error}{cause}"), MAX_MESSAGE),
        }
    }

    fn malformed(&self, path: &'static str, why: String) -> ControlError {
        ControlError::Malformed {
            run: self.run.clone(),
            path,
            why: plain(&why, MAX_MESSAGE),
        }
    }
}

/// Reads JSON that is within its bounds; the error says what is wrong with it.
fn read<T: DeserializeOwned>(bytes: &[u8], limits: Bounds) -> Result<T, String> {
    bounds::check(bytes, &limits).map_err(|error| error.to_string())?;
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Returns at most `most` characters of `text`, without control characters.
pub fn plain(text: &str, most: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(most).map(shown).collect()
}
