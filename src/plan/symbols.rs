//! Symbol table of a scenario: which names its steps may use where, and the slots that hold their
//! values.
//!
//! A value that `onStart` extracts lives as long as the user, any other as long as the iteration.
//! Steps see what steps before them extracted, blocks see every name of their scenario: whether one
//! is set when they are called shows at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::names::{Declared, Names, Slot};
use super::{Action, Order, Plan, Scenario, Section, Step, Written, written_places};

/// Names that one step sets, and the block that it calls.
#[derive(Debug, Clone, Default)]
pub struct StepNames<'a> {
    /// Names of the values that it extracts.
    pub extracts: Vec<&'a str>,
    /// Name of the current item, from `forEach.as`.
    pub item: Option<&'a str>,
    /// Name of the block that it calls.
    pub call: Option<&'a str>,
    /// True if it is carried out several times, so that it sees what it extracted before.
    pub repeats: bool,
}

/// All lists of steps of a scenario, reduced to the names they set.
#[derive(Debug, Clone, Default)]
pub struct Outline<'a> {
    /// Steps of `onStart`.
    pub on_start: Vec<StepNames<'a>>,
    /// Steps of the tasks and of `onStop`.
    pub others: Vec<StepNames<'a>>,
    /// Steps of each block, by its name.
    pub blocks: BTreeMap<&'a str, Vec<StepNames<'a>>>,
}

/// Names of one scenario, with the slots of their values.
#[derive(Debug, Clone, Default)]
pub struct SymbolTable {
    base: Names,
    slots: BTreeMap<String, Slot>,
    /// Names that `onStart` sets, which live with the user.
    set_on_start: Vec<String>,
    /// Names that each block sets, blocks that it calls included.
    set_by_block: BTreeMap<String, Vec<String>>,
    /// Slots that begin each iteration empty.
    iteration: Range<Slot>,
}

impl<'a> Outline<'a> {
    /// Builds the outline of a scenario.
    pub fn of(scenario: &'a Scenario) -> Self {
        let Scenario {
            on_start,
            on_stop,
            tasks,
            blocks,
            ..
        } = scenario;
        Self {
            on_start: on_start.iter().map(StepNames::from).collect(),
            others: tasks
                .iter()
                .flat_map(|task| &task.steps)
                .chain(on_stop)
                .map(StepNames::from)
                .collect(),
            blocks: blocks
                .iter()
                .map(|block| {
                    (
                        block.name.as_str(),
                        block.steps.iter().map(StepNames::from).collect(),
                    )
                })
                .collect(),
        }
    }

