//! Values and numbers that steps take from the facts of an answer.

use serde_json::Value;

use super::condition::number_in;
use super::unfit::Unfit;
use super::{Facts, Store};
use crate::plan::cel::{AnswerParts, CompiledCel, Subject};
use crate::plan::facts::Fact;
use crate::plan::template::{Compiled, Need};
use crate::plan::{Extract, ExtractFrom, Names, Record, RecordFrom, Slot};

/// Largest number that a histogram holds.
const MAX_RECORDED: f64 = 1e18;

/// Value that a step takes from its answers, or makes after them.
pub(super) struct PreparedExtract {
    /// Name that the test gave the value.
    pub(super) name: String,
    /// User's slot for the value.
    pub(super) slot: Slot,
    /// Source of the value, as messages show it too.
    pub(super) from: ExtractFrom,
    /// Template of a value that is made of variables.
    template: Option<Compiled>,
    /// Value for answers that have none.
    default: Option<Value>,
}

/// Number that a step takes from its answers.
pub(super) struct PreparedRecord {
    /// Position in the plan's list of trends.
    pub(super) trend: u16,
    /// Number of the trend's base units in one of the record's own unit.
    scale: f64,
    from: RecordFrom<CompiledCel>,
}

impl PreparedExtract {
    /// Prepares an extract whose value goes into `slot`. Fails if a template names something that
    /// `names` does not declare.
    pub(super) fn new(extract: &Extract, slot: Slot, names: &Names) -> Result<Self, String> {
        let Extract {
            name,
            from,
            default,
        } = extract;
        let template = match from {
            ExtractFrom::Value(template) => Some(template.compile(names)?),
            _ => None,
        };
        Ok(Self {
            name: name.clone(),
            slot,
            from: from.clone(),
            template,
            default: default.clone(),
        })
    }

    /// Returns the parts of an answer that must be kept for the value.
    pub(super) fn answer_parts(&self) -> AnswerParts {
        self.from.fact().map(Fact::answer_parts).unwrap_or_default()
    }

    /// Returns the feeder rows that the value needs.
    pub(super) fn feeds(&self) -> &[Need] {
        self.template.as_ref().map_or(&[], Compiled::needs)
    }

    /// Returns the value, or the default if the answer has none; fails with a message that says
    /// what was found.
    pub(super) fn value(&self, facts: &Facts<'_>, store: &mut impl Store) -> Result<Value, Unfit> {
        let value = match &self.template {
            Some(template) => template
                .value(store)
                .map_err(|why| Unfit::Found(why.to_string())),
            None => extract(&self.from, facts),
        };
        value.or_else(|why| match (why, &self.default) {
            (Unfit::Found(_), Some(default)) => Ok(default.clone()),
            (why, _) => Err(why),
        })
    }
}

fn extract(from: &ExtractFrom, facts: &Facts<'_>) -> Result<Value, Unfit> {
    let nothing = || Unfit::Found("found nothing".to_owned());
    match from {
        ExtractFrom::JsonPath { path, all: false } => {
            path.first(facts.json()?)?.cloned().ok_or_else(nothing)
        }
        ExtractFrom::JsonPath { path, all: true } => {
            let found = path.all(facts.json()?)?;
            if found.is_empty() {
                Err(nothing())
            } else {
                Ok(found.into_iter().cloned().collect())
            }
        }
        ExtractFrom::Regex(pattern) => match pattern.find(facts.body) {
            Some(found) => Ok(text(found)),
            None if facts.truncated => Err(format!("found nothing; {}", facts.cut()).into()),
            None => Err(nothing()),
        },
        ExtractFrom::Header(name) => facts
            .header(name, |value| Some(text(value)))
            .ok_or_else(nothing),
        ExtractFrom::Cookie(name) => facts.cookie(name).map(text).ok_or_else(nothing),
        ExtractFrom::Body if facts.truncated => Err(facts.cut().into()),
        ExtractFrom::Body => Ok(text(facts.body)),
        // made by its template
        ExtractFrom::Value(_) => Err(nothing()),
    }
}

impl PreparedRecord {
    /// Prepares a record. Fails if the expression names something that `names` does not declare.
    pub(super) fn new(trend: u16, record: &Record, names: &Names) -> Result<Self, String> {
        let Record {
            name: _,
            unit,
            from,
        } = record;
        Ok(Self {
            trend,
            scale: unit.in_base(),
            from: from.prepare(|cel| cel.compile(names))?,
        })
    }

    /// Returns the parts of an answer that must be kept for the number.
    pub(super) fn answer_parts(&self) -> AnswerParts {
        match &self.from {
            RecordFrom::Cel(cel) => cel.answer_parts(),
            from => from.fact().map(Fact::answer_parts).unwrap_or_default(),
        }
    }

    /// Returns the feeder rows that the number needs.
    pub(super) fn feeds(&self) -> &[Need] {
        match &self.from {
            RecordFrom::Cel(cel) => cel.needs(),
            RecordFrom::JsonPath(_) | RecordFrom::Header(_) | RecordFrom::Regex(_) => &[],
        }
    }

    /// Returns the number in base units; `None` if the answer has none that a histogram can hold.
    pub(super) fn number(&self, facts: &Facts<'_>, store: &impl Store) -> Option<u64> {
        let number = (number(&self.from, facts, store)? * self.scale).round();
        (0.0..=MAX_RECORDED)
            .contains(&number)
            .then_some(number as u64)
    }
}

fn number(from: &RecordFrom<CompiledCel>, facts: &Facts<'_>, store: &impl Store) -> Option<f64> {
    let in_text = |text: &[u8]| number_in(std::str::from_utf8(text).ok()?)?.as_f64();
    match from {
        RecordFrom::JsonPath(path) => match path.first(facts.json().ok()?).ok()?? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => in_text(text.as_bytes()),
            _ => None,
        },
        RecordFrom::Header(name) => facts.header(name, in_text),
        RecordFrom::Regex(pattern) => in_text(pattern.find(facts.body)?),
        RecordFrom::Cel(cel) => cel.number(Some(facts), store).ok(),
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}
