//! The operator: the only role with Kubernetes rights. It carries each LoadTest's run through the
//! writes of its life, one pass at a time: observe, decide, build, apply, status. Of these, decide,
//! build and status are pure.
//!
//! `/livez` fails when a part that runs for ever has ended, or when a watch that saw before has been
//! blind for so long that a new process might do better. `/readyz` succeeds when the install key is
//! there and the watches that passes depend on see: a namespace that refuses them is retried, and
//! does not take the others out of service.

mod api;
mod apply;
mod build;
pub mod channel;
mod checker;
mod child;
mod connection;
mod context;
mod controller;
mod decide;
mod events;
mod fault;
mod identity;
mod install_key;
mod installed;
pub mod join;
mod lease;
mod masters;
mod metrics;
mod observe;
mod plan_file;
mod pods;
mod policies;
mod proof;
mod queue;
pub mod rbac;
mod reason;
mod reconcile;
mod sight;
mod spec_check;
mod status;
pub mod stored;
mod sweep;
mod text;
mod times;
mod view;
mod watch;

#[cfg(test)]
mod fixture;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checking::Process;
use crate::runtime::admin::{self, Admin};
use crate::runtime::backoff::Backoff;
use build::Settings;
use checker::Checker;
use connection::Connection;
use context::Context;
use install_key::{InstallKeys, KeyError};
use metrics::Metrics;
pub use policies::Enforcement;

/// Time between two counts of the runs in progress.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Delays between tries to load the install keys: an operator that starts while the API server is
/// away is at work seconds after its return.
const KEYS: Backoff = Backoff {
    first: Duration::from_millis(500),
    most: Duration::from_secs(3),
};

/// Flags of `starling operator`: how the operator works, and what master and worker Pods are made
/// of.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Namespaces in which LoadTests are carried out, separated by commas; all if none is given
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub watch_namespaces: Vec<String>,

    /// The image of master and worker Pods: the operator's own
    #[arg(long, env = "STARLING_IMAGE", value_name = "IMAGE")]
    pub image: String,

    /// Pull policy of master and worker Pods
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: String,

    /// Address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// LoadTests worked on at once, in each watched namespace or in all together
    #[arg(
        long,
        default_value_t = 8,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub concurrency: u16,

    /// Use of the StarlingPolicies that select a run's namespace
    #[arg(
        long,
        value_enum,
        default_value_t,
        overrides_with = "policies",
        value_name = "USE"
    )]
    pub policies: Enforcement,

    /// Namespaces whose Pods may reach UI and metrics of masters, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACES")]
    pub metrics_from: Vec<String>,
    /// Time without renewal after which another installation takes this one for gone, and ends the
    /// runs that it began
    #[arg(
        long,
        default_value = "10m",
        value_name = "DURATION",
        value_parser = crate::plan::duration::parse
    )]
    pub lease_duration: Duration,

    /// Specs checked at once, each in a process of at most 192 MiB beside the operator's own memory
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub checks: u16,

    /// The operator's own namespace; that of the kubeconfig if unset
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// Error that ends the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Neither a kubeconfig nor the environment of a Pod says how to reach the API server.
    #[error("cannot find out how to reach the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration makes no client.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The address of probes and metrics cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address of the flag `--listen`.
        address: SocketAddr,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A task that works until the stop has ended before it; the text names it.
    #[error("a part that runs for ever has ended: {0}")]
    Ended(&'static str),
}

/// Works until `stop`, then lets passes in progress come to their end.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), OperatorError> {
    let (connection, own_namespace) = connect(options.namespace.clone()).await?;
    let client = connection.client();
    let metrics = Metrics::default();
    let health = Arc::new(Health {
        metrics: metrics.clone(),
        keys: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    });
    let mut parts: JoinSet<&'static str> = JoinSet::new();
    serve_admin(&mut parts, options.listen, &health, &stop).await?;

    let Some(keys) = load_keys(&client, &own_namespace, &metrics, &stop).await else {
        return Ok(());
    };
    health.keys.store(true, Ordering::Release);
    installed::warn_of_missing_fields(&client).await;
    tracing::info!(
        installation = keys.installation,
        namespace = own_namespace,
        image = options.image,
        "the operator is up"
    );
    let reporter = Reporter {
        controller: "starling".into(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let settings = Settings {
        image: options.image,
        pull_policy: options.image_pull_policy,
        namespace: own_namespace,
        metrics_from: options.metrics_from,
    };
    let checker = Arc::new(Checker::new(Process::of_this_program()));
    spawn_checks(&mut parts, &checker, options.checks, &stop);
    let mut context = Context::new(
        client,
        settings,
        keys,
        options.lease_duration,
        metrics,
        recorder,
        checker,
    );
    context.policies = options.policies;
    context.connection = Some(connection);
    let context = Arc::new(context);
    spawn_parts(
        &mut parts,
        &context,
        &options.watch_namespaces,
        options.concurrency,
        &stop,
    );
    while let Some(part) = parts.join_next().await {
        if !stop.is_cancelled() {
            health.ended.store(true, Ordering::Release);
            return Err(OperatorError::Ended(part.unwrap_or("a task that panicked")));
        }
    }
    Ok(())
}

/// Finds out how to reach the API server, and tells the operator's own namespace: the given one, or
/// that of the kubeconfig.
async fn connect(namespace: Option<String>) -> Result<(Arc<Connection>, String), OperatorError> {
    // fails only when one is set already, which is then the one to use
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::infer().await?;
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let connection =
        Connection::new(config).map_err(|error| OperatorError::Client(Box::new(error)))?;
    Ok((connection, namespace))
}

/// Starts to serve probes and metrics at `address`.
async fn serve_admin(
    parts: &mut JoinSet<&'static str>,
    address: SocketAddr,
    health: &Arc<Health>,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| OperatorError::Listen { address, source })?;
    let server = admin::serve(listener, None, health.clone(), stop.clone());
    parts.spawn(async {
        server
            .await
            .map_or("the admin server failed", |()| "the admin server")
    });
    Ok(())
}

