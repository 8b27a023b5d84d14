//! Master and workers as in a cluster, over real sockets with TLS and tokens: exact sums, losses,
//! restarts.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod feeding;
mod losses;
mod manual;
mod once;
mod partitions;
mod processes;
mod proxy;
mod recovery;
mod scaling;
mod search;
mod stage;

use std::time::Duration;

use serde_json::json;
use stage::{ANY, RUN, Stage, exit_code, listen, received, secret};
use starling::master::{self, Listeners, Memory, Mounted};
use starling::operator::channel::{Channel, InstallKey};
use starling::stats::result::{Reason, Verdict};
use starling::wire::checksum::FileHash;
use starling::wire::control::{Client, Grant, GrantAction, MasterState, ProblemKind, Stop};
use starling::wire::layout::{channel, exit};
use tokio_util::sync::CancellationToken;

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
            workers: None,
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
        channel::CONTROL_TOKEN,
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
