//! What the users do: scenarios, tasks, steps.

use serde_json::Value;

use super::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::template::Place;
use crate::plan::*;

impl Context<'_> {
    pub(super) fn scenarios(&mut self, scenarios: &[ScenarioSpec]) -> Vec<Scenario> {
        let path = "spec.scenarios";
        self.problems.unique(path, "name", scenarios.iter().map(|s| s.name.as_str()));
        let steps: usize = scenarios.iter().flat_map(|s| &s.tasks).map(|t| t.steps.len()).sum();
        if steps > MAX_STEPS {
            self.problems.add(path, format!("{steps} steps in all, at most {MAX_STEPS} are allowed"));
        }
        scenarios.iter().enumerate().map(|(i, scenario)| self.scenario(&format!("{path}[{i}]"), scenario)).collect()
    }

    fn scenario(&mut self, path: &str, scenario: &ScenarioSpec) -> Scenario {
        let ScenarioSpec { name, weight, fixed_users, think_time, pacing, tasks } = scenario;
        let pacing = pacing.as_ref().map(|pacing| self.pacing(&format!("{path}.pacing"), pacing, think_time.is_some()));
        let think_time = think_time.as_ref().and_then(|think| self.think_time(&format!("{path}.thinkTime"), think));
        self.problems.unique(&format!("{path}.tasks"), "name", tasks.iter().map(|t| t.name.as_str()));
        if tasks.iter().map(|t| u64::from(t.weight)).sum::<u64>() == 0 {
            self.problems.add(format!("{path}.tasks"), "at least one task must have a weight above 0");
        }
        let tasks = tasks.iter().enumerate().map(|(i, task)| self.task(&format!("{path}.tasks[{i}]"), task)).collect();
        Scenario { name: name.clone(), weight: *weight, fixed_users: *fixed_users, think_time, pacing, tasks }
    }

    fn task(&mut self, path: &str, task: &TaskSpec) -> Task {
        let steps: Vec<Step> =
            task.steps.iter().enumerate().filter_map(|(i, step)| self.step(&format!("{path}.steps[{i}]"), step)).collect();
        self.problems.unique(&format!("{path}.steps"), "name", steps.iter().map(|s| s.name.as_str()));
        Task { name: task.name.clone(), weight: task.weight, steps }
    }

    fn step(&mut self, path: &str, step: &StepSpec) -> Option<Step> {
        let StepSpec { name, http, timeout } = step;
        let timeout = match timeout {
            Some(text) => self.problems.positive_duration(&format!("{path}.timeout"), text),
            None => self.timeout,
        };
        let HttpStepSpec { method, path: http_path, headers, json, body } = http;
        let path = format!("{path}.http");
        if http::Method::try_from(method.as_str()).is_err() || method.to_ascii_uppercase() != *method {
            self.problems.add(format!("{path}.method"), format!("{method:?} is not a method"));
        }
        let headers = self.headers(&format!("{path}.headers"), headers);
        let body = self.body(&path, json.as_ref(), body.as_deref());
        let template = self.path(&format!("{path}.path"), http_path)?;
        let name = name.clone().unwrap_or_else(|| default_name(method, http_path));
        Some(Step { name, http: HttpRequest { method: method.clone(), path: template, headers, body }, timeout })
    }

    fn path(&mut self, field: &str, source: &str) -> Option<Template> {
        if !source.starts_with('/') {
            self.problems.add(field, "must begin with /");
        }
        self.template(field, source, Place::Path)
    }

    fn body(&mut self, path: &str, json: Option<&Value>, text: Option<&str>) -> Option<Body> {
        match (json, text) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.problems.add(path, "json and body exclude each other");
                None
            }
            (Some(json), None) => {
                let field = format!("{path}.json");
                let checked = free_value_size(json)
                    .and_then(|()| JsonTemplate::new_with(json.clone(), self.delimiters))
                    .and_then(|json| json.check(self.names).map(|()| json));
                self.problems.take(&field, checked).map(Body::Json)
            }
            (None, Some(text)) => self.template(&format!("{path}.body"), text, Place::Text).map(Body::Text),
        }
    }
}

/// The method and the path, cut to a name's length.
fn default_name(method: &str, path: &str) -> String {
    format!("{method} {path}").chars().take(128).collect()
}
