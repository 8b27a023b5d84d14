//! The pages about bodies and answers beside what is sent and seen.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::engine::tests::language::Target;
use crate::engine::tests::server::scripted;
use crate::engine::tests::streaming::{run_spec, spec};
use crate::engine::tests::*;
use crate::plan::Kind;

const BODIES: &str = include_str!("../../../docs/bodies.md");
const ANSWERS: &str = include_str!("../../../docs/answers.md");

/// Section of a page below a heading.
fn section(page: &'static str, heading: &str) -> &'static str {
    let (_, below) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    below.split("\n## ").next().unwrap()
}

/// Cells of the rows of the first table, without the two lines at its top.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| {
        let row = row.trim_start_matches("| ").trim_end_matches(" |");
        row.split(" | ")
            .map(|cell| cell.trim_matches('`'))
            .collect()
    };
    rows.skip(2).map(cells).collect()
}

/// First block of code of a section, in this language.
fn block(text: &'static str, language: &str) -> &'static str {
    let (_, code) = text.split_once(&format!("```{language}\n")).unwrap();
    code.split("```").next().unwrap()
}

#[tokio::test]
async fn each_body_of_the_page_has_the_type_that_it_says() {
    let mut inputs = Inputs::default();
    inputs.insert(Kind::ConfigMap, "c", "k", b"\x00bytes".to_vec());
    let rows = rows(BODIES);
    assert_eq!(rows.len(), 8);
    for row in rows {
        let [body, example, told] = row[..] else {
            panic!("{row:?}");
        };
        let mut http: Value = serde_saphyr::from_str(example).unwrap();
        http["method"] = json!("POST");
        http["path"] = json!("/");
        let target = Target::start();
        let scenario = json!({"tasks": [{"name": "t", "steps": [{"http": http}]}]});
        target.once(scenario, &inputs).await;
        let sent = target.last().headers.get("content-type").cloned();
        let sent = sent
            .as_ref()
            .map_or("none", |value| value.to_str().unwrap());
        match told.strip_suffix("...") {
            Some(beginning) => assert!(sent.starts_with(beginning), "{body}: {sent}"),
            None => assert_eq!(sent, told, "{body}"),
        }
    }
}

#[tokio::test]
async fn what_the_page_says_of_answers_is_seen() {
    for (heading, stream) in [
        ("Events", json!({"until": {"text": "[DONE]"}})),
        ("OpenAI", json!({"preset": "OpenAI"})),
        ("OpenAIResponses", json!({"preset": "OpenAIResponses"})),
        ("AnthropicMessages", json!({"preset": "AnthropicMessages"})),
    ] {
        let section = section(ANSWERS, heading);
        let events = block(section, "text");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{events}",
            events.len()
        );
        let url = scripted(move |mut peer| {
            let answer = answer.clone();
            async move {
                peer.head().await;
                peer.send(Bytes::from(answer)).await;
            }
        })
        .await;
        let rows = rows(section);
        assert!(rows.len() >= 5, "{heading}: {rows:?}");
        for row in rows {
            let [expression, value] = row[..] else {
                panic!("{row:?}");
            };
            let value: Value = serde_json::from_str(value).unwrap();
            let http = json!({"path": "/", "stream": stream});
            let check = json!({"cel": format!("({expression}) == ({value})")});
            let snapshot = run_spec(spec(&url, json!({"http": http, "checks": [check]}))).await;
            assert_eq!(snapshot.requests(), 1);
            assert_eq!(
                snapshot.failures(),
                0,
                "{heading}: {expression} is not {value}: {:?}",
                snapshot.errors
            );
        }
    }
}

#[test]
fn the_conversation_of_the_page_is_a_valid_test() {
    let steps: Value = serde_saphyr::from_str(block(ANSWERS, "yaml")).unwrap();
    let spec = json!({
        "target": {"url": "http://t"},
        "steps": steps["steps"],
        "load": {"iterations": {"count": 1, "users": 1}},
    });
    let checked = crate::crd::check(&serde_json::from_value(spec).unwrap());
    assert!(checked.is_ok_and(|checked| checked.warnings.is_empty()));
}
