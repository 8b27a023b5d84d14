//! The real program: what it says, what it leaves behind, and its exit codes.

#![allow(
    clippy::disallowed_methods,
    reason = "what waits for another process has no tasks to hold up"
)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod canary;
mod conversation;
mod inputs;
mod offered;
mod one_liner;
mod program;
mod reports;
mod stopping;
#[path = "../shared/unhurried.rs"]
mod unhurried;

use program::{
    Ended, PATIENT, Scratch, Service, command, received, send, starling, test, with_token,
};

#[test]
fn what_is_wrong_with_a_file_is_said_and_exits_2() {
    let scratch = Scratch::new();
    let cases = [
        (
            "closed:",
            "closd:",
            "spec.load.closd: no such field; did you mean closed?",
        ),
        (
            "users: 1",
            "users: many",
            "spec.load.closed.users: must be a whole number",
        ),
        (
            "http://127.0.0.1:9",
            "not a url",
            "spec.target.url: \"not a url\"",
        ),
        (
            "http://127.0.0.1:9",
            "ftp://x",
            "spec.target.url: \"ftp://x\" does not begin with http:// or https://, nor with grpc:// or grpcs://",
        ),
        (
            "    closed:",
            "    open: {rate: 1, duration: 1s, maxInFlight: 1}\n    closed:",
            "spec.load: exactly one of closed, open",
        ),
        (
            "users: 1",
            "users: 0",
            "spec.load.closed.users: must be at least 1",
        ),
        ("p(95)", "p(101)", "spec.thresholds[0].expr: percentile 101"),
        (
            "{{ word }}",
            "{{ wrod }}",
            "spec.scenarios[0].tasks[0].steps[0].http.json",
        ),
        ("\"{{ word }}\"", "{{ word }}", "quote it"),
        ("{{ word }}", "{{ word", "http.json"),
        ("kind: LoadTest", "kind: [", "line 4: while parsing"),
    ];
    for (i, (from, to, message)) in cases.into_iter().enumerate() {
        assert!(test("bad").contains(from), "{from}");
        let file = scratch.file(&format!("{i}.yaml"), &test("bad").replace(from, to));
        for verb in ["validate", "run"] {
            let ended = starling(&[verb, &file]).with_code(2);
            assert!(
                ended.stderr.contains(message),
                "{verb}: {message:?} is not in\n{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_megabyte_of_yaml_is_refused_at_once() {
    let scratch = Scratch::new();
    let items = scratch.file("items.yaml", &format!("a: [{}]\n", "x,".repeat(500_000)));
    let text = scratch.file(
        "text.yaml",
        &test("big").replace("goal", &"x".repeat(1_000_000)),
    );
    let too_long = scratch.file(
        "long.yaml",
        &format!("{}# {}\n", test("big"), "x".repeat(1 << 20)),
    );
    let begun = Instant::now();
    for file in [&items, &text, &too_long] {
        starling(&["validate", file]).with_code(2);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn files_and_arguments_that_cannot_be_used_exit_2() {
    let scratch = Scratch::new();
    let good = scratch.file("good.yaml", &test("good"));
    let empty = scratch.file("empty.yaml", "# nothing\n");
    for args in [
        &["run", &scratch.path("missing.yaml")][..],
        &["run", &empty],
        &["run", &good, "--rate", "5"],
        &["run", &good, "--users", "0"],
        &["run", &good, "--duration", "soon"],
        &["run", &good, "--var", "nobody=1"],
        &["run", &good, "--target", "nowhere"],
        &["run", &good, "--cores", "0"],
        &["run", &good, "--secret", "no-key"],
        &["run"],
        &["fly"],
    ] {
        assert!(!starling(args).with_code(2).stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_missing_secret_is_named_and_nothing_is_sent() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &with_token("t"));
    let ended = starling(&["run", &file, "--target", &service.url]).with_code(2);
    for part in [
        "spec.target.auth.bearer.tokenFrom",
        "Secret \"data-bricks\"",
        "key \"pat\"",
        "--secret data-bricks/pat=FILE",
        "STARLING_SECRET_DATA_BRICKS_PAT",
        "line 7: ",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is not in\n{}",
            ended.stderr
        );
    }
    assert_eq!(service.count(), 0);
}

#[test]
fn a_secret_is_found_in_each_place_and_shown_in_none() {
    const CANARY: &str = "canary-7f3a91";
    let scratch = Scratch::new();
    let service = Service::start(&["--token", CANARY]);
    let object = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: data-bricks}}\nstringData: {{pat: {CANARY}}}\n"
    );
    let alone = scratch.file("alone.yaml", &with_token("alone"));
    let together = scratch.file(
        "together.yaml",
        &format!("{}{object}", with_token("together")),
    );
    let token = scratch.file("token", &format!("{CANARY}\n"));
    let flag = format!("data-bricks/pat={token}");
    let json = scratch.path("result.json");
    let variable = ("STARLING_SECRET_DATA_BRICKS_PAT", CANARY);
    let ways = [
        (vec![alone.as_str(), "--secret", &flag], None),
        (vec![&together], None),
        (vec![&alone], Some(variable)),
    ];
    for (args, variable) in ways {
        let mut run = command(
            &[
                &["run", "--target", &service.url, "--json", &json],
                args.as_slice(),
            ]
            .concat(),
        );
        let ended = Ended::of(run.envs(variable).output().expect("it runs")).with_code(0);
        let written = fs::read_to_string(&json).expect("written");
        for output in [&ended.stdout, &ended.stderr, &written] {
            assert!(!output.contains(CANARY), "{output}");
        }
    }
    // the service does check it
    let wrong = scratch.file("wrong", "wrong");
    starling(&[
        "run",
        &alone,
        "--target",
        &service.url,
        "--secret",
        &format!("data-bricks/pat={wrong}"),
    ])
    .with_code(99);
}

#[test]
fn requests_sent_are_requests_received() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let json = scratch.path("result.json");
    let ended = starling(&[
        "run",
        &scratch.quickstart(),
        "--target",
        &service.url,
        "--duration",
        "2s",
        "--users",
        "5",
        "--json",
        &json,
    ]);
    let ended = ended.with_code(0);
    assert!(
        ended.stdout.starts_with("PASSED  quickstart"),
        "{}",
        ended.stdout
    );
    let result = scratch.json("result.json");
    assert!(
        result["totals"]["requests"].as_u64() > Some(100),
        "{}",
        result["totals"]
    );
    assert_eq!(received(&result), service.count());
    assert_eq!(result["verdict"], "Passed");
    assert_eq!(
        result["overrides"],
        serde_json::json!([
            format!("--target {}", service.url),
            "--users 5",
            "--duration 2s"
        ])
    );
}

#[test]
fn a_slow_target_breaches_its_thresholds() {
    let scratch = Scratch::new();
    let service = Service::start(&["--latency", "constant:150ms"]);
    let file = scratch.file("t.yaml", &test("slow").replace(PATIENT, "p(95) < 100ms"));
    let ended = starling(&["run", &file, "--target", &service.url]).with_code(99);
    assert!(ended.stdout.starts_with("FAILED  slow"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("latency p(95) < 100ms"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_target_that_refuses_connections_is_found_before_the_load_or_fails_every_request() {
    let scratch = Scratch::new();
    let file = scratch.file("t.yaml", &test("nobody"));
    let ended = starling(&["run", &file, "--target", "http://127.0.0.1:9"]).with_code(1);
    assert!(
        ended
            .stdout
            .contains("preflight failed: spec.target: connecting to 127.0.0.1:9"),
        "{}",
        ended.stdout
    );
    let file = scratch.file(
        "off.yaml",
        &format!("{}  run: {{preflight: \"Off\"}}\n", test("nobody")),
    );
    let ended = starling(&["run", &file, "--target", "http://127.0.0.1:9"]).with_code(99);
    assert!(ended.stdout.contains("connect"), "{}", ended.stdout);
}

#[test]
fn the_demo_service_starts_by_itself() {
    let scratch = Scratch::new();
    let ended = starling(&[
        "run",
        "--demo-service",
        &scratch.quickstart(),
        "--duration",
        "1s",
        "--cores",
        "1",
    ])
    .with_code(0);
    assert!(ended.stdout.contains("PASSED"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\x1b'), "colours went into a pipe");
}

#[test]
fn of_several_tests_the_worst_counts_and_the_result_is_a_list() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let breached = test("second").replace(PATIENT, "p(95) < 1us");
    let file = scratch.file("two.yaml", &format!("{breached}---\n{}", test("first")));
    let json = scratch.path("results.json");
    starling(&["run", &file, "--target", &service.url, "--json", &json]).with_code(99);
    let results = scratch.json("results.json");
    let verdicts: Vec<_> = results
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| result["verdict"].as_str().expect("text"))
        .collect();
    assert_eq!(verdicts, ["Failed", "Passed"]);
    assert_eq!(
        results
            .as_array()
            .expect("a list")
            .iter()
            .map(received)
            .sum::<u64>(),
        service.count()
    );
}

#[test]
fn a_page_is_that_of_one_run_and_for_this_machine() {
    let scratch = Scratch::new();
    let one = scratch.file("one.yaml", &test("first"));
    let refused = starling(&["run", &one, "--web=0.0.0.0:0"]).with_code(2);
    assert!(
        refused.stderr.contains("this machine only"),
        "{}",
        refused.stderr
    );
    let two = format!("{}---\n{}", test("first"), test("second"));
    let two = scratch.file("two.yaml", &two);
    let refused = starling(&["run", &two, "--web"]).with_code(2);
    assert!(
        refused.stderr.contains("give one LoadTest"),
        "{}",
        refused.stderr
    );
    // nobody watches, so nobody is waited for
    let service = Service::start(&[]);
    let ended = starling(&["run", "--web", &one, "--target", &service.url]).with_code(0);
    let address = "watch the run at http://127.0.0.1:";
    assert!(ended.stderr.contains(address), "{}", ended.stderr);
}

#[test]
fn one_invalid_document_keeps_all_from_running() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file(
        "two.yaml",
        &format!(
            "{}---\n{}",
            test("good"),
            test("bad").replace("users: 1", "users: 0")
        ),
    );
    let ended = starling(&["run", &file, "--target", &service.url]).with_code(2);
    assert!(
        ended.stderr.contains("document 2 (bad)"),
        "{}",
        ended.stderr
    );
    assert_eq!(service.count(), 0);
}

#[test]
fn a_result_that_cannot_be_written_is_known_before_the_load() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &test("t"));
    let ended = starling(&[
        "run",
        &file,
        "--target",
        &service.url,
        "--json",
        &scratch.path("missing/result.json"),
    ])
    .with_code(1);
    assert!(
        ended.stderr.contains("missing/result.json"),
        "{}",
        ended.stderr
    );
    assert_eq!(service.count(), 0);
}

/// Starts a long run against `service`, and waits until it is under way.
fn long_run(scratch: &Scratch, service: &Service) -> (Child, PathBuf) {
    let file = scratch.file(
        "long.yaml",
        &test("long").replace("duration: 1s", "duration: 5m"),
    );
    let json = scratch.path("result.json");
    let mut run = command(&["run", &file, "--target", &service.url, "--json", &json]);
    let child = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    service.await_requests();
    (child, json.into())
}

#[test]
fn a_signal_ends_the_load_and_the_report_is_still_written() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let scratch = Scratch::new();
        let service = Service::start(&[]);
        let (child, _) = long_run(&scratch, &service);
        send(&child, signal);
        let ended = Ended::of(child.wait_with_output().expect("it ends")).with_code(code);
        assert!(
            ended.stdout.starts_with("ABORTED  long"),
            "{}",
            ended.stdout
        );
        let result = scratch.json("result.json");
        assert_eq!(result["verdict"], "Aborted");
        assert_eq!(received(&result), service.count());
    }
}

