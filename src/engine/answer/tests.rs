//! Answers held against checks, extracts and records.

mod steps;
mod values;

use serde_json::json;

use crate::engine::answer::*;
use crate::plan::template::Need;
use crate::plan::template::fixed::Fixed;
use crate::plan::{
    Cel, Check, Condition, Declared, Extract, ExtractFrom, JsonPath, JsonTemplate, Names, Pattern,
    Record, RecordFrom, StatusRange, Unit,
};
use crate::stats::ErrorClass;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Took:  12.5 \r\nX-Many: a\r\nx-many: b\r\nX-Empty:\r\nSet-Cookie: sid=abc=1; Path=/\r\nSet-Cookie: other=x\r\nSet-Cookie: sid=def\r\n\r\n";

const BODY: &[u8] = br#"{"category": "fruit", "n": 3, "f": 1.0, "big": 18446744073709551615, "t": "5", "null": null, "items": [1, "a", 2.0], "o": {"x": [1]}}"#;

impl Store for Fixed {
    fn set(&mut self, slot: Slot, value: Option<Value>) {
        self.values[usize::from(slot)] = value;
    }
}

/// Slot 0: unset; 1: `"fruit"`; 2: 3; 3: the row `{"word": "fruit"}`; 4 and above are free.
fn values() -> Fixed {
    Fixed::of([
        None,
        Some(json!("fruit")),
        Some(json!(3)),
        Some(json!({"word": "fruit"})),
        None,
        Some(json!("old")),
    ])
}

fn names() -> Names {
    let mut names = Names::default();
    for (name, declared) in [
        ("unset", Declared::Value(0)),
        ("fruit", Declared::Value(1)),
        ("three", Declared::Value(2)),
        ("texts", Declared::Row(3)),
        ("found", Declared::Value(4)),
        ("old", Declared::Value(5)),
        ("four", Declared::Constant(json!(4).into())),
    ] {
        names.declare(name, declared);
    }
    names
}

fn answer<'a>(status: u16, body: &'a [u8]) -> Facts<'a> {
    Facts {
        status,
        head: HEAD,
        body,
        truncated: false,
        size: body.len() as u64,
        latency: Duration::from_millis(20),
        events: 3,
        ..Facts::default()
    }
}

fn rules(checks: &[Check], extracts: &[Extract], records: &[Record]) -> PreparedRules {
    let records: Vec<(u16, &Record)> = (0..).zip(records).collect();
    PreparedRules::compile(checks, extracts, &records, &names(), "s").unwrap()
}

fn failure_of(check: &Check, answer: &Facts<'_>) -> Option<(ErrorClass, String)> {
    let judged = rules(std::slice::from_ref(check), &[], &[]).judge(answer, &mut values());
    assert_eq!(
        (judged.checks_passed, judged.checks_failed),
        if judged.failure.is_some() {
            (0, 1)
        } else {
            (1, 0)
        }
    );
    judged.failure
}

fn path(source: &str) -> JsonPath {
    JsonPath::parse(source).unwrap()
}

fn template(value: Value) -> JsonTemplate {
    JsonTemplate::new(value).unwrap()
}

fn at(source: &str, condition: Condition) -> Check {
    Check::JsonPath {
        path: path(source),
        must: vec![condition],
    }
}

fn header(name: &str, condition: Condition) -> Check {
    Check::Header {
        name: name.into(),
        must: vec![condition],
    }
}

fn status(ranges: &[&str]) -> Check {
    Check::Status(
        ranges
            .iter()
            .map(|range| StatusRange::parse(range).unwrap())
            .collect(),
    )
}

fn pattern(source: &str) -> Pattern {
    Pattern::parse(source).unwrap()
}

