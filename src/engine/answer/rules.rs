//! The checks, extracts and records of a step, ready to be held against its answers.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::condition::{Part, PreparedCondition, number_in};
use super::{Facts, Store};
use crate::plan::cel::{CompiledCel, Subject};
use crate::plan::grpc::Code;
use crate::plan::template::Need;
use crate::plan::{
    Check, Condition, Declared, Extract, ExtractFrom, JsonPath, Names, Pattern, Problem, Record,
    RecordFrom, Slot, StatusRange,
};
use crate::stats::ErrorClass;

/// Characters of a failure's message.
const MAX_MESSAGE: usize = 200;

/// Characters of it that say what was asked for, so that there is room for what was found.
const MAX_ASKED: usize = 100;

#[derive(Default)]
pub(in crate::engine) struct PreparedRules {
    checks: Vec<PreparedCheck>,
    extracts: Vec<PreparedExtract>,
    records: Vec<PreparedRecord>,
    needs: Needs,
    feeds: Vec<Need>,
}

/// What must be kept of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine) struct Needs {
    pub(in crate::engine) head: bool,
    pub(in crate::engine) body: bool,
}

/// What came of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Judged {
    pub(in crate::engine) checks_passed: u32,
    pub(in crate::engine) checks_failed: u32,
    /// By place of the trend, in base units of trends (microseconds, bytes, thousandths of
    /// anything else), what the records found; `None`: no number, for which the request has
    /// not failed.
    pub(in crate::engine) recorded: Vec<(u16, Option<u64>)>,
    /// The first thing that was wrong, checks before extracts, in at most [`MAX_MESSAGE`]
    /// characters.
    pub(in crate::engine) failure: Option<(ErrorClass, String)>,
}

struct PreparedCheck {
    kind: Kind,
    /// What is asked for, in words, for messages.
    asked: String,
}

enum Kind {
    Status(Vec<StatusRange>),
    GrpcStatus(Vec<Code>),
    Trailer(String, Vec<PreparedCondition>),
    Messages(RangeInclusive<u64>),
    Events(RangeInclusive<u64>),
    JsonPath(JsonPath, Vec<PreparedCondition>),
    Header(String, Vec<PreparedCondition>),
    Body(Vec<PreparedCondition>),
    Latency(Duration),
    Size {
        above: Option<u64>,
        below: Option<u64>,
    },
    Cel(CompiledCel),
}

struct PreparedExtract {
    name: String,
    slot: Slot,
    from: ExtractFrom,
    default: Option<Value>,
}

struct PreparedRecord {
    /// Place in the plan's list of trends.
    trend: u16,
    /// Base units in one of its own.
    scale: f64,
    from: NumberFrom,
}

enum NumberFrom {
    JsonPath(JsonPath),
    Header(String),
    Regex(Pattern),
    Cel(CompiledCel),
}

