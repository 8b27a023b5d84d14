//! Files and secrets of a test that are not as they should be: refused before any request, or read
//! as they are meant.

use std::fs;

use crate::program::{Scratch, Service, command, starling, test, with_token};

/// A test of three iterations with rows of the file `data/rows`, in a folder of its own.
fn fed(scratch: &Scratch, feeder: &str, rows: &str) -> String {
    fs::create_dir(scratch.path("data")).expect("a folder");
    scratch.file("data/rows", rows);
    let spec = format!(
        "  feeders: [{{name: d, {feeder}: {{file: data/rows}}}}]
  workers: {{volumes: [{{name: data, configMap: {{name: data}}}}]}}
  load:
    iterations: {{count: 3, users: 1, maxDuration: 60s}}
"
    );
    let test = test("fed")
        .replace("{{ word }}", "{{ d.user }}")
        .replace("  load:\n    closed: {users: 1, duration: 1s}\n", &spec);
    scratch.file("fed.yaml", &test)
}

#[test]
fn a_csv_with_an_open_or_misplaced_quote_is_refused_with_its_line_and_nothing_is_sent() {
    let service = Service::start(&[]);
    for (rows, wanted) in [
        (
            "user,text\na,\"x\nb,2\nc,3\n",
            "line 2: a field begins with a quote that is never closed",
        ),
        (
            "user,text\na,1\nb,\"2\"x\n",
            "line 3: a field goes on after its closing quote",
        ),
    ] {
        let scratch = Scratch::new();
        let file = fed(&scratch, "csv", rows);
        for args in [
            &["validate", &file][..],
            &["run", &file, "--target", &service.url],
        ] {
            let ended = starling(args).with_code(2);
            assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
        }
    }
    assert_eq!(service.count(), 0);
}

#[test]
fn a_byte_order_mark_before_rows_is_left_out() {
    let service = Service::start(&[]);
    for (feeder, rows) in [
        ("csv", "\u{feff}user\na\nb\n"),
        ("json", "\u{feff}[{\"user\": \"a\"}, {\"user\": \"b\"}]"),
        (
            "jsonLines",
            "\u{feff}{\"user\": \"a\"}\n{\"user\": \"b\"}\n",
        ),
    ] {
        let scratch = Scratch::new();
        let file = fed(&scratch, feeder, rows);
        starling(&["run", &file, "--target", &service.url]).with_code(0);
    }
    assert_eq!(service.count(), 3 * 3);
}

#[test]
fn an_empty_credential_is_refused_before_the_load() {
    let scratch = Scratch::new();
    let service = Service::start(&[]);
    let file = scratch.file("t.yaml", &with_token("t"));
    for empty in ["", "\n", "\u{feff} \n"] {
        let secret = format!("data-bricks/pat={}", scratch.file("pat", empty));
        let args = ["run", &file, "--target", &service.url, "--secret", &secret];
        let ended = starling(&args).with_code(2);
        assert!(
            ended.stderr.contains("spec.target.auth.bearer.tokenFrom")
                && ended.stderr.contains("is empty"),
            "{}",
            ended.stderr
        );
    }
    let unset = command(&["run", &file, "--target", &service.url])
        .env("STARLING_SECRET_DATA_BRICKS_PAT", "")
        .output()
        .expect("starling starts");
    assert_eq!(unset.status.code(), Some(2));
    assert_eq!(service.count(), 0);
}
