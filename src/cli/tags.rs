//! `--tags` and `--exclude-tags`, which choose requests of a test.

use std::str::FromStr;

use crate::crd::LoadTestSpec;
use crate::crd::spec::StepSpec;
use crate::plan::Problem;

/// Name of a tag, and a value if only that one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    name: String,
    value: Option<String>,
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        if name.is_empty() {
            Err("write NAME or NAME=VALUE".into())
        } else {
            Ok(Self {
                name: name.to_owned(),
                value,
            })
        }
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Tag {
    fn is_on(&self, step: &StepSpec) -> bool {
        step.tags
            .get(&self.name)
            .is_some_and(|found| self.value.as_ref().is_none_or(|wanted| wanted == found))
    }
}

/// Leaves the requests that have one of `only` (any, if that is empty) and none of `without`. What
/// is done once, and what users do at their start and end, is left out only by `without`. Tasks and
/// scenarios in which nothing is left go.
pub fn choose(spec: &mut LoadTestSpec, only: &[Tag], without: &[Tag]) -> Result<(), Problem> {
    if only.is_empty() && without.is_empty() {
        return Ok(());
    }
    let is_out = |step: &StepSpec| step.is_request() && without.iter().any(|tag| tag.is_on(step));
    let is_in = |step: &StepSpec| {
        !is_out(step)
            && (!step.is_request() || only.is_empty() || only.iter().any(|tag| tag.is_on(step)))
    };
    spec.steps.retain(is_in);
    spec.setup.retain(|step| !is_out(step));
    spec.teardown.retain(|step| !is_out(step));
    for scenario in &mut spec.scenarios {
        scenario.on_start.retain(|step| !is_out(step));
        scenario.on_stop.retain(|step| !is_out(step));
        for block in &mut scenario.blocks {
            block.steps.retain(is_in);
        }
        scenario.blocks.retain(|block| !block.steps.is_empty());
        let blocks: Vec<_> = scenario
            .blocks
            .iter()
            .map(|block| block.name.clone())
            .collect();
        let is_there =
            |step: &StepSpec| step.call.as_ref().is_none_or(|call| blocks.contains(call));
        scenario.on_start.retain(is_there);
        scenario.on_stop.retain(is_there);
        scenario
            .blocks
            .iter_mut()
            .for_each(|block| block.steps.retain(is_there));
        let lists = scenario.tasks.iter_mut().map(|task| &mut task.steps);
        for steps in lists.chain([&mut scenario.steps]) {
            steps.retain(|step| is_in(step) && is_there(step));
        }
        scenario.tasks.retain(|task| does_something(&task.steps));
    }
    spec.scenarios
        .retain(|scenario| !scenario.tasks.is_empty() || does_something(&scenario.steps));
    if spec.scenarios.is_empty() && !does_something(&spec.steps) {
        Err(Problem::new(
            "spec.scenarios",
            "--tags and --exclude-tags leave no request of this test",
        ))
    } else {
        Ok(())
    }
}

/// Tells whether a list of steps leads to a request.
fn does_something(steps: &[StepSpec]) -> bool {
    steps
        .iter()
        .any(|step| step.is_request() || step.call.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> LoadTestSpec {
        let step = |path: &str, area: &str| json!({"http": {"path": path}, "tags": {"area": area}});
        serde_json::from_value(json!({
            "target": {"url": "http://x"},
            "scenarios": [
                {"name": "a", "onStart": [step("/login", "account")],
                 "blocks": [{"name": "b", "steps": [step("/b", "shop")]}],
                 "tasks": [{"name": "t", "steps": [step("/shop", "shop"), step("/help", "help")]},
                           {"name": "u", "steps": [step("/help", "help"), {"call": "b"}]}]},
                {"name": "c", "tasks": [{"name": "t", "steps": [{"http": {"path": "/plain"}}]}]},
            ],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        }))
        .unwrap()
    }

    fn left(only: &[&str], without: &[&str]) -> Result<Vec<String>, Problem> {
        let tags = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<Tag>>()
        };
        let mut spec = spec();
        choose(&mut spec, &tags(only), &tags(without))?;
        let scenarios = spec.scenarios.iter();
        let steps = scenarios.flat_map(|s| {
            s.on_start
                .iter()
                .chain(s.tasks.iter().flat_map(|t| &t.steps))
                .chain(s.blocks.iter().flat_map(|b| &b.steps))
        });
        Ok(steps
            .map(|step| {
                step.http.as_ref().map_or_else(
                    || format!("call {}", step.call.clone().unwrap()),
                    |http| http.path.clone(),
                )
            })
            .collect())
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        assert!(left(&["area=nowhere"], &[]).is_err());
        assert!("=x".parse::<Tag>().is_err());
    }

    #[test]
    fn only_what_has_a_tag_is_left_and_the_start_of_users() {
        assert_eq!(
            left(&["area=shop"], &[]).unwrap(),
            ["/login", "/shop", "call b", "/b"]
        );
        assert_eq!(
            left(&["area=help"], &[]).unwrap(),
            ["/login", "/help", "/help"]
        );
        assert_eq!(
            left(&["area"], &["area=help"]).unwrap(),
            ["/login", "/shop", "call b", "/b"]
        );
    }

    #[test]
    fn what_has_an_excluded_tag_goes_wherever_it_is() {
        assert_eq!(
            left(&[], &["area=account", "area=shop"]).unwrap(),
            ["/help", "/help", "/plain"]
        );
        assert_eq!(left(&[], &[]).unwrap().len(), 7);
    }
}