/// Starts the threads that check specs, one for each process that may run at once.
fn spawn_checks(
    parts: &mut JoinSet<&'static str>,
    checker: &Arc<Checker>,
    checks: u16,
    stop: &CancellationToken,
) {
    for _ in 0..checks {
        let (checker, stop) = (checker.clone(), stop.clone());
        parts.spawn_blocking(move || {
            checker.work(&stop);
            "the checks of specs"
        });
    }
}

fn spawn_parts(
    parts: &mut JoinSet<&'static str>,
    context: &Arc<Context>,
    namespaces: &[String],
    concurrency: u16,
    stop: &CancellationToken,
) {
    let places: Vec<Option<String>> = match namespaces {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let mut caches = Vec::new();
    for place in places {
        caches.push(controller::spawn(
            parts,
            context,
            place.as_deref(),
            concurrency,
            stop,
        ));
        let (sweeping, sweep_stop) = (context.clone(), stop.clone());
        parts.spawn(async move {
            sweep::run(&sweeping, place.as_deref(), sweep_stop).await;
            "a sweep"
        });
    }
    let (leasing, lease_stop) = (context.clone(), stop.clone());
    let leased = caches.clone();
    parts.spawn(async move {
        let every = leasing.leases.renew_every() / 2;
        while tokio::time::timeout(every, lease_stop.cancelled())
            .await
            .is_err()
        {
            leasing.leases.keep(&active_in(&leasing, &leased)).await;
        }
        "the Leases"
    });
    let (counting, count_stop) = (context.clone(), stop.clone());
    parts.spawn(async move {
        while tokio::time::timeout(COUNT_EVERY, count_stop.cancelled())
            .await
            .is_err()
        {
            count(&counting, &caches);
        }
        "the count"
    });
}

/// Returns the namespaces in which runs of this installation are in progress, from the caches.
fn active_in(context: &Context, caches: &[controller::Cache]) -> BTreeSet<String> {
    let tests = caches.iter().flat_map(|cache| cache.state());
    let ours = tests.filter_map(|test| {
        let test = test.0.as_ref().ok()?;
        let run = test.status.as_ref()?.run.as_ref()?;
        let is_ours = run.end.is_none() && run.installation == context.keys.installation;
        test.metadata.namespace.clone().filter(|_| is_ours)
    });
    ours.collect()
}

/// Counts the runs in progress, from the caches.
fn count(context: &Context, caches: &[controller::Cache]) {
    let tests = caches.iter().flat_map(|cache| cache.state());
    let phases = tests.filter_map(|test| test.0.as_ref().ok()?.status.as_ref()?.phase);
    let active = context.metrics.set_active(phases);
    context.active_runs.store(active, Ordering::Relaxed);
}

/// Loads the install keys, however long the API server takes; `None` when stopped before.
async fn load_keys(
    client: &Client,
    namespace: &str,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<InstallKeys> {
    let mut failures = 0;
    loop {
        let error: KeyError = match install_key::load(client, namespace).await {
            Ok(keys) => return Some(keys),
            Err(error) => error,
        };
        failures += 1;
        metrics.error("install_key");
        tracing::warn!(%error, "the install key is not there yet");
        tokio::select! {
            () = tokio::time::sleep(KEYS.jittered(failures)) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// State of the operator that the probes see.
struct Health {
    metrics: Metrics,
    keys: AtomicBool,
    ended: AtomicBool,
}

impl Admin for Health {
    fn live(&self) -> Result<(), String> {
        if self.ended.load(Ordering::Acquire) {
            return Err("a part of the operator has ended".into());
        }
        self.metrics.sights.live(Instant::now())
    }

    fn ready(&self) -> Result<(), String> {
        if !self.keys.load(Ordering::Acquire) {
            return Err("the install key is not there yet".into());
        }
        self.metrics.sights.ready(Instant::now())
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}
