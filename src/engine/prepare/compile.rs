//! Compiler from the scenarios of a plan to programs: gives every name a slot, and every request a
//! number and its bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::answer::{Needs, PreparedRules};
use crate::engine::auth::Credentials;
use crate::engine::prepare::program::{
    Act, Each, Flow, Op, PreparedOnce, PreparedRepeat, PreparedScenario, PreparedStep,
    PreparedTask, Program, Readiness,
};
use crate::engine::prepare::secrecy::{Secrecy, SecretSlots};
use crate::engine::protocol::Call;
use crate::engine::protocol::grpc::call::{CallContext, GrpcCall};
use crate::engine::protocol::grpc::late_types::LateTypes;
use crate::engine::protocol::http::exchange::HttpCall;
use crate::engine::protocol::http::request::Request;
use crate::engine::protocol::transport::TargetHeaders;
use crate::plan::cel::CompiledCel;
use crate::plan::grpc::{Descriptors, GrpcStep, check_limits};
use crate::plan::symbols::{Outline, StepNames, SymbolTable};
use crate::plan::template::{Need, Place};
use crate::plan::{
    Action, Block, Cel, Declared, Delimiters, Extract, ExtractFrom, ForEach, HttpRequest, HttpStep,
    Inputs, Names, Order, Plan, Problem, Protocol, ReadyWhen, Record, Repeat, RequestStep,
    Scenario, Section, Slot, Step, Target, Template, Trend, Written, written_places,
};

/// Compiled steps of all users, and of setup and teardown.
pub(crate) struct Programs {
    /// Steps by place in [`Plan::steps`].
    pub(crate) steps: Vec<PreparedStep>,
    /// Scenarios by place in the plan.
    pub(crate) scenarios: Vec<PreparedScenario>,
    /// Compiled setup and teardown.
    pub(crate) once: PreparedOnce,
    /// True if a condition reads answers.
    pub(crate) conditions_read_answers: bool,
    /// Headers by target.
    pub(crate) headers: Vec<TargetHeaders>,
    /// Targets to wait for before the load.
    pub(crate) readiness: Vec<Readiness>,
}

/// Inputs of calls over gRPC to one target.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    /// Descriptors of services and messages.
    pub(crate) descriptors: &'a Descriptors,
    /// Types that are asked for during the load; `None` if the target is asked for nothing.
    pub(crate) late_types: Option<&'a Arc<LateTypes>>,
    /// Position of the route for calls.
    pub(crate) route: usize,
}

/// Facts about the targets, by position.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Credentials of each target.
    pub(crate) credentials: &'a [Option<&'a Credentials>],
    /// Inputs of calls; empty if there is a problem with them, so that steps with calls are
    /// skipped.
    pub(crate) calls: &'a [Option<Calls<'a>>],
}

/// Compiles the programs of `plan`. `names` are its variables and feeders. Returns all problems
/// found.
pub(crate) fn compile(
    plan: &Plan,
    names: Names,
    inputs: &Inputs,
    known: Known<'_>,
) -> Result<Programs, Vec<Problem>> {
    let mut compiler = Compiler::new(plan, names, inputs, known);
    let readiness = compiler.readiness();
    // what setup finds every scenario may name; its own requests come last
    let once_symbols = SymbolTable::new(
        compiler.names.clone(),
        plan.once_slots(),
        &plan.once.outline(),
    );
    compiler.names = once_symbols.user_names();
    compiler.headers = compiler.headers_of_targets();
    let scenarios = compiler.scenarios(once_symbols.slots() as Slot);
    let once = compiler.once(&once_symbols);
    let Compiler {
        steps,
        conditions_read_answers,
        mut problems,
        headers,
        ..
    } = compiler;
    // a target's header is compiled for each step, and wrong in each
    problems.dedup();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Programs {
        steps,
        scenarios,
        once,
        conditions_read_answers,
        headers,
        readiness,
    })
}