    /// Adds every name that `steps` set, blocks that they call included.
    fn extracted(
        &self,
        steps: &[StepNames<'a>],
        seen: &mut BTreeSet<&'a str>,
        found: &mut Vec<&'a str>,
    ) {
        for step_names in steps {
            found.extend(&step_names.extracts);
            if let Some(block) = step_names
                .call
                .filter(|name| seen.insert(name))
                .and_then(|name| self.blocks.get(name))
            {
                self.extracted(block, seen, found);
            }
        }
    }
}

impl SymbolTable {
    /// Assigns slots to the names of `outline`. `base` is what every scenario knows, `first` the
    /// first slot that it leaves free.
    pub fn new(base: Names, first: Slot, outline: &Outline<'_>) -> Self {
        let extracted = |steps: &[StepNames<'_>]| {
            let mut found = Vec::new();
            outline.extracted(steps, &mut BTreeSet::new(), &mut found);
            found.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let set_on_start = extracted(&outline.on_start);
        let set_by_block: BTreeMap<_, _> = outline
            .blocks
            .iter()
            .map(|(name, steps)| ((*name).to_owned(), extracted(steps)))
            .collect();
        let every = || {
            outline
                .on_start
                .iter()
                .chain(&outline.others)
                .chain(outline.blocks.values().flatten())
        };
        let mut symbols = Self {
            base,
            set_on_start,
            set_by_block,
            ..Self::default()
        };
        let mut next = first;
        for name in symbols.set_on_start.clone() {
            symbols.assign_slot(&name, &mut next);
        }
        let first_of_iteration = next;
        for name in
            every().flat_map(|step_names| step_names.extracts.iter().chain(&step_names.item))
        {
            symbols.assign_slot(name, &mut next);
        }
        symbols.iteration = first_of_iteration..next;
        symbols
    }

    /// Gives a name the next slot, unless it has one.
    fn assign_slot(&mut self, name: &str, next: &mut Slot) {
        if !self.slots.contains_key(name) {
            self.slots.insert(name.to_owned(), *next);
            *next += 1;
        }
    }

    /// Number of slots in all, those of the base included.
    pub fn slots(&self) -> usize {
        usize::from(self.iteration.end)
    }

    /// Slots that begin each iteration empty.
    pub fn iteration_slots(&self) -> Range<usize> {
        usize::from(self.iteration.start)..usize::from(self.iteration.end)
    }

    /// Slot of a name that a step of the scenario sets.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// Names that live with the user, and their slots.
    pub fn user_slots(&self) -> impl Iterator<Item = (&str, Slot)> {
        self.set_on_start
            .iter()
            .filter_map(|name| Some((name.as_str(), self.slot(name)?)))
    }

    /// Names known to the first step of `onStart`.
    pub fn initial_names(&self) -> Names {
        self.base.clone()
    }

    /// Names known to the first step of a task, or of `onStop`.
    pub fn user_names(&self) -> Names {
        let mut names = self.base.clone();
        self.set_on_start
            .iter()
            .for_each(|name| self.declare(&mut names, name));
        names
    }

    /// Names known to any step of a block.
    pub fn block_names(&self) -> Names {
        let mut names = self.base.clone();
        self.slots
            .keys()
            .for_each(|name| self.declare(&mut names, name));
        names
    }

    /// Names known within a step: those before it, its own item, and what it extracted the time
    /// before.
    pub fn within(&self, names: &Names, step_names: &StepNames<'_>) -> Names {
        let mut names = names.clone();
        step_names
            .item
            .iter()
            .for_each(|name| self.declare(&mut names, name));
        if step_names.repeats {
            self.after(&mut names, step_names);
        }
        names
    }

    /// Adds the names that a step makes known to the steps after it.
    pub fn after(&self, names: &mut Names, step_names: &StepNames<'_>) {
        step_names
            .extracts
            .iter()
            .for_each(|name| self.declare(names, name));
        step_names
            .call
            .iter()
            .filter_map(|name| self.set_by_block.get(*name))
            .flatten()
            .for_each(|name| self.declare(names, name));
    }

    fn declare(&self, names: &mut Names, name: &str) {
        if let Some(slot) = self.slot(name) {
            names.declare(name, Declared::Value(slot));
        }
    }
}

/// Calls `visit` with each step of the plan, its field path and the names that it may use. `base`
/// is what all of the plan knows.
pub fn each_step(plan: &Plan, base: Names, mut visit: impl FnMut(&Step, &str, &Names)) {
    let once_symbols = SymbolTable::new(base, plan.once_slots(), &plan.once.outline());
    let once = plan
        .once
        .sections()
        .into_iter()
        .map(|(_, section, steps)| (section, steps));
    let of_once = (Written::Whole, "spec");
    each_step_of(&once_symbols, Order::Weighted, once, of_once, &mut visit);
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        let symbols = SymbolTable::new(
            once_symbols.user_names(),
            once_symbols.slots() as Slot,
            &Outline::of(scenario),
        );
        let sections = scenario
            .sections()
            .map(|(_, _, section, steps)| (section, steps));
        each_step_of(
            &symbols,
            scenario.order,
            sections,
            (scenario.written, &scenario.written.scenario(s)),
            &mut visit,
        );
    }
}

fn each_step_of<'a>(
    symbols: &SymbolTable,
    order: Order,
    sections: impl Iterator<Item = (Section, &'a [Step])>,
    (written, path): (Written, &str),
    visit: &mut impl FnMut(&Step, &str, &Names),
) {
    let mut known = symbols.initial_names();
    for (section, steps) in sections {
        known = match section {
            Section::OnStart | Section::Setup => symbols.initial_names(),
            // all tasks of a sequence are one iteration
            Section::Task(t) if order == Order::Sequential && t > 0 => known,
            Section::Task(_) | Section::OnStop | Section::Teardown => symbols.user_names(),
            Section::Block(_) => symbols.block_names(),
        };
        let section = written.section(section);
        for (i, step) in written_places(steps) {
            let step_names = StepNames::from(step);
            visit(
                step,
                &format!("{path}.{section}[{i}]"),
                &symbols.within(&known, &step_names),
            );
            symbols.after(&mut known, &step_names);
        }
    }
}

impl<'a> From<&'a Step> for StepNames<'a> {
    fn from(step: &'a Step) -> Self {
        let item = step.for_each.as_ref().map(|each| each.name.as_str());
        let repeats = step.repeat.is_some() || item.is_some() || step.repetition.is_some();
        match &step.action {
            Action::Request(step) => Self {
                extracts: step
                    .extract
                    .iter()
                    .map(|extract| extract.name.as_str())
                    .collect(),
                item,
                call: None,
                repeats,
            },
            Action::Call(block) => Self {
                extracts: vec![],
                item,
                call: Some(block),
                repeats,
            },
            Action::Pause(_) => Self {
                item,
                repeats,
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets<'a>(names: &[&'a str]) -> StepNames<'a> {
        StepNames {
            extracts: names.to_vec(),
            ..StepNames::default()
        }
    }

