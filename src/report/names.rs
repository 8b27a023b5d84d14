//! Names of what a result is about, as reports write them.

use crate::stats::result::StepResult;

/// Name of a step with those that lead to it: `scenario / task / step`, without what says the same
/// again.
pub(super) fn step_label(step: &StepResult) -> String {
    label(&step.scenario, &step.task, &step.step)
}

/// The same from its parts.
pub(super) fn label(scenario: &str, task: &str, step: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in [scenario, task, step] {
        if !part.is_empty() && parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    parts.join(" / ")
}

/// Selection of a threshold in words, such as `step=predict, tag.tier=gold`; `None` where it is
/// narrowed to nothing.
pub(super) fn selection(select: &serde_json::Value) -> Option<String> {
    let mut words = Vec::new();
    collect(select, String::new(), &mut words);
    (!words.is_empty()).then(|| words.join(", "))
}

fn collect(value: &serde_json::Value, path: String, words: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                collect(field, path, words);
            }
        }
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => words.push(format!("{path}={text}")),
        other => words.push(format!("{path}={other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_said_once() {
        assert_eq!(label("default", "default", "GET /"), "default / GET /");
        assert_eq!(label("a", "b", "c"), "a / b / c");
        assert_eq!(label("setup", "setup", "setup"), "setup");
    }

    #[test]
    fn a_selection_is_written_with_its_fields() {
        assert_eq!(selection(&json!(null)), None);
        assert_eq!(selection(&json!({})), None);
        let select = json!({"step": "predict", "tags": {"tier": "gold"}});
        assert_eq!(selection(&select).unwrap(), "step=predict, tags.tier=gold");
    }
}
