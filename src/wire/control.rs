//! Calls between operator and master: JSON over HTTPS with a token.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use reqwest::{Certificate, Method, StatusCode};
use serde::de::value::Error as UnknownWord;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use super::layout::server_name;
use super::{Reason, RunResult};

/// Path that answers [`Progress`] to GET.
pub const PROGRESS: &str = "/api/v1/progress";
/// Path that answers the result to GET, or `null` while it is not final.
pub const RESULT: &str = "/api/v1/result";
/// Path that takes a [`Grant`] by POST.
pub const GRANT: &str = "/api/v1/grant";
/// Path that takes a [`Stop`] by POST.
pub const STOP: &str = "/api/v1/stop";
/// Path that takes an [`Acknowledge`] by POST.
pub const ACKNOWLEDGE: &str = "/api/v1/acknowledge";

/// Longest time of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// State of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterState {
    /// Workers are missing or not ready.
    Waiting,
    /// All workers are ready, and the grant is awaited; nothing has started.
    Ready,
    /// Granted: one worker does what comes before the load, which has not started.
    Preparing,
    /// Granted: load exists or is about to.
    Running,
    /// Load is being ended.
    Stopping,
    /// Granted, but the master has lost its memory and waits for workers that carry the run.
    Recovering,
    /// Granted, but no worker carries the run any more. Only an acknowledgement ends it.
    Lost,
    /// The result is final.
    Finished,
}

/// State and counts of a run so far; polled by the operator and the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Id of the run.
    pub run: String,
    /// Number of the last grant.
    pub epoch: u32,
    /// Random id of this master, which a grant must name.
    pub incarnation: String,
    /// State of the master.
    pub state: MasterState,
    /// Workers planned.
    pub workers: u32,
    /// Workers connected.
    pub connected: u32,
    /// Workers ready or at work.
    pub ready: u32,
    /// Problems that keep workers from being ready; the first of each kind and field.
    pub problems: Vec<WorkerProblem>,
    /// Microseconds since the profile's zero; 0 before.
    pub elapsed_micros: u64,
    /// Length of warm-up and profile in microseconds; 0 when only the run itself will tell.
    pub length_micros: u64,
    /// Iterations per second that a search for the capacity tries now.
    #[serde(default)]
    pub level: Option<f64>,
    /// Iterations that are to be carried out, where their number is what is asked for; else 0.
    #[serde(default)]
    pub planned_iterations: u64,
    /// Iterations that began.
    #[serde(default)]
    pub iterations: u64,
    /// Requests finished.
    pub requests: u64,
    /// Requests failed.
    pub failures: u64,
    /// Users alive or iterations in flight.
    pub users: u64,
    /// Requests of the last complete run second.
    pub rps: u64,
    /// 95th percentile of latency in the last complete run second, in microseconds.
    pub p95_micros: u64,
    /// Name of what one worker is doing alone, such as `setup`. JSON has the released name of the
    /// field.
    #[serde(default, rename = "errand")]
    pub one_off: Option<String>,
}

impl Progress {
    /// Whole percent of the profile, 100 only when the load is over.
    pub fn percent(&self) -> u32 {
        if matches!(self.state, MasterState::Finished) {
            return 100;
        }
        let (done, whole) = if self.length_micros > 0 {
            (self.elapsed_micros, self.length_micros)
        } else {
            (self.iterations, self.planned_iterations)
        };
        // without a length or a number of iterations nothing is known of the end
        let part = done.saturating_mul(100).checked_div(whole).unwrap_or(0);
        part.min(99) as u32
    }

    /// Failures over requests, 0 without any.
    pub fn failure_rate(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.failures as f64 / self.requests as f64
        }
    }
}

/// Kinds of problems that keep a worker from being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProblemKind {
    /// A Secret, a ConfigMap or a key of one is not there.
    MissingReference,
    /// The test is wrong in a way that only the content of a reference could show.
    InvalidSpec,
    /// A policy of the cluster does not allow an address, which only a worker could find.
    PolicyViolation,
    /// The target's name does not resolve.
    TargetUnresolved,
    /// Whoever gives out tokens gave none.
    NoToken,
}

/// Writes the name that JSON has, too.
impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Reads what [`Display`](fmt::Display) wrote.
impl FromStr for ProblemKind {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::deserialize(text.into_deserializer())
    }
}