/// Conditions on the node at a path that must not hold, and what the message says was found.
fn wrong() -> Vec<(&'static str, Condition, &'static str)> {
    vec![
        ("$.nothing", Condition::Exists(true), "found nothing"),
        ("$.n", Condition::Exists(false), "found 3"),
        (
            "$.nothing",
            Condition::Equals(template(json!(null))),
            "found nothing",
        ),
        (
            "$.category",
            Condition::Equals(template(json!("Fruit"))),
            "found \"fruit\"",
        ),
        (
            "$.t",
            Condition::Equals(template(json!(5))),
            "found \"5\", which is text, not a number",
        ),
        (
            "$.n",
            Condition::Equals(template(json!("3"))),
            "found 3, which is a number, not text",
        ),
        (
            "$.items",
            Condition::Equals(template(json!([1, "a"]))),
            "found a list of 3",
        ),
        (
            "$.o",
            Condition::Equals(template(json!({"x": [1], "y": 2}))),
            "found an object of 1 field",
        ),
        (
            "$.n",
            Condition::Equals(template(json!("{{ unset }}"))),
            "unset is not set",
        ),
        (
            "$.n",
            Condition::Equals(template(json!("{{ four }}"))),
            "found 3",
        ),
        (
            "$.n",
            Condition::In(template(json!([1, 2, "3"]))),
            "found 3",
        ),
        (
            "$.n",
            Condition::In(template(json!("{{ three }}"))),
            "is not a list",
        ),
        (
            "$.category",
            Condition::Contains(template(json!("x"))),
            "found \"fruit\"",
        ),
        (
            "$.items",
            Condition::Contains(template(json!("1"))),
            "found a list",
        ),
        ("$.n", Condition::Contains(template(json!("3"))), "found 3"),
        (
            "$.category",
            Condition::Matches(pattern("^r")),
            "found \"fruit\"",
        ),
        ("$.items", Condition::Length(2), "found a length of 3"),
        ("$.category", Condition::MinLength(6), "found a length of 5"),
        ("$.o", Condition::MaxLength(0), "found a length of 1"),
        ("$.n", Condition::Length(1), "found 3, which has no length"),
        ("$.n", Condition::Below(template(json!(3))), "found 3"),
        ("$.n", Condition::Above(template(json!(3.0))), "found 3"),
        ("$.n", Condition::AtMost(template(json!(2.5))), "found 3"),
        (
            "$.n",
            Condition::AtLeast(template(json!("{{ four }}"))),
            "found 3",
        ),
        (
            "$.t",
            Condition::AtLeast(template(json!(1))),
            "found \"5\", which is not a number",
        ),
        (
            "$.n",
            Condition::Below(template(json!("{{ fruit }}"))),
            "the value to compare with is not a number",
        ),
        (
            "$.big",
            Condition::Below(template(json!(i64::MAX))),
            "found 18446744073709551615",
        ),
    ]
}

#[test]
fn what_is_not_as_asked_is_said_with_what_was_found() {
    for (source, condition, found) in wrong() {
        let check = at(source, condition);
        let (class, message) =
            failure_of(&check, &answer(200, BODY)).unwrap_or_else(|| panic!("{check} passed"));
        assert_eq!(class, ErrorClass::Check);
        assert!(
            message.starts_with("checks[0], jsonPath $.") && message.contains(found),
            "{message}"
        );
    }
}

#[test]
fn what_is_as_asked_passes() {
    for (source, condition) in [
        ("$.category", Condition::Exists(true)),
        ("$.null", Condition::Exists(true)),
        ("$.nothing", Condition::Exists(false)),
        (
            "$.category",
            Condition::Equals(template(json!("{{ fruit }}"))),
        ),
        (
            "$.category",
            Condition::Equals(template(json!("{{ texts.word }}"))),
        ),
        (
            "$.category",
            Condition::Equals(template(json!("fr{{ raw('ui') }}t"))),
        ),
        ("$.f", Condition::Equals(template(json!(1)))),
        ("$.n", Condition::Equals(template(json!("{{ three }}")))),
        ("$.items", Condition::Equals(template(json!([1.0, "a", 2])))),
        ("$.null", Condition::Equals(template(json!(null)))),
        ("$.o", Condition::Equals(template(json!({"x": [1]})))),
        ("$.n", Condition::In(template(json!([1, "{{ three }}"])))),
        ("$.category", Condition::Contains(template(json!("rui")))),
        ("$.items", Condition::Contains(template(json!(2)))),
        ("$.o", Condition::Contains(template(json!("x")))),
        ("$.n", Condition::Matches(pattern("^3$"))),
        ("$.items", Condition::Length(3)),
        ("$.category", Condition::MinLength(5)),
        ("$.big", Condition::Above(template(json!(i64::MAX)))),
        ("$.n", Condition::AtMost(template(json!("{{ three }}")))),
        ("$.items[*]", Condition::Equals(template(json!(1)))),
        (
            "$.items[?@ == 'a']",
            Condition::Equals(template(json!("a"))),
        ),
    ] {
        assert_eq!(
            failure_of(&at(source, condition), &answer(200, BODY)),
            None,
            "{source}"
        );
    }
}

