//! Checks of a step's answers, and the conditions within them.

use serde_json::Value;

use super::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::check::MAX_CHECKS;
use crate::plan::grpc::Code;
use crate::plan::protocol::AnswerKind;
use crate::plan::*;

/// Inclusive bounds of a number: the smallest and the largest that are allowed.
type Bounds = (Option<u64>, Option<u64>);

impl Context<'_> {
    /// Converts the checks of a step whose answers are of `kind`. `path` is that of the list,
    /// `names` are those of the step.
    pub(super) fn checks(
        &mut self,
        path: &str,
        specs: &[CheckSpec],
        names: &Names,
        kind: AnswerKind,
    ) -> Vec<Check> {
        self.at_most(path, specs.len(), MAX_CHECKS, "checks");
        let specs = specs.iter().enumerate();
        specs
            .filter_map(|(i, spec)| self.check(&format!("{path}[{i}]"), spec, names, kind))
            .collect()
    }

    fn check(
        &mut self,
        path: &str,
        spec: &CheckSpec,
        names: &Names,
        kind: AnswerKind,
    ) -> Option<Check> {
        let CheckSpec { kind: of, must } = spec;
        let (name, of) = self.problems.take(path, of.only())?;
        let field = format!("{path}.{name}");
        let must = if of.takes_conditions() {
            self.conditions(path, must, names)
        } else {
            self.no_conditions(path, must);
            vec![]
        };
        let check = match of {
            CheckKindSpec::Status(codes) => {
                Check::Status(self.codes(&field, codes, StatusRange::parse))
            }
            CheckKindSpec::JsonPath(source) => Check::JsonPath {
                path: self.json_path(&field, source)?,
                must,
            },
            CheckKindSpec::Header(name) => Check::Header {
                name: self.field_name(&field, name)?,
                must,
            },
            CheckKindSpec::Body(body) => Check::Body(self.body_check(&field, body, names)),
            CheckKindSpec::Latency(LatencyCheckSpec { below }) => Check::Latency {
                below: self
                    .problems
                    .positive_duration(&format!("{field}.below"), below),
            },
            CheckKindSpec::Size(size) => {
                let (above, below) = self.size(&field, size);
                Check::Size { above, below }
            }
            CheckKindSpec::Cel(source) => Check::Cel(self.cel(&field, source, names)?),
            CheckKindSpec::GrpcStatus(codes) => {
                Check::GrpcStatus(self.codes(&field, codes, Code::parse))
            }
            CheckKindSpec::Trailer(name) => Check::Trailer {
                name: self.field_name(&field, name)?,
                must,
            },
            CheckKindSpec::Messages(count) => {
                let (at_least, at_most) = self.count(&field, count);
                Check::Messages { at_least, at_most }
            }
            CheckKindSpec::Events(count) => {
                let (at_least, at_most) = self.count(&field, count);
                Check::Events { at_least, at_most }
            }
        };
        if let Some(fact) = check.fact() {
            self.problems.take(&field, kind.check(fact))?;
        }
        Some(check)
    }

    /// Reads codes that are written as numbers or as text.
    fn codes<T>(
        &mut self,
        path: &str,
        codes: &[Value],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if codes.is_empty() {
            self.problems.add(path, "needs at least one code");
        }
        let codes = codes.iter().enumerate().filter_map(|(i, code)| {
            let text = code
                .as_str()
                .map_or_else(|| code.to_string(), str::to_owned);
            self.problems.take(&format!("{path}[{i}]"), parse(&text))
        });
        codes.collect()
    }

    fn body_check(&mut self, path: &str, spec: &BodyCheckSpec, names: &Names) -> Vec<Condition> {
        let BodyCheckSpec {
            equals,
            contains,
            matches,
        } = spec;
        if equals.is_none() && contains.is_none() && matches.is_none() {
            self.problems.add(path, "needs equals, contains or matches");
        }
        let mut must = Vec::new();
        for (field, condition) in [
            (
                "equals",
                equals
                    .clone()
                    .map(|text| ConditionSpec::Equals(text.into())),
            ),
            (
                "contains",
                contains
                    .clone()
                    .map(|text| ConditionSpec::Contains(text.into())),
            ),
            ("matches", matches.clone().map(ConditionSpec::Matches)),
        ] {
            if let Some(condition) = condition {
                must.extend(self.condition(&format!("{path}.{field}"), &condition, names));
            }
        }
        must
    }

    /// Converts exclusive bounds of a size: lower, then upper.
    fn size(&mut self, path: &str, spec: &SizeCheckSpec) -> Bounds {
        let SizeCheckSpec { above, below } = spec;
        // nothing lies between n and n + 1
        let none_fit = above
            .zip(*below)
            .is_some_and(|(above, below)| below <= above.saturating_add(1));
        if none_fit || above.is_none() && below.is_none() {
            self.problems
                .add(path, "needs above or below, and room between them");
        }
        let bytes = |bound: Option<i64>| bound.and_then(|bytes| u64::try_from(bytes).ok());
        (bytes(*above), bytes(*below))
    }

    fn count(&mut self, path: &str, spec: &CountCheckSpec) -> Bounds {
        let CountCheckSpec { at_least, at_most } = spec;
        let none_fit = at_least
            .zip(*at_most)
            .is_some_and(|(least, most)| least > most);
        if none_fit || at_least.is_none() && at_most.is_none() {
            self.problems
                .add(path, "needs atLeast or atMost, and room between them");
        }
        (at_least.map(u64::from), at_most.map(u64::from))
    }

    /// Converts the conditions for a part of an answer; never none, since a part without any must
    /// exist.
    fn conditions(
        &mut self,
        path: &str,
        specs: &AnyOf<ConditionSpec>,
        names: &Names,
    ) -> Vec<Condition> {
        match specs.set() {
            [] => return vec![Condition::Exists(true)],
            [(_, ConditionSpec::Exists(exists))] => return vec![Condition::Exists(*exists)],
            _ => {}
        }
        if let Some(why) = contradiction(specs) {
            self.problems.add(path, why);
        }
        let mut must = Vec::new();
        for (name, spec) in specs.set() {
            let path = format!("{path}.{name}");
            match spec {
                // every other condition implies it
                ConditionSpec::Exists(true) => {}
                ConditionSpec::Exists(false) => self
                    .problems
                    .add(path, "what does not exist can have no other property"),
                spec => must.extend(self.condition(&path, spec, names)),
            }
        }
        must
    }

    fn no_conditions(&mut self, path: &str, specs: &AnyOf<ConditionSpec>) {
        for (name, _) in specs.set() {
            self.problems.add(
                format!("{path}.{name}"),
                "goes with jsonPath, header or trailer only",
            );
        }
    }

    fn condition(&mut self, path: &str, spec: &ConditionSpec, names: &Names) -> Option<Condition> {
        Some(match spec {
            ConditionSpec::Exists(exists) => Condition::Exists(*exists),
            ConditionSpec::Equals(value) => Condition::Equals(self.expected(path, value, names)?),
            ConditionSpec::In(values) => {
                let values = Value::from(values.as_slice());
                Condition::In(self.expected(path, &values, names)?)
            }
            ConditionSpec::Contains(value) => {
                Condition::Contains(self.expected(path, value, names)?)
            }
            ConditionSpec::Below(value) => Condition::Below(self.bound(path, value, names)?),
            ConditionSpec::AtMost(value) => Condition::AtMost(self.bound(path, value, names)?),
            ConditionSpec::Above(value) => Condition::Above(self.bound(path, value, names)?),
            ConditionSpec::AtLeast(value) => Condition::AtLeast(self.bound(path, value, names)?),
            ConditionSpec::Matches(source) => Condition::Matches(self.pattern(path, source)?),
            ConditionSpec::Length(length) => Condition::Length((*length).into()),
            ConditionSpec::MinLength(length) => Condition::MinLength((*length).into()),
            ConditionSpec::MaxLength(length) => Condition::MaxLength((*length).into()),
        })
    }

    /// Converts a value to compare with; its strings are templates.
    fn expected(&mut self, path: &str, value: &Value, names: &Names) -> Option<JsonTemplate> {
        budget::at(path);
        let checked = free_value_size(value)
            .and_then(|()| JsonTemplate::new(value.clone()))
            .and_then(|template| template.check(names).map(|()| template));
        self.problems.take(path, checked)
    }

    /// Converts a number to compare with, or a template that gives one.
    fn bound(&mut self, path: &str, value: &Value, names: &Names) -> Option<JsonTemplate> {
        let template = self.expected(path, value, names)?;
        let compiled = self.problems.take(path, template.compile(names))?;
        let is_number = |json: &[u8]| {
            serde_json::from_slice::<Value>(json).is_ok_and(|value| value.is_number())
        };
        if compiled.as_static().is_some_and(|json| !is_number(json)) {
            self.problems
                .add(path, "must be a number, or a template that gives one");
        }
        Some(template)
    }

    /// Converts an expression in CEL; those of `if` and `until` too.
    pub(super) fn cel(&mut self, path: &str, source: &str, names: &Names) -> Option<Cel> {
        budget::at(path);
        let parsed = Cel::parse(source).and_then(|cel| cel.check(names).map(|()| cel));
        self.problems.take(path, parsed)
    }

    /// Converts a JSONPath.
    pub(super) fn json_path(&mut self, path: &str, source: &str) -> Option<JsonPath> {
        budget::at(path);
        self.problems.take(path, JsonPath::parse(source))
    }

    /// Converts a regular expression.
    pub(super) fn pattern(&mut self, path: &str, source: &str) -> Option<Pattern> {
        budget::at(path);
        self.problems.take(path, Pattern::parse(source))
    }

    /// Converts the name of a header or cookie.
    pub(super) fn field_name(&mut self, path: &str, name: &str) -> Option<String> {
        if http::HeaderName::try_from(name).is_err() {
            let why = "it holds a space, a separator or a character outside ASCII";
            self.problems
                .add(path, format!("{name:?} is not a name: {why}"));
            return None;
        }
        Some(name.to_owned())
    }

    /// Adds a problem if there are more than `most` entries in the list or map at `path`.
    pub(super) fn at_most(&mut self, path: &str, count: usize, most: usize, what: &str) {
        if count > most {
            self.problems
                .add(path, format!("{count} {what}, at most {most} are allowed"));
        }
    }
}