impl PreparedRules {
    /// Each record comes with the place of its trend. `names` are those of the step, with what it
    /// extracts declared as values. `path` is the step's field path.
    pub(in crate::engine) fn compile(
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
        for Extract {
            name,
            from,
            default,
        } in extracts
        {
            match names.get(name) {
                Some(Declared::Value(slot)) => {
                    rules.extracts.push(PreparedExtract {
                        name: name.clone(),
                        slot: *slot,
                        from: from.clone(),
                        default: default.clone(),
                    });
                }
                _ => problems.push(Problem::new(
                    format!("{path}.extract.{name}"),
                    "the name has no place to put its value",
                )),
            }
        }
        for (
            i,
            (
                trend,
                Record {
                    name: _,
                    unit,
                    from,
                },
            ),
        ) in records.iter().enumerate()
        {
            match NumberFrom::new(from, names) {
                Ok(from) => rules.records.push(PreparedRecord {
                    trend: *trend,
                    scale: unit.in_base(),
                    from,
                }),
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
        let mut add = |head: bool, body: bool, rows: &[Need]| {
            needs.head |= head;
            needs.body |= body;
            feeds.extend(rows);
        };
        for check in checks {
            match &check.kind {
                Kind::Status(_)
                | Kind::GrpcStatus(_)
                | Kind::Messages(_)
                | Kind::Events(_)
                | Kind::Latency(_)
                | Kind::Size { .. } => {}
                Kind::JsonPath(_, must) | Kind::Body(must) => must
                    .iter()
                    .for_each(|condition| add(false, true, condition.needs())),
                Kind::Header(_, must) | Kind::Trailer(_, must) => must
                    .iter()
                    .for_each(|condition| add(true, false, condition.needs())),
                Kind::Cel(cel) => add(
                    cel.answer_parts().headers,
                    cel.answer_parts().body,
                    cel.needs(),
                ),
            }
        }
        for extract in extracts {
            match extract.from {
                ExtractFrom::JsonPath { .. } | ExtractFrom::Regex(_) | ExtractFrom::Body => {
                    add(false, true, &[])
                }
                ExtractFrom::Header(_) | ExtractFrom::Cookie(_) => add(true, false, &[]),
            }
        }
        for record in records {
            match &record.from {
                NumberFrom::JsonPath(_) | NumberFrom::Regex(_) => add(false, true, &[]),
                NumberFrom::Header(_) => add(true, false, &[]),
                NumberFrom::Cel(cel) => add(
                    cel.answer_parts().headers,
                    cel.answer_parts().body,
                    cel.needs(),
                ),
            }
        }
        let mut seen = Vec::new();
        feeds.retain(|need| {
            !seen.contains(need) && {
                seen.push(*need);
                true
            }
        });
    }

    /// Nothing to do with any answer.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.extracts.is_empty() && self.records.is_empty()
    }

    pub(in crate::engine) fn needs(&self) -> Needs {
        self.needs
    }

    /// The rows of feeders to fetch before an answer is judged, each once.
    pub(in crate::engine) fn feeds(&self) -> &[Need] {
        &self.feeds
    }

    /// Whether the step says itself which status is a failure; else 400 and above is, and such an
    /// answer is not judged at all.
    pub(in crate::engine) fn has_status_check(&self) -> bool {
        self.checks
            .iter()
            .any(|check| matches!(check.kind, Kind::Status(_) | Kind::GrpcStatus(_)))
    }

    /// All checks are made. Values are extracted also when one failed, since a step that goes on
    /// after a slow answer needs them as well; numbers are recorded of what passed only, as
    /// latencies are.
    pub(in crate::engine) fn judge(&self, facts: &Facts<'_>, store: &mut impl Store) -> Judged {
        let mut judged = Judged::default();
        for (i, check) in self.checks.iter().enumerate() {
            match check.kind.judge(facts, store) {
                Ok(()) => judged.checks_passed += 1,
                Err(why) => {
                    judged.checks_failed += 1;
                    judged.failure.get_or_insert_with(|| {
                        (
                            check.kind.class_of_failure(facts),
                            clipped(&format!("checks[{i}], {}: {why}", check.asked), MAX_MESSAGE),
                        )
                    });
                }
            }
        }
        for PreparedExtract {
            name,
            slot,
            from,
            default,
        } in &self.extracts
        {
            let found = extract(from, facts).or_else(|why| default.clone().ok_or(why));
            let found = found.map_err(|why| {
                judged.failure.get_or_insert_with(|| {
                    (
                        ErrorClass::Extract,
                        clipped(
                            &format!(
                                "extract {name}, {}: {why}",
                                clipped(&described(from), MAX_ASKED)
                            ),
                            MAX_MESSAGE,
                        ),
                    )
                });
            });
            store.set(*slot, found.ok());
        }
        if judged.failure.is_none() {
            judged.recorded.extend(self.records.iter().map(
                |PreparedRecord { trend, scale, from }| {
                    // a histogram has no place below 0, and none past 64 bits
                    let number = from
                        .number(facts, store)
                        .map(|number| (number * scale).round());
                    (
                        *trend,
                        number
                            .filter(|number| (0.0..=1e18).contains(number))
                            .map(|number| number as u64),
                    )
                },
            ));
        }
        judged
    }
}

impl PreparedCheck {
    fn new(check: &Check, names: &Names) -> Result<Self, String> {
        let prepared = |must: &[Condition]| {
            must.iter()
                .map(|condition| PreparedCondition::new(condition, names))
                .collect::<Result<_, _>>()
        };
        let kind = match check {
            Check::Status(ranges) => Kind::Status(ranges.clone()),
            Check::GrpcStatus(codes) => Kind::GrpcStatus(codes.clone()),
            Check::Trailer { name, must } => Kind::Trailer(name.clone(), prepared(must)?),
            Check::Messages { at_least, at_most } => {
                Kind::Messages(at_least.unwrap_or(0)..=at_most.unwrap_or(u64::MAX))
            }
            Check::Events { at_least, at_most } => {
                Kind::Events(at_least.unwrap_or(0)..=at_most.unwrap_or(u64::MAX))
            }
            Check::JsonPath { path, must } => Kind::JsonPath(path.clone(), prepared(must)?),
            Check::Header { name, must } => Kind::Header(name.clone(), prepared(must)?),
            Check::Body(must) => Kind::Body(prepared(must)?),
            Check::Latency { below } => Kind::Latency(*below),
            Check::Size { above, below } => Kind::Size {
                above: *above,
                below: *below,
            },
            Check::Cel(cel) => Kind::Cel(cel.compile(names)?),
        };
        Ok(Self {
            kind,
            asked: clipped(&check.to_string(), MAX_ASKED),
        })
    }
}

impl Kind {
    /// 429, 503 and the other statuses of failure keep their classes, whoever found that they are
    /// one.
    fn class_of_failure(&self, facts: &Facts<'_>) -> ErrorClass {
        match (self, facts.grpc_status) {
            (Self::Status(_), _) if facts.status >= 400 => ErrorClass::of_status(facts.status),
            (Self::GrpcStatus(_), Some(code)) => {
                ErrorClass::of_grpc(code.0).unwrap_or(ErrorClass::Check)
            }
            _ => ErrorClass::Check,
        }
    }

