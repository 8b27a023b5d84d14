//! A conversation over streams, as the program tells of it.

use crate::program::{Scratch, Service, starling};

#[test]
fn a_conversation_of_four_turns_grows_and_has_a_ttft_by_turn() {
    let (scratch, service) = (Scratch::new(), Service::start(&[]));
    let test = format!(
        r#"
apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {{name: talk}}
spec:
  target: {{url: "{}"}}
  variables: {{ask: {{role: user, content: And then?}}}}
  steps:
  - name: turn
    repeat: {{count: 4, separate: true}}
    http:
      method: POST
      path: /v1/chat/completions
      json: {{model: sample, max_tokens: 4, messages: "{{{{ append(history, ask) }}}}"}}
      stream: {{preset: OpenAI}}
    extract:
      answer: {{jsonPath: $.message}}
      history: {{value: "{{{{ append(history, ask, answer) }}}}"}}
  load: {{iterations: {{count: 3, users: 1}}}}
  thresholds:
  - {{metric: ttft, expr: p(95) < 30s, select: {{step: turn 4}}}}
"#,
        service.url
    );
    let file = scratch.file("talk.yaml", &test);
    let json = scratch.path("result.json");
    let ended = starling(&["run", &file, "--json", &json]).with_code(0);
    let result = scratch.json("result.json");
    let steps = result["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), 4, "{steps:?}");
    for (nth, step) in (1..).zip(steps) {
        assert_eq!(step["step"], format!("turn {nth}"));
        let llm = &step["stream"]["llm"];
        assert!(llm["ttft"]["p50"].as_u64() > Some(0), "{step}");
        // the service counts words: two asked in each turn, four answered in those before
        assert_eq!(llm["inputTokens"], 3 * (2 * nth + 4 * (nth - 1)), "{step}");
        assert!(
            ended.stdout.contains(&format!("\n  turn {nth}\n  TTFT ")),
            "{}",
            ended.stdout
        );
    }
    assert_eq!(service.count(), 12);
}
