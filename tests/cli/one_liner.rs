//! A test of one request, written on the command line.

use crate::program::{Scratch, Service, received, starling};

#[test]
fn a_url_is_a_test_that_ends_with_a_verdict() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let json = scratch.path("result.json");
    let url = format!("{}/predict", service.url);
    let arguments = [
        "run",
        &url,
        "--json-body",
        r#"{"text": "user {{ user.id }}"}"#,
        "--users",
        "3",
        "--duration",
        "1s",
        "--expect",
        "failures rate < 1%",
        "--json",
        &json,
    ];
    starling(&arguments).with_code(0);
    let result = scratch.json("result.json");
    assert_eq!(result["verdict"], "Passed", "{}", result["message"]);
    assert_eq!(result["steps"][0]["step"], "POST /predict");
    assert!(received(&result) > 10);
    assert_eq!(received(&result), service.count());

    let breached = [&arguments[..], &["--expect", "p(95) < 1us"]].concat();
    let ended = starling(&breached).with_code(99);
    assert!(ended.stdout.starts_with("FAILED"), "{}", ended.stdout);
}

#[test]
fn a_printed_test_is_a_file_to_keep() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let url = format!("{}/healthz?a=1", service.url);
    let load = ["--rate", "50", "--duration", "1s"];
    let printed = starling(&[&["run", &url, "--print"], &load[..]].concat()).with_code(0);
    assert_eq!(service.count(), 0, "nothing runs");
    let file = scratch.file("kept.yaml", &printed.stdout);
    let json = scratch.path("result.json");
    starling(&["validate", &file]).with_code(0);
    starling(&["run", &file, "--json", &json]).with_code(0);
    let result = scratch.json("result.json");
    assert_eq!(result["totals"]["requests"], 50);
}

#[test]
fn what_is_no_test_says_what_to_write() {
    let url = "http://127.0.0.1:1/";
    for (arguments, said) in [
        (&["run", url, url][..], "give one URL"),
        (&["run", url, "test.yaml"], "give one URL"),
        (
            &["run", "test.yaml", "--method", "PUT"],
            "--method: goes with a URL",
        ),
        (&["run", "http:///x"], "empty host"),
        (
            &["run", url, "--expect", "p(95) is low", "--print"],
            "thresholds",
        ),
    ] {
        let ended = starling(arguments).with_code(2);
        assert!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}