/// Says why no part of an answer meets all conditions, where their bounds leave no room.
fn contradiction(specs: &AnyOf<ConditionSpec>) -> Option<&'static str> {
    let lengths = |pick: fn(&ConditionSpec) -> Option<u64>| {
        specs.set().iter().filter_map(move |(_, spec)| pick(spec))
    };
    let least = lengths(|spec| match spec {
        ConditionSpec::Length(length) | ConditionSpec::MinLength(length) => {
            Some(u64::from(*length))
        }
        _ => None,
    });
    let most = lengths(|spec| match spec {
        ConditionSpec::Length(length) | ConditionSpec::MaxLength(length) => {
            Some(u64::from(*length))
        }
        _ => None,
    });
    if least
        .max()
        .zip(most.min())
        .is_some_and(|(least, most)| least > most)
    {
        return Some("never passes: no length is within these bounds");
    }
    let numbers = |pick: fn(&ConditionSpec) -> Option<&Value>| {
        specs
            .set()
            .iter()
            .filter_map(move |(_, spec)| pick(spec)?.as_f64())
    };
    let above = numbers(|spec| match spec {
        ConditionSpec::Above(bound) => Some(bound),
        _ => None,
    });
    let at_least = numbers(|spec| match spec {
        ConditionSpec::AtLeast(bound) | ConditionSpec::Equals(bound) => Some(bound),
        _ => None,
    });
    let below = numbers(|spec| match spec {
        ConditionSpec::Below(bound) => Some(bound),
        _ => None,
    });
    let at_most = numbers(|spec| match spec {
        ConditionSpec::AtMost(bound) | ConditionSpec::Equals(bound) => Some(bound),
        _ => None,
    });
    let (above, at_least) = (above.reduce(f64::max), at_least.reduce(f64::max));
    let (below, at_most) = (below.reduce(f64::min), at_most.reduce(f64::min));
    let crossed = |low: Option<f64>, high: Option<f64>, touching: bool| {
        low.zip(high)
            .is_some_and(|(low, high)| low > high || !touching && low >= high)
    };
    let is_empty = crossed(above, below, false)
        || crossed(above, at_most, false)
        || crossed(at_least, below, false)
        || crossed(at_least, at_most, true);
    is_empty.then_some("never passes: no number is within these bounds")
}

#[cfg(test)]
mod tests;