    /// Why the answer is not as asked.
    fn judge(&self, facts: &Facts<'_>, store: &mut impl Store) -> Result<(), String> {
        match self {
            Self::Status(ranges) if ranges.iter().any(|range| range.contains(facts.status)) => {
                Ok(())
            }
            Self::Status(_) => Err(format!("found {}", facts.status)),
            Self::GrpcStatus(codes) => match facts.grpc_status {
                Some(code) if codes.contains(&code) => Ok(()),
                Some(code) => Err(format!("found {code}")),
                None => Err("found an answer that is not one of gRPC".into()),
            },
            Self::Messages(wanted) => counted(wanted, facts.messages),
            Self::Events(wanted) => counted(wanted, facts.events),
            Self::JsonPath(path, must) => {
                judge_part(must, path.first(facts.json()?).map(Part::Json), store)
            }
            Self::Header(name, must) => {
                judge_values(must, store, |visit| facts.header(name, visit))
            }
            Self::Trailer(name, must) => {
                judge_values(must, store, |visit| facts.trailer(name, visit))
            }
            Self::Body(must) => match judge_part(must, Some(Part::Text(facts.body)), store) {
                // what is in the part that is kept is in the whole, but what equals it does not
                // equal the whole
                Ok(()) if facts.truncated && must.iter().any(PreparedCondition::is_of_whole) => {
                    Err(facts.cut())
                }
                Err(why) if facts.truncated => Err(format!("{why}; {}", facts.cut())),
                outcome => outcome,
            },
            Self::Latency(below) if facts.latency < *below => Ok(()),
            Self::Latency(_) => Err(format!("found {} ms", facts.latency.as_secs_f64() * 1e3)),
            Self::Size { above, below } => {
                let fits = above.is_none_or(|above| facts.size > above)
                    && below.is_none_or(|below| facts.size < below);
                if fits {
                    Ok(())
                } else {
                    Err(format!("found {} bytes", facts.size))
                }
            }
            Self::Cel(cel) => match cel.is_true(Some(facts), store) {
                Ok(true) => Ok(()),
                Ok(false) => Err("found false".into()),
                Err(why) => Err(why.to_string()),
            },
        }
    }
}

fn counted(wanted: &RangeInclusive<u64>, found: u64) -> Result<(), String> {
    if wanted.contains(&found) {
        Ok(())
    } else {
        Err(format!("found {found}"))
    }
}

fn judge_part(
    must: &[PreparedCondition],
    part: Option<Part<'_>>,
    store: &mut impl Store,
) -> Result<(), String> {
    match part {
        Some(part) => must
            .iter()
            .try_for_each(|condition| condition.judge(part, store)),
        None if must.iter().all(PreparedCondition::wants_nothing) => Ok(()),
        None => Err("found nothing".into()),
    }
}

/// One value for which all conditions hold is enough.
fn judge_values<'a>(
    must: &[PreparedCondition],
    store: &mut impl Store,
    values: impl FnOnce(&mut dyn FnMut(&'a [u8]) -> Option<()>) -> Option<()>,
) -> Result<(), String> {
    let mut outcome = None;
    let passed = values(
        &mut |value| match judge_part(must, Some(Part::Text(value)), store) {
            Ok(()) => Some(()),
            Err(why) => {
                outcome.get_or_insert(why);
                None
            }
        },
    );
    match (passed, outcome) {
        (Some(()), _) => Ok(()),
        (None, Some(why)) => Err(why),
        (None, None) => judge_part(must, None, store),
    }
}

fn extract(from: &ExtractFrom, facts: &Facts<'_>) -> Result<Value, String> {
    let nothing = || "found nothing".to_owned();
    match from {
        ExtractFrom::JsonPath { path, all: false } => {
            path.first(facts.json()?).cloned().ok_or_else(nothing)
        }
        ExtractFrom::JsonPath { path, all: true } => {
            let found = path.all(facts.json()?);
            if found.is_empty() {
                Err(nothing())
            } else {
                Ok(found.into_iter().cloned().collect())
            }
        }
        ExtractFrom::Regex(pattern) => match pattern.find(facts.body) {
            Some(found) => Ok(text(found)),
            None if facts.truncated => Err(format!("found nothing; {}", facts.cut())),
            None => Err(nothing()),
        },
        ExtractFrom::Header(name) => facts
            .header(name, |value| Some(text(value)))
            .ok_or_else(nothing),
        ExtractFrom::Cookie(name) => facts.cookie(name).map(text).ok_or_else(nothing),
        ExtractFrom::Body if facts.truncated => Err(facts.cut()),
        ExtractFrom::Body => Ok(text(facts.body)),
    }
}

fn described(from: &ExtractFrom) -> String {
    match from {
        ExtractFrom::JsonPath { path, .. } => format!("jsonPath {}", path.source()),
        ExtractFrom::Regex(pattern) => format!("regex {}", pattern.source()),
        ExtractFrom::Header(name) => format!("header {name}"),
        ExtractFrom::Cookie(name) => format!("cookie {name}"),
        ExtractFrom::Body => "body".into(),
    }
}

impl NumberFrom {
    fn new(from: &RecordFrom, names: &Names) -> Result<Self, String> {
        Ok(match from {
            RecordFrom::JsonPath(path) => Self::JsonPath(path.clone()),
            RecordFrom::Header(name) => Self::Header(name.clone()),
            RecordFrom::Regex(pattern) => Self::Regex(pattern.clone()),
            RecordFrom::Cel(cel) => Self::Cel(cel.compile(names)?),
        })
    }

    fn number(&self, facts: &Facts<'_>, store: &impl Store) -> Option<f64> {
        let in_text = |text: &[u8]| number_in(std::str::from_utf8(text).ok()?)?.as_f64();
        match self {
            Self::JsonPath(path) => match path.first(facts.json().ok()?)? {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => in_text(text.as_bytes()),
                _ => None,
            },
            Self::Header(name) => facts.header(name, in_text),
            Self::Regex(pattern) => in_text(pattern.find(facts.body)?),
            Self::Cel(cel) => cel.number(Some(facts), store).ok(),
        }
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
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