/// A problem of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerProblem {
    /// Share of the worker that reported it first, from 0.
    pub worker: u32,
    /// Kind of the problem.
    pub kind: ProblemKind,
    /// Field path in the LoadTest.
    pub field: String,
    /// Object it is about, such as `Secret "databricks" key "pat"`; may be empty.
    pub object: String,
    /// The problem in words.
    pub message: String,
    /// Seconds for which it has been reported.
    pub for_seconds: u64,
}

/// Permission of the operator, which makes a master start or go on with its run. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Id of the run.
    pub run: String,
    /// Number of the grant; a master refuses one lower than the last.
    pub epoch: u32,
    /// Master that it is meant for; another refuses it.
    pub incarnation: String,
    /// Action that is permitted.
    pub action: GrantAction,
}

/// Actions that a grant permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantAction {
    /// Start the load.
    Start,
    /// Rebuild the run from the workers that carry it, and start nothing: load was started under
    /// another incarnation.
    Resume,
}

/// Order to end the run as aborted; thresholds are shown, not judged. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Id of the run.
    pub run: String,
    /// Reason of the result.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
}

/// Word that the result is stored, which releases the workers. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Id of the run.
    pub run: String,
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
    /// The master did not answer, or not in a form that can be read.
    #[error("cannot reach the master of run {run} at {address}: {source}")]
    Unreachable {
        /// Id of the run.
        run: String,
        /// Address that was called.
        address: SocketAddr,
        /// Error of the client, without the URL.
        source: reqwest::Error,
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
        /// Body of the answer, at most 256 characters.
        message: String,
    },
}

/// Calls to the master of one run.
pub struct Client {
    run: String,
    address: SocketAddr,
    http: reqwest::Client,
    token: String,
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
        let wrap = |source| ControlError::Client {
            run: run.to_owned(),
            source,
        };
        let ca = Certificate::from_pem(ca.as_bytes()).map_err(wrap)?;
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .resolve(&server_name(run), address)
            .no_proxy()
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(wrap)?;
        Ok(Self {
            run: run.to_owned(),
            address,
            http,
            token: token.to_owned(),
        })
    }

    /// Asks how far the run is.
    pub async fn progress(&self) -> Result<Progress, ControlError> {
        self.call(Method::GET, PROGRESS, None::<&()>).await
    }

    /// Asks for the result; `None` while it is not final.
    pub async fn result(&self) -> Result<Option<RunResult>, ControlError> {
        self.call(Method::GET, RESULT, None::<&()>).await
    }

    /// Grants the run. Refused for another run or incarnation, or an old epoch.
    pub async fn grant(&self, grant: &Grant) -> Result<Progress, ControlError> {
        self.call(Method::POST, GRANT, Some(grant)).await
    }

    /// Stops the run. Refused for another run.
    pub async fn stop(&self, stop: &Stop) -> Result<Progress, ControlError> {
        self.call(Method::POST, STOP, Some(stop)).await
    }

    /// Says that the result is stored. Refused for another run.
    pub async fn acknowledge(&self) -> Result<Progress, ControlError> {
        self.call(
            Method::POST,
            ACKNOWLEDGE,
            Some(&Acknowledge {
                run: self.run.clone(),
            }),
        )
        .await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ControlError> {
        let unreachable = |source: reqwest::Error| ControlError::Unreachable {
            run: self.run.clone(),
            address: self.address,
            source: source.without_url(),
        };
        let url = format!(
            "https://{}:{}{path}",
            server_name(&self.run),
            self.address.port()
        );
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let message = response
                .text()
                .await
                .unwrap_or_else(|e| format!("why cannot be read: {}", e.without_url()));
            let message = message.chars().take(256).collect();
            return Err(ControlError::Refused {
                run: self.run.clone(),
                path,
                status,
                message,
            });
        }
        response.json().await.map_err(unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_problem_has_one_name_in_text_and_json() {
        for kind in [
            ProblemKind::MissingReference,
            ProblemKind::InvalidSpec,
            ProblemKind::PolicyViolation,
            ProblemKind::TargetUnresolved,
            ProblemKind::NoToken,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                kind.to_string().as_str()
            );
        }
        assert!("Haunted".parse::<ProblemKind>().is_err());
    }
}
