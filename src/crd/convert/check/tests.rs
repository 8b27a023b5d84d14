//! Mistakes in checks, extracts and records, and what they become.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::crd::convert::Problems;

fn names() -> Names {
    let mut names = Names::default();
    names.declare("limit", Declared::Constant(json!(5).into()));
    names.declare("word", Declared::Constant(json!("x").into()));
    names.declare("secret", Declared::External);
    names.declare("texts", Declared::Row(0));
    names.declare("found", Declared::Value(1));
    names
}

fn converted<T>(convert: impl FnOnce(&mut Context<'_>) -> T) -> Result<T, Vec<Problem>> {
    let mut problems = Problems::default();
    let mut context = Context {
        targets: vec![],
        names: names(),
        free_slot: 0,
        follow_redirects: 0,
        delimiters: &Delimiters::default(),
        max_message_size: 1,
        timeout: std::time::Duration::from_secs(1),
        open: false,
        problems: &mut problems,
    };
    let value = convert(&mut context);
    if problems.found.is_empty() {
        Ok(value)
    } else {
        Err(problems.found)
    }
}

fn checks(specs: Value) -> Result<Vec<Check>, Vec<Problem>> {
    converted(|context| {
        context.checks(
            "c",
            &serde_json::from_value::<Vec<CheckSpec>>(specs).unwrap(),
            &names(),
            AnswerKind::Http,
        )
    })
}

fn extracts(specs: Value) -> Result<Vec<Extract>, Vec<Problem>> {
    converted(|context| {
        context.extracts(
            "e",
            &serde_json::from_value(specs).unwrap(),
            (&names(), &names()),
            AnswerKind::Http,
        )
    })
}

fn records(specs: Value) -> Result<Vec<Record>, Vec<Problem>> {
    converted(|context| {
        context.records(
            "r",
            &serde_json::from_value::<Vec<RecordSpec>>(specs).unwrap(),
            &names(),
        )
    })
}

fn paths<T: std::fmt::Debug>(outcome: Result<T, Vec<Problem>>) -> Vec<String> {
    outcome
        .expect_err("was accepted")
        .into_iter()
        .map(|problem| problem.path)
        .collect()
}

#[test]
fn every_mistake_in_a_check_has_its_field_path() {
    for (spec, path) in [
        (json!({}), "c[0]"),
        (json!({"status": [200], "cel": "true"}), "c[0]"),
        (json!({"status": []}), "c[0].status"),
        (json!({"status": [200, "9xx"]}), "c[0].status[1]"),
        (json!({"status": [200], "exists": true}), "c[0].exists"),
        (json!({"cel": "true", "in": [1]}), "c[0].in"),
        (json!({"jsonPath": "a.b"}), "c[0].jsonPath"),
        (
            json!({"jsonPath": "$.a", "equals": "{{ nobody }}"}),
            "c[0].equals",
        ),
        (
            json!({"jsonPath": "$.a", "equals": u64::MAX}),
            "c[0].equals",
        ),
        (
            json!({"jsonPath": "$.a", "in": ["{{ nobody }}"]}),
            "c[0].in",
        ),
        (json!({"jsonPath": "$.a", "matches": "("}), "c[0].matches"),
        (json!({"jsonPath": "$.a", "below": "many"}), "c[0].below"),
        (
            json!({"jsonPath": "$.a", "atLeast": "{{ word }}"}),
            "c[0].atLeast",
        ),
        (json!({"jsonPath": "$.a", "above": [1]}), "c[0].above"),
        (
            json!({"jsonPath": "$.a", "exists": false, "length": 1}),
            "c[0].exists",
        ),
        (json!({"header": "a b"}), "c[0].header"),
        (json!({"body": {}}), "c[0].body"),
        (json!({"body": {"matches": "("}}), "c[0].body.matches"),
        (
            json!({"body": {"contains": "{{ nobody }}"}}),
            "c[0].body.contains",
        ),
        (json!({"latency": {"below": "fast"}}), "c[0].latency.below"),
        (json!({"latency": {"below": "0s"}}), "c[0].latency.below"),
        (json!({"size": {}}), "c[0].size"),
        (json!({"size": {"above": 5, "below": 6}}), "c[0].size"),
        (json!({"cel": "status =="}), "c[0].cel"),
        (json!({"cel": "vars.nobody == 1"}), "c[0].cel"),
    ] {
        assert_eq!(paths(checks(json!([spec]))), [path], "{spec}");
    }
    assert_eq!(
        paths(checks(Value::from(vec![json!({"status": [200]}); 17]))),
        ["c"]
    );
}

#[test]
fn every_mistake_in_an_extract_has_its_field_path() {
    for (spec, path) in [
        (json!({"a": {}}), "e.a"),
        (json!({"a": {"body": false}}), "e.a"),
        (json!({"a": {"jsonPath": "$.a", "regex": "a"}}), "e.a"),
        (json!({"a": {"jsonPath": "$["}}), "e.a.jsonPath"),
        (json!({"a": {"regex": "(?=a)"}}), "e.a.regex"),
        (json!({"a": {"regex": "a", "all": true}}), "e.a.all"),
        (json!({"a": {"header": ""}}), "e.a.header"),
        (json!({"a": {"cookie": "a=b"}}), "e.a.cookie"),
        (
            json!({"a": {"body": true, "default": u64::MAX}}),
            "e.a.default",
        ),
        (json!({"1a": {"body": true}}), "e.1a"),
        (json!({"user": {"body": true}}), "e.user"),
        (json!({"limit": {"body": true}}), "e.limit"),
        (json!({"secret": {"body": true}}), "e.secret"),
        (json!({"texts": {"body": true}}), "e.texts"),
    ] {
        assert_eq!(paths(extracts(spec.clone())), [path], "{spec}");
    }
    let many: BTreeMap<String, Value> = (0..17)
        .map(|i| (format!("v{i}"), json!({"body": true})))
        .collect();
    assert_eq!(paths(extracts(json!(many))), ["e"]);
}

#[test]
fn every_mistake_in_a_record_has_its_field_path() {
    for (spec, path) in [
        (json!({"name": "a b", "from": {"header": "x"}}), "r[0].name"),
        (
            json!({"name": "latency", "from": {"header": "x"}}),
            "r[0].name",
        ),
        (json!({"name": "a", "from": {}}), "r[0].from"),
        (
            json!({"name": "a", "from": {"header": "x", "cel": "1"}}),
            "r[0].from",
        ),
        (
            json!({"name": "a", "from": {"jsonPath": "a"}}),
            "r[0].from.jsonPath",
        ),
        (
            json!({"name": "a", "from": {"regex": "("}}),
            "r[0].from.regex",
        ),
        (
            json!({"name": "a", "from": {"cel": "nobody"}}),
            "r[0].from.cel",
        ),
    ] {
        assert_eq!(paths(records(json!([spec]))), [path], "{spec}");
    }
    let twice = json!({"name": "a", "from": {"header": "x"}});
    assert_eq!(paths(records(json!([twice, twice]))), ["r[1].name"]);
}

#[test]
fn a_check_of_a_part_without_a_condition_asks_whether_it_exists() {
    let found = checks(json!([{"jsonPath": "$.a"}, {"header": "X-A", "exists": false}])).unwrap();
    assert_eq!(
        found[0],
        Check::JsonPath {
            path: JsonPath::parse("$.a").unwrap(),
            must: vec![Condition::Exists(true)]
        }
    );
    assert_eq!(
        found[1],
        Check::Header {
            name: "X-A".into(),
            must: vec![Condition::Exists(false)]
        }
    );
}

#[test]
fn what_can_be_said_is_taken() {
    let all = checks(json!([
        {"status": [200, "201", "3xx", "400-404"]},
        {"jsonPath": "$.a", "equals": {"n": "{{ limit }}", "f": "{{ found }}"}, "in": [1, "{{ texts.text }}"]},
        {"jsonPath": "$.a[0]", "above": 0, "atMost": 1.5, "atLeast": "{{ found }}", "below": "{{ limit }}", "exists": true},
        {"jsonPath": "$.a", "minLength": 1, "maxLength": 3, "contains": "x", "matches": "^a"},
        {"header": "content-type", "matches": "json"},
        {"body": {"contains": "{{ secret }}", "matches": "a"}},
        {"latency": {"below": "250ms"}},
        {"size": {"above": 5}},
        {"cel": "json.a > vars.limit && feeders.texts.text != ''"},
    ]));
    let all = all.unwrap();
    assert_eq!(all.len(), 9);
    assert_eq!(
        serde_json::from_value::<Vec<Check>>(serde_json::to_value(&all).unwrap()).unwrap(),
        all
    );
    let taken = extracts(json!({
        "a": {"jsonPath": "$.a", "all": true, "default": 1.0}, "b": {"regex": "a(b)"}, "c": {"header": "Location"}, "d": {"cookie": "sid"},
        "found": {"body": true},
    }));
    let taken = taken.unwrap();
    assert_eq!((taken.len(), &taken[0].default), (5, &Some(json!(1))));
    assert_eq!(
        serde_json::from_value::<Vec<Extract>>(serde_json::to_value(&taken).unwrap()).unwrap(),
        taken
    );
    let recorded = records(
        json!([{"name": "inference", "unit": "ms", "from": {"cel": "json.took * 1000.0"}}, {"name": "n", "from": {"header": "x"}}]),
    );
    let recorded = recorded.unwrap();
    assert_eq!(
        (recorded[0].unit, recorded[1].unit),
        (Unit::Milliseconds, Unit::One)
    );
    assert_eq!(
        serde_json::from_value::<Vec<Record>>(serde_json::to_value(&recorded).unwrap()).unwrap(),
        recorded
    );
}

/// One check of each kind, by the field that names it.
fn of_each_kind() -> Vec<(&'static str, Value)> {
    vec![
        ("status", json!({"status": [200, "2xx", "200-204"]})),
        (
            "jsonPath",
            json!({"jsonPath": "$.a", "equals": 1.0, "in": [1, "{{ limit }}"], "minLength": 0}),
        ),
        ("header", json!({"header": "X-A", "exists": false})),
        (
            "body",
            json!({"body": {"equals": "a", "contains": "", "matches": "a"}}),
        ),
        ("latency", json!({"latency": {"below": "1000ms"}})),
        ("size", json!({"size": {"above": 0, "below": 9}})),
        ("cel", json!({"cel": "status == 200"})),
        ("grpcStatus", json!({"grpcStatus": ["OK", 5]})),
        ("trailer", json!({"trailer": "x-a", "matches": "^a"})),
        ("messages", json!({"messages": {"atLeast": 1, "atMost": 2}})),
        ("events", json!({"events": {"atMost": 0}})),
    ]
}

/// Digests are made of what is written, so that a check that is written otherwise than it was read
/// would start a run on every cluster that upgrades.
#[test]
fn a_check_of_each_kind_is_written_as_it_was_read() {
    let kinds = of_each_kind();
    for (_, json) in &kinds {
        let spec: CheckSpec = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(spec).unwrap(), *json);
    }
    let missing = serde_json::from_value::<CheckSpec>(json!({})).unwrap();
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let (last, others) = names.split_last().unwrap();
    assert_eq!(
        missing.kind.only(),
        Err(format!(
            "needs exactly one of {} and {last}",
            others.join(", ")
        ))
    );
}

#[test]
fn a_kind_of_check_is_taken_by_the_protocols_that_have_its_fact() {
    let taken_by = |json: &Value, kind| {
        converted(|context| {
            let spec = serde_json::from_value(json.clone()).unwrap();
            context.checks("c", &[spec], &names(), kind)
        })
        .is_ok()
    };
    for (name, json) in of_each_kind() {
        let taken = [AnswerKind::Http, AnswerKind::HttpStream, AnswerKind::Grpc]
            .map(|kind| taken_by(&json, kind));
        let expected = match name {
            "status" => [true, true, false],
            "grpcStatus" | "trailer" | "messages" => [false, false, true],
            "events" => [false, true, false],
            _ => [true; 3],
        };
        assert_eq!(taken, expected, "{name}");
    }
}