#[test]
fn a_body_that_is_no_whole_json_fails_what_needs_it_and_says_why() {
    let exists = at("$.a", Condition::Exists(true));
    let message = |answer: &Facts<'_>| failure_of(&exists, answer).unwrap().1;
    assert!(message(&answer(200, b"<html>")).ends_with("the body is not JSON, line 1 column 1"));
    assert!(message(&answer(200, b"{\"a\": 1} x")).contains("not JSON"));
    assert!(message(&answer(200, b"")).ends_with("the body is empty, not JSON"));
    let cut = Facts {
        truncated: true,
        ..answer(200, b"{\"a\": 1}")
    };
    assert!(
        message(&cut).ends_with(
            "the body is longer than the 8 bytes that are kept, so it is not read as JSON"
        )
    );
    let deep = [b'['; 100_000];
    assert!(message(&answer(200, &deep)).contains("not JSON"));
    assert!(
        failure_of(
            &at("$.a", Condition::Exists(false)),
            &answer(200, b"<html>")
        )
        .is_some()
    );
}

#[test]
fn of_a_cut_body_only_what_is_seen_in_it_is_sure() {
    let cut = Facts {
        truncated: true,
        ..answer(200, b"start of it")
    };
    let body = |condition| Check::Body(vec![condition]);
    assert_eq!(
        failure_of(&body(Condition::Contains(template(json!("of")))), &cut),
        None
    );
    assert!(
        failure_of(&body(Condition::Contains(template(json!("end")))), &cut)
            .unwrap()
            .1
            .contains("longer than the 11 bytes")
    );
    assert!(
        failure_of(
            &body(Condition::Equals(template(json!("start of it")))),
            &cut
        )
        .unwrap()
        .1
        .contains("longer than the 11 bytes")
    );
    let expression = Check::Cel(Cel::parse("body.contains('of')").unwrap());
    assert!(failure_of(&expression, &cut).unwrap().1.contains("longer"));
}

#[test]
fn a_status_that_is_not_asked_for_keeps_its_class() {
    for (code, class) in [
        (204, ErrorClass::Check),
        (404, ErrorClass::Status),
        (429, ErrorClass::Throttled),
        (503, ErrorClass::Unavailable),
    ] {
        let (found, message) = failure_of(&status(&["200", "3xx"]), &answer(code, b"")).unwrap();
        assert_eq!(
            (found, message),
            (class, format!("checks[0], status 200, 3xx: found {code}"))
        );
    }
    assert_eq!(failure_of(&status(&["404"]), &answer(404, b"")), None);
    assert!(rules(&[status(&["404"])], &[], &[]).has_status_check());
    assert!(!rules(&[at("$", Condition::Exists(true))], &[], &[]).has_status_check());
}

