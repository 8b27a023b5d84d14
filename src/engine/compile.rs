//! From the scenarios of a plan to programs: every name gets its slot, every request its number and its bytes.

use super::answer::{Needs, PreparedRules};
use super::program::{Act, Each, Flow, HttpCall, Op, PreparedCall, PreparedRepeat, PreparedScenario, PreparedStep, PreparedTask, Program};
use super::request::{Request, credentials};
use crate::plan::cel::CompiledCel;
use crate::plan::lexicon::{Lexicon, Mention, Outline};
use crate::plan::template::Need;
use crate::plan::{
    Action, Cel, ForEach, HttpStep, Inputs, Names, Order, Plan, Problem, Protocol, Repeat, RequestStep, Scenario, Section, Step,
};

/// Everything that users do.
pub(super) struct Programs {
    /// By place in [`Plan::steps`].
    pub(super) steps: Vec<PreparedStep>,
    pub(super) scenarios: Vec<PreparedScenario>,
    /// A condition looks at answers.
    pub(super) looks_back: bool,
}

/// The programs of `plan`, whose variables and feeders are `names`, or everything that is wrong with them.
pub(super) fn compile(plan: &Plan, names: Names, inputs: &Inputs) -> Result<Programs, Vec<Problem>> {
    let mut compiler =
        Compiler { plan, inputs, auth: None, names, steps: Vec::new(), asked: Needs::default(), looks_back: false, problems: Vec::new() };
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
    let Compiler { steps, looks_back, mut problems, .. } = compiler;
    // a target's header is compiled for each step, and wrong in each
    problems.dedup();
    if problems.is_empty() { Ok(Programs { steps, scenarios, looks_back }) } else { Err(problems) }
}

struct Compiler<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    auth: Option<(String, Vec<u8>)>,
    /// What templates may name at the step that is compiled.
    names: Names,
    steps: Vec<PreparedStep>,
    /// By the conditions of the scenario that is compiled.
    asked: Needs,
    looks_back: bool,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn scenario(&mut self, scenario: &Scenario, path: &str, first_task: u16) -> PreparedScenario {
        let lexicon = Lexicon::new(self.names.clone(), self.plan.scenario_slots(), &Outline::of(scenario));
        let first_step = self.steps.len();
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
        // which answer a condition will look at shows only at run time
        let asked = std::mem::take(&mut self.asked);
        for step in &mut self.steps[first_step..] {
            step.needs.head |= asked.head;
            step.needs.body |= asked.body;
        }
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
            let mut known = self.names.clone();
            lexicon.after(&mut known, &mention);
            let act = match &step.action {
                Action::Request(step) => Some(self.request(step, &known, &path)),
                Action::Call(name) => scenario.blocks.iter().position(|block| block.name == *name).map(Act::Call),
                Action::Pause(range) => Some(Act::Pause(*range)),
            };
            let flow = self.flow(lexicon, step, &known, &path);
            match act {
                Some(act) => ops.push(Op { act, on_failure: step.on_failure, flow }),
                None => self.problem(path, "calls a block that is not there"),
            }
            lexicon.after(&mut after, &mention);
            self.names = after;
        }
        ops.into()
    }

    /// `known` is what is known after the step, which `until` may use.
    fn flow(&mut self, lexicon: &Lexicon, step: &Step, known: &Names, path: &str) -> Option<Box<Flow>> {
        let Step { condition, repeat, for_each, on_failure: _, action: _ } = step;
        let condition = condition.as_ref().and_then(|cel| self.cel(cel, &self.names.clone(), &format!("{path}.if")));
        let repeat = repeat.as_ref().map(|Repeat { count, until, every }| PreparedRepeat {
            count: *count,
            until: until.as_ref().and_then(|cel| self.cel(cel, known, &format!("{path}.repeat.until"))),
            every: *every,
        });
        let for_each = for_each.as_ref().and_then(|ForEach { items, name }| match (items.compile(&self.names), lexicon.slot(name)) {
            (Ok(items), Some(slot)) => Some(Each { items, slot }),
            (Err(why), _) => {
                self.problem(format!("{path}.forEach.in"), why);
                None
            }
            (Ok(_), None) => None,
        });
        (condition.is_some() || repeat.is_some() || for_each.is_some()).then(|| Box::new(Flow { condition, repeat, for_each }))
    }

    fn cel(&mut self, cel: &Cel, names: &Names, path: &str) -> Option<CompiledCel> {
        let compiled = cel.compile(names).map_err(|why| self.problem(path, why)).ok()?;
        let asks = compiled.asks();
        self.looks_back |= asks.headers || asks.body;
        self.asked.head |= asks.headers;
        self.asked.body |= asks.body;
        Some(compiled)
    }

    /// Compiles a request and gives it the next number. What is wrong with it is told; what follows is compiled too, to find all of that.
    fn request(&mut self, step: &RequestStep, known: &Names, path: &str) -> Act {
        let number = self.steps.len() as u16;
        let RequestStep { name: _, tags: _, timeout, checks, extract, call } = step;
        let rules = PreparedRules::compile(checks, extract, &[], known, path).unwrap_or_else(|found| {
            self.problems.extend(found);
            PreparedRules::default()
        });
        let compiled = match call {
            Protocol::Http(http) => self.http(http, &format!("{path}.http")),
            Protocol::Grpc(_) => Err(vec![Problem::new(format!("{path}.grpc"), "gRPC is not carried out yet")]),
        };
        match compiled {
            Ok((call, mut rows)) => {
                let needs = rules.needs();
                let more: Vec<Need> = rules.feeds().iter().filter(|need| !rows.contains(need)).copied().collect();
                rows.extend(more);
                self.steps.push(PreparedStep { call, route: 0, timeout: *timeout, rows: rows.into(), rules, needs });
            }
            Err(found) => self.problems.extend(found),
        }
        Act::Request(number)
    }

    /// With the rows it needs.
    fn http(&self, step: &HttpStep, path: &str) -> Result<(PreparedCall, Vec<Need>), Vec<Problem>> {
        let HttpStep { request, follow_redirects, retry } = step;
        let request = Request::compile(&self.plan.target, self.auth.as_ref(), &self.names, self.inputs, request, path)?;
        let rows = request.needs();
        Ok((PreparedCall::Http(HttpCall { request, follow_redirects: *follow_redirects, retry: retry.clone() }), rows))
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
