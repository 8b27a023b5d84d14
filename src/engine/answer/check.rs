//! Check of a step, prepared once and applied to the facts of answers.

use serde_json::{Number, Value};

use super::condition::{Part, PreparedCondition};
use super::unfit::Unfit;
use super::{Facts, Store};
use crate::plan::cel::{AnswerParts, CompiledCel, Subject};
use crate::plan::facts::Fact;
use crate::plan::template::Need;
use crate::plan::{Check, Condition, Names};
use crate::stats::ErrorClass;

/// Check whose conditions and expression are ready to be evaluated.
type Prepared = Check<Vec<PreparedCondition>, CompiledCel>;

/// Check of a step, ready to be applied to answers.
pub(super) struct PreparedCheck {
    check: Prepared,
    /// Text of the check as messages show it.
    pub(super) asked: String,
    /// Parts of an answer that must be kept for the check.
    pub(super) parts: AnswerParts,
    /// Feeder rows that the check reads.
    pub(super) feeds: Vec<Need>,
}

impl PreparedCheck {
    /// Prepares a check. Fails if a template or the expression names something that `names` does
    /// not declare.
    pub(super) fn new(check: &Check, names: &Names) -> Result<Self, String> {
        let mut expression = None;
        let mut rows = Vec::new();
        let prepared = check.prepare(
            |must| prepare(must, names, &mut rows),
            |cel| {
                let compiled = cel.compile(names)?;
                expression = Some((compiled.answer_parts(), compiled.needs().to_vec()));
                Ok::<_, String>(compiled)
            },
        )?;
        let (parts, feeds) = match expression {
            Some(of_expression) => of_expression,
            None => (
                check.fact().map(Fact::answer_parts).unwrap_or_default(),
                rows,
            ),
        };
        Ok(Self {
            check: prepared,
            asked: check.to_string(),
            parts,
            feeds,
        })
    }

    /// Returns whether the check decides which status is a failure, in place of the protocol's own
    /// rule.
    pub(super) fn is_of_status(&self) -> bool {
        matches!(self.check, Check::Status(_) | Check::GrpcStatus(_))
    }

    /// Returns the class of a failure of this check. 429, 503 and the other statuses of failure
    /// keep the classes that they have without a check.
    pub(super) fn class_of_failure(&self, facts: &Facts<'_>) -> ErrorClass {
        match (&self.check, facts.grpc_status) {
            (Check::Status(_), _) if facts.status >= 400 => ErrorClass::of_status(facts.status),
            (Check::GrpcStatus(_), Some(code)) => {
                ErrorClass::of_grpc(code.0).unwrap_or(ErrorClass::Check)
            }
            _ => ErrorClass::Check,
        }
    }

    /// Applies the check to an answer; fails with a message that says what was found.
    pub(super) fn judge(&self, facts: &Facts<'_>, store: &mut impl Store) -> Result<(), Unfit> {
        match &self.check {
            Check::JsonPath { path, must } => {
                let node = path.first(facts.json()?)?;
                match node {
                    Some(Value::Number(number)) if facts.grpc_status.is_some() => {
                        judge_number(must, number, store)
                    }
                    _ => judge_part(must, node.map(Part::Json), store),
                }
            }
            Check::Cel(cel) => match cel.is_true(Some(facts), store) {
                Ok(is_true) => found(is_true, is_true),
                Err(why) => Err(why.into()),
            },
            _ => self.judge_fact(facts, store),
        }
    }