#[test]
fn headers_are_found_in_any_case_and_one_value_is_enough() {
    let passes = |check: Check| failure_of(&check, &answer(200, BODY)).is_none();
    assert!(passes(header(
        "content-TYPE",
        Condition::Matches(pattern("^application/json$"))
    )));
    assert!(passes(header(
        "X-Many",
        Condition::Equals(template(json!("b")))
    )));
    assert!(passes(header(
        "X-Took",
        Condition::Below(template(json!(12.6)))
    )));
    assert!(passes(header(
        "X-Took",
        Condition::Equals(template(json!(12.5)))
    )));
    assert!(passes(header(
        "X-Empty",
        Condition::Equals(template(json!("")))
    )));
    assert!(passes(header("X-Missing", Condition::Exists(false))));
    assert!(!passes(header("X-Missing", Condition::Exists(true))));
    assert!(!passes(header(
        "X-Many",
        Condition::Equals(template(json!("c")))
    )));
    assert!(!passes(header(
        "X-Many",
        Condition::Above(template(json!(1)))
    )));
    assert!(!passes(header("X-Many", Condition::Exists(false))));
    assert!(!passes(header("HTTP/1.1 200 OK", Condition::Exists(true))));
}

#[test]
fn body_latency_and_size_are_judged() {
    let passes = |check: Check| failure_of(&check, &answer(200, b"hello \xff")).is_none();
    assert!(passes(Check::Body(vec![
        Condition::Contains(template(json!("ell"))),
        Condition::Matches(pattern("^h"))
    ])));
    assert!(!passes(Check::Body(vec![
        Condition::Contains(template(json!("ell"))),
        Condition::Matches(pattern("^e"))
    ])));
    assert!(passes(Check::Latency {
        below: Duration::from_millis(21)
    }));
    assert!(!passes(Check::Latency {
        below: Duration::from_millis(20)
    }));
    assert!(passes(Check::Size {
        above: Some(6),
        below: Some(8)
    }));
    assert!(!passes(Check::Size {
        above: Some(7),
        below: None
    }));
    assert!(!passes(Check::Size {
        above: None,
        below: Some(7)
    }));
}

#[test]
fn an_expression_that_is_false_or_fails_is_a_failed_check() {
    let message = |source: &str| {
        failure_of(&Check::Cel(Cel::parse(source).unwrap()), &answer(200, BODY))
            .map(|(_, message)| message)
    };
    assert_eq!(
        message(
            "status == 200 && json.n == vars.three && feeders.texts.word == json.category && headers['x-many'] == 'a, b'"
        ),
        None
    );
    assert_eq!(
        message("json.n > 3").unwrap(),
        "checks[0], cel json.n > 3: found false"
    );
    assert_eq!(
        message("json.missing > 3").unwrap(),
        "checks[0], cel json.missing > 3: there is no \"missing\""
    );
    assert!(message("json.n + json.category == 1").is_some());
    assert!(message("vars.unset == 1").is_some());
}

#[test]
fn every_check_is_counted_and_the_first_failure_told() {
    let checks = [
        at("$.n", Condition::Exists(true)),
        at("$.x", Condition::Exists(true)),
        at("$.y", Condition::Exists(true)),
    ];
    let judged = rules(&checks, &[], &[]).judge(&answer(200, BODY), &mut values());
    assert_eq!((judged.checks_passed, judged.checks_failed), (1, 2));
    assert_eq!(
        judged.failure,
        Some((
            ErrorClass::Check,
            "checks[1], jsonPath $.x exists: found nothing".into()
        ))
    );
}

#[test]
fn a_message_holds_little_of_a_body_and_of_what_a_template_gave() {
    let long = format!("{{\"a\": {:?}}}", "é".repeat(5000));
    for check in [
        at(
            "$.a",
            Condition::Equals(template(json!("{{ fruit }}é".repeat(200)))),
        ),
        Check::Body(vec![Condition::Equals(template(json!("x".repeat(5000))))]),
        Check::Cel(Cel::parse("json.a + 1 == 1").unwrap()),
    ] {
        let (_, message) = failure_of(&check, &answer(200, long.as_bytes())).unwrap();
        assert!(
            message.chars().count() <= 200 && message.matches('é').count() <= 70,
            "{message}"
        );
    }
}

fn extract(name: &str, from: ExtractFrom, default: Option<Value>) -> Extract {
    Extract {
        name: name.into(),
        from,
        default,
    }
}