    fn calls(block: &str) -> StepNames<'_> {
        StepNames {
            call: Some(block),
            ..StepNames::default()
        }
    }

    fn known(names: &Names) -> Vec<&str> {
        names.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_on_start_finds_lives_with_the_user_also_when_a_block_found_it() {
        let outline = Outline {
            on_start: vec![sets(&["account"]), calls("login")],
            others: vec![sets(&["order"])],
            blocks: [("login", vec![sets(&["token"])])].into(),
        };
        let symbols = SymbolTable::new(Names::default(), 3, &outline);
        assert_eq!(known(&symbols.initial_names()), [""; 0]);
        assert_eq!(known(&symbols.user_names()), ["account", "token"]);
        assert_eq!((symbols.slots(), symbols.iteration_slots()), (6, 5..6));
    }

    #[test]
    fn a_step_sees_what_came_before_it_and_a_block_sees_all() {
        let item = StepNames {
            item: Some("item"),
            ..sets(&["found"])
        };
        let outline = Outline {
            others: vec![item.clone()],
            blocks: [("b", vec![sets(&["inner"])])].into(),
            ..Outline::default()
        };
        let symbols = SymbolTable::new(Names::default(), 0, &outline);
        let mut names = symbols.user_names();
        assert_eq!(known(&symbols.within(&names, &item)), ["item"]);
        symbols.after(&mut names, &item);
        assert_eq!(known(&names), ["found"]);
        symbols.after(&mut names, &calls("b"));
        assert_eq!(known(&names), ["found", "inner"]);
        assert_eq!(known(&symbols.block_names()), ["found", "inner", "item"]);
    }

    #[test]
    fn a_step_that_is_repeated_sees_what_it_found_before() {
        let once = sets(&["found"]);
        let again = StepNames {
            repeats: true,
            ..once.clone()
        };
        let outline = Outline {
            others: vec![once.clone()],
            ..Outline::default()
        };
        let symbols = SymbolTable::new(Names::default(), 0, &outline);
        let names = symbols.user_names();
        assert_eq!(known(&symbols.within(&names, &once)), [""; 0]);
        assert_eq!(known(&symbols.within(&names, &again)), ["found"]);
    }

    #[test]
    fn blocks_that_call_each_other_in_a_circle_end_the_search() {
        let outline = Outline {
            on_start: vec![calls("a")],
            blocks: [
                ("a", vec![calls("b")]),
                ("b", vec![calls("a"), sets(&["x"])]),
            ]
            .into(),
            ..Outline::default()
        };
        assert_eq!(
            known(&SymbolTable::new(Names::default(), 0, &outline).user_names()),
            ["x"]
        );
    }
}
