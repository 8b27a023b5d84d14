//! Values and numbers that a step takes out of its answers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::extract::{MAX_EXTRACTS, MAX_RECORDS};
use crate::plan::names::check_name;
use crate::plan::protocol::AnswerKind;
use crate::plan::template::canonicalise;
use crate::plan::threshold::Metric;
use crate::plan::*;

/// Longest name of a record, in characters.
const MAX_RECORD_NAME: usize = 63;

impl Context<'_> {
    /// Converts the values that a step takes out of its answers, which are of `kind`, in the order
    /// in which they are made. `path` is that of the map, `names` are those known before the step
    /// and `after` those after it.
    pub(super) fn extracts(
        &mut self,
        path: &str,
        specs: &BTreeMap<String, ExtractSpec>,
        (names, after): (&Names, &Names),
        kind: AnswerKind,
    ) -> Vec<Extract> {
        self.at_most(path, specs.len(), MAX_EXTRACTS, "values");
        let mut extracts = Vec::new();
        for (name, spec) in specs {
            let path = format!("{path}.{name}");
            self.problems.take(&path, check_name(name));
            match names.get(name) {
                None | Some(Declared::Value(_)) => {}
                Some(Declared::Constant(_) | Declared::External) => self
                    .problems
                    .add(&path, "hides the variable of the same name"),
                Some(Declared::Row(_)) => self
                    .problems
                    .add(&path, "hides the feeder of the same name"),
            }
            let default = self.default_value(&path, spec.default.as_ref());
            if let Some(from) = self.extract_from(&path, spec, after, kind) {
                extracts.push(Extract {
                    name: name.clone(),
                    from,
                    default,
                });
            }
        }
        // those may use all that came out of the answer
        extracts.sort_by_key(|extract| matches!(extract.from, ExtractFrom::Value(_)));
        extracts
    }

    fn default_value(&mut self, path: &str, default: Option<&Value>) -> Option<Value> {
        let mut default = default?.clone();
        let checked = free_value_size(&default).and_then(|()| canonicalise(&mut default));
        self.problems.take(&format!("{path}.default"), checked);
        Some(default)
    }

    fn extract_from(
        &mut self,
        path: &str,
        spec: &ExtractSpec,
        after: &Names,
        kind: AnswerKind,
    ) -> Option<ExtractFrom> {
        let ExtractSpec {
            from,
            all,
            default: _,
        } = spec;
        let only = from.only();
        if all.is_some() && !matches!(only, Ok((_, ExtractFromSpec::JsonPath(_)))) {
            self.problems
                .add(format!("{path}.all"), "goes with jsonPath only");
        }
        let (name, from) = self.problems.take(path, only)?;
        let field = format!("{path}.{name}");
        let from = match from {
            ExtractFromSpec::JsonPath(source) => ExtractFrom::JsonPath {
                path: self.json_path(&field, source)?,
                all: all.unwrap_or_default(),
            },
            ExtractFromSpec::Regex(source) => ExtractFrom::Regex(self.pattern(&field, source)?),
            ExtractFromSpec::Header(name) => ExtractFrom::Header(self.field_name(&field, name)?),
            ExtractFromSpec::Cookie(name) => ExtractFrom::Cookie(self.field_name(&field, name)?),
            ExtractFromSpec::Body(true) => ExtractFrom::Body,
            ExtractFromSpec::Body(false) => {
                self.problems
                    .add(path, "body: false takes nothing; write body: true");
                return None;
            }
            ExtractFromSpec::Value(value) => ExtractFrom::Value(
                self.knowing(after.clone(), |context| context.json(&field, value))?,
            ),
        };
        if let Some(fact) = from.fact() {
            self.problems.take(&field, kind.check(fact))?;
        }
        Some(from)
    }

    /// Converts the numbers that a step records. `path` is that of the list, `names` are those of
    /// the step.
    pub(super) fn records(
        &mut self,
        path: &str,
        specs: &[RecordSpec],
        names: &Names,
    ) -> Vec<Record> {
        self.at_most(path, specs.len(), MAX_RECORDS, "records");
        self.problems
            .unique(path, "name", specs.iter().map(|spec| spec.name.as_str()));
        let mut records = Vec::new();
        for (i, RecordSpec { name, unit, from }) in specs.iter().enumerate() {
            let path = format!("{path}[{i}]");
            self.record_name(&format!("{path}.name"), name);
            if let Some(from) = self.record_from(&format!("{path}.from"), from, names) {
                records.push(Record {
                    name: name.clone(),
                    unit: *unit,
                    from,
                });
            }
        }
        records
    }

    fn record_name(&mut self, path: &str, name: &str) {
        let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_word || name.len() > MAX_RECORD_NAME {
            self.problems.add(
                path,
                format!(
                    "a metric's name begins with a letter and holds letters, digits and _, at most \
                     {MAX_RECORD_NAME}"
                ),
            );
        }
        // results list metrics of both kinds under their names
        if Metric::all().any(|metric| metric.name() == name) {
            self.problems
                .add(path, format!("{name:?} is a metric of every test"));
        }
    }

    fn record_from(
        &mut self,
        path: &str,
        spec: &OneOf<RecordFromSpec>,
        names: &Names,
    ) -> Option<RecordFrom> {
        let (name, from) = self.problems.take(path, spec.only())?;
        let field = format!("{path}.{name}");
        Some(match from {
            RecordFromSpec::JsonPath(source) => {
                RecordFrom::JsonPath(self.json_path(&field, source)?)
            }
            RecordFromSpec::Header(name) => RecordFrom::Header(self.field_name(&field, name)?),
            RecordFromSpec::Regex(source) => RecordFrom::Regex(self.pattern(&field, source)?),
            RecordFromSpec::Cel(source) => RecordFrom::Cel(self.cel(&field, source, names)?),
        })
    }
}