#[test]
fn a_second_signal_does_not_wait_for_the_first() {
    let scratch = Scratch::new();
    let service = Service::start(&["--latency", "constant:20s"]);
    let (mut child, json) = long_run(&scratch, &service);
    let begun = Instant::now();
    send(&child, libc::SIGINT);
    // the first is being drained: the program is still there
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("known").is_none());
    send(&child, libc::SIGINT);
    Ended::of(child.wait_with_output().expect("it ends")).with_code(130);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(!json.exists());
}

/// A test whose only step sends the rows of `feeder`.
fn with_feeder(name: &str, feeder: &str) -> String {
    let scenarios = format!("  feeders:\n  - {feeder}\n  scenarios:\n");
    test(name)
        .replace("  scenarios:\n", &scenarios)
        .replace("{{ word }}", "{{ texts.text }}")
}

#[test]
fn what_is_wrong_with_a_feeders_data_is_said_with_its_line_before_anything_is_sent() {
    let scratch = Scratch::new();
    scratch.file("rows.csv", "id,text\n1,a\n2\n");
    let csv = "{name: texts, csv: {file: rows.csv}}";
    let cases = [
        (
            csv.to_owned(),
            "spec.feeders[0].csv: line 3: 1 field, but there are 2 columns",
        ),
        (
            csv.replace("rows.csv", "nothing.csv"),
            "spec.feeders[0].csv: cannot read \"nothing.csv\"",
        ),
        (
            csv.replace("rows.csv", "../rows.csv"),
            "spec.feeders[0].csv: cannot read \"../rows.csv\"",
        ),
        (
            "{name: texts, inline: [{txet: a}]}".to_owned(),
            "texts has no column \"text\"; it has txet",
        ),
        (
            "{name: texts, json: {configMapKeyRef: {name: c, key: k}}}".to_owned(),
            "ConfigMap \"c\" has no key \"k\" here",
        ),
    ];
    for (i, (feeder, message)) in cases.into_iter().enumerate() {
        let file = scratch.file(&format!("{i}.yaml"), &with_feeder("fed", &feeder));
        let ended = starling(&["run", "--demo-service", &file]).with_code(2);
        assert!(
            ended.stderr.contains(message),
            "{message}:\n{}",
            ended.stderr
        );
    }
}