fn extracted(from: ExtractFrom) -> Option<Value> {
    let mut values = values();
    let judged =
        rules(&[], &[extract("found", from, None)], &[]).judge(&answer(200, BODY), &mut values);
    assert_eq!(judged.failure.is_none(), values.values[4].is_some());
    values.values[4].take()
}

#[test]
fn what_is_not_found_fails_the_request_and_forgets_the_old_value() {
    let mut values = values();
    let nothing = extract(
        "old",
        ExtractFrom::JsonPath {
            path: path("$.nothing"),
            all: false,
        },
        None,
    );
    let judged =
        rules(&[], std::slice::from_ref(&nothing), &[]).judge(&answer(200, BODY), &mut values);
    assert_eq!(
        judged.failure,
        Some((
            ErrorClass::Extract,
            "extract old, jsonPath $.nothing: found nothing".into()
        ))
    );
    assert_eq!(values.values[5], None);
    for from in [
        ExtractFrom::JsonPath {
            path: path("$.items[9:]"),
            all: true,
        },
        ExtractFrom::Regex(pattern("nothing=(.*)")),
        ExtractFrom::Header("X-Missing".into()),
        ExtractFrom::Cookie("SID".into()),
    ] {
        assert_eq!(extracted(from), None);
    }
    let cut = Facts {
        truncated: true,
        ..answer(200, b"id=")
    };
    for from in [
        ExtractFrom::Body,
        ExtractFrom::Regex(pattern("id=(.+)")),
        ExtractFrom::JsonPath {
            path: path("$"),
            all: false,
        },
    ] {
        let judged = rules(&[], &[extract("old", from, None)], &[]).judge(&cut, &mut values);
        assert!(
            judged
                .failure
                .unwrap()
                .1
                .contains("longer than the 3 bytes")
        );
    }
}

#[test]
fn a_default_is_taken_for_what_is_not_found() {
    let mut values = values();
    let with_default = extract(
        "found",
        ExtractFrom::Header("X-Missing".into()),
        Some(json!(5)),
    );
    assert_eq!(
        rules(&[], &[with_default], &[]).judge(&answer(200, BODY), &mut values),
        Judged::default()
    );
    assert_eq!(values.values[4], Some(json!(5)));
}

