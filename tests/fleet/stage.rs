//! The stage of these tests: a run's files, its masters and workers in this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use starling::demo::{self, DemoService};
use starling::master::{self, Listeners, Memory, Mounted};
use starling::operator::channel::{Channel, InstallKey};
use starling::stats::result::RunResult;
use starling::wire::checksum::FileHash;
use starling::wire::control::{
    Client, FleetSize, Grant, GrantAction, MasterState, Progress, Scale,
};
use starling::wire::layout::{RunFile, channel};
use starling::worker;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const RUN: &str = "fleet-abc123";
/// Nothing here takes longer.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A run's files, its service under test and the address its master listens on.
pub struct Stage {
    pub folder: TempDir,
    pub service: Arc<DemoService>,
    pub channel: Channel,
    pub control: SocketAddr,
    /// Address of the master's port for people.
    pub ui: SocketAddr,
    /// Lease of its workers.
    grace: Duration,
}

/// A master in a runtime of its own, so that it can end as a process does.
pub struct Master(Option<Runtime>);

impl Drop for Master {
    /// As SIGKILL does it: every task and socket is gone at once.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stage {
    pub async fn new(
        workers: u32,
        seconds: u32,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Self {
        Self::with(workers, seconds, Duration::from_secs(90), change).await
    }

    /// A stage whose workers have a lease of `grace`; `spec.workers.onLoss` counts as well.
    pub async fn with(
        workers: u32,
        seconds: u32,
        grace: Duration,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = demo::Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..demo::Options::default()
        };
        let service = Arc::new(DemoService::start(options).await.unwrap());
        let mut spec = json!({
            "target": {"url": format!("http://{}", service.address())},
            "scenarios": [{"name": "s", "thinkTime": {"min": "5ms", "max": "15ms"},
                "tasks": [{"name": "t", "steps": [{"http": {"method": "POST", "path": "/predict", "json": {"text": "goal in the last minute"}}}]}]}],
            "load": {"closed": {"users": 20, "duration": format!("{seconds}s")}},
        });
        change(&mut spec);
        let spec: starling::crd::spec::LoadTestSpec = serde_json::from_value(spec).unwrap();
        let plan = starling::crd::check(&spec).unwrap().plan;
        let file = RunFile {
            run: RUN.into(),
            name: "fleet".into(),
            namespace: None,
            digest: "d".into(),
            workers,
            grace,
            on_loss: spec.workers.on_loss,
            overrides: vec![],
            warnings: vec![],
            plan,
        };
        let folder = tempfile::tempdir().unwrap();
        let channel = Channel::derive(
            &InstallKey([7; 32]),
            "uid-1",
            RUN,
            &jiff::Timestamp::now().to_string(),
        )
        .unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("run.json", &serde_json::to_string(&file).unwrap());
        write(channel::CA, &channel.ca);
        write(channel::MASTER_CERT, &channel.master_cert);
        write(channel::MASTER_KEY, &channel.master_key);
        write(channel::WORKERS_KEY, &channel.worker_key.text());
        write(channel::OPERATOR_TOKEN, &channel.operator_token);
        write(channel::READ_TOKEN, &channel.read_token);
        write(channel::CONTROL_TOKEN, &channel.control_token);
        std::fs::create_dir(folder.path().join("state")).unwrap();
        // the port is found by listening once; masters of this stage take it again and again
        let free = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let (control, ui) = (free().await, free().await);
        Self {
            folder,
            service,
            channel,
            control,
            ui,
            grace,
        }
    }

    /// A master whose memory is in `state` of the stage's folder: another name is another Pod.
    pub fn master(&self, state: &str) -> Master {
        self.master_checking(state, vec![])
    }

    /// A master that compares what it mounts with these hashes.
    pub fn master_checking(&self, state: &str, sha256: Vec<FileHash>) -> Master {
        let folder = self.folder.path().to_owned();
        let memory = folder.join(state);
        std::fs::create_dir_all(&memory).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (control, ui) = (self.control, self.ui);
        runtime.spawn(async move {
            let listeners = Listeners {
                control: listen(control).await,
                ui: listen(ui).await,
                admin: listen(ANY).await,
                tls: None,
            };
            let mounted = Mounted {
                run_file: folder.join("run.json"),
                channel: folder,
                sha256,
            };
            master::serve(
                &mounted,
                Memory::at(&memory),
                listeners,
                CancellationToken::new(),
            )
            .await
            .unwrap();
        });
        Master(Some(runtime))
    }

