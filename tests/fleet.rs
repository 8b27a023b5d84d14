//! Master and workers as in a cluster, over real sockets with TLS and tokens: exact sums, losses,
//! restarts.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use starling::demo::{self, DemoService};
use starling::master::{self, Listeners, Memory, Mounted};
use starling::operator::channel::{Channel, InstallKey};
use starling::stats::result::{CostBasis, LimitedBy, Reason, RunResult, Verdict};
use starling::wire::checksum::FileHash;
use starling::wire::control::{
    Client, Grant, GrantAction, MasterState, ProblemKind, Progress, Stop,
};
use starling::wire::layout::{RunFile, channel, exit};
use starling::worker;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RUN: &str = "fleet-abc123";
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

/// A run's files, its service under test and the address its master listens on.
struct Stage {
    folder: TempDir,
    service: DemoService,
    channel: Channel,
    control: SocketAddr,
}

/// A master in a runtime of its own, so that it can end as a process does.
struct Master(Option<Runtime>);

impl Drop for Master {
    /// As SIGKILL does it: every task and socket is gone at once.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stage {
    async fn new(workers: u32, seconds: u32, change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = demo::Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..demo::Options::default()
        };
        let service = DemoService::start(options).await.unwrap();
        let mut spec = json!({
            "target": {"url": format!("http://{}", service.address())},
            "scenarios": [{"name": "s", "thinkTime": {"min": "5ms", "max": "15ms"},
                "tasks": [{"name": "t", "steps": [{"http": {"method": "POST", "path": "/predict", "json": {"text": "goal in the last minute"}}}]}]}],
            "load": {"closed": {"users": 20, "duration": format!("{seconds}s")}},
        });
        change(&mut spec);
        let plan = starling::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan;
        let file = RunFile {
            run: RUN.into(),
            name: "fleet".into(),
            namespace: None,
            digest: "d".into(),
            workers,
            grace: Duration::from_secs(90),
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
        std::fs::create_dir(folder.path().join("state")).unwrap();
        // the port is found by listening once; masters of this stage take it again and again
        let control = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        Self {
            folder,
            service,
            channel,
            control,
        }
    }

    /// A master whose memory is in `state` of the stage's folder: another name is another Pod.
    fn master(&self, state: &str) -> Master {
        self.master_checking(state, vec![])
    }

