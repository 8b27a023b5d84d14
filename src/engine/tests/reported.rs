//! Faults of load generators that users reported, each with the input that showed it.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::engine::tests::language::Target;
use crate::engine::tests::server::scripted;
use crate::engine::tests::streaming::{run_spec, spec, why};

#[tokio::test]
async fn a_cookie_of_the_test_and_those_of_the_target_are_one_field() {
    let target = Target::start();
    let steps = json!([
        {"http": {"path": "/cookie/sid"}},
        {"http": {"path": "/next", "headers": {"Cookie": "theme=dark"}}},
    ]);
    let snapshot = target.steps(steps).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(target.shown("cookie"), ["theme=dark; sid=1"]);
}

#[tokio::test]
async fn a_coded_body_is_read_or_its_coding_is_named() {
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let plain = br#"{"a":1}"#;
    let zstd = [
        b"\x28\xb5\x2f\xfd\x20\x07\x39\0\0".as_slice(),
        plain.as_slice(),
    ];
    let whole = gzip(plain);
    let says = "the body is not what its coding says, gzip";
    let ends = "the body ends before its coding, gzip, does";
    for (coding, body, found) in [
        ("zstd", zstd.concat(), None),
        ("gzip, gzip", gzip(&whole), None),
        ("gzip", plain.to_vec(), Some(says)),
        ("gzip", whole[..whole.len() - 6].to_vec(), Some(ends)),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = [head.as_bytes(), &body].concat();
        let url = scripted(move |peer| peer.always(answer.clone())).await;
        let step = json!({"http": {"path": "/"}, "checks": [{"jsonPath": "$.a", "equals": 1}]});
        let snapshot = run_spec(spec(&url, step)).await;
        match found {
            None => assert_eq!(snapshot.failures(), 0, "{coding}: {:?}", snapshot.errors),
            Some(found) => assert!(why(&snapshot).1.contains(found), "{:?}", snapshot.errors),
        }
    }
}

#[tokio::test]
async fn a_failed_check_is_told_in_the_words_of_its_rule() {
    let url =
        scripted(|peer| peer.always("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}")).await;
    let told = async |check: Value| {
        let step = json!({"http": {"path": "/"}, "checks": [check]});
        let snapshot = run_spec(spec(&url, step)).await;
        why(&snapshot).1.to_owned()
    };
    let check = json!({"jsonPath": "$.a", "equals": 2});
    assert_eq!(
        told(check).await,
        "checks[0], jsonPath $.a equals 2: found 1"
    );
    let check = json!({"jsonPath": "$.a", "in": [2, "b"]});
    assert_eq!(
        told(check).await,
        r#"checks[0], jsonPath $.a in [2,"b"]: found 1"#
    );
}

#[tokio::test]
async fn what_is_made_of_a_secret_is_one() {
    let url = scripted(|peer| {
        peer.always("HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"a\":\"meise-7f3\"}")
    })
    .await;
    let steps = json!([
        {"name": "login", "http": {"path": "/"}, "extract": {"a": {"jsonPath": "$.a"}}},
        {"http": {"path": "/1"}, "extract": {"made": {"value": {"x": "{{ upper(a) }}"}}}},
        {"http": {"path": "/2"}, "checks": [{"jsonPath": "$.a", "equals": "{{ made.x }} or so"}]},
    ]);
    let mut spec = spec(&url, json!({}));
    spec["scenarios"][0]["tasks"][0]["steps"] = steps;
    let snapshot = run_spec(spec).await;
    assert_eq!(
        why(&snapshot).1,
        r#"checks[0], jsonPath $.a equals "*** or so": found "***""#
    );
}