#[test]
fn values_keep_the_type_they_have_in_json() {
    assert_eq!(
        extracted(ExtractFrom::JsonPath {
            path: path("$.n"),
            all: false
        }),
        Some(json!(3))
    );
    assert_eq!(
        extracted(ExtractFrom::JsonPath {
            path: path("$.null"),
            all: false
        }),
        Some(json!(null))
    );
    assert_eq!(
        extracted(ExtractFrom::JsonPath {
            path: path("$.items[*]"),
            all: false
        }),
        Some(json!(1))
    );
    assert_eq!(
        extracted(ExtractFrom::JsonPath {
            path: path("$.items[*]"),
            all: true
        }),
        Some(json!([1, "a", 2.0]))
    );
    assert_eq!(
        extracted(ExtractFrom::Regex(pattern(r#""n": (\d+)"#))),
        Some(json!("3"))
    );
    assert_eq!(
        extracted(ExtractFrom::Header("x-took".into())),
        Some(json!("12.5"))
    );
    assert_eq!(
        extracted(ExtractFrom::Cookie("sid".into())),
        Some(json!("def"))
    );
    assert_eq!(
        extracted(ExtractFrom::Body),
        Some(String::from_utf8(BODY.to_vec()).unwrap().into())
    );
}

#[test]
fn a_value_is_taken_also_when_a_check_failed() {
    let mut values = values();
    let slow = Check::Latency {
        below: Duration::from_millis(1),
    };
    let taken = extract(
        "found",
        ExtractFrom::JsonPath {
            path: path("$.n"),
            all: false,
        },
        None,
    );
    let judged = rules(&[slow], &[taken], &[]).judge(&answer(200, BODY), &mut values);
    assert_eq!(
        judged.failure,
        Some((
            ErrorClass::Check,
            "checks[0], latency below 1ms: found 20 ms".into()
        ))
    );
    assert_eq!(values.values[4], Some(json!(3)));
}

fn record(unit: Unit, from: RecordFrom) -> Record {
    Record {
        name: "r".into(),
        unit,
        from,
    }
}

#[test]
fn numbers_are_recorded_in_base_units_and_missing_ones_counted() {
    let records = [
        record(Unit::Milliseconds, RecordFrom::Header("X-Took".into())),
        record(Unit::One, RecordFrom::JsonPath(path("$.f"))),
        record(Unit::Bytes, RecordFrom::JsonPath(path("$.t"))),
        record(
            Unit::Seconds,
            RecordFrom::Cel(Cel::parse("json.n * 2").unwrap()),
        ),
        record(
            Unit::Microseconds,
            RecordFrom::Regex(pattern(r#""n": (\d+)"#)),
        ),
        record(Unit::One, RecordFrom::JsonPath(path("$.category"))),
        record(Unit::One, RecordFrom::Header("X-Missing".into())),
        record(Unit::One, RecordFrom::Cel(Cel::parse("-1").unwrap())),
        record(
            Unit::One,
            RecordFrom::Cel(Cel::parse("json.n / 0").unwrap()),
        ),
    ];
    let judged = rules(&[], &[], &records).judge(&answer(200, BODY), &mut values());
    let numbers = [
        Some(12_500),
        Some(1_000),
        Some(5),
        Some(6_000_000),
        Some(3),
        None,
        None,
        None,
        None,
    ];
    assert_eq!(
        judged,
        Judged {
            recorded: (0..).zip(numbers).collect(),
            ..Judged::default()
        }
    );

    let of_failure =
        rules(&[status(&["201"])], &[], &records).judge(&answer(200, BODY), &mut values());
    assert_eq!(of_failure.recorded, []);
}

#[test]
fn only_what_is_looked_at_is_needed() {
    let needs = |checks: &[Check]| rules(checks, &[], &[]).needs();
    assert_eq!(
        needs(&[
            status(&["200"]),
            Check::Latency {
                below: Duration::from_secs(1)
            },
            Check::Size {
                above: None,
                below: Some(1)
            }
        ]),
        Needs::default()
    );
    assert_eq!(
        needs(&[header("a", Condition::Exists(true))]),
        Needs {
            head: true,
            body: false
        }
    );
    assert_eq!(
        needs(&[at("$.a", Condition::Exists(true))]),
        Needs {
            head: false,
            body: true
        }
    );
    assert_eq!(
        needs(&[Check::Cel(Cel::parse("headers.a == body").unwrap())]),
        Needs {
            head: true,
            body: true
        }
    );
    let cookie = rules(
        &[],
        &[extract("found", ExtractFrom::Cookie("a".into()), None)],
        &[],
    );
    assert_eq!(
        cookie.needs(),
        Needs {
            head: true,
            body: false
        }
    );
    assert!(PreparedRules::default().is_empty() && !cookie.is_empty());
}

#[test]
fn the_rows_to_fetch_are_named_once() {
    let checks = [
        at(
            "$.a",
            Condition::Equals(template(json!("{{ texts.word }}"))),
        ),
        Check::Cel(Cel::parse("feeders.texts.word == 'a'").unwrap()),
        at("$.a", Condition::Equals(template(json!("{{ fruit }}")))),
    ];
    assert_eq!(
        rules(&checks, &[], &[]).feeds(),
        [Need {
            slot: 3,
            take: None
        }]
    );
}

#[test]
fn what_has_no_place_is_a_problem_at_its_path() {
    let nowhere = extract("nowhere", ExtractFrom::Body, None);
    let unknown = at("$.a", Condition::Equals(template(json!("{{ nobody }}"))));
    let counted = record(
        Unit::One,
        RecordFrom::Cel(Cel::parse("vars.nobody").unwrap()),
    );
    let problems = PreparedRules::compile(&[unknown], &[nowhere], &[(0, &counted)], &names(), "s")
        .err()
        .unwrap();
    assert_eq!(
        problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect::<Vec<_>>(),
        ["s.checks[0]", "s.extract.nowhere", "s.record[0]"]
    );
}