    /// A master that compares what it mounts with these hashes.
    fn master_checking(&self, state: &str, sha256: Vec<FileHash>) -> Master {
        let folder = self.folder.path().to_owned();
        let memory = folder.join(state);
        std::fs::create_dir_all(&memory).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let control = self.control;
        runtime.spawn(async move {
            let listeners = Listeners {
                control: listen(control).await,
                ui: listen(ANY).await,
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
    fn mount(&self, index: u32) -> PathBuf {
        let folder = self.folder.path().join(format!("channel-{index}"));
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(channel::CA), &self.channel.ca).unwrap();
            let token = self.channel.worker_key.token(index);
            std::fs::write(folder.join(channel::WORKER_TOKEN), token).unwrap();
        }
        folder
    }

    fn worker(&self, index: u32) -> (JoinHandle<u8>, CancellationToken) {
        self.worker_checking(index, vec![])
    }

    /// A worker that compares what it is given with these hashes.
    fn worker_checking(
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
            grace: Duration::from_secs(90),
            cores: Some(1),
        };
        (tokio::spawn(worker::run(options, stop.clone())), stop)
    }

    fn operator(&self) -> Client {
        Client::new(
            RUN,
            self.control,
            &self.channel.ca,
            &self.channel.operator_token,
        )
        .unwrap()
    }

    /// Polls until the progress is as wanted.
    async fn until(&self, what: &str, wanted: impl Fn(&Progress) -> bool) -> Progress {
        self.until_within(PATIENCE, what, wanted).await
    }

    async fn until_within(
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

    async fn grant(&self, epoch: u32, action: GrantAction) {
        let incarnation = self.operator().progress().await.unwrap().incarnation;
        self.operator()
            .grant(&Grant {
                run: RUN.into(),
                epoch,
                incarnation,
                action,
                deadline_micros: 0,
            })
            .await
            .unwrap();
    }

    async fn start(&self) {
        self.until("ready", |progress| progress.state == MasterState::Ready)
            .await;
        self.grant(1, GrantAction::Start).await;
        self.until("under load", |progress| progress.requests > 0)
            .await;
    }

    async fn result(&self) -> RunResult {
        self.result_within(PATIENCE).await
    }

    async fn result_within(&self, patience: Duration) -> RunResult {
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

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The one before may hold the port a moment longer.
async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn received(result: &RunResult) -> u64 {
    result.totals.requests - result.totals.unsent + result.totals.interrupted
}

async fn exit_code(worker: JoinHandle<u8>) -> u8 {
    tokio::time::timeout(PATIENCE, worker)
        .await
        .expect("the worker does not exit")
        .unwrap()
}

fn secret(folder: &Path) {
    let key = folder.join("inputs/secret/token");
    std::fs::create_dir_all(&key).unwrap();
    std::fs::write(key.join("value"), "s3cret\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_sent_is_what_the_service_received_and_they_go_when_it_is_stored() {
    let stage = Stage::new(3, 2, |spec| {
        let record =
            json!([{"name": "answer", "unit": "bytes", "from": {"header": "content-length"}}]);
        spec["scenarios"][0]["tasks"][0]["steps"][0]["record"] = record;
        spec["thresholds"] = json!([{"record": "answer", "expr": "max < 1000"}]);
    })
    .await;
    let _master = stage.master("state");
    let workers: Vec<_> = (0..3).map(|index| stage.worker(index)).collect();
    stage.start().await;
    let result = stage.result().await;
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
    assert_eq!(received(&result), stage.service.count());
    // every answer told its size, whichever worker it came to
    assert_eq!(
        (result.records[0].count, result.records[0].missing),
        (result.totals.requests - result.totals.failures, 0)
    );
    assert_eq!(
        (
            result.thresholds[0].metric.as_str(),
            result.thresholds[0].observed
        ),
        ("answer", Some(result.records[0].max))
    );
    // on a busy machine some may come too late for the series, which is told
    let in_series: u64 = result.series.iter().map(|point| point.requests).sum();
    assert_eq!(in_series + result.totals.late, result.totals.requests);
    assert_eq!((result.workers.lost, result.workers.planned), (0, 3));
    assert!(
        workers.iter().all(|(worker, _)| !worker.is_finished()),
        "a worker left before the result was stored"
    );
    stage.operator().acknowledge().await.unwrap();
    for (worker, _) in workers {
        assert_eq!(exit_code(worker).await, exit::RELEASED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_nobody_is_let_in() {
    let stage = Stage::new(1, 2, |_| {}).await;
    let _master = stage.master("state");
    stage.until("there", |_| true).await;
    // a worker's token sufficed for nothing of the operator's, and its own index does not change that
    let of_worker = stage.channel.worker_key.token(0);
    for wrong in [&of_worker, &stage.channel.read_token] {
        let client = Client::new(RUN, stage.control, &stage.channel.ca, wrong).unwrap();
        let stop = Stop {
            run: RUN.into(),
            reason: Reason::Suspended,
            message: String::new(),
        };
        let grant = Grant {
            run: RUN.into(),
            epoch: 1,
            incarnation: String::new(),
            action: GrantAction::Start,
            deadline_micros: 0,
        };
        for error in [
            client.progress().await.unwrap_err(),
            client.result().await.unwrap_err(),
            client.grant(&grant).await.unwrap_err(),
            client.stop(&stop).await.unwrap_err(),
            client.acknowledge().await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("401") && error.contains("operator's token"),
                "{error}"
            );
        }
    }
    let other = Channel::derive(
        &InstallKey([8; 32]),
        "uid-1",
        RUN,
        &jiff::Timestamp::now().to_string(),
    )
    .unwrap();
    assert!(
        Client::new(RUN, stage.control, &other.ca, &stage.channel.operator_token)
            .unwrap()
            .progress()
            .await
            .is_err(),
        "another authority is trusted"
    );
    std::fs::write(stage.mount(0).join(channel::WORKER_TOKEN), "wrong").unwrap();
    let (worker, _stop) = stage.worker(0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stage.operator().progress().await.unwrap().connected, 0);
    assert!(
        !worker.is_finished(),
        "a worker goes on trying: a master with its token may come"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_index_lets_nobody_in_as_another() {
    let stage = Stage::new(2, 2, |_| {}).await;
    let _master = stage.master("state");
    stage.until("there", |_| true).await;
    let token = stage.mount(1).join(channel::WORKER_TOKEN);
    // the worker itself says no
    std::fs::write(&token, stage.channel.worker_key.token(0)).unwrap();
    let (honest, _stop) = stage.worker(1);
    assert_eq!(exit_code(honest).await, exit::BAD_CONFIG);
    // and the master says so to one that lies about its token's index
    let forged = stage.channel.worker_key.token(0).replacen("0.", "1.", 1);
    std::fs::write(&token, forged).unwrap();
    let (liar, _stop) = stage.worker(1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stage.operator().progress().await.unwrap().connected, 0);
    assert!(!liar.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_or_key_that_was_changed_is_refused_by_master_and_workers() {
    let stage = Stage::new(1, 2, |_| {}).await;
    let read = |name: &str| std::fs::read(stage.folder.path().join(name)).unwrap();
    let hashes: Vec<FileHash> = [
        "run.json",
        channel::CA,
        channel::MASTER_CERT,
        channel::MASTER_KEY,
        channel::WORKERS_KEY,
        channel::OPERATOR_TOKEN,
        channel::READ_TOKEN,
    ]
    .map(|name| FileHash::of(name, &read(name)))
    .into();
    {
        let _master = stage.master_checking("state", hashes.clone());
        let (_worker, stop) = stage.worker_checking(0, hashes.clone());
        stage
            .until("ready", |progress| progress.state == MasterState::Ready)
            .await;
        stop.cancel();
    }
    let mounted = Mounted {
        run_file: stage.folder.path().join("run.json"),
        channel: stage.folder.path().to_owned(),
        sha256: hashes.clone(),
    };
    for name in ["run.json", channel::MASTER_KEY, channel::WORKERS_KEY] {
        let (path, whole) = (stage.folder.path().join(name), read(name));
        for tampered in [Some([&whole[..], b" "].concat()), None] {
            match tampered {
                Some(tampered) => std::fs::write(&path, tampered).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let listeners = Listeners {
                control: listen(ANY).await,
                ui: listen(ANY).await,
                admin: listen(ANY).await,
                tls: None,
            };
            let memory = Memory::at(&stage.folder.path().join("state"));
            let refused = master::serve(&mounted, memory, listeners, CancellationToken::new());
            let error = refused.await.unwrap_err();
            assert!(matches!(error, master::MasterError::Foreign(_)), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    // a master that does not look at hashes hands on a plan that the worker refuses
    let plan = String::from_utf8(read("run.json")).unwrap();
    let other = plan.replace("/predict", "/admin");
    assert_ne!(plan, other);
    std::fs::write(stage.folder.path().join("run.json"), other).unwrap();
    let _master = stage.master("state-2");
    let (worker, _stop) = stage.worker_checking(0, hashes.clone());
    assert_eq!(exit_code(worker).await, exit::BAD_CONFIG);
    // and an authority that is not the run's is refused before anything is dialled
    std::fs::write(stage.mount(0).join(channel::CA), "another").unwrap();
    let (worker, _stop) = stage.worker_checking(0, hashes);
    assert_eq!(exit_code(worker).await, exit::BAD_CONFIG);
    assert_eq!(stage.service.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_the_release_before_has_one_token_for_all_its_workers() {
    let stage = Stage::new(2, 1, |_| {}).await;
    let shared = &stage.channel.shared_worker_token;
    std::fs::remove_file(stage.folder.path().join(channel::WORKERS_KEY)).unwrap();
    std::fs::write(stage.folder.path().join(channel::WORKER_TOKEN), shared).unwrap();
    let _master = stage.master("state");
    let workers: Vec<_> = (0..2)
        .map(|index| {
            std::fs::write(stage.mount(index).join(channel::WORKER_TOKEN), shared).unwrap();
            stage.worker(index)
        })
        .collect();
    stage.start().await;
    assert_eq!(stage.result().await.workers.planned, 2);
    stage.operator().acknowledge().await.unwrap();
    for (worker, _) in workers {
        assert_eq!(exit_code(worker).await, exit::RELEASED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_and_the_worker_is_ready_once_it_is_there() {
    let stage = Stage::new(1, 1, |spec| {
        spec["target"]["auth"] =
            json!({"bearer": {"tokenFrom": {"secretKeyRef": {"name": "token", "key": "value"}}}});
    })
    .await;
    let _master = stage.master("state");
    let (_worker, _stop) = stage.worker(0);
    let progress = stage
        .until("complaining", |progress| !progress.problems.is_empty())
        .await;
    let problem = &progress.problems[0];
    assert_eq!(
        (problem.kind, problem.field.as_str()),
        (
            ProblemKind::MissingReference,
            "spec.target.auth.bearer.tokenFrom"
        )
    );
    assert!(
        problem.object.contains("token") && problem.object.contains("value"),
        "{problem:?}"
    );
    secret(stage.folder.path());
    stage
        .until("ready", |progress| progress.state == MasterState::Ready)
        .await;
    assert_eq!(stage.service.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_target_does_not_have_is_told_to_the_operator_at_its_step() {
    let stage = Stage::new(1, 1, |spec| {
        spec["scenarios"][0]["tasks"][0]["steps"][0] =
            json!({"grpc": {"method": "categorization.Text/GetPrediction"}});
    })
    .await;
    let _master = stage.master("state");
    let (_worker, _stop) = stage.worker(0);
    let progress = stage
        .until("complaining", |progress| !progress.problems.is_empty())
        .await;
    let problem = &progress.problems[0];
    // of this kind the operator makes the end of the run, `Stalled` for `InvalidSpec`
    assert_eq!(
        (problem.kind, problem.field.as_str()),
        (
            ProblemKind::InvalidSpec,
            "spec.scenarios[0].tasks[0].steps[0].grpc.method"
        )
    );
    assert!(
        problem
            .message
            .contains("it offers categorization.TextCategorization, grpc.health.v1.Health"),
        "{problem:?}"
    );
    assert_eq!(
        (progress.state != MasterState::Ready, stage.service.count()),
        (true, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_hands_over_what_it_has_and_its_replacement_goes_on() {
    let stage = Stage::new(2, 6, |_| {}).await;
    let _master = stage.master("state");
    let (_first, _stop) = stage.worker(0);
    let (second, drain) = stage.worker(1);
    stage.start().await;
    drain.cancel();
    assert_eq!(exit_code(second).await, exit::DRAINED);
    let (_replacement, _stop) = stage.worker(1);
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!((result.workers.lost, result.workers.rejoined), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_process_rebuilds_from_the_workers_and_loses_nothing() {
    let stage = Stage::new(2, 6, |_| {}).await;
    let master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage.start().await;
    drop(master);
    let _master = stage.master("state");
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_pod_goes_on_only_when_it_is_told_to_resume() {
    let stage = Stage::new(1, 6, |_| {}).await;
    let master = stage.master("state");
    let _worker = stage.worker(0);
    stage.start().await;
    drop(master);
    let _master = stage.master("another-state");
    let progress = stage.until("there", |_| true).await;
    assert_ne!(progress.state, MasterState::Running);
    stage.grant(2, GrantAction::Resume).await;
    let result = stage.result().await;
    assert_eq!(received(&result), stage.service.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_leaves_what_it_had_reported() {
    let stage = Stage::new(1, 7, |_| {}).await;
    let _master = stage.master("state");
    let (worker, _stop) = stage.worker(0);
    stage.start().await;
    worker.abort();
    let reported = stage
        .until("reported", |progress| progress.connected == 0)
        .await
        .requests;
    let (_replacement, _stop) = stage.worker(0);
    let result = stage.result().await;
    assert!(result.totals.requests > reported);
    assert_eq!((result.workers.lost, result.workers.rejoined), (1, 1));
    assert!(
        received(&result) <= stage.service.count(),
        "more was counted than sent"
    );
}

/// A target that keeps the numbers it is asked for: GET /row/N.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<u64>>>);

impl Rows {
    async fn serve(&self) -> String {
        let rows = self.0.clone();
        let keep = move |axum::extract::Path(row): axum::extract::Path<u64>| async move {
            rows.lock().unwrap().push(row)
        };
        let router = axum::Router::new().route("/row/{row}", axum::routing::get(keep));
        let listener = TcpListener::bind(ANY).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn sorted(&self) -> Vec<u64> {
        let mut rows = self.0.lock().unwrap().clone();
        rows.sort_unstable();
        rows
    }
}

/// Sends each of so many rows, leased by the master, and ends with the last.
async fn fed(workers: u32, rows: u64, target: &Rows) -> Stage {
    let url = target.serve().await;
    Stage::new(workers, 60, |spec| {
        spec["target"]["url"] = json!(url);
        let inline: Vec<_> = (0..rows).map(|n| json!({"n": n})).collect();
        spec["feeders"] = json!([{"name": "rows", "inline": inline, "strategy": "Queue", "scope": "Test", "onExhausted": "StopRun"}]);
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/row/{{ rows.n }}"});
        // about 200 rows a second
        spec["scenarios"][0]["thinkTime"] = json!({"min": "50ms", "max": "150ms"});
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_sent_once_by_some_worker_and_the_run_ends_with_the_last() {
    let target = Rows::default();
    let stage = fed(3, 1000, &target).await;
    let _master = stage.master("state");
    let _workers: Vec<_> = (0..3).map(|index| stage.worker(index)).collect();
    stage.start().await;
    let result = stage.result().await;
    assert_eq!(result.verdict, Verdict::Passed, "{}", result.message);
    assert_eq!(target.sorted(), (0..1000).collect::<Vec<_>>());
    assert_eq!(result.totals.requests, 1000);
    assert!(
        result.duration_micros < 50_000_000,
        "{} us",
        result.duration_micros
    );
    let feeder = &result.feeders[0];
    assert_eq!(
        (
            feeder.name.as_str(),
            feeder.leased,
            feeder.used,
            feeder.lost
        ),
        ("rows", 1000, 1000, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_sent_twice_whichever_process_dies() {
    let target = Rows::default();
    let stage = fed(2, 1000, &target).await;
    let master = stage.master("state");
    let (_first, _stop) = stage.worker(0);
    let (second, _stop) = stage.worker(1);
    stage.start().await;
    second.abort();
    stage
        .until("alone", |progress| progress.connected == 1)
        .await;
    drop(master);
    // another Pod, which remembers nothing
    let _master = stage.master("another-state");
    stage.until("there", |_| true).await;
    stage.grant(2, GrantAction::Resume).await;
    let (_replacement, _stop) = stage.worker(1);
    let result = stage.result().await;
    let sent = target.sorted();
    assert!(
        sent.windows(2).all(|pair| pair[0] != pair[1]),
        "sent twice: {sent:?}"
    );
    assert!(sent.len() > 20, "{} rows", sent.len());
    let feeder = &result.feeders[0];
    assert!(
        feeder.used <= sent.len() as u64 && feeder.used + feeder.lost <= feeder.leased,
        "{feeder:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_holds_other_data_keeps_the_run_from_starting() {
    let stage = Stage::new(2, 1, |spec| {
        spec["feeders"] =
            json!([{"name": "rows", "csv": {"file": "data/rows.csv"}, "scope": "Test"}]);
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/?{{ rows.n }}"});
    })
    .await;
    let _master = stage.master("state");
    let volume = stage.folder.path().join("inputs/files/data");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("rows.csv"), "n\n1\n").unwrap();
    let (_first, _stop) = stage.worker(0);
    stage.until("ready", |progress| progress.ready == 1).await;
    std::fs::write(volume.join("rows.csv"), "n\n1\n2\n").unwrap();
    let (_second, _stop) = stage.worker(1);
    let progress = stage
        .until("complaining", |progress| !progress.problems.is_empty())
        .await;
    let problem = &progress.problems[0];
    assert_eq!(
        (problem.kind, problem.field.as_str()),
        (ProblemKind::InvalidSpec, "spec.feeders[0]")
    );
    assert!(
        problem.message.contains("2 rows instead of 1"),
        "{problem:?}"
    );
    assert_eq!(stage.service.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_token_keep_no_worker_out() {
    let stage = Stage::new(1, 2, |_| {}).await;
    let _master = stage.master("state");
    stage
        .until("waiting", |progress| progress.connected == 0)
        .await;
    // more than are held; those that are dropped say so
    let mut strangers = Vec::new();
    for _ in 0..600 {
        strangers.push(tokio::net::TcpStream::connect(stage.control).await.unwrap());
    }
    let _worker = stage.worker(0);
    stage.start().await;
    let oldest = &mut strangers[0];
    let mut byte = [0];
    let ended = tokio::io::AsyncReadExt::read(oldest, &mut byte).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "it is still open");
    assert_eq!(stage.result().await.verdict, Verdict::Passed);
}

/// A target of which setup gets a token: notes each request's line with the `X-Token` it came with.
#[derive(Clone, Default)]
struct Door {
    notes: Arc<Mutex<Vec<String>>>,
    /// The first `/login` is never answered.
    first_hangs: bool,
}

impl Door {
    async fn serve(&self) -> String {
        let door = self.clone();
        let answer = move |uri: axum::http::Uri, headers: axum::http::HeaderMap| async move {
            let token = headers
                .get("x-token")
                .map_or("", |value| value.to_str().unwrap())
                .to_owned();
            let nth = {
                let mut notes = door.notes.lock().unwrap();
                notes.push(format!("{} {token}", uri.path()).trim_end().to_owned());
                notes.iter().filter(|note| *note == "/login").count()
            };
            match uri.path() {
                "/login" if door.first_hangs && nth == 1 => std::future::pending().await,
                "/refuse" => (axum::http::StatusCode::FORBIDDEN, String::new()),
                _ => (axum::http::StatusCode::OK, format!("canary-{nth}")),
            }
        };
        let listener = TcpListener::bind(ANY).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        url
    }

    fn count(&self, note: &str) -> usize {
        self.notes
            .lock()
            .unwrap()
            .iter()
            .filter(|found| *found == note)
            .count()
    }

    /// A run whose load shows the token that `setup` got.
    async fn stage(&self, workers: u32, setup: &str) -> Stage {
        let url = self.serve().await;
        Stage::new(workers, 3, |spec| {
            spec["target"]["url"] = json!(url);
            // workers go away in these tests, and their load with them
            spec["load"]["closed"]["maxMissing"] = json!("100%");
            spec["setup"] = json!([{"name": "get in", "http": {"path": setup}, "extract": {"token": {"body": true}}}]);
            spec["teardown"] = json!([{"http": {"path": "/logout", "headers": {"X-Token": "{{ token }}"}}}]);
            spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/load", "headers": {"X-Token": "{{ token }}"}});
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_worker_set_up_all_workers_use_and_it_is_torn_down_once() {
    let door = Door::default();
    let stage = door.stage(3, "/login").await;
    let master = stage.master("state");
    let workers: Vec<_> = (0..3).map(|index| stage.worker(index)).collect();
    stage.start().await;
    // a worker that comes later and a master that knows nothing any more get the token, too
    workers[1].0.abort();
    stage
        .until("one fewer", |progress| progress.connected == 2)
        .await;
    drop(master);
    let _master = stage.master("state");
    let _replacement = stage.worker(1);
    let result = stage.result().await;
    assert_eq!(
        (door.count("/login"), door.count("/logout canary-1")),
        (1, 1)
    );
    let notes = door.notes.lock().unwrap().clone();
    assert!(
        notes
            .iter()
            .all(|note| ["/login", "/load canary-1", "/logout canary-1"].contains(&note.as_str())),
        "{notes:?}"
    );
    assert_eq!(
        (result.verdict, result.totals.control),
        (Verdict::Passed, 2),
        "{}",
        result.message
    );
    assert!(
        !serde_json::to_string(&result).unwrap().contains("canary"),
        "the result shows the token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_sets_up_when_the_first_dies_over_it() {
    let door = Door {
        first_hangs: true,
        ..Door::default()
    };
    let stage = door.stage(2, "/login").await;
    let _master = stage.master("state");
    let (first, _stop) = stage.worker(0);
    let (_second, _stop) = stage.worker(1);
    stage
        .until("ready", |progress| progress.state == MasterState::Ready)
        .await;
    stage.grant(1, GrantAction::Start).await;
    stage
        .until("setting up", |progress| {
            progress.one_off.as_deref() == Some("setup") && door.count("/login") == 1
        })
        .await;
    first.abort();
    stage
        .until("gone", |progress| progress.connected == 1)
        .await;
    assert_eq!(stage.operator().progress().await.unwrap().requests, 0);
    let (_replacement, _stop) = stage.worker(0);
    let result = stage.result().await;
    assert_eq!(
        (
            result.verdict,
            door.count("/login"),
            door.count("/logout canary-2")
        ),
        (Verdict::Passed, 2, 1),
        "{}",
        result.message
    );
    assert_eq!(door.count("/load canary-2") as u64, received(&result));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_ends_the_run_before_any_load() {
    let door = Door::default();
    let stage = door.stage(2, "/refuse").await;
    let _master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage
        .until("ready", |progress| progress.state == MasterState::Ready)
        .await;
    stage.grant(1, GrantAction::Start).await;
    let result = stage.result().await;
    assert_eq!(
        (result.verdict, &result.reason),
        (Verdict::Errored, &Reason::SetupFailed)
    );
    assert!(
        result
            .message
            .starts_with("setup failed: step \"get in\": 403 Forbidden"),
        "{}",
        result.message
    );
    assert_eq!(
        *door.notes.lock().unwrap(),
        ["/refuse"],
        "teardown named what was never found, so it sent nothing"
    );
    assert!(
        result
            .warnings
            .iter()
            .any(|warning| warning.starts_with("teardown failed")),
        "{:?}",
        result.warnings
    );
}

/// Answers after `time`, at most `at_once` at a time: it holds `at_once / time` requests a second.
async fn limited(at_once: usize, time: Duration) -> String {
    let places = Arc::new(tokio::sync::Semaphore::new(at_once));
    let answer = move || async move {
        let _place = places.acquire().await.unwrap();
        tokio::time::sleep(time).await;
    };
    let listener = TcpListener::bind(ANY).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(
            listener,
            axum::Router::new().route("/", axum::routing::get(answer)),
        )
        .await
    });
    url
}

/// Eight at a time, 40 ms each: 200 a second. A level far above that fills all places within its
/// time to settle, so that arrivals are dropped; a machine that is busy with other tests holds
/// less.
#[tokio::test(flavor = "multi_thread")]
async fn workers_find_together_what_the_target_holds() {
    let url = limited(8, Duration::from_millis(40)).await;
    let stage = Stage::new(2, 1, |spec| {
        spec["target"]["url"] = json!(url);
        spec["scenarios"][0].as_object_mut().unwrap().remove("thinkTime");
        spec["scenarios"][0]["tasks"][0]["steps"][0]["http"] = json!({"path": "/"});
        spec["load"] = json!({"capacity": {"start": 120, "max": 1000, "step": "50%", "precision": "20%", "hold": "4s", "settle": "2s", "maxInFlight": 200}});
        spec["thresholds"] = json!([{"metric": "latency", "expr": "p(90) < 1s"}, {"metric": "failures", "expr": "rate < 1%"}]);
        spec["cost"] = json!({"perHour": 3.6, "wantedRate": 1000});
    })
    .await;
    let _master = stage.master("state");
    let _workers = [stage.worker(0), stage.worker(1)];
    stage.start().await;
    let result = stage.result_within(Duration::from_secs(90)).await;
    let found = result.capacity.clone().unwrap();
    assert_eq!(found.limited_by, Some(LimitedBy::Target), "{found:?}");
    let rate = found.rate.unwrap_or_else(|| panic!("{found:?}"));
    assert!((30.0..=260.0).contains(&rate), "{found:?}");
    let cost = result.cost.unwrap();
    assert_eq!(cost.basis, CostBasis::Sustainable);
    // of what was answered, which is a little less than the rate where a queue grows
    let priced = cost.rate.unwrap_or_else(|| panic!("{cost:?}"));
    assert!((30.0..=260.0).contains(&priced), "{cost:?}");
    assert!(
        (cost.per_million_requests.unwrap() - 1000.0 / priced).abs() < 1e-6,
        "{cost:?}"
    );
    assert_eq!(cost.endpoints, Some((1000.0 / priced).ceil() as u64));
    // each is 40 ms and more in flight
    let concurrency = result.concurrency.unwrap();
    assert!(
        concurrency.by_latency > priced * 0.038 && concurrency.max <= 200,
        "{concurrency:?}"
    );
}
