//! `setup` before the load and `teardown` after it.

use std::time::Duration;

use super::Context;
use crate::crd::spec::StepSpec;
use crate::plan::symbols::{Outline, SymbolTable};
use crate::plan::{Declared, Names, Once};

impl Context<'_> {
    /// Checks `setup` and `teardown`, whose steps know `names`. Declares what `setup` extracts, for
    /// the scenarios checked after it.
    pub(super) fn once(&mut self, names: Names, setup: &[StepSpec], teardown: &[StepSpec]) -> Once {
        for (path, steps) in [("spec.setup", setup), ("spec.teardown", teardown)] {
            for (i, step) in steps.iter().enumerate() {
                if step.call.is_some() {
                    self.problems.add(
                        format!("{path}[{i}].call"),
                        "blocks belong to a scenario; write their steps here",
                    );
                }
                if !step.record.is_empty() {
                    self.problems.add(
                        format!("{path}[{i}].record"),
                        "what is done once is in no result",
                    );
                }
            }
        }
        let outline = Outline {
            on_start: setup.iter().map(super::step::step_names).collect(),
            others: teardown.iter().map(super::step::step_names).collect(),
            ..Outline::default()
        };
        let symbols = SymbolTable::new(names, self.free_slot, &outline);
        let setup = self.knowing(symbols.initial_names(), |context| {
            context.steps(&symbols, "spec.setup", setup)
        });
        let teardown = self.knowing(symbols.user_names(), |context| {
            context.steps(&symbols, "spec.teardown", teardown)
        });
        for (name, slot) in symbols.user_slots() {
            if matches!(self.names.get(name), Some(Declared::Row(_))) {
                self.problems.add(
                    "spec.setup",
                    format!("extracts {name:?}, which is a feeder already"),
                );
            }
            self.names.declare(name, Declared::Value(slot));
        }
        self.free_slot = symbols.slots() as u16;
        Once {
            setup,
            teardown,
            setup_timeout: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::{Checked, check};
    use crate::plan::{Plan, Problem};

    fn spec(change: impl FnOnce(&mut Value)) -> Result<Checked, Vec<Problem>> {
        let mut value = json!({
            "target": {"url": "http://t"},
            "variables": {"name": "x"},
            "feeders": [{"name": "rows", "inline": [{"n": 1}]}],
            "setup": [{"http": {"path": "/make/{{ name }}"}, "extract": {"thing": {"body": true}}}, {"http": {"path": "/see/{{ thing }}"}}],
            "teardown": [{"http": {"path": "/drop/{{ thing }}"}, "extract": {"last": {"body": true}}}],
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/{{ rows.n }}/{{ thing }}"}}]}]}],
            "load": {"closed": {"users": 10, "duration": "1m"}},
        });
        change(&mut value);
        check(&serde_json::from_value(value).unwrap())
    }

    fn refused_at(change: impl FnOnce(&mut Value)) -> Vec<String> {
        spec(change)
            .expect_err("was accepted")
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    fn path(step: &mut Value, path: &str) {
        step["http"]["path"] = json!(path);
    }

    #[test]
    fn what_setup_extracts_is_known_after_it_and_nowhere_before() {
        assert_eq!(
            refused_at(|s| path(&mut s["setup"][0], "/{{ thing }}")),
            ["spec.setup[0].http.path"]
        );
        assert_eq!(
            refused_at(|s| s["target"]["headers"] = json!({"X": "{{ thing }}"})),
            ["spec.target.headers.X"]
        );
        assert_eq!(
            refused_at(|s| path(
                &mut s["scenarios"][0]["tasks"][0]["steps"][0],
                "/{{ last }}"
            ))
            .len(),
            1
        );
        let plan = spec(|_| {}).unwrap().plan;
        let names: Vec<&str> = plan.steps().map(|place| place.step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "GET /{{ rows.n }}/{{ thing }}",
                "GET /make/{{ name }}",
                "GET /see/{{ thing }}",
                "GET /drop/{{ thing }}"
            ]
        );
        assert_eq!(plan.steps().filter(|place| place.is_control()).count(), 3);
        assert_eq!(
            serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
            plan
        );
    }

    #[test]
    fn what_is_done_once_has_neither_rows_nor_blocks() {
        assert_eq!(
            refused_at(|s| path(&mut s["setup"][0], "/{{ rows.n }}")),
            ["spec.setup[0].http.path"]
        );
        assert_eq!(
            refused_at(|s| path(&mut s["teardown"][0], "/{{ rows.n }}")),
            ["spec.teardown[0].http.path"]
        );
        // the target's headers go with it
        assert_eq!(
            refused_at(|s| s["target"]["headers"] = json!({"X": "{{ rows.n }}"})),
            ["spec.target.headers.X"]
        );
        assert_eq!(
            refused_at(|s| s["teardown"] = json!([{"call": "b"}])),
            ["spec.teardown[0].call"]
        );
        let record = json!([{"name": "size", "from": {"header": "Content-Length"}}]);
        assert_eq!(
            refused_at(|s| s["setup"][1]["record"] = record),
            ["spec.setup[1].record"]
        );
    }

    #[test]
    fn a_name_of_setups_is_nobody_elses() {
        let extract = |name: &str| json!({name: {"body": true}});
        for (name, path) in [
            ("name", "spec.setup[1].extract.name"),
            ("rows", "spec.setup"),
        ] {
            assert_eq!(
                refused_at(|s| s["setup"][1]["extract"] = extract(name)),
                [path]
            );
        }
    }

    #[test]
    fn the_deadline_leaves_time_for_setup() {
        let minutes = |checked: Checked| checked.deadline.as_secs_f64() / 60.0;
        assert_eq!(minutes(spec(|_| {}).unwrap()), 1.0 + 0.5 + 10.0 + 10.0);
        assert_eq!(
            minutes(spec(|s| s["run"] = json!({"setupTimeout": "1m"})).unwrap()),
            1.0 + 0.5 + 1.0 + 10.0
        );
        assert_eq!(
            refused_at(|s| s["run"] = json!({"setupTimeout": "0s"})),
            ["spec.run.setupTimeout"]
        );
    }

    #[test]
    fn requests_of_setup_count_among_those_of_the_test() {
        let paths = refused_at(|s| {
            let steps: Vec<_> = (0..198)
                .map(|n| json!({"http": {"path": format!("/{n}")}}))
                .collect();
            s["scenarios"][0]["tasks"][0]["steps"] = json!(steps);
        });
        assert_eq!(paths, ["spec.scenarios"]);
    }
}
