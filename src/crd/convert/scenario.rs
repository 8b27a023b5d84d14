//! Behaviour of the users: scenarios, tasks, blocks of steps.

use std::collections::BTreeSet;

use super::Context;
use super::step::step_names;
use crate::crd::spec::*;
use crate::plan::symbols::{Outline, SymbolTable};
use crate::plan::*;

/// Greatest depth to which blocks call others.
const MAX_CALLS: usize = 4;

impl Context<'_> {
    /// Checks the scenarios. `beside` is the number of requests elsewhere in the test, which count
    /// for the limit of [`MAX_STEPS`].
    pub(super) fn scenarios(&mut self, scenarios: &[ScenarioSpec], beside: usize) -> Vec<Scenario> {
        let path = "spec.scenarios";
        self.problems
            .unique(path, "name", scenarios.iter().map(|s| s.name.as_str()));
        let steps = scenarios
            .iter()
            .flat_map(ScenarioSpec::steps)
            .map(StepSpec::requests)
            .sum::<usize>()
            + beside;
        if steps > MAX_STEPS {
            self.problems.add(
                path,
                format!("{steps} requests in all, at most {MAX_STEPS} are allowed"),
            );
        }
        scenarios
            .iter()
            .enumerate()
            .map(|(i, scenario)| self.scenario(&format!("{path}[{i}]"), scenario))
            .collect()
    }

    fn scenario(&mut self, path: &str, scenario: &ScenarioSpec) -> Scenario {
        let ScenarioSpec {
            name,
            weight,
            fixed_users,
            think_time,
            pacing,
            load,
            // the short form is expanded by now
            steps: _,
            tasks,
            order,
            on_start,
            on_stop,
            blocks,
        } = scenario;
        let open = self.open;
        self.open = load.as_ref().map_or(open, |load| load.open.is_some());
        let pacing = pacing
            .as_ref()
            .map(|pacing| self.pacing(&format!("{path}.pacing"), pacing, think_time.is_some()));
        if think_time.is_some() {
            self.only_with_users(&format!("{path}.thinkTime"));
        }
        let think_time = think_time
            .as_ref()
            .and_then(|think| self.think_time(&format!("{path}.thinkTime"), think));
        if !on_stop.is_empty() && self.open {
            self.problems.add(
                format!("{path}.onStop"),
                "in open load there are no users that could stop; remove it or use closed load",
            );
        }
        self.names_and_weights(path, *order, tasks);
        self.block_names(path, scenario);
        self.records_are_measured(path, scenario);
        let symbols = SymbolTable::new(self.names.clone(), self.free_slot, &outline(scenario));
        let base = std::mem::replace(&mut self.names, symbols.initial_names());
        let on_start = self.steps(&symbols, &format!("{path}.onStart"), on_start);
        self.names = symbols.user_names();
        let tasks = self.tasks(&symbols, path, *order, tasks);
        self.names = symbols.user_names();
        let on_stop = self.steps(&symbols, &format!("{path}.onStop"), on_stop);
        let blocks = self.blocks(&symbols, path, blocks);
        self.names = base;
        self.open = open;
        Scenario {
            name: name.clone(),
            weight: *weight,
            fixed_users: *fixed_users,
            think_time,
            pacing,
            tasks,
            order: *order,
            on_start,
            on_stop,
            blocks,
            written: Written::default(),
        }
    }

    fn names_and_weights(&mut self, path: &str, order: Order, tasks: &[TaskSpec]) {
        let path = format!("{path}.tasks");
        self.problems
            .unique(&path, "name", tasks.iter().map(|task| task.name.as_str()));
        if order == Order::Weighted && tasks.iter().all(|task| task.weight == 0) {
            self.problems
                .add(path, "at least one task must have a weight above 0");
        }
    }

    fn blocks(&mut self, symbols: &SymbolTable, path: &str, blocks: &[BlockSpec]) -> Vec<Block> {
        let mut checked = Vec::new();
        for (i, BlockSpec { name, steps }) in blocks.iter().enumerate() {
            self.names = symbols.block_names();
            checked.push(Block {
                name: name.clone(),
                steps: self.steps(symbols, &format!("{path}.blocks[{i}].steps"), steps),
            });
        }
        checked
    }

    fn tasks(
        &mut self,
        symbols: &SymbolTable,
        path: &str,
        order: Order,
        tasks: &[TaskSpec],
    ) -> Vec<Task> {
        let mut checked = Vec::new();
        for (
            i,
            TaskSpec {
                name,
                weight,
                steps,
            },
        ) in tasks.iter().enumerate()
        {
            // all tasks of a sequence are one iteration
            if order == Order::Weighted {
                self.names = symbols.user_names();
            }
            let steps = self.steps(symbols, &format!("{path}.tasks[{i}].steps"), steps);
            checked.push(Task {
                name: name.clone(),
                weight: *weight,
                steps,
            });
        }
        checked
    }

    fn records_are_measured(&mut self, path: &str, scenario: &ScenarioSpec) {
        for (section, steps) in [
            ("onStart", &scenario.on_start),
            ("onStop", &scenario.on_stop),
        ] {
            for (i, _) in steps
                .iter()
                .enumerate()
                .filter(|(_, step)| !step.record.is_empty())
            {
                self.problems.add(
                    format!("{path}.{section}[{i}].record"),
                    format!("what {section} does is in no result"),
                );
            }
        }
    }

    fn block_names(&mut self, path: &str, scenario: &ScenarioSpec) {
        let ScenarioSpec { tasks, blocks, .. } = scenario;
        self.problems.unique(
            &format!("{path}.blocks"),
            "name",
            blocks.iter().map(|b| b.name.as_str()),
        );
        for (i, block) in blocks.iter().enumerate() {
            let taken = ["onStart", "onStop"].contains(&block.name.as_str())
                || tasks.iter().any(|task| task.name == block.name);
            if taken {
                self.problems.add(
                    format!("{path}.blocks[{i}].name"),
                    format!(
                        "{:?} is also the name of a task, and results name both alike",
                        block.name
                    ),
                );
            }
            if let Err(message) = depth(blocks, &block.name, 1) {
                self.problems.add(format!("{path}.blocks[{i}]"), message);
            }
        }
        for (i, task) in tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| ["onStart", "onStop"].contains(&task.name.as_str()))
        {
            self.problems.add(
                format!("{path}.tasks[{i}].name"),
                format!("{:?} has a meaning of its own in results", task.name),
            );
        }
        for call in scenario
            .steps()
            .filter_map(|step| step.call.as_deref())
            .collect::<BTreeSet<_>>()
        {
            if !blocks.iter().any(|block| block.name == call) {
                self.problems.add(
                    format!("{path}.blocks"),
                    format!("there is no block {call:?}, which a step calls"),
                );
            }
        }
    }
}

