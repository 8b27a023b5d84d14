//! Runs whose workers are other processes, as on several machines: real processes over TLS and
//! loopback addresses, started as a user starts them.

#![allow(
    clippy::disallowed_methods,
    reason = "what waits for another process has no tasks to hold up"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[allow(clippy::panic, reason = "a test that cannot go on fails")]
mod compose;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "the tests of the commands use the rest")]
mod program;
mod stage;
#[path = "../shared/unhurried.rs"]
mod unhurried;

use program::{PATIENCE, received, starling};
use stage::{Controller, Stage, Worker, free_port, test};

/// Exit codes of a worker.
const RELEASED: i32 = 0;
const TURNED_AWAY: i32 = 42;
const TOLD_TO_GO: i32 = 44;

#[test]
fn three_workers_from_elsewhere_make_one_run_and_every_request_counts_once() {
    let stage = Stage::new();
    let run = stage.controller(&test(6, "3s"), 3, &[]);
    let places = ["eu-1", "eu-2", "us-1"];
    let workers = places.map(|place| run.worker(&["--region", place]));
    let ended = run.end().with_code(0);
    for worker in workers {
        worker.end().with_code(RELEASED);
    }
    let result = stage.result();
    assert_eq!(result["verdict"], "Passed");
    assert_eq!(received(&result), stage.service.count());
    assert_eq!(result["workers"]["planned"], 3);
    assert_eq!(result["workers"]["lost"], 0);
    let fleet = result["fleet"].as_array().expect("a list");
    let mut seen: Vec<&str> = fleet
        .iter()
        .map(|worker| worker["place"].as_str().expect("a text"))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, places);
    // two users each: none of the three made nothing
    let requests = fleet
        .iter()
        .map(|worker| worker["requests"].as_u64().expect("a count"));
    assert!(requests.clone().all(|requests| requests > 0), "{fleet:?}");
    assert_eq!(Some(requests.sum()), result["totals"]["requests"].as_u64());
    for place in places {
        assert!(ended.stdout.contains(place), "{}", ended.stdout);
    }
}

#[test]
fn a_wrong_token_and_a_wrong_authority_are_turned_away_and_the_run_goes_on_without_them() {
    let stage = Stage::new();
    let other = Stage::new();
    let run = stage.controller(&test(2, "1s"), 2, &[]);
    let foreign = other.controller(&test(2, "1s"), 2, &[]);
    let tokens = run.tokens();

    let first = tokens.lines().next().expect("a token");
    let forged = stage.file("forged", &first.replace("/0.", "/0.A"));
    let ended = run.worker_with(&run.ca(), &forged, &[]).end();
    let ended = ended.with_code(TURNED_AWAY);
    assert!(ended.stderr.contains("token is needed"), "{}", ended.stderr);

    let ended = run.worker_with(&foreign.ca(), &run.token_file(), &[]).end();
    let ended = ended.with_code(TURNED_AWAY);
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);

    // tokens of another run are shown to nobody but its own controller
    let ended = run.worker_with(&run.ca(), &foreign.token_file(), &[]).end();
    ended.with_code(TURNED_AWAY);

    let nonsense = stage.file("nonsense", "token\n");
    run.worker_with(&run.ca(), &nonsense, &[])
        .end()
        .with_code(TURNED_AWAY);
    assert_eq!(stage.service.count(), 0);

    let workers = [run.worker(&[]), run.worker(&[])];
    run.end().with_code(0);
    for worker in workers {
        worker.end().with_code(RELEASED);
    }
    foreign.interrupt().with_code(130);
}

#[test]
fn a_second_worker_of_one_index_waits_until_its_share_is_free() {
    let stage = Stage::new();
    let mut run = stage.controller(&test(4, "4s"), 2, &[]);
    let only_first = stage.file("first", run.tokens().lines().next().expect("a token"));
    let first = run.worker_with(&run.ca(), &only_first, &["--region", "first"]);
    run.await_ready(1);
    let mut second = run.worker_with(&run.ca(), &only_first, &["--region", "second"]);
    second.await_log("is taken by another worker");
    let last = run.worker(&["--region", "last"]);
    run.end().with_code(0);
    first.end().with_code(RELEASED);
    last.end().with_code(RELEASED);
    let result = stage.result();
    let places: Vec<&str> = result["fleet"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|worker| worker["place"].as_str().expect("a text"))
        .collect();
    assert_eq!(places, ["first", "last"]);
    assert_eq!(result["workers"]["rejoined"], 0);
    assert_eq!(received(&result), stage.service.count());
    // it was never let in, and goes when it is told to
    second.signal(libc::SIGTERM);
    second.end().with_code(TOLD_TO_GO);
}