struct Compiler<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    trends: Vec<Trend>,
    /// Number of steps so far with a condition or repetition.
    flows: u16,
    /// Credentials by target.
    credentials: &'a [Option<&'a Credentials>],
    headers: Vec<TargetHeaders>,
    calls: &'a [Option<Calls<'a>>],
    /// Names that templates may use at the current step.
    names: Names,
    steps: Vec<PreparedStep>,
    /// Parts of answers that the conditions of the current scenario read.
    asked: Needs,
    conditions_read_answers: bool,
    secrecy: Secrecy<'a>,
    /// Slots of the current scenario that hold secrets.
    secrets: BTreeSet<Slot>,
    problems: Vec<Problem>,
}

/// Compiled request and the rows it reads.
struct Ready {
    call: Call,
    route: usize,
    rows: Vec<Need>,
}

impl<'a> Compiler<'a> {
    /// Creates a compiler that has compiled nothing yet.
    fn new(plan: &'a Plan, names: Names, inputs: &'a Inputs, known: Known<'a>) -> Self {
        Self {
            plan,
            inputs,
            trends: plan.trends(),
            flows: 0,
            credentials: known.credentials,
            headers: vec![],
            calls: known.calls,
            names,
            steps: vec![],
            asked: Needs::default(),
            conditions_read_answers: false,
            secrecy: Secrecy::new(plan),
            secrets: BTreeSet::new(),
            problems: vec![],
        }
    }

    fn readiness(&mut self) -> Vec<Readiness> {
        let mut all = Vec::new();
        for (route, target) in self.plan.all_targets().enumerate() {
            let Some(ReadyWhen {
                path,
                status,
                timeout,
            }) = &target.ready_when
            else {
                continue;
            };
            let field = format!("{}.readyWhen.http", target.field());
            let request = Template::parse_with(path, &Delimiters::default())
                .map_err(|why| vec![Problem::new(&field, why)])
                .and_then(|path| {
                    let get = HttpRequest {
                        method: "GET".into(),
                        path,
                        query: vec![],
                        headers: vec![],
                        body: None,
                    };
                    Request::compile(
                        target,
                        self.credentials[route],
                        &self.names,
                        self.inputs,
                        &get,
                        &field,
                    )
                });
            match request {
                Ok(request) => all.push(Readiness {
                    route,
                    request,
                    status: status.clone(),
                    timeout: *timeout,
                }),
                Err(problems) => self.problems.extend(problems),
            }
        }
        all
    }

    fn headers_of_targets(&self) -> Vec<TargetHeaders> {
        let targets = self.plan.all_targets().zip(self.credentials);
        targets
            .map(|(target, credentials)| self.target_headers(target, *credentials))
            .collect()
    }

    /// Compiles the headers of a target. Problems are reported by the steps that use the target.
    fn target_headers(&self, target: &Target, credentials: Option<&Credentials>) -> TargetHeaders {
        let others = target.headers.iter().filter(|header| {
            credentials.is_none_or(|credentials| !credentials.is_called(&header.name))
        });
        let headers = others.filter_map(|header| {
            Some((
                header.name.clone(),
                header.value.compile(&self.names, Place::Header).ok()?,
            ))
        });
        TargetHeaders {
            headers: headers.collect(),
        }
    }

    /// Compiles setup and teardown, as the start and end of a user.
    fn once(&mut self, symbols: &SymbolTable) -> PreparedOnce {
        let first_step = self.steps.len();
        let mut steps = PreparedScenario {
            of_iteration: symbols.iteration_slots(),
            ..PreparedScenario::default()
        };
        for (_, section, list) in self.plan.once.sections() {
            self.begin(symbols, Order::Weighted, section);
            let path = format!("spec.{}", Written::Whole.section(section));
            let program = self.program(&[], symbols, &path, list);
            match section {
                Section::Setup => steps.on_start = program,
                _ => steps.on_stop = program,
            }
        }
        self.keep_what_was_asked(first_step);
        self.keep_secret(symbols, first_step);
        let names = symbols
            .user_slots()
            .map(|(name, slot)| (name.to_owned(), slot))
            .collect();
        PreparedOnce { steps, names }
    }

