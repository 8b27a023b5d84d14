//! Ends that nobody planned: signals at any moment, readers that go away, disks that are full. Each
//! has its exit code, and the report is kept where it can be.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Ended, PATIENCE, Scratch, Service, command, received, send, test};

/// Waits for the end of a run.
#[track_caller]
fn end_of(child: Child) -> Ended {
    Ended::of(child.wait_with_output().expect("it ends"))
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// A test that would go on for five minutes.
fn long(change: impl FnOnce(String) -> String) -> String {
    change(test("long").replace("duration: 1s", "duration: 5m"))
}

/// Sends SIGTERM and expects that the run is aborted with a report in both forms.
#[track_caller]
fn is_aborted_by_sigterm(child: Child, scratch: &Scratch) -> serde_json::Value {
    send(&child, libc::SIGTERM);
    let ended = end_of(child).with_code(143);
    assert!(
        ended.stdout.starts_with("ABORTED  long"),
        "{}",
        ended.stdout
    );
    let result = scratch.json("result.json");
    assert_eq!(result["verdict"], "Aborted");
    result
}

#[test]
fn a_signal_during_preparation_ends_the_run_with_a_report() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/token", silent.local_addr().expect("known"));
    let scratch = Scratch::new();
    let secret = scratch.file("secret", "s3cret");
    let file = scratch.file(
        "long.yaml",
        &long(|test| {
            test.replace(
                "target: {url: http://127.0.0.1:9}",
                &format!("target: {{url: http://127.0.0.1:9, auth: {{oauth2: {{tokenUrl: \"{url}\", clientId: c, clientSecretFrom: {{secretKeyRef: {{name: s, key: k}}}}}}}}}}"),
            )
        }),
    );
    let json = scratch.path("result.json");
    let secret = format!("s/k={secret}");
    let run = spawn(&mut command(&[
        "run", &file, "--secret", &secret, "--json", &json,
    ]));
    // the token is asked for, and nobody gives one
    let _asked = silent.accept().expect("a connection");
    let result = is_aborted_by_sigterm(run, &scratch);
    assert_eq!(result["totals"]["requests"], 0);
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_and_the_result_is_written() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("long.yaml", &long(|test| test));
    let json = scratch.path("result.json");
    let mut run = spawn(&mut command(&[
        "run",
        &file,
        "--target",
        &service.url,
        "--json",
        &json,
    ]));
    service.await_requests();
    // as when a terminal closes: nobody reads any more, and the signal comes
    drop((run.stdout.take(), run.stderr.take()));
    send(&run, libc::SIGHUP);
    end_of(run).with_code(129);
    let result = scratch.json("result.json");
    assert_eq!(result["verdict"], "Aborted");
    assert_eq!(received(&result), service.count());
}

#[test]
fn a_run_that_ignores_hang_ups_goes_on_after_one() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &test("t").replace("duration: 1s", "duration: 2s"));
    let program = env!("CARGO_BIN_EXE_starling");
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", program, "run"])
        .args([&file, "--target", &service.url]);
    let run = spawn(nohup.stdin(Stdio::null()));
    service.await_requests();
    send(&run, libc::SIGHUP);
    let ended = end_of(run).with_code(0);
    assert!(ended.stdout.starts_with("PASSED"), "{}", ended.stdout);
}

#[test]
fn readers_that_go_away_change_no_verdict() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &test("t"));
    let json = scratch.path("result.json");
    let mut run = spawn(&mut command(&[
        "run",
        &file,
        "--target",
        &service.url,
        "--json",
        &json,
    ]));
    drop((run.stdout.take(), run.stderr.take()));
    end_of(run).with_code(0);
    assert_eq!(scratch.json("result.json")["verdict"], "Passed");
}

/// Output onto a disk without room.
fn full() -> File {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there")
}

#[test]
fn a_report_that_standard_output_has_no_room_for_goes_to_standard_error() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &test("t"));
    let json = scratch.path("result.json");
    let run = command(&["run", &file, "--target", &service.url, "--json", &json])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let ended = end_of(run).with_code(1);
    for part in [
        "PASSED  t",
        "cannot write to standard output: No space left",
    ] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert_eq!(scratch.json("result.json")["verdict"], "Passed");
    // with no place for either, the exit code is left
    let run = command(&["run", &file, "--target", &service.url])
        .stdout(full())
        .stderr(full())
        .spawn()
        .expect("it starts");
    end_of(run).with_code(1);
}

#[test]
fn a_result_that_its_file_has_no_room_for_is_still_shown() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let two = format!("{}---\n{}", test("one"), test("two"));
    let file = scratch.file("t.yaml", &two);
    let ended = Ended::of(
        command(&[
            "run",
            &file,
            "--target",
            &service.url,
            "--json",
            "/dev/full",
        ])
        .output()
        .expect("it starts"),
    )
    .with_code(1);
    for part in ["PASSED  one", "PASSED  two"] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
    assert!(
        ended
            .stderr
            .contains("cannot write the result to /dev/full"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_a_command_prints_onto_a_full_disk_is_an_error() {
    let crd = command(&["crd"])
        .stdout(full())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let ended = end_of(crd).with_code(1);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
}

/// Before, users whose only step has `if: "false"` kept their thread for themselves, and stopping
/// took 80 s.
#[test]
fn users_that_wait_for_nothing_do_not_hold_up_the_end() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file(
        "long.yaml",
        &long(|test| {
            let step = "      - http: {method: POST";
            test.replace(step, "      - if: \"false\"\n        http: {method: POST")
                .replace(
                    "  - name: s\n",
                    "  - name: s\n    onStart: [{http: {path: /}}]\n",
                )
                .replace("users: 1,", "users: 200,")
        }),
    );
    let json = scratch.path("result.json");
    let args = ["run", &file, "--target", &service.url, "--json", &json];
    let run = spawn(&mut command(&args));
    service.await_requests();
    let result = is_aborted_by_sigterm(run, &scratch);
    assert_eq!(result["totals"]["requests"], 0);
}

#[test]
fn a_target_that_never_answers_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("known"));
    let scratch = Scratch::new();
    let file = scratch.file(
        "long.yaml",
        &long(|test| {
            test.replace(
                "  load:\n",
                "  http: {timeout: 10m}\n  run: {stopTimeout: 1s, preflight: \"Off\"}\n  load:\n",
            )
        }),
    );
    let json = scratch.path("result.json");
    let run = spawn(&mut command(&[
        "run", &file, "--target", &url, "--json", &json,
    ]));
    let _held = silent.accept().expect("a connection");
    let result = is_aborted_by_sigterm(run, &scratch);
    assert_eq!(result["totals"]["interrupted"], 1);
}

/// Waits until a process has taken over SIGTERM.
fn await_handler(child: &Child) {
    let begun = Instant::now();
    let is_taken = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        Some(mask & (1 << (libc::SIGTERM - 1)) != 0)
    };
    while is_taken() != Some(true) {
        assert!(begun.elapsed() < PATIENCE, "SIGTERM is never taken over");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_process_that_nothing_can_interrupt_ends_all_the_same() {
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let text = long(|test| test.replace("  load:\n", "  samples: {rate: 100%}\n  load:\n"));
    let file = scratch.file("long.yaml", &text);
    // to open a pipe that nobody reads takes for ever
    let run = spawn(&mut command(&["run", &file, "--samples", &pipe]));
    await_handler(&run);
    send(&run, libc::SIGTERM);
    let begun = Instant::now();
    end_of(run).with_code(143);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}
