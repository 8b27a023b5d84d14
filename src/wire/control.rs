//! What a master tells the operator and what the operator tells it: JSON over HTTPS with a token.

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

pub const PROGRESS: &str = "/api/v1/progress";
pub const RESULT: &str = "/api/v1/result";
pub const GRANT: &str = "/api/v1/grant";
pub const STOP: &str = "/api/v1/stop";
pub const ACKNOWLEDGE: &str = "/api/v1/acknowledge";

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterState {
    /// Not all workers are ready.
    Waiting,
    /// All workers are ready; the grant is awaited. Nothing has started.
    Ready,
    /// Granted: what comes before the load is being done, by one worker. There is no load yet.
    Preparing,
    /// Granted: load exists or is about to.
    Running,
    /// Load is being ended.
    Stopping,
    /// This incarnation was granted the run, lost its memory, and waits for workers that carry it.
    Recovering,
    /// Granted, but no worker carries the run any more. Only an acknowledgement ends it.
    Lost,
    /// The result is final.
    Finished,
}

/// Polled by the operator and the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub run: String,
    pub epoch: u32,
    pub incarnation: String,
    pub state: MasterState,
    pub workers: u32,
    pub connected: u32,
    pub ready: u32,
    /// Why workers are not ready; the first of each kind and field.
    pub problems: Vec<WorkerProblem>,
    /// Since the profile's zero; 0 before.
    pub elapsed_micros: u64,
    /// 0: only the run itself will tell.
    pub length_micros: u64,
    /// In a search for the capacity, the iterations per second that are tried now.
    #[serde(default)]
    pub level: Option<f64>,
    /// Iterations that are to be carried out, where their number is what is asked for; else 0.
    #[serde(default)]
    pub planned_iterations: u64,
    /// Iterations that began.
    #[serde(default)]
    pub iterations: u64,
    pub requests: u64,
    pub failures: u64,
    /// Users alive or iterations in flight.
    pub users: u64,
    /// Of the last complete run second.
    pub rps: u64,
    pub p95_micros: u64,
    /// What one worker is doing alone, such as `setup`.
    /// The name on the wire is the released one.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProblemKind {
    /// A Secret, a ConfigMap or a key of one is not there.
    MissingReference,
    /// Something that only the content of a reference could show.
    InvalidSpec,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerProblem {
    pub worker: u32,
    pub kind: ProblemKind,
    /// Field path in the LoadTest.
    pub field: String,
    /// Such as `Secret "databricks" key "pat"`.
    pub object: String,
    pub message: String,
    /// How long this has been reported.
    pub for_seconds: u64,
}

/// What makes a master start, or go on with, its run. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub run: String,
    pub epoch: u32,
    /// The master it is meant for; another refuses it.
    pub incarnation: String,
    pub action: GrantAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantAction {
    /// Start the load.
    Start,
    /// Load was started under another incarnation: rebuild from the workers that carry it, start
    /// nothing.
    Resume,
}

/// End the run as aborted; thresholds are shown, not judged. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub run: String,
    pub reason: Reason,
    pub message: String,
}

/// The result is stored: release the workers. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    pub run: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("cannot make a client for the master of run {run}: {source}")]
    Client { run: String, source: reqwest::Error },
    #[error("cannot reach the master of run {run} at {address}: {source}")]
    Unreachable {
        run: String,
        address: SocketAddr,
        source: reqwest::Error,
    },
    #[error("the master of run {run} refused {path} with {status}: {message}")]
    Refused {
        run: String,
        path: &'static str,
        status: StatusCode,
        message: String,
    },
}

/// A connection to the master of one run.
pub struct Client {
    run: String,
    address: SocketAddr,
    http: reqwest::Client,
    token: String,
}

impl Client {
    /// `ca` is the run's authority (PEM); `address` the master Pod's, since a Service could lead to
    /// another master.
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

    pub async fn progress(&self) -> Result<Progress, ControlError> {
        self.call(Method::GET, PROGRESS, None::<&()>).await
    }

    /// `None` while it is not final.
    pub async fn result(&self) -> Result<Option<RunResult>, ControlError> {
        self.call(Method::GET, RESULT, None::<&()>).await
    }

    pub async fn grant(&self, grant: &Grant) -> Result<Progress, ControlError> {
        self.call(Method::POST, GRANT, Some(grant)).await
    }

    pub async fn stop(&self, stop: &Stop) -> Result<Progress, ControlError> {
        self.call(Method::POST, STOP, Some(stop)).await
    }

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