#[test]
fn validate_reads_the_data_of_feeders_where_it_can() {
    let scratch = Scratch::new();
    scratch.file("rows.csv", "id,txet\n1,a\n");
    let file = scratch.file(
        "t.yaml",
        &with_feeder("fed", "{name: texts, csv: {file: rows.csv}}"),
    );
    let ended = starling(&["validate", &file]).with_code(2);
    let message = "line 14: spec.scenarios[0].tasks[0].steps[0].http.json: text: texts has no column \"text\"; it has id, txet";
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
    let elsewhere = scratch.file(
        "e.yaml",
        &with_feeder(
            "fed",
            "{name: texts, csv: {secretKeyRef: {name: s, key: k}}}",
        ),
    );
    let ended = starling(&["validate", &elsewhere]).with_code(0);
    assert!(
        ended.stderr.contains("note: ")
            && ended.stderr.contains("Secret \"s\" key \"k\" is not here"),
        "{}",
        ended.stderr
    );
}

#[test]
fn chosen_requests_are_written_down_where_the_flag_says() {
    let scratch = Scratch::new();
    let sampled = test("sampled").replace("100ms", "10s").replace(
        "  load:\n",
        "  samples: {rate: 100%, maxBytes: 20000}\n  load:\n",
    );
    let file = scratch.file("t.yaml", &sampled);
    let (json, samples) = (scratch.path("result.json"), scratch.path("samples.jsonl"));
    let ended = starling(&[
        "run",
        "--demo-service",
        &file,
        "--json",
        &json,
        "--samples",
        &samples,
    ])
    .with_code(0);
    let text = fs::read_to_string(&samples).expect("it is there");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        lines.len() > 5 && text.len() <= 20_000,
        "{} lines, {} bytes",
        lines.len(),
        text.len()
    );
    assert_eq!(lines[0]["sent"]["body"], "{\"text\":\"goal\"}");
    assert_eq!(lines[0]["run"], scratch.json("result.json")["run"]);
    let left_out = scratch.json("result.json")["totals"]["requests"]
        .as_u64()
        .expect("a count")
        - lines.len() as u64;
    let note = format!(
        "note: {} requests were written down, {left_out} were left out",
        lines.len()
    );
    assert!(ended.stderr.contains(&note), "{note}: {}", ended.stderr);

    let ended = starling(&["run", "--demo-service", &file]).with_code(0);
    assert!(
        ended
            .stderr
            .contains("spec.samples has no effect here without --samples FILE"),
        "{}",
        ended.stderr
    );
    starling(&[
        "run",
        "--demo-service",
        &file,
        "--samples",
        &scratch.path("no/such/folder"),
    ])
    .with_code(1);
}