#[test]
fn nothing_starts_before_the_last_worker_has_joined() {
    let stage = Stage::new();
    let mut run = stage.controller(&test(2, "1s"), 2, &[]);
    let early = run.worker(&[]);
    run.await_ready(1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(stage.service.count(), 0);
    let late = run.worker(&[]);
    run.end().with_code(0);
    early.end().with_code(RELEASED);
    late.end().with_code(RELEASED);
    assert_eq!(received(&stage.result()), stage.service.count());
}

#[test]
fn workers_that_do_not_come_end_the_run_at_its_start_deadline() {
    let stage = Stage::new();
    let spec = test(2, "1s").replace("  load:\n", "  workers: {startDeadline: 3s}\n  load:\n");
    let run = stage.controller(&spec, 2, &[]);
    let alone = run.worker(&[]);
    let ended = run.end().with_code(1);
    assert!(
        ended.stderr.contains("1 of 2 workers were ready within 3s"),
        "{}",
        ended.stderr
    );
    alone.end().with_code(RELEASED);
    assert_eq!(stage.service.count(), 0);
}

/// A test that reads a Secret and a file, with a short time for workers to have them.
fn reading() -> String {
    test(1, "1s")
        .replace(
            "  target: {url: ",
            "  target: {auth: {bearer: {tokenFrom: {secretKeyRef: {name: api, key: token}}}}, url: ",
        )
        .replace(
            "  load:\n",
            "  feeders: [{name: rows, csv: {file: data/rows.csv}}]\n  load:\n",
        )
        .replace("text: goal", "text: \"{{ rows.a }}\"")
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
}

#[test]
fn a_worker_reads_its_own_files_and_the_controller_never_has_them() {
    let stage = Stage::new();
    let files = stage.path("files");
    put(&files.join("secret/api/token"), "canary-8d1f");
    put(&files.join("files/data/rows.csv"), "a\nx\ny\n");
    let run = stage.controller(&reading(), 1, &[]);
    let worker = run.worker(&["--files", files.to_str().expect("UTF-8")]);
    let ended = run.end().with_code(0);
    let worker = worker.end().with_code(RELEASED);
    let result = stage.result().to_string();
    for text in [&ended.stdout, &ended.stderr, &worker.stderr, &result] {
        assert!(!text.contains("canary-8d1f"), "{text}");
    }
}

#[test]
fn a_worker_reads_nothing_outside_of_its_folder_by_any_link() {
    let stage = Stage::new();
    let outside = stage.path("outside");
    put(&outside.join("token"), "canary-8d1f");
    put(&outside.join("rows.csv"), "a\nx\n");
    let files = stage.path("files");
    fs::create_dir_all(files.join("secret/api")).expect("made");
    fs::create_dir_all(files.join("files")).expect("made");
    let link = |to: PathBuf, at: &str| {
        std::os::unix::fs::symlink(to, files.join(at)).expect("linked");
    };
    link(outside.join("token"), "secret/api/token");
    link(outside.clone(), "files/data");
    let spec = reading().replace("  load:\n", "  workers: {startDeadline: 30s}\n  load:\n");
    let mut run = stage.controller(&spec, 1, &[]);
    let worker = run.worker(&["--files", files.to_str().expect("UTF-8")]);
    run.await_note("Secret \"api\" key \"token\" is not there");
    // the Secret is put right, the file is not
    fs::remove_file(files.join("secret/api/token")).expect("gone");
    put(&files.join("secret/api/token"), "in-its-place");
    let ended = run.end().with_code(2);
    assert!(
        ended.stderr.contains("leads out of the folder of files"),
        "{}",
        ended.stderr
    );
    worker.end().with_code(RELEASED);
    assert_eq!(stage.service.count(), 0);
}

#[test]
fn a_worker_without_files_is_told_what_is_missing() {
    let stage = Stage::new();
    let mut run = stage.controller(&reading(), 1, &[]);
    let worker = run.worker(&[]);
    run.await_note("Secret \"api\" key \"token\" is not there");
    run.interrupt().with_code(130);
    worker.end().with_code(RELEASED);
}

#[test]
fn an_interrupted_run_ends_its_workers_and_counts_what_they_sent() {
    let stage = Stage::new();
    let run = stage.controller(&test(4, "5m"), 2, &[]);
    let workers = [run.worker(&[]), run.worker(&[])];
    stage.service.await_requests();
    let ended = run.interrupt().with_code(130);
    assert!(ended.stdout.starts_with("ABORTED"), "{}", ended.stdout);
    for worker in workers {
        worker.end().with_code(RELEASED);
    }
    assert_eq!(received(&stage.result()), stage.service.count());
}

#[test]
fn a_worker_that_is_killed_is_reported_as_lost_and_the_run_ends() {
    let stage = Stage::new();
    // the end waits for the lease of the one that is lost
    let spec = test(4, "5s").replace("  load:\n", "  workers: {grace: 8s}\n  load:\n");
    let run = stage.controller(&spec, 2, &[]);
    let stays = run.worker(&["--region", "stays"]);
    let dies = run.worker(&["--region", "dies"]);
    stage.service.await_requests();
    std::thread::sleep(Duration::from_millis(1500));
    dies.signal(libc::SIGKILL);
    let ended = run.end();
    stays.end().with_code(RELEASED);
    assert!(
        [0, 99].contains(&ended.code),
        "{}\n{}",
        ended.code,
        ended.stderr
    );
    let result = stage.result();
    assert_eq!(result["workers"]["lost"], 1);
    assert!(
        result["events"].to_string().contains("lost"),
        "{}",
        result["events"]
    );
    // what it had not reported is missing, and nothing counts twice
    assert!(received(&result) <= stage.service.count());
}

#[test]
fn a_worker_that_is_stopped_in_its_tracks_does_not_keep_the_run_from_ending() {
    let stage = Stage::new();
    let spec = test(2, "5m").replace("  load:\n", "  run: {stopTimeout: 2s}\n  load:\n");
    let run = stage.controller(&spec, 2, &[]);
    let works = run.worker(&[]);
    let frozen = run.worker(&[]);
    stage.service.await_requests();
    frozen.signal(libc::SIGSTOP);
    let begun = Instant::now();
    let ended = run.interrupt().with_code(130);
    assert!(ended.stdout.starts_with("ABORTED"), "{}", ended.stdout);
    // stopTimeout + 15 s, and what a busy machine takes
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    works.end().with_code(RELEASED);
    frozen.signal(libc::SIGKILL);
}

#[test]
fn a_worker_that_is_told_to_go_hands_over_what_it_measured() {
    let stage = Stage::new();
    let run = stage.controller(&test(4, "6s"), 2, &[]);
    let stays = run.worker(&[]);
    let goes = run.worker(&[]);
    stage.service.await_requests();
    std::thread::sleep(Duration::from_millis(1500));
    goes.signal(libc::SIGTERM);
    goes.end().with_code(TOLD_TO_GO);
    run.end();
    stays.end().with_code(RELEASED);
    assert_eq!(received(&stage.result()), stage.service.count());
}

#[test]
fn a_signal_ends_a_worker_in_the_middle_of_its_preparation() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/token", silent.local_addr().expect("known"));
    let stage = Stage::new();
    let files = stage.path("files");
    put(&files.join("secret/api/token"), "s3cret");
    let secret = "{secretKeyRef: {name: api, key: token}}";
    let auth = format!(
        "  target: {{auth: {{oauth2: {{tokenUrl: \"{url}\", clientId: c, clientSecretFrom: {secret}}}}}, url: "
    );
    let spec = test(1, "1s").replace("  target: {url: ", &auth);
    let run = stage.controller(&spec, 1, &[]);
    let worker = run.worker(&["--files", files.to_str().expect("UTF-8")]);
    let _asked = silent.accept().expect("a connection");
    worker.signal(libc::SIGTERM);
    worker.end().with_code(TOLD_TO_GO);
    run.interrupt().with_code(130);
}

