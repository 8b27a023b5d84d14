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
fn a_body_may_be_the_text_of_a_file() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "body.json",
        "\u{feff}{\"b\": 1.0, \"a\": \"{{ user.id }}\"}\n",
    );
    let from = format!("@{file}");
    let run = ["run", "HTTP://h/x", "--json-body", &from, "--print"];
    let printed = starling(&run).with_code(0).stdout;
    let test: serde_json::Value = serde_saphyr::from_str(&printed).expect("YAML");
    assert_eq!(test["spec"]["target"]["url"], "http://h");
    let json = &test["spec"]["steps"][0]["http"]["json"];
    assert_eq!(json, "{\"b\": 1.0, \"a\": \"{{ user.id }}\"}\n");
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
            &["run", "127.0.0.1:1/x", "--print"],
            "a URL begins with its scheme: http://127.0.0.1:1/x",
        ),
        (&["run", "ws://h/"], "ws:// is no scheme of a target"),
        (
            &["run", url, "--duration", "-1s"],
            "\"-1s\" is not a duration",
        ),
        (&["run", url, "--rate", "-1"], "must be a number from 0.001"),
        (
            &["run", url, "--users", "1.5"],
            "must be a whole number from 1 to 1000000",
        ),
        (
            &["run", url, "--json-body", "@none.json"],
            "--json-body: \"none.json\" cannot be read",
        ),
        (
            &["run", url, "--expect", "failures < 1%", "--print"],
            "an aggregate of failures goes before the comparison: rate",
        ),
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