#[test]
fn every_row_that_the_master_leases_is_used_once_and_the_result_says_so() {
    let scratch = Scratch::new();
    scratch.file(
        "rows.jsonl",
        &(0..25)
            .map(|n| format!("{{\"text\": \"{n}\"}}\n"))
            .collect::<String>(),
    );
    let feeder = "{name: texts, jsonLines: {file: rows.jsonl}, strategy: Queue, scope: Test, onExhausted: StopRun}";
    let file = scratch.file(
        "t.yaml",
        &with_feeder("fed", feeder).replace("duration: 1s", "duration: 1m"),
    );
    let json = scratch.path("result.json");
    starling(&["run", "--demo-service", &file, "--json", &json]).with_code(0);
    let result = scratch.json("result.json");
    assert_eq!(result["totals"]["requests"], 25);
    assert_eq!(
        result["feeders"],
        serde_json::json!([{"name": "texts", "leased": 25, "used": 25, "lost": 0}])
    );
}

#[test]
fn a_test_can_come_from_standard_input() {
    let mut child = command(&["validate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(test("piped").as_bytes())
        .expect("written");
    let ended = Ended::of(child.wait_with_output().expect("it ends")).with_code(0);
    assert_eq!(ended.stdout, "-: document 1 (piped): valid\n");
}

#[test]
fn a_reader_that_goes_away_is_no_mistake() {
    let mut child = command(&["crd"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ended = Ended::of(child.wait_with_output().expect("it ends")).with_code(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn names_in_a_file_do_not_steer_the_terminal() {
    let scratch = Scratch::new();
    let file = scratch.file("t.yaml", &test("\"a\\e[31mb\""));
    let ended = starling(&["validate", &file]).with_code(2);
    assert!(!ended.stderr.contains('\x1b'), "{}", ended.stderr);
}

#[test]
fn the_names_of_the_demo_service_in_the_first_version_still_work() {
    let scratch = Scratch::new();
    starling(&[
        "run",
        "--sample-service",
        &scratch.quickstart(),
        "--duration",
        "1s",
    ])
    .with_code(0);
    let file = scratch.file("t.yaml", &with_token("t"));
    let secret = format!("data-bricks/pat={}", scratch.file("pat", "right"));
    for (command, variable) in [
        ("demo-service", "STARLING_DEMO_TOKEN"),
        ("sample-service", "STARLING_SAMPLE_TOKEN"),
    ] {
        for (token, code) in [("right", 0), ("wrong", 99)] {
            let service = Service::start_as(command, &[(variable, token)]);
            starling(&["run", &file, "--secret", &secret, "--target", &service.url])
                .with_code(code);
        }
        starling(&[command, "--help"]).with_code(0);
    }
    let both = |help: &str, names: [&str; 2]| names.iter().all(|name| help.contains(name));
    let help = starling(&["--help"]).with_code(0).stdout;
    assert!(both(&help, ["demo-service", "sample-service"]), "{help}");
    let help = starling(&["run", "--help"]).with_code(0).stdout;
    assert!(
        both(&help, ["--demo-service", "--sample-service"]),
        "{help}"
    );
}

#[test]
fn a_variable_of_the_demo_service_wins_over_its_name_in_the_first_version() {
    let variables = [
        ("STARLING_DEMO_CLIENT", "robot:canary"),
        ("STARLING_SAMPLE_CLIENT", "no secret"),
    ];
    Service::start_as("demo-service", &variables);
    let mut refused = command(&["demo-service", "--listen", "127.0.0.1:0"]);
    let output = refused
        .env("STARLING_SAMPLE_CLIENT", "no secret")
        .output()
        .expect("it starts");
    let ended = Ended::of(output).with_code(2);
    assert!(ended.stderr.contains("ID:SECRET"), "{}", ended.stderr);
}