#[test]
fn what_a_listening_run_cannot_do_is_said_before_anything_runs() {
    let stage = Stage::new();
    let file = stage.file("t.yaml", &test(1, "1s"));
    let file = file.to_str().expect("UTF-8");
    for (arguments, words) in [
        (vec!["--listen", "127.0.0.1:0"], "--workers"),
        (vec!["--workers", "2"], "--listen"),
        (vec!["--listen", "nowhere", "--workers", "1"], "IP:PORT"),
        (vec!["--listen", "127.0.0.1:0", "--workers", "0"], "0"),
        (
            vec!["--listen", "127.0.0.1:0", "--workers", "1", "--cores", "1"],
            "--cores",
        ),
    ] {
        let ended = starling(&[&["run", file], &arguments[..]].concat()).with_code(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let ended = starling(&["worker", "--join", "127.0.0.1:1"]).with_code(2);
    assert!(ended.stderr.contains("--token-file"), "{}", ended.stderr);
    let ended = starling(&["worker"]).with_code(2);
    assert!(ended.stderr.contains("--run"), "{}", ended.stderr);
}

#[test]
fn a_worker_waits_for_a_controller_and_its_files_that_come_later() {
    let stage = Stage::new();
    let channel = stage.path("channel");
    let port = free_port();
    let join = format!("127.0.0.1:{port}");
    let mut early = Worker::start(
        &join,
        &channel.join("ca.crt"),
        &channel.join("workers.token"),
        &[],
    );
    early.await_log("waiting for");
    let run = Controller::start(&stage, &join, &test(1, "1s"), 1, &channel, &[]);
    run.end().with_code(0);
    early.end().with_code(RELEASED);
    assert_eq!(received(&stage.result()), stage.service.count());
}

#[test]
fn a_worker_whose_controller_is_killed_stops_its_load() {
    let stage = Stage::new();
    let spec = test(2, "5m").replace("  load:\n", "  workers: {grace: 3s}\n  load:\n");
    let run = stage.controller(&spec, 1, &[]);
    let worker = run.worker(&[]);
    stage.service.await_requests();
    run.signal(libc::SIGKILL);
    let begun = Instant::now();
    let is_still = || {
        let before = stage.service.count();
        std::thread::sleep(Duration::from_secs(1));
        stage.service.count() == before
    };
    while !is_still() {
        assert!(begun.elapsed() < PATIENCE, "the load goes on");
    }
    worker.signal(libc::SIGTERM);
    worker.end().with_code(TOLD_TO_GO);
}
