//! Steps: their actions, conditions and repetitions, and what requests of all protocols have.

pub(super) mod grpc;
mod http;

use std::time::Duration;

use serde_json::Value;

use super::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::names::{check_name, list};
use crate::plan::symbols::{StepNames, SymbolTable};
use crate::plan::*;

impl Context<'_> {
    /// Checks the list of steps at `path`. Afterwards the names that they set are known.
    pub(super) fn steps(
        &mut self,
        symbols: &SymbolTable,
        path: &str,
        steps: &[StepSpec],
    ) -> Vec<Step> {
        let mut checked = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let step_names = step_names(step);
            let mut after = self.names.clone();
            self.names = symbols.within(&after, &step_names);
            let mut known = self.names.clone();
            symbols.after(&mut known, &step_names);
            let converted = self.step(&format!("{path}[{i}]"), step, &known);
            checked.extend(
                converted
                    .into_iter()
                    .flat_map(|converted| match &step.repeat {
                        Some(repeat) if repeat.separate => converted.separated(),
                        _ => vec![converted],
                    }),
            );
            symbols.after(&mut after, &step_names);
            self.names = after;
        }
        let names = written_places(&checked).map(|(place, step)| match &step.action {
            Action::Request(request) => (place, Some(request.name.as_str())),
            Action::Call(_) | Action::Pause(_) => (place, None),
        });
        self.problems.unique_at(path, "name", names);
        checked
    }

    fn step(&mut self, path: &str, step: &StepSpec, after: &Names) -> Option<Step> {
        let StepSpec {
            condition,
            repeat,
            for_each,
            on_failure,
            ..
        } = step;
        let names = self.names.clone();
        let condition = condition
            .as_ref()
            .and_then(|source| self.cel(&format!("{path}.if"), source, &names));
        let repeat = repeat
            .as_ref()
            .and_then(|repeat| self.repeat(&format!("{path}.repeat"), repeat, after));
        let for_each = for_each
            .as_ref()
            .and_then(|each| self.for_each(&format!("{path}.forEach"), each));
        if repeat.is_some() && for_each.is_some() {
            self.problems.add(
                path,
                "repeat and forEach exclude each other; put one of them into a block",
            );
        }
        if step.repeat.as_ref().is_some_and(|repeat| repeat.separate) && !step.is_request() {
            let why = "goes with a request only; write the steps of a block here";
            self.problems.add(format!("{path}.repeat.separate"), why);
            return None;
        }
        let action = self.action(path, step, after)?;
        if !matches!(action, Action::Request(_)) {
            self.only_of_requests(path, step);
        }
        Some(Step {
            condition,
            repeat,
            for_each,
            on_failure: *on_failure,
            action,
            repetition: None,
        })
    }

    /// Checks what the step at `path` does; `None` if there is a mistake in it. `after` are the
    /// names known after the step.
    fn action(&mut self, path: &str, step: &StepSpec, after: &Names) -> Option<Action> {
        let StepSpec {
            http,
            grpc,
            call,
            pause,
            ..
        } = step;
        Some(match (http, grpc, call, pause) {
            (Some(http), None, None, None) => {
                let call = self.http_call(&format!("{path}.http"), http);
                Action::Request(Box::new(self.request(path, step, after, call)?))
            }
            (None, Some(grpc), None, None) => {
                let call = self.grpc_call(&format!("{path}.grpc"), grpc);
                Action::Request(Box::new(self.request(path, step, after, call)?))
            }
            (None, None, Some(block), None) => Action::Call(block.clone()),
            (None, None, None, Some(pause)) => {
                Action::Pause(self.think_time(&format!("{path}.pause"), pause)?)
            }
            _ => {
                self.problems
                    .add(path, "exactly one of http, grpc, call and pause");
                return None;
            }
        })
    }

    /// Adds a mistake for each field of a step without a request that only requests have.
    fn only_of_requests(&mut self, path: &str, step: &StepSpec) {
        let StepSpec {
            name,
            tags,
            timeout,
            checks,
            extract,
            record,
            goodput,
            target,
            ..
        } = step;
        let said = [
            ("target", target.is_some()),
            ("name", name.is_some()),
            ("tags", !tags.is_empty()),
            ("timeout", timeout.is_some()),
            ("checks", !checks.is_empty()),
            ("extract", !extract.is_empty()),
            ("record", !record.is_empty()),
            ("goodput", goodput.is_some()),
        ];
        for (field, _) in said.into_iter().filter(|(_, said)| *said) {
            self.problems
                .add(format!("{path}.{field}"), "goes with a request only");
        }
    }

    /// Checks the repetition at `path`. `after` are the names known after the step, which `until`
    /// may use.
    fn repeat(&mut self, path: &str, repeat: &RepeatSpec, after: &Names) -> Option<Repeat> {
        let RepeatSpec {
            count,
            until,
            max,
            every,
            separate,
        } = repeat;
        if *separate && count.is_none_or(|count| count > MAX_SEPARATE) {
            let why = format!("goes with a count of at most {MAX_SEPARATE} only");
            self.problems.add(format!("{path}.separate"), why);
            return None;
        }
        let every = every.as_ref().map_or(Duration::ZERO, |text| {
            self.problems.duration(&format!("{path}.every"), text)
        });
        match (count, until, max) {
            (Some(count), None, None) => Some(Repeat {
                count: *count,
                until: None,
                every,
            }),
            (None, Some(until), Some(max)) => {
                let until = self.cel(&format!("{path}.until"), until, after)?;
                Some(Repeat {
                    count: *max,
                    until: Some(until),
                    every,
                })
            }
            _ => {
                self.problems.add(path, "either count, or until and max");
                None
            }
        }
    }

    fn for_each(&mut self, path: &str, each: &ForEachSpec) -> Option<ForEach> {
        let ForEachSpec { items, name } = each;
        self.problems
            .take(&format!("{path}.as"), check_name(name))?;
        let items = self.json(&format!("{path}.in"), items)?;
        Some(ForEach {
            items,
            name: name.clone(),
        })
    }

    /// Checks the request of a step. `call` is the part that belongs to its protocol, with the name
    /// that the request has unless the step gives it one; if it is `None`, because it has a
    /// mistake, the other fields are checked all the same. `after` are the names known after the
    /// step.
    fn request(
        &mut self,
        path: &str,
        step: &StepSpec,
        after: &Names,
        call: Option<(String, Protocol)>,
    ) -> Option<RequestStep> {
        let StepSpec {
            name,
            tags,
            timeout,
            checks,
            extract,
            record,
            goodput,
            target,
            ..
        } = step;
        let target = target.as_deref().map_or(0, |name| {
            self.place_of_target(&format!("{path}.target"), name)
        });
        let timeout = match timeout {
            Some(text) => self
                .problems
                .positive_duration(&format!("{path}.timeout"), text),
            None => self.timeout,
        };
        let names = self.names.clone();
        let answers = step.answer_kind();
        let mut checks = self.checks(&format!("{path}.checks"), checks, &names, answers);
        if step.grpc.as_ref().is_some_and(|grpc| grpc.health.is_some()) {
            checks = with_health(checks);
        }
        self.can_match(&format!("{path}.checks"), step, &checks);
        let extract = self.extracts(
            &format!("{path}.extract"),
            extract,
            (&names, after),
            answers,
        );
        let record = self.records(&format!("{path}.record"), record, &names);
        let (default_name, call) = call?;
        let goodput = goodput
            .as_ref()
            .map(|limits| self.goodput(&format!("{path}.goodput"), limits, &call));
        let name = name.clone().unwrap_or(default_name);
        Some(RequestStep {
            name,
            tags: tags.clone(),
            timeout,
            checks,
            extract,
            record,
            goodput,
            target,
            call,
        })
    }

    fn place_of_target(&mut self, path: &str, name: &str) -> usize {
        let place = self.targets.iter().position(|target| *target == name);
        if place.is_none() {
            let known = if self.targets.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are {}", list(self.targets.iter().copied()))
            };
            self.problems.add(
                path,
                format!("{name:?} is not one of spec.targets; {known}"),
            );
        }
        place.map_or(0, |place| place + 1)
    }

    /// Checks a free value whose strings are templates; `None` if it has a mistake.
    pub(super) fn json(&mut self, path: &str, json: &Value) -> Option<JsonTemplate> {
        budget::at(path);
        let checked = free_value_size(json)
            .and_then(|()| JsonTemplate::new_with(json.clone(), self.delimiters))
            .and_then(|json| json.check(&self.names).map(|()| json));
        self.problems.take(path, checked)
    }
}

/// Adds the check of the answer `SERVING` to a health step that has checks. One without checks is
/// judged by the engine, which then needs no JSON.
fn with_health(mut checks: Vec<Check>) -> Vec<Check> {
    if !checks.is_empty() {
        let path = JsonPath::parse("$.status").expect("it is one");
        let serving = JsonTemplate::new("SERVING".into()).expect("text is one");
        checks.push(Check::JsonPath {
            path,
            must: vec![Condition::Equals(serving)],
        });
    }
    checks
}

/// Returns what a step declares and calls, from which the symbol table is made.
pub(super) fn step_names(step: &StepSpec) -> StepNames<'_> {
    StepNames {
        extracts: step.extract.keys().map(String::as_str).collect(),
        item: step.for_each.as_ref().map(|each| each.name.as_str()),
        call: step.call.as_deref(),
        repeats: step.repeat.is_some() || step.for_each.is_some(),
    }
}