    /// Compiles all scenarios. Slots below `first_slot` hold what setup found.
    fn scenarios(&mut self, first_slot: Slot) -> Vec<PreparedScenario> {
        let (plan, names) = (self.plan, self.names.clone());
        let mut first_task = 0;
        let mut scenarios = Vec::new();
        for (s, scenario) in plan.scenarios.iter().enumerate() {
            let symbols = SymbolTable::new(names.clone(), first_slot, &Outline::of(scenario));
            let path = scenario.written.scenario(s);
            scenarios.push(self.scenario(scenario, &symbols, &path, first_task));
            first_task += scenario.tasks.len() as u16;
        }
        scenarios
    }

    fn scenario(
        &mut self,
        scenario: &Scenario,
        symbols: &SymbolTable,
        path: &str,
        first_task: u16,
    ) -> PreparedScenario {
        let first_step = self.steps.len();
        let base = std::mem::replace(&mut self.names, symbols.initial_names());
        let (mut on_start, mut on_stop) = (Program::default(), Program::default());
        let (mut tasks, mut blocks, mut weight) = (Vec::new(), Vec::new(), 0);
        for (_, _, section, steps) in scenario.sections() {
            self.begin(symbols, scenario.order, section);
            let path = format!("{path}.{}", scenario.written.section(section));
            let program = self.program(&scenario.blocks, symbols, &path, steps);
            match section {
                Section::OnStart => on_start = program,
                Section::OnStop => on_stop = program,
                Section::Task(t) => {
                    weight += u64::from(scenario.tasks[t].weight);
                    tasks.push(PreparedTask {
                        place: first_task + t as u16,
                        until: weight,
                        program,
                    });
                }
                Section::Block(_) => blocks.push(program),
                // of no scenario
                Section::Setup | Section::Teardown => {}
            }
        }
        self.names = base;
        self.keep_what_was_asked(first_step);
        self.keep_secret(symbols, first_step);
        let of_iteration = symbols.iteration_slots();
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

    /// Keeps for every answer the parts that conditions read, since it shows only at run time which
    /// answer they read.
    fn keep_what_was_asked(&mut self, first_step: usize) {
        let asked = std::mem::take(&mut self.asked);
        for step in &mut self.steps[first_step..] {
            step.needs.head |= asked.head;
            step.needs.body |= asked.body;
        }
    }

    /// Tells every step of the scenario which slots hold secrets: those that its users keep, which
    /// `onStart` or setup fills, and those of logins.
    fn keep_secret(&mut self, symbols: &SymbolTable, first_step: usize) {
        let mut slots = std::mem::take(&mut self.secrets);
        slots.extend(symbols.user_slots().map(|(_, slot)| slot));
        let slots: SecretSlots = slots.into_iter().collect();
        for step in &mut self.steps[first_step..] {
            step.secrets = slots.clone();
        }
    }

    /// Sets the names that the first step of a section may use.
    fn begin(&mut self, symbols: &SymbolTable, order: Order, section: Section) {
        // what is made of what users keep is as secret
        self.secrets
            .extend(symbols.user_slots().map(|(_, slot)| slot));
        match section {
            Section::OnStart | Section::Setup => self.names = symbols.initial_names(),
            // all tasks of a sequence are one iteration
            Section::Task(t) if order == Order::Sequential && t > 0 => {}
            Section::Task(_) | Section::OnStop | Section::Teardown => {
                self.names = symbols.user_names()
            }
            Section::Block(_) => self.names = symbols.block_names(),
        }
    }

    fn program(
        &mut self,
        blocks: &[Block],
        symbols: &SymbolTable,
        path: &str,
        steps: &[Step],
    ) -> Program {
        let mut ops = Vec::new();
        for (i, step) in written_places(steps) {
            let step_names = StepNames::from(step);
            let mut after = self.names.clone();
            self.names = symbols.within(&after, &step_names);
            let path = format!("{path}[{i}]");
            let mut known = self.names.clone();
            symbols.after(&mut known, &step_names);
            let act = match &step.action {
                Action::Request(step) => Some(self.request(step, &known, &path)),
                Action::Call(name) => blocks
                    .iter()
                    .position(|block| block.name == *name)
                    .map(Act::Call),
                Action::Pause(range) => Some(Act::Pause(*range)),
            };
            let flow = self.flow(symbols, step, &known, &path);
            match act {
                Some(act) => ops.push(Op {
                    act,
                    on_failure: step.on_failure,
                    flow,
                }),
                None => self.problem(path, "calls a block that is not there"),
            }
            symbols.after(&mut after, &step_names);
            self.names = after;
        }
        ops.into()
    }

    /// Compiles the conditions and repetitions of a step. `known` are the names after the step,
    /// which `until` may use.
    fn flow(
        &mut self,
        symbols: &SymbolTable,
        step: &Step,
        known: &Names,
        path: &str,
    ) -> Option<Box<Flow>> {
        if !step.has_flow() {
            return None;
        }
        let place = self.flows;
        self.flows += 1;
        let Step {
            condition,
            repeat,
            for_each,
            on_failure: _,
            action: _,
            repetition: _,
        } = step;
        let condition = condition
            .as_ref()
            .and_then(|cel| self.cel(cel, &self.names.clone(), &format!("{path}.if")));
        let repeat = repeat.as_ref().map(
            |Repeat {
                 count,
                 until,
                 every,
             }| PreparedRepeat {
                count: *count,
                until: until
                    .as_ref()
                    .and_then(|cel| self.cel(cel, known, &format!("{path}.repeat.until"))),
                every: *every,
            },
        );
        let for_each = for_each.as_ref().and_then(|ForEach { items, name }| {
            match (items.compile(&self.names), symbols.slot(name)) {
                (Ok(items), Some(slot)) => Some(Each { items, slot }),
                (Err(why), _) => {
                    self.problem(format!("{path}.forEach.in"), why);
                    None
                }
                (Ok(_), None) => None,
            }
        });
        Some(Box::new(Flow {
            place,
            condition,
            repeat,
            for_each,
        }))
    }

    fn cel(&mut self, cel: &Cel, names: &Names, path: &str) -> Option<CompiledCel> {
        let compiled = cel
            .compile(names)
            .map_err(|why| self.problem(path, why))
            .ok()?;
        let answer_parts = compiled.answer_parts();
        self.conditions_read_answers |= answer_parts.headers || answer_parts.body;
        self.asked.head |= answer_parts.headers;
        self.asked.body |= answer_parts.body;
        Some(compiled)
    }

    /// Compiles a request and gives it the next number. On a problem, compilation goes on, so that
    /// all problems are found.
    fn request(&mut self, step: &RequestStep, known: &Names, path: &str) -> Act {
        let number = self.steps.len() as u16;
        let RequestStep {
            name: _,
            tags: _,
            timeout,
            checks,
            extract,
            record,
            goodput,
            target,
            call,
        } = step;
        let records = self.records(record);
        let rules = PreparedRules::compile(checks, extract, &records, known, path).unwrap_or_else(
            |found| {
                self.problems.extend(found);
                PreparedRules::default()
            },
        );
        self.note_secrets(step, extract, known);
        let compiled = match call {
            Protocol::Http(http) => self.http(http, *target, &format!("{path}.http")),
            Protocol::Grpc(grpc) => self.grpc(step, grpc, path),
        };
        match compiled {
            Ok(Ready {
                call,
                route,
                mut rows,
            }) => {
                let needs = rules.needs();
                let more: Vec<Need> = rules
                    .feeds()
                    .iter()
                    .filter(|need| !rows.contains(need))
                    .copied()
                    .collect();
                rows.extend(more);
                self.steps.push(PreparedStep {
                    call,
                    route,
                    timeout: *timeout,
                    rows: rows.into(),
                    rules,
                    needs,
                    secrets: SecretSlots::default(),
                    goodput: *goodput,
                });
            }
            Err(found) => self.problems.extend(found),
        }
        Act::Request(number)
    }

    /// Pairs the numbers that a step records with their trends.
    fn records<'r>(&self, record: &'r [Record]) -> Vec<(u16, &'r Record)> {
        let place = |record: &Record| {
            self.trends
                .iter()
                .position(|trend| trend.name == record.name)
        };
        record
            .iter()
            .filter_map(|record| Some((place(record)? as u16, record)))
            .collect()
    }

