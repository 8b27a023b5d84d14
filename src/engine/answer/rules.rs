//! Rules of a step: its checks, extracts and records, prepared once and applied to each of its
//! answers.

use super::check::PreparedCheck;
use super::extract::{PreparedExtract, PreparedRecord};
use super::{Facts, Store};
use crate::plan::cel::AnswerParts;
use crate::plan::template::Need;
use crate::plan::{Check, Declared, Extract, Names, Problem, Record};
use crate::stats::ErrorClass;

/// Longest message of a failure, in characters.
const MAX_MESSAGE: usize = 200;

/// Longest part of such a message that says what was asked for, in characters, so that there is
/// room for what was found.
const MAX_ASKED: usize = 100;

/// Rules of a step, ready to be applied to its answers.
#[derive(Default)]
pub(crate) struct PreparedRules {
    checks: Vec<PreparedCheck>,
    extracts: Vec<PreparedExtract>,
    records: Vec<PreparedRecord>,
    needs: Needs,
    feeds: Vec<Need>,
}

/// Parts of an answer that must be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Status line and headers, with trailers.
    pub(crate) head: bool,
    /// Body, as far as bodies are kept.
    pub(crate) body: bool,
}

/// Verdict of a step's rules on one answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Number of checks that passed.
    pub(crate) checks_passed: u32,
    /// Number of checks that failed.
    pub(crate) checks_failed: u32,
    /// Numbers that the records found, by place of the trend and in base units of trends
    /// (microseconds, bytes, thousandths of anything else). `None` stands for no number, which is
    /// no failure.
    pub(crate) recorded: Vec<(u16, Option<u64>)>,
    /// First failure, checks before extracts, with a message of at most [`MAX_MESSAGE`] characters.
    pub(crate) failure: Option<(ErrorClass, String)>,
}

impl PreparedRules {
    /// Prepares the rules of the step at the field path `path`. Each record comes with the place of
    /// its trend; `names` are those of the step, among which all that it extracts are values.
    pub(crate) fn compile(
        checks: &[Check],
        extracts: &[Extract],
        records: &[(u16, &Record)],
        names: &Names,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let mut rules = Self::default();
        let mut problems = Vec::new();
        for (i, check) in checks.iter().enumerate() {
            match PreparedCheck::new(check, names) {
                Ok(check) => rules.checks.push(check),
                Err(why) => problems.push(Problem::new(format!("{path}.checks[{i}]"), why)),
            }
        }
        for extract in extracts {
            let prepared = match names.get(&extract.name) {
                Some(Declared::Value(slot)) => PreparedExtract::new(extract, *slot, names),
                _ => Err("the name has no place to put its value".to_owned()),
            };
            match prepared {
                Ok(extract) => rules.extracts.push(extract),
                Err(why) => {
                    let path = format!("{path}.extract.{}", extract.name);
                    problems.push(Problem::new(path, why));
                }
            }
        }
        for (i, (trend, record)) in records.iter().enumerate() {
            match PreparedRecord::new(*trend, record, names) {
                Ok(record) => rules.records.push(record),
                Err(why) => problems.push(Problem::new(format!("{path}.record[{i}]"), why)),
            }
        }
        rules.find_needs();
        if problems.is_empty() {
            Ok(rules)
        } else {
            Err(problems)
        }
    }

    fn find_needs(&mut self) {
        let Self {
            checks,
            extracts,
            records,
            needs,
            feeds,
        } = self;
        let parts = checks
            .iter()
            .map(|check| check.parts)
            .chain(extracts.iter().map(PreparedExtract::answer_parts))
            .chain(records.iter().map(PreparedRecord::answer_parts));
        for AnswerParts { headers, body } in parts {
            needs.head |= headers;
            needs.body |= body;
        }
        let rows = checks
            .iter()
            .flat_map(|check| &check.feeds)
            .chain(extracts.iter().flat_map(PreparedExtract::feeds))
            .chain(records.iter().flat_map(PreparedRecord::feeds));
        for row in rows {
            if !feeds.contains(row) {
                feeds.push(*row);
            }
        }
    }

    /// Returns whether the step has no rules, so that its answers need not be judged.
    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.extracts.is_empty() && self.records.is_empty()
    }

    /// Returns the parts of an answer that must be kept for the rules.
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// Returns the feeder rows that the rules read, each once.
    pub(crate) fn feeds(&self) -> &[Need] {
        &self.feeds
    }

    /// Returns whether a check of the step decides which status is a failure. Otherwise the
    /// protocol does, and an answer that it counts as a failure is not judged at all.
    pub(crate) fn has_status_check(&self) -> bool {
        self.checks.iter().any(PreparedCheck::is_of_status)
    }

    /// Applies the rules to an answer.
    ///
    /// All checks are made. Values are extracted also when a check failed, since a step that goes
    /// on after a slow answer needs them as well; numbers are recorded only when nothing failed, as
    /// latencies are.
    pub(crate) fn judge(&self, facts: &Facts<'_>, store: &mut impl Store) -> Judged {
        let mut judged = Judged::default();
        for (i, check) in self.checks.iter().enumerate() {
            match check.judge(facts, store) {
                Ok(()) => judged.checks_passed += 1,
                Err(why) => {
                    judged.checks_failed += 1;
                    judged.failure.get_or_insert_with(|| {
                        let rule = format!("checks[{i}]");
                        let message = message(&rule, &why.asked(&check.asked), &why.to_string());
                        (why.class(check.class_of_failure(facts)), message)
                    });
                }
            }
        }
        for extract in &self.extracts {
            let found = extract.value(facts, store).map_err(|why| {
                judged.failure.get_or_insert_with(|| {
                    let rule = format!("extract {}", extract.name);
                    let message = message(&rule, &extract.from.to_string(), &why.to_string());
                    (why.class(ErrorClass::Extract), message)
                });
            });
            store.set(extract.slot, found.ok());
        }
        if judged.failure.is_none() {
            let records = self.records.iter();
            let numbers = records.map(|record| (record.trend, record.number(facts, store)));
            judged.recorded.extend(numbers);
        }
        judged
    }
}

/// Builds the message of a failure: which rule failed, what it asked for, and what was found.
fn message(rule: &str, asked: &str, why: &str) -> String {
    clipped(
        &format!("{rule}, {}: {why}", clipped(asked, MAX_ASKED)),
        MAX_MESSAGE,
    )
}

fn clipped(message: &str, most: usize) -> String {
    let mut characters = message.chars();
    let start: String = characters.by_ref().take(most - 1).collect();
    if characters.next().is_some() {
        format!("{start}…")
    } else {
        start
    }
}