    /// A worker's part of the channel, as its Pod mounts it: the CA, and its own token.
    pub fn mount(&self, index: u32) -> PathBuf {
        let folder = self.folder.path().join(format!("channel-{index}"));
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(channel::CA), &self.channel.ca).unwrap();
            let token = self.channel.worker_key.token(index);
            std::fs::write(folder.join(channel::WORKER_TOKEN), token).unwrap();
        }
        folder
    }

    pub fn worker(&self, index: u32) -> (JoinHandle<u8>, CancellationToken) {
        self.worker_checking(index, vec![])
    }

    /// A worker that compares what it is given with these hashes.
    pub fn worker_checking(
        &self,
        index: u32,
        sha256: Vec<FileHash>,
    ) -> (JoinHandle<u8>, CancellationToken) {
        let stop = CancellationToken::new();
        let options = worker::Options {
            run: RUN.into(),
            master: self.control.to_string(),
            index,
            channel: self.mount(index),
            sha256,
            inputs: self.folder.path().join("inputs"),
            grace: self.grace,
            cores: Some(1),
        };
        (tokio::spawn(worker::run(options, stop.clone())), stop)
    }

    /// Lease of the workers.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    pub fn operator(&self) -> Client {
        Client::new(
            RUN,
            self.control,
            &self.channel.ca,
            &self.channel.operator_token,
        )
        .unwrap()
    }

    /// Polls until the progress is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Progress) -> bool) -> Progress {
        self.until_within(PATIENCE, what, wanted).await
    }

    pub async fn until_within(
        &self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Progress) -> bool,
    ) -> Progress {
        let operator = self.operator();
        let mut last = None;
        let polling = async {
            loop {
                if let Ok(progress) = operator.progress().await {
                    if wanted(&progress) {
                        return progress;
                    }
                    last = Some(progress);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(patience, polling).await {
            Ok(progress) => progress,
            Err(_) => panic!("never {what}; last seen: {last:?}"),
        }
    }

    pub async fn grant(&self, epoch: u32, action: GrantAction) {
        let incarnation = self.operator().progress().await.unwrap().incarnation;
        self.operator()
            .grant(&Grant {
                workers: None,
                run: RUN.into(),
                epoch,
                incarnation,
                action,
                deadline_micros: 0,
            })
            .await
            .unwrap();
    }

    /// Has the run go on with another number of workers, as the operator does.
    pub async fn scale(&self, now: u32, most: u32) -> Progress {
        let scale = Scale {
            run: RUN.into(),
            workers: FleetSize { now, most },
        };
        self.operator().scale(&scale).await.unwrap()
    }

    pub async fn start(&self) {
        self.until("ready", |progress| progress.state == MasterState::Ready)
            .await;
        self.grant(1, GrantAction::Start).await;
        self.until("under load", |progress| progress.requests > 0)
            .await;
    }

    pub async fn result(&self) -> RunResult {
        self.result_within(PATIENCE).await
    }

    pub async fn result_within(&self, patience: Duration) -> RunResult {
        self.until_within(patience, "finished", |progress| {
            progress.state == MasterState::Finished
        })
        .await;
        self.operator()
            .result()
            .await
            .unwrap()
            .expect("a finished run has a result")
    }
}

pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The one before may hold the port a moment longer.
pub async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub fn received(result: &RunResult) -> u64 {
    result.totals.requests - result.totals.unsent + result.totals.interrupted
}

pub async fn exit_code(worker: JoinHandle<u8>) -> u8 {
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker does not exit")
        .unwrap()
}

pub fn secret(folder: &Path) {
    let key = folder.join("inputs/secret/token");
    std::fs::create_dir_all(&key).unwrap();
    std::fs::write(key.join("value"), "s3cret\n").unwrap();
}