/// Checks that a block calls others no more than [`MAX_CALLS`] deep, itself included, which also
/// excludes circles. `above` is the depth of the block itself.
fn depth(blocks: &[BlockSpec], name: &str, above: usize) -> Result<(), String> {
    if above > MAX_CALLS {
        return Err(format!(
            "blocks call each other more than {MAX_CALLS} deep, or in a circle"
        ));
    }
    let Some(block) = blocks.iter().find(|block| block.name == name) else {
        return Ok(());
    };
    // a block that is called often is looked at once
    let calls: BTreeSet<&str> = block
        .steps
        .iter()
        .filter_map(|step| step.call.as_deref())
        .collect();
    calls
        .into_iter()
        .try_for_each(|call| depth(blocks, call, above + 1))
}

fn outline(scenario: &ScenarioSpec) -> Outline<'_> {
    let ScenarioSpec {
        on_start,
        on_stop,
        tasks,
        blocks,
        ..
    } = scenario;
    Outline {
        on_start: on_start.iter().map(step_names).collect(),
        others: tasks
            .iter()
            .flat_map(|task| &task.steps)
            .chain(on_stop)
            .map(step_names)
            .collect(),
        blocks: blocks
            .iter()
            .map(|block| {
                (
                    block.name.as_str(),
                    block.steps.iter().map(step_names).collect(),
                )
            })
            .collect(),
    }
}