    /// Remembers the variables in which a step keeps secrets: those of logins, and those that are
    /// made of others.
    fn note_secrets(&mut self, step: &RequestStep, extract: &[Extract], known: &Names) {
        let slot = |name: &str| match known.get(name) {
            Some(Declared::Value(slot)) => Some(*slot),
            _ => None,
        };
        for extract in extract {
            let is_made_of_one = match &extract.from {
                ExtractFrom::Value(template) => template.names().is_ok_and(|names| {
                    let mut slots = names.iter().filter_map(|name| slot(name));
                    slots.any(|slot| self.secrets.contains(&slot))
                }),
                _ => false,
            };
            if is_made_of_one || self.secrecy.is_secret(step, extract) {
                self.secrets.extend(slot(&extract.name));
            }
        }
    }

    fn http(&self, step: &HttpStep, target: usize, path: &str) -> Result<Ready, Vec<Problem>> {
        let HttpStep {
            request,
            follow_redirects,
            retry,
            stream,
        } = step;
        let place = self
            .plan
            .all_targets()
            .nth(target)
            .ok_or_else(|| vec![Problem::new(path, "goes to a target that is not there")])?;
        let request = Request::compile(
            place,
            self.credentials[target],
            &self.names,
            self.inputs,
            request,
            path,
        )?;
        let mut rows = request.needs();
        if *follow_redirects > 0 {
            // wherever it is sent to, what is said there must be known
            let elsewhere = self
                .headers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != target);
            for need in elsewhere
                .flat_map(|(_, target)| &target.headers)
                .flat_map(|(_, value)| value.needs())
            {
                if !rows.contains(need) {
                    rows.push(*need);
                }
            }
        }
        let (follow_redirects, retry, stream) = (*follow_redirects, retry.clone(), stream.clone());
        let call = Call::Http(HttpCall {
            request,
            follow_redirects,
            retry,
            stream,
        });
        Ok(Ready {
            call,
            route: target,
            rows,
        })
    }

    fn grpc(&self, step: &RequestStep, grpc: &GrpcStep, path: &str) -> Result<Ready, Vec<Problem>> {
        let place = self.plan.all_targets().nth(step.target);
        let (Some(target), Some(Some(calls))) = (place, self.calls.get(step.target)) else {
            return Err(vec![]);
        };
        let Calls {
            descriptors,
            late_types,
            route,
        } = calls;
        let context = CallContext {
            target,
            credentials: self.credentials[step.target],
            descriptors,
            late_types: *late_types,
            names: &self.names,
            timeout: step.timeout,
            stop_timeout: self.plan.stop_timeout,
            is_checked: !step.checks.is_empty(),
        };
        let call = GrpcCall::compile(grpc, &context, &format!("{path}.grpc"))?;
        if let Some(problem) = check_limits(step, call.kind(), path) {
            return Err(vec![problem]);
        }
        Ok(Ready {
            route: *route,
            rows: call.needs(),
            call: Call::Grpc(call),
        })
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }
}
