//! From the scenarios of a plan to programs: every name gets its slot, every request its number and its bytes.

use super::program::{Act, Each, Flow, Op, PreparedScenario, PreparedStep, PreparedTask, Program};
use super::request::{Request, credentials};
use crate::plan::lexicon::{Lexicon, Mention, Outline};
use crate::plan::{Action, ForEach, HttpStep, Inputs, Names, Order, Plan, Problem, Scenario, Section, Step};

/// Everything that users do.
pub(super) struct Programs {
    /// By place in [`Plan::steps`].
    pub(super) steps: Vec<PreparedStep>,
    pub(super) scenarios: Vec<PreparedScenario>,
}

/// The programs of `plan`, whose variables and feeders are `names`, or everything that is wrong with them.
pub(super) fn compile(plan: &Plan, names: Names, inputs: &Inputs) -> Result<Programs, Vec<Problem>> {
    let mut compiler = Compiler { plan, inputs, auth: None, names, steps: Vec::new(), problems: Vec::new() };
    match credentials(plan.target.auth.as_ref(), inputs) {
        Ok(auth) => compiler.auth = auth,
        Err(problem) => compiler.problems.push(problem),
    }
    let mut first_task = 0;
    let mut scenarios = Vec::new();
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        scenarios.push(compiler.scenario(scenario, &format!("spec.scenarios[{s}]"), first_task));
        first_task += scenario.tasks.len() as u16;
    }
    let Compiler { steps, mut problems, .. } = compiler;
    // a target's header is compiled for each step, and wrong in each
    problems.dedup();
    if problems.is_empty() { Ok(Programs { steps, scenarios }) } else { Err(problems) }
}

struct Compiler<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    auth: Option<(String, Vec<u8>)>,
    /// What templates may name at the step that is compiled.
    names: Names,
    steps: Vec<PreparedStep>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn scenario(&mut self, scenario: &Scenario, path: &str, first_task: u16) -> PreparedScenario {
        let lexicon = Lexicon::new(self.names.clone(), self.plan.variables.slots(), &Outline::of(scenario));
        let base = std::mem::replace(&mut self.names, lexicon.at_start());
        let (mut on_start, mut on_stop) = (Program::default(), Program::default());
        let (mut tasks, mut blocks, mut weight) = (Vec::new(), Vec::new(), 0);
        for (_, _, section, steps) in scenario.sections() {
            self.begin(&lexicon, scenario.order, section);
            let program = self.program(scenario, &lexicon, &field_path(path, section), steps);
            match section {
                Section::OnStart => on_start = program,
                Section::OnStop => on_stop = program,
                Section::Task(t) => {
                    weight += u64::from(scenario.tasks[t].weight);
                    tasks.push(PreparedTask { place: first_task + t as u16, until: weight, program });
                }
                Section::Block(_) => blocks.push(program),
            }
        }
        self.names = base;
        let of_iteration = lexicon.of_iteration();
        PreparedScenario {
            think_time: scenario.think_time,
            pacing: scenario.pacing,
            on_start,
            on_stop,
            blocks,
            order: scenario.order,
            tasks,
            weight,
            of_iteration,
        }
    }

    /// Sets the names that the first step of a section may use.
    fn begin(&mut self, lexicon: &Lexicon, order: Order, section: Section) {
        match section {
            Section::OnStart => self.names = lexicon.at_start(),
            // all tasks of a sequence are one iteration
            Section::Task(t) if order == Order::Sequential && t > 0 => {}
            Section::Task(_) | Section::OnStop => self.names = lexicon.of_users(),
            Section::Block(_) => self.names = lexicon.of_blocks(),
        }
    }

    fn program(&mut self, scenario: &Scenario, lexicon: &Lexicon, path: &str, steps: &[Step]) -> Program {
        let mut ops = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let mention = Mention::from(step);
            let mut after = self.names.clone();
            self.names = lexicon.within(&after, &mention);
            let path = format!("{path}[{i}]");
            let act = match &step.action {
                Action::Http(http) => self.request(http, &path),
                Action::Call(name) => scenario.blocks.iter().position(|block| block.name == *name).map(Act::Call),
                Action::Pause(range) => Some(Act::Pause(*range)),
            };
            let flow = self.flow(lexicon, step, &path);
            match act {
                Some(act) => ops.push(Op { act, on_failure: step.on_failure, flow }),
                None => self.problem(path, "calls a block that is not there, or could not be compiled"),
            }
            lexicon.after(&mut after, &mention);
            self.names = after;
        }
        ops.into()
    }

    fn flow(&mut self, lexicon: &Lexicon, step: &Step, path: &str) -> Option<Box<Flow>> {
        let Step { repeat, for_each, on_failure: _, action: _ } = step;
        let for_each = for_each.as_ref().and_then(|ForEach { items, name }| match (items.compile(&self.names), lexicon.slot(name)) {
            (Ok(items), Some(slot)) => Some(Each { items, slot }),
            (Err(why), _) => {
                self.problem(format!("{path}.forEach.in"), why);
                None
            }
            (Ok(_), None) => None,
        });
        (repeat.is_some() || for_each.is_some()).then(|| Box::new(Flow { repeat: repeat.clone(), for_each }))
    }

    /// Compiles a request and gives it the next number.
    fn request(&mut self, step: &HttpStep, path: &str) -> Option<Act> {
        let number = self.steps.len() as u16;
        let HttpStep { name: _, tags: _, request, timeout, follow_redirects, retry } = step;
        match Request::compile(&self.plan.target, self.auth.as_ref(), &self.names, self.inputs, request, &format!("{path}.http")) {
            Ok(request) => {
                let (timeout, follow_redirects, retry) = (*timeout, *follow_redirects, retry.clone());
                self.steps.push(PreparedStep { request, route: 0, timeout, follow_redirects, retry });
                Some(Act::Request(number))
            }
            Err(found) => {
                self.problems.extend(found);
                // what follows is still compiled, to find all that is wrong
                Some(Act::Request(number))
            }
        }
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }
}

fn field_path(scenario: &str, section: Section) -> String {
    match section {
        Section::OnStart => format!("{scenario}.onStart"),
        Section::OnStop => format!("{scenario}.onStop"),
        Section::Task(t) => format!("{scenario}.tasks[{t}].steps"),
        Section::Block(b) => format!("{scenario}.blocks[{b}].steps"),
    }
}
