//! Names of what a plan measures, in the order in which samples count them.

use crate::plan::{Action, FlowPlace, Plan, Section, Trend};
use crate::stats::summary::{StepName, TrendName};

/// Names of the steps that send requests, in the order of their statistics.
pub fn step_names(plan: &Plan) -> Vec<StepName> {
    plan.steps()
        .map(|place| StepName {
            scenario: place.scenario.to_owned(),
            task: place.task.to_owned(),
            step: place.step.name.clone(),
            is_control: place.is_control(),
        })
        .collect()
}

/// Names of steps that say when or how often, after where they stand: `steps[2] (call login)`.
pub(super) fn flow_names(plan: &Plan) -> Vec<StepName> {
    let name = |place: FlowPlace<'_>| {
        let FlowPlace {
            scenario,
            task,
            section,
            number,
            step,
        } = place;
        let list = match section {
            Section::OnStart => "onStart",
            Section::OnStop => "onStop",
            Section::Task(_) | Section::Block(_) => "steps",
            Section::Setup => "setup",
            Section::Teardown => "teardown",
        };
        let act = match &step.action {
            Action::Request(request) => request.name.clone(),
            Action::Call(block) => format!("call {block}"),
            Action::Pause(_) => "pause".to_owned(),
        };
        StepName {
            scenario: scenario.to_owned(),
            task: task.to_owned(),
            step: format!("{list}[{number}] ({act})"),
            is_control: false,
        }
    };
    plan.flows().map(name).collect()
}

/// Scenario and name of each task, in the order of their statistics.
pub(super) fn task_names(plan: &Plan) -> Vec<(String, String)> {
    plan.scenarios
        .iter()
        .flat_map(|scenario| {
            scenario
                .tasks
                .iter()
                .map(|task| (scenario.name.clone(), task.name.clone()))
        })
        .collect()
}

/// Names and units of records, in the order of their statistics.
pub(super) fn trend_names(plan: &Plan) -> Vec<TrendName> {
    let name = |Trend { name, unit }: Trend| TrendName {
        name,
        unit: unit.name().to_owned(),
        in_base: unit.in_base(),
    };
    plan.trends().into_iter().map(name).collect()
}
