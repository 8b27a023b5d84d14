//! An API server that goes away, freezes, or is out of the operator's reach: how soon the operator
//! sees again, and what it says of itself while it does not.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::samples::brief;
use crate::stage::{
    Operator, Stage, eventually, is_finished, kubeconfig, phase, play_alone, run, seconds,
};

/// The API server of the test cluster, which runs beside the tests.
struct ApiServer {
    pid_file: PathBuf,
    command: Vec<String>,
}

impl ApiServer {
    /// None on a cluster that is not the suite's own.
    fn find() -> Option<Self> {
        let pid_file = kubeconfig().parent()?.join("pid/apiserver");
        let pid = std::fs::read_to_string(&pid_file).ok()?;
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).ok()?;
        let words = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty());
        Some(Self {
            pid_file,
            command: words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        })
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(&self.pid_file).expect("a pid");
        let command = format!("kill {signal} {}", pid.trim());
        let said = run("sh", &["-c", &command], None);
        assert!(said.ok, "{}", said.text);
    }

    #[allow(
        clippy::zombie_processes,
        reason = "the cluster's own script ends it, by its pid"
    )]
    fn start(&self) {
        let log = self.pid_file.with_file_name("apiserver.again.log");
        let log = std::fs::File::create(log).expect("a log");
        let child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("the API server starts");
        std::fs::write(&self.pid_file, child.id().to_string()).expect("the pid is written");
    }
}

async fn api_answers(stage: &Stage) {
    eventually("the API server answers", seconds(60), async || {
        let said = stage.try_kubectl(&["get", "--raw", "/readyz"], None);
        if said.ok { Ok(()) } else { Err(said.text) }
    })
    .await;
}

/// What a probe of the operator's Pod says, asked as the kubelet does.
async fn probe(address: &str, path: &str) -> u16 {
    let ask = async {
        let mut stream = TcpStream::connect((address, 9090)).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: operator\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    };
    let answer = tokio::time::timeout(seconds(5), ask).await;
    answer.ok().flatten().unwrap_or(0)
}

async fn address_of(stage: &Stage, operator: &Operator) -> String {
    let pods = stage.pods(&operator.selector()).await;
    let status = pods.first().and_then(|pod| pod.status.clone());
    status
        .and_then(|status| status.pod_ip)
        .expect("the operator's Pod has an address")
}

async fn restarts(stage: &Stage, operator: &Operator) -> i32 {
    let pods = stage.pods(&operator.selector()).await;
    let containers = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

/// A LoadTest applied now is seen within a few seconds, and its run comes to its end.
async fn sees_again(stage: &Stage, name: &str) {
    let applied = Instant::now();
    stage.apply(&brief(name, 2));
    stage
        .until(name, "has a phase", seconds(8), |test| {
            phase(test).is_some()
        })
        .await;
    println!("{name} has a phase after {:?}", applied.elapsed());
    stage
        .until(name, "finishes", seconds(120), is_finished)
        .await;
}

#[test]
fn after_the_api_server_was_away_a_new_loadtest_has_a_phase_within_seconds() {
    play_alone("api-away", async |stage| {
        let Some(server) = ApiServer::find() else {
            return println!("NOT SHOWN HERE: stopping the API server needs the suite's cluster");
        };
        let operator = stage.open(&[]).await;
        server.signal("-KILL");
        tokio::time::sleep(seconds(15)).await;
        server.start();
        api_answers(stage).await;
        sees_again(stage, "after-return").await;
        assert_eq!(restarts(stage, &operator).await, 0);
    });
}

#[test]
fn while_the_api_server_is_frozen_the_operator_is_unready_and_then_sees_within_seconds() {
    play_alone("api-frozen", async |stage| {
        let Some(server) = ApiServer::find() else {
            return println!("NOT SHOWN HERE: freezing the API server needs the suite's cluster");
        };
        let operator = stage.open(&[]).await;
        let address = address_of(stage, &operator).await;
        assert_eq!(probe(&address, "/readyz").await, 200);
        server.signal("-STOP");
        let frozen = Instant::now();
        let unready = async {
            while probe(&address, "/readyz").await != 503 {
                tokio::time::sleep(seconds(1)).await;
            }
        };
        let told = tokio::time::timeout(seconds(30), unready).await;
        let after = frozen.elapsed();
        tokio::time::sleep(seconds(40).saturating_sub(after)).await;
        let live = probe(&address, "/livez").await;
        server.signal("-CONT");
        assert!(told.is_ok(), "blind and still ready");
        assert_eq!(live, 200, "it is not restarted for 40 s");
        println!("unready {after:?} after the freeze");
        api_answers(stage).await;
        sees_again(stage, "after-thaw").await;
        eventually("it is ready again", seconds(20), async || {
            match probe(&address, "/readyz").await {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        assert_eq!(restarts(stage, &operator).await, 0);
    });
}

#[test]
fn an_operator_that_is_cut_off_is_restarted_once_within_two_minutes_and_sees_when_it_can() {
    play_alone("operator-cut-off", async |stage| {
        if ApiServer::find().is_none() || !run("nft", &["list", "tables"], None).ok {
            return println!("NOT SHOWN HERE: cutting a Pod off needs nft and the suite's cluster");
        }
        let operator = stage.open(&[]).await;
        let address = address_of(stage, &operator).await;
        let rule = |text: &str| {
            let said = run("nft", &["-f", "-"], Some(text));
            assert!(said.ok, "{}", said.text);
        };
        rule(&format!(
            "table ip cut_off {{\nchain reach {{\ntype filter hook input priority -10;\n\
             ip saddr {address} tcp dport 6443 drop;\n}}\n}}\n"
        ));
        let cut = Instant::now();
        let restarted = async {
            while restarts(stage, &operator).await == 0 {
                tokio::time::sleep(seconds(1)).await;
            }
        };
        let restarted = tokio::time::timeout(seconds(120), restarted).await;
        let after = cut.elapsed();
        // a process that never saw is no reason for another
        tokio::time::sleep(seconds(30)).await;
        let count = restarts(stage, &operator).await;
        rule("delete table ip cut_off");
        assert!(restarted.is_ok(), "not restarted");
        println!("restarted {after:?} after it was cut off");
        assert_eq!(count, 1);
        sees_again(stage, "after-reach").await;
    });
}

#[test]
fn a_loadtest_deleted_while_nobody_looks_leaves_nothing_behind() {
    play_alone("api-away-deleted", async |stage| {
        let operator = stage.open(&[]).await;
        stage.apply(&brief("going", 60));
        stage.loaded("going").await;
        stage.kubectl(&["scale", "deployment", &operator.name(), "--replicas=0"]);
        stage.kubectl(&["delete", "loadtest", "going", "--cascade=orphan"]);
        stage.kubectl(&["scale", "deployment", &operator.name(), "--replicas=1"]);
        eventually("its children go", seconds(90), async || {
            let left = stage.children();
            let of_load = left.iter().filter(|name| !name.contains("configmap"));
            match of_load.count() {
                0 => Ok(()),
                _ => Err(format!("{left:?}")),
            }
        })
        .await;
        let again = json!({"metadata": {"name": "again"}});
        stage.apply(&crate::samples::with(brief("again", 2), again));
        stage.finished("again").await;
    });
}
