//! Short forms of a test: `spec.steps` in place of `scenarios`, and a scenario's `steps` in place of
//! its `tasks`.

use std::borrow::Cow;

use crate::crd::spec::{LoadTestSpec, ScenarioSpec, StepSpec, TaskSpec};
use crate::plan::{Order, Problem, Written};

/// Name of the scenario and of the task that a short form leaves unnamed.
const UNNAMED: &str = "default";

/// Puts the long form in the place of each short one. Returns the form of each scenario.
///
/// # Errors
///
/// Both forms at once, or neither.
pub(super) fn expand(
    spec: &LoadTestSpec,
) -> Result<(Cow<'_, LoadTestSpec>, Vec<Written>), Vec<Problem>> {
    let problems = problems(spec);
    if !problems.is_empty() {
        return Err(problems);
    }
    if !spec.steps.is_empty() {
        let scenario = ScenarioSpec {
            name: UNNAMED.to_owned(),
            weight: 1,
            fixed_users: None,
            think_time: None,
            pacing: None,
            order: Order::default(),
            on_start: vec![],
            on_stop: vec![],
            load: None,
            steps: vec![],
            tasks: vec![only_task(&spec.steps)],
            blocks: vec![],
        };
        let expanded = LoadTestSpec {
            steps: vec![],
            scenarios: vec![scenario],
            ..spec.clone()
        };
        return Ok((Cow::Owned(expanded), vec![Written::Alone]));
    }
    let forms = spec.scenarios.iter().map(|scenario| {
        if scenario.steps.is_empty() {
            Written::Whole
        } else {
            Written::Steps
        }
    });
    let forms: Vec<Written> = forms.collect();
    let mut spec = Cow::Borrowed(spec);
    if forms.contains(&Written::Steps) {
        for scenario in &mut spec.to_mut().scenarios {
            if !scenario.steps.is_empty() {
                scenario.tasks = vec![only_task(&std::mem::take(&mut scenario.steps))];
            }
        }
    }
    Ok((spec, forms))
}

fn only_task(steps: &[StepSpec]) -> TaskSpec {
    TaskSpec {
        name: UNNAMED.to_owned(),
        weight: 1,
        steps: steps.to_vec(),
    }
}

fn problems(spec: &LoadTestSpec) -> Vec<Problem> {
    match (spec.steps.is_empty(), spec.scenarios.is_empty()) {
        (true, true) => {
            let why = "a test needs steps: these, or scenarios with tasks";
            vec![Problem::new("spec.steps", why)]
        }
        (false, false) => {
            let why = "either these or scenarios; the steps are those of a scenario `default`";
            vec![Problem::new("spec.steps", why)]
        }
        _ => {
            let scenarios = spec.scenarios.iter().enumerate();
            let wrong = scenarios.filter_map(|(i, scenario)| {
                let why = match (scenario.steps.is_empty(), scenario.tasks.is_empty()) {
                    (true, true) => "a scenario needs steps: these, or tasks with steps",
                    (false, false) => "either these or tasks; the steps are those of one task",
                    _ => return None,
                };
                Some(Problem::new(format!("spec.scenarios[{i}].steps"), why))
            });
            wrong.collect()
        }
    }
}

/// Gives a field path of the long form as its author wrote it.
pub(super) fn as_written(path: &str, forms: &[Written]) -> String {
    for (place, form) in forms.iter().enumerate() {
        let scenario = format!("spec.scenarios[{place}]");
        let (task, tasks) = (
            format!("{scenario}.tasks[0].steps"),
            format!("{scenario}.tasks"),
        );
        let steps = format!("{}.steps", form.scenario(place));
        let rest = match form {
            Written::Whole => None,
            Written::Steps => path.strip_prefix(&task).or(path.strip_prefix(&tasks)),
            Written::Alone => [&task, &tasks, &scenario, "spec.scenarios"]
                .iter()
                .find_map(|long| path.strip_prefix(long)),
        };
        if let Some(rest) = rest {
            return format!("{steps}{rest}");
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::{LoadTestSpec, check};

    fn spec(change: Value) -> LoadTestSpec {
        let mut spec = json!({
            "target": {"url": "http://t"},
            "load": {"closed": {"users": 1, "duration": "1s"}},
        });
        let fields = change.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(spec).unwrap()
    }

    fn paths(change: Value) -> Vec<String> {
        let problems = check(&spec(change)).unwrap_err();
        problems.into_iter().map(|problem| problem.path).collect()
    }

    fn step(path: &str) -> Value {
        json!({"http": {"path": path}})
    }

    #[test]
    fn a_short_form_is_the_long_one_with_names_of_its_own() {
        let long =
            json!([{"name": "default", "tasks": [{"name": "default", "steps": [step("/a")]}]}]);
        let mut long = check(&spec(json!({"scenarios": long}))).unwrap().plan;
        for short in [
            json!({"steps": [step("/a")]}),
            json!({"scenarios": [{"name": "default", "steps": [step("/a")]}]}),
        ] {
            let plan = check(&spec(short)).unwrap().plan;
            long.scenarios[0].written = plan.scenarios[0].written;
            assert_eq!(plan, long);
        }
    }

    #[test]
    fn exactly_one_form_is_written() {
        let task = json!({"name": "t", "steps": [step("/")]});
        let scenario = json!({"name": "s", "tasks": [task]});
        let both = json!({"name": "s", "tasks": [task], "steps": [step("/")]});
        assert_eq!(paths(json!({})), ["spec.steps"]);
        assert_eq!(
            paths(json!({"steps": [step("/")], "scenarios": [scenario]})),
            ["spec.steps"]
        );
        assert_eq!(
            paths(json!({"scenarios": [scenario, {"name": "u"}]})),
            ["spec.scenarios[1].steps"]
        );
        assert_eq!(
            paths(json!({"scenarios": [both]})),
            ["spec.scenarios[0].steps"]
        );
    }

    #[test]
    fn a_mistake_is_told_where_it_was_written() {
        let wrong = step("/{{ nobody }}");
        assert_eq!(
            paths(json!({"steps": [step("/"), wrong]})),
            ["spec.steps[1].http.path"]
        );
        let short = json!({"name": "a", "steps": [wrong]});
        let long = json!({"name": "b", "tasks": [{"name": "t", "steps": [wrong]}]});
        assert_eq!(
            paths(json!({"scenarios": [short, long]})),
            [
                "spec.scenarios[0].steps[0].http.path",
                "spec.scenarios[1].tasks[0].steps[0].http.path"
            ]
        );
        let many: Vec<Value> = (0..300).map(|nth| step(&format!("/{nth}"))).collect();
        assert_eq!(paths(json!({"steps": many})), ["spec.steps"]);
    }

    #[test]
    fn what_later_checks_tell_of_a_step_has_the_path_that_was_written() {
        let plan = check(&spec(json!({"steps": [step("/a"), step("/b")]})))
            .unwrap()
            .plan;
        let mut found = Vec::new();
        let names = crate::plan::Names::default();
        crate::plan::symbols::each_step(&plan, names, |_, path, _| found.push(path.to_owned()));
        assert_eq!(found, ["spec.steps[0]", "spec.steps[1]"]);
    }
}