    /// Applies a check that reads its fact without an expression.
    fn judge_fact(&self, facts: &Facts<'_>, store: &mut impl Store) -> Result<(), Unfit> {
        match &self.check {
            Check::Status(ranges) => found(
                ranges.iter().any(|range| range.contains(facts.status)),
                facts.status,
            ),
            Check::GrpcStatus(codes) => match facts.grpc_status {
                Some(code) => found(codes.contains(&code), code),
                None => Err("found an answer that is not one of gRPC".into()),
            },
            Check::Messages { at_least, at_most } => within(facts.messages, *at_least, *at_most),
            Check::Events { at_least, at_most } => within(facts.events, *at_least, *at_most),
            Check::Header { name, must } => {
                judge_values(must, store, |visit| facts.header(name, visit))
            }
            Check::Trailer { name, must } => {
                judge_values(must, store, |visit| facts.trailer(name, visit))
            }
            Check::Body(must) => judge_body(must, facts, store),
            Check::Latency { below } => found(
                facts.latency < *below,
                format_args!("{} ms", facts.latency.as_secs_f64() * 1e3),
            ),
            Check::Size { above, below } => {
                let fits = above.is_none_or(|above| facts.size > above)
                    && below.is_none_or(|below| facts.size < below);
                found(fits, format_args!("{} bytes", facts.size))
            }
            Check::JsonPath { .. } | Check::Cel(_) => Ok(()),
        }
    }
}

/// Prepares conditions, and adds the feeder rows that they read to `rows`.
fn prepare(
    must: &[Condition],
    names: &Names,
    rows: &mut Vec<Need>,
) -> Result<Vec<PreparedCondition>, String> {
    let prepared = must
        .iter()
        .map(|condition| PreparedCondition::new(condition, names))
        .collect::<Result<Vec<_>, _>>()?;
    rows.extend(prepared.iter().flat_map(PreparedCondition::needs));
    Ok(prepared)
}

fn found(fits: bool, what: impl std::fmt::Display) -> Result<(), Unfit> {
    if fits {
        Ok(())
    } else {
        Err(format!("found {what}").into())
    }
}

fn within(count: u64, at_least: Option<u64>, at_most: Option<u64>) -> Result<(), Unfit> {
    let fits =
        at_least.is_none_or(|least| count >= least) && at_most.is_none_or(|most| count <= most);
    found(fits, count)
}

fn judge_body(
    must: &[PreparedCondition],
    facts: &Facts<'_>,
    store: &mut impl Store,
) -> Result<(), Unfit> {
    match judge_part(must, Some(Part::Text(facts.body)), store) {
        // what is in the part that is kept is in the whole, but what equals it does not equal the
        // whole
        Ok(()) if facts.truncated && must.iter().any(PreparedCondition::is_of_whole) => {
            Err(facts.cut().into())
        }
        Err(why) if facts.truncated => Err(why.and(&facts.cut())),
        outcome => outcome,
    }
}

/// Applies conditions to a number of a message: as a number, or as the text by which protobuf's JSON
/// form writes whole numbers of 64 bits.
fn judge_number(
    must: &[PreparedCondition],
    number: &Number,
    store: &mut impl Store,
) -> Result<(), Unfit> {
    let text = Value::String(number.to_string());
    let plain = Value::Number(number.clone());
    must.iter().try_for_each(|condition| {
        let outcome = condition.judge(Part::Json(&plain), store);
        match outcome {
            Err(why) if !number.is_f64() => {
                condition.judge(Part::Json(&text), store).map_err(|_| why)
            }
            outcome => outcome,
        }
    })
}

fn judge_part(
    must: &[PreparedCondition],
    part: Option<Part<'_>>,
    store: &mut impl Store,
) -> Result<(), Unfit> {
    match part {
        Some(part) => must
            .iter()
            .try_for_each(|condition| condition.judge(part, store)),
        None if must.iter().all(PreparedCondition::wants_nothing) => Ok(()),
        None => Err("found nothing".into()),
    }
}

/// Applies conditions to the values of one name: it is enough if all hold for one value.
fn judge_values<'a>(
    must: &[PreparedCondition],
    store: &mut impl Store,
    values: impl FnOnce(&mut dyn FnMut(&'a [u8]) -> Option<()>) -> Option<()>,
) -> Result<(), Unfit> {
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
