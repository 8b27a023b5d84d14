//! Files that a run writes for people and for other tools, and two runs held against each other.

use std::fs;

use crate::program::{Scratch, Service, starling};

/// Requests at 60 a second for 6 s, each of two steps.
fn steady(url: &str) -> String {
    format!(
        "apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: steady}}
spec:
  target: {{url: {url}}}
  steps:
  - name: first
    http: {{method: POST, path: /predict, json: {{text: the team won}}}}
    checks: [{{status: [200]}}]
  - name: second
    http: {{method: POST, path: /predict, json: {{text: the team lost}}}}
  load:
    open: {{rate: 60, duration: 6s, maxInFlight: 100}}
  thresholds:
  - {{metric: failures, expr: rate < 50%}}
"
    )
}

#[test]
fn a_run_writes_its_report_in_every_form_and_a_kept_result_gives_the_same() {
    let (scratch, service) = (Scratch::new(), Service::start(&[]));
    let test = scratch.file("steady.yaml", &steady(&service.url));
    let path = |name: &str| scratch.path(name);
    let ran = starling(&[
        "run",
        &test,
        "--json",
        &path("r.json"),
        "--html",
        &path("r.html"),
        "--junit",
        &path("r.xml"),
        "--csv",
        &path("r"),
        "--markdown",
        &path("r.md"),
    ])
    .with_code(0);
    assert!(ran.stdout.starts_with("PASSED"), "{}", ran.stdout);
    for (form, file) in [
        ("html", "r.html"),
        ("junit", "r.xml"),
        ("csv", "r_stats.csv"),
        ("markdown", "r.md"),
        ("json", "r.json"),
    ] {
        let again = starling(&["report", &path("r.json"), "-o", form]).with_code(0);
        let kept = fs::read_to_string(path(file)).unwrap();
        assert_eq!(again.stdout.trim_end(), kept.trim_end(), "{form}");
    }
    let text = starling(&["report", &path("r.json")]).with_code(0);
    assert_eq!(text.stdout, ran.stdout);
    let k6 = starling(&["report", &path("r.json"), "-o", "k6"]).with_code(0);
    let k6: serde_json::Value = serde_json::from_str(&k6.stdout).unwrap();
    assert_eq!(k6["metrics"]["http_reqs"]["count"], 720);
    let html = fs::read_to_string(path("r.html")).unwrap();
    assert!(html.contains("Latency of successes by percentile"));
    let junit = fs::read_to_string(path("r.xml")).unwrap();
    assert!(
        junit.contains(r#"name="failures rate &lt; 50%""#),
        "{junit}"
    );
    assert!(
        junit.contains(r#"classname="steady.checks" name="default / first""#),
        "{junit}"
    );
    let stats = fs::read_to_string(path("r_stats.csv")).unwrap();
    assert!(stats.contains("\nPOST,default / first,360,0,"), "{stats}");
    assert!(!stats.contains("N/A"), "{stats}");
    let history = fs::read_to_string(path("r_stats_history.csv")).unwrap();
    assert!(history.lines().count() >= 7, "{history}");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_the_run() {
    let (scratch, service) = (Scratch::new(), Service::start(&[]));
    let test = scratch.file("steady.yaml", &steady(&service.url));
    for flag in ["--html", "--junit", "--csv", "--markdown"] {
        let file = scratch.path("missing/r");
        let ended = starling(&["run", &test, flag, &file]).with_code(1);
        assert!(
            ended.stderr.contains("cannot write the result to"),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(service.count(), 0);
    for (source, words) in [
        ("none.json", "there is no file none.json"),
        (test.as_str(), "is no result of `starling run --json`"),
    ] {
        let ended = starling(&["report", source]).with_code(1);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[test]
fn a_slower_target_is_told_with_exit_99_and_the_same_one_with_0() {
    let scratch = Scratch::new();
    let run = |name: &str, args: &[&str]| {
        let service = Service::start(args);
        let test = scratch.file("steady.yaml", &steady(&service.url));
        let file = scratch.path(name);
        starling(&["run", &test, "--json", &file]).with_code(0);
        file
    };
    let (before, after) = (
        run("a.json", &["--latency", "constant:5ms"]),
        run("b.json", &["--latency", "constant:40ms"]),
    );
    let worse = starling(&["report", "compare", &before, &after]).with_code(99);
    let first = worse.stdout.lines().next().unwrap();
    assert!(first.starts_with("Worse: latency p"), "{}", worse.stdout);
    assert!(
        worse
            .stdout
            .contains("warning: the runs have different targets"),
        "{}",
        worse.stdout
    );
    let page = starling(&["report", "compare", &before, &after, "-o", "html"]).with_code(99);
    assert!(page.stdout.contains("WORSE") && page.stdout.contains("<path"));
    let json = starling(&["report", "compare", &after, &before, "-o", "json"]).with_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["differences"][0]["change"], "Better");
    // a run is like itself
    let same = starling(&["report", "compare", &before, &before]).with_code(0);
    assert!(
        same.stdout.starts_with("Nothing changed"),
        "{}",
        same.stdout
    );
}
