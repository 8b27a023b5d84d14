//! What is asked of an answer, and what is taken out of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::check::MAX_CHECKS;
use crate::plan::extract::{MAX_EXTRACTS, MAX_RECORDS};
use crate::plan::grpc::Code;
use crate::plan::names::check_name;
use crate::plan::template::canonicalise;
use crate::plan::threshold::Metric;
use crate::plan::*;

impl Context<'_> {
    /// `path` is that of the list, `names` are those of the step.
    pub(super) fn checks(&mut self, path: &str, specs: &[CheckSpec], names: &Names) -> Vec<Check> {
        self.at_most(path, specs.len(), MAX_CHECKS, "checks");
        specs
            .iter()
            .enumerate()
            .filter_map(|(i, spec)| self.check(&format!("{path}[{i}]"), spec, names))
            .collect()
    }

    fn check(&mut self, path: &str, spec: &CheckSpec, names: &Names) -> Option<Check> {
        let CheckSpec {
            status,
            json_path,
            header,
            body,
            latency,
            size,
            cel,
            ..
        } = spec;
        let is_of_part = json_path.is_some() || header.is_some() || spec.trailer.is_some();
        let must = self.conditions(path, spec, names, is_of_part);
        if spec.is_of_one_protocol() {
            return self.check_of_protocol(path, spec, must);
        }
        match (status, json_path, header, body, latency, size, cel) {
            (Some(codes), None, None, None, None, None, None) => {
                self.status(&format!("{path}.status"), codes)
            }
            (None, Some(source), None, None, None, None, None) => {
                let json_path = self
                    .problems
                    .take(&format!("{path}.jsonPath"), JsonPath::parse(source))?;
                Some(Check::JsonPath {
                    path: json_path,
                    must,
                })
            }
            (None, None, Some(name), None, None, None, None) => {
                let name = self.field_name(&format!("{path}.header"), name)?;
                Some(Check::Header { name, must })
            }
            (None, None, None, Some(body), None, None, None) => {
                Some(self.body_check(&format!("{path}.body"), body, names))
            }
            (None, None, None, None, Some(LatencyCheckSpec { below }), None, None) => {
                Some(Check::Latency {
                    below: self
                        .problems
                        .positive_duration(&format!("{path}.latency.below"), below),
                })
            }
            (None, None, None, None, None, Some(SizeCheckSpec { above, below }), None) => {
                let path = format!("{path}.size");
                // nothing lies between n and n + 1
                if above.is_none() && below.is_none()
                    || above
                        .zip(*below)
                        .is_some_and(|(above, below)| below <= above.saturating_add(1))
                {
                    self.problems
                        .add(&path, "needs above or below, and room between them");
                }
                let bytes = |bound: &Option<i64>| bound.and_then(|bytes| u64::try_from(bytes).ok());
                Some(Check::Size {
                    above: bytes(above),
                    below: bytes(below),
                })
            }
            (None, None, None, None, None, None, Some(source)) => self
                .cel(&format!("{path}.cel"), source, names)
                .map(Check::Cel),
            _ => {
                self.problems.add(
                    path,
                    "needs exactly one of status, jsonPath, header, body, latency, size, cel, grpcStatus, trailer, messages and events",
                );
                None
            }
        }
    }

    fn status(&mut self, path: &str, codes: &[Value]) -> Option<Check> {
        if codes.is_empty() {
            self.problems.add(path, "needs at least one code");
        }
        let mut ranges = Vec::new();
        for (i, code) in codes.iter().enumerate() {
            let text = code
                .as_str()
                .map_or_else(|| code.to_string(), str::to_owned);
            ranges.extend(
                self.problems
                    .take(&format!("{path}[{i}]"), StatusRange::parse(&text)),
            );
        }
        Some(Check::Status(ranges))
    }

    /// What only answers over gRPC have, or only streams of events.
    fn check_of_protocol(
        &mut self,
        path: &str,
        spec: &CheckSpec,
        must: Vec<Condition>,
    ) -> Option<Check> {
        let CheckSpec {
            grpc_status,
            trailer,
            messages,
            events,
            ..
        } = spec;
        match (
            grpc_status,
            trailer,
            messages,
            events,
            spec.is_of_http_too(),
        ) {
            (Some(codes), None, None, None, false) => {
                if codes.is_empty() {
                    self.problems
                        .add(format!("{path}.grpcStatus"), "needs at least one code");
                }
                let codes = codes.iter().enumerate().filter_map(|(i, code)| {
                    let text = code
                        .as_str()
                        .map_or_else(|| code.to_string(), str::to_owned);
                    self.problems
                        .take(&format!("{path}.grpcStatus[{i}]"), Code::parse(&text))
                });
                Some(Check::GrpcStatus(codes.collect()))
            }
            (None, Some(name), None, None, false) => {
                let name = self.field_name(&format!("{path}.trailer"), name)?;
                Some(Check::Trailer { name, must })
            }
            (None, None, Some(count), None, false) => {
                let (at_least, at_most) = self.count(&format!("{path}.messages"), count);
                Some(Check::Messages { at_least, at_most })
            }
            (None, None, None, Some(count), false) => {
                let (at_least, at_most) = self.count(&format!("{path}.events"), count);
                Some(Check::Events { at_least, at_most })
            }
            _ => {
                self.problems.add(path, "needs exactly one of grpcStatus, trailer, messages and events, and nothing else beside it");
                None
            }
        }
    }

    /// Its bounds.
    fn count(&mut self, path: &str, count: &CountCheckSpec) -> (Option<u64>, Option<u64>) {
        let CountCheckSpec { at_least, at_most } = count;
        let none_fit = at_least
            .zip(*at_most)
            .is_some_and(|(least, most)| least > most);
        if none_fit || at_least.is_none() && at_most.is_none() {
            self.problems
                .add(path, "needs atLeast or atMost, and room between them");
        }
        (at_least.map(u64::from), at_most.map(u64::from))
    }

    /// A step of one protocol asks nothing that only answers of the other have.
    pub(super) fn fits_protocol(&mut self, path: &str, step: &StepSpec) {
        let StepSpec {
            http,
            grpc,
            checks,
            extract,
            ..
        } = step;
        let is_grpc = grpc.is_some();
        let is_stream = http.as_ref().is_some_and(|http| http.stream.is_some());
        for (
            i,
            CheckSpec {
                status,
                grpc_status,
                trailer,
                messages,
                events,
                ..
            },
        ) in checks.iter().enumerate()
        {
            let path = format!("{path}.checks[{i}]");
            if is_grpc && status.is_some() {
                self.problems.add(
                    format!("{path}.status"),
                    "goes with http; a call by gRPC has grpcStatus",
                );
            }
            let of_grpc = [
                ("grpcStatus", grpc_status.is_some()),
                ("trailer", trailer.is_some()),
                ("messages", messages.is_some()),
            ];
            for (field, _) in of_grpc
                .into_iter()
                .filter(|(_, is_set)| *is_set && !is_grpc)
            {
                self.problems
                    .add(format!("{path}.{field}"), "goes with grpc only");
            }
            if events.is_some() && !is_stream {
                self.problems
                    .add(format!("{path}.events"), "goes with http.stream only");
            }
        }
        for (name, _) in extract
            .iter()
            .filter(|(_, spec)| is_grpc && spec.cookie.is_some())
        {
            self.problems.add(
                format!("{path}.extract.{name}.cookie"),
                "goes with http only",
            );
        }
    }

    fn body_check(&mut self, path: &str, spec: &BodyCheckSpec, names: &Names) -> Check {
        let BodyCheckSpec {
            equals,
            contains,
            matches,
        } = spec;
        let mut must = Vec::new();
        for (field, text, condition) in [
            (
                "equals",
                equals,
                Condition::Equals as fn(JsonTemplate) -> Condition,
            ),
            ("contains", contains, Condition::Contains),
        ] {
            let value = text.as_ref().and_then(|text| {
                self.expected(
                    &format!("{path}.{field}"),
                    &Value::from(text.as_str()),
                    names,
                )
            });
            must.extend(value.map(condition));
        }
        let pattern = matches.as_ref().and_then(|source| {
            self.problems
                .take(&format!("{path}.matches"), Pattern::parse(source))
        });
        must.extend(pattern.map(Condition::Matches));
        if equals.is_none() && contains.is_none() && matches.is_none() {
            self.problems.add(path, "needs equals, contains or matches");
        }
        Check::Body(must)
    }

    /// Never empty for a part of an answer, `allowed` for nothing else.
    fn conditions(
        &mut self,
        path: &str,
        spec: &CheckSpec,
        names: &Names,
        allowed: bool,
    ) -> Vec<Condition> {
        let CheckSpec {
            exists,
            equals,
            one_of,
            contains,
            matches,
            length,
            min_length,
            max_length,
            below,
            at_most,
            above,
            at_least,
            ..
        } = spec;
        let set = [
            ("exists", exists.is_some()),
            ("equals", equals.is_some()),
            ("in", one_of.is_some()),
            ("contains", contains.is_some()),
            ("matches", matches.is_some()),
            ("length", length.is_some()),
            ("minLength", min_length.is_some()),
            ("maxLength", max_length.is_some()),
            ("below", below.is_some()),
            ("atMost", at_most.is_some()),
            ("above", above.is_some()),
            ("atLeast", at_least.is_some()),
        ];
        let set: Vec<&str> = set
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(field, _)| field)
            .collect();
        if !allowed {
            set.iter().for_each(|field| {
                self.problems.add(
                    format!("{path}.{field}"),
                    "goes with jsonPath, header or trailer only",
                )
            });
            return Vec::new();
        }
        match (exists, set.len()) {
            (Some(exists), 1) => return vec![Condition::Exists(*exists)],
            (_, 0) => return vec![Condition::Exists(true)],
            (Some(false), _) => self.problems.add(
                format!("{path}.exists"),
                "what does not exist can have no other property",
            ),
            _ => {}
        }
        let one_of = one_of.as_ref().map(|values| Value::from(values.as_slice()));
        let mut must = Vec::new();
        for (field, value, condition) in [
            (
                "equals",
                equals,
                Condition::Equals as fn(JsonTemplate) -> Condition,
            ),
            ("in", &one_of, Condition::In),
            ("contains", contains, Condition::Contains),
        ] {
            let value = value
                .as_ref()
                .and_then(|value| self.expected(&format!("{path}.{field}"), value, names));
            must.extend(value.map(condition));
        }
        for (field, value, condition) in [
            (
                "below",
                below,
                Condition::Below as fn(JsonTemplate) -> Condition,
            ),
            ("atMost", at_most, Condition::AtMost),
            ("above", above, Condition::Above),
            ("atLeast", at_least, Condition::AtLeast),
        ] {
            let value = value
                .as_ref()
                .and_then(|value| self.bound(&format!("{path}.{field}"), value, names));
            must.extend(value.map(condition));
        }
        let pattern = matches.as_ref().and_then(|source| {
            self.problems
                .take(&format!("{path}.matches"), Pattern::parse(source))
        });
        must.extend(pattern.map(Condition::Matches));
        must.extend(length.map(|length| Condition::Length(length.into())));
        must.extend(min_length.map(|length| Condition::MinLength(length.into())));
        must.extend(max_length.map(|length| Condition::MaxLength(length.into())));
        must
    }

    /// A value to compare with; its strings are templates.
    fn expected(&mut self, path: &str, value: &Value, names: &Names) -> Option<JsonTemplate> {
        let checked = free_value_size(value)
            .and_then(|()| JsonTemplate::new(value.clone()))
            .and_then(|template| template.check(names).map(|()| template));
        self.problems.take(path, checked)
    }

    /// The same, a number.
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

    /// What a step takes out of its answer; `path` is that of the map, `names` are those known
    /// before it.
    pub(super) fn extracts(
        &mut self,
        path: &str,
        specs: &BTreeMap<String, ExtractSpec>,
        names: &Names,
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
            if let Some((from, default)) = self.extract(&path, spec) {
                extracts.push(Extract {
                    name: name.clone(),
                    from,
                    default,
                });
            }
        }
        extracts
    }

    fn extract(&mut self, path: &str, spec: &ExtractSpec) -> Option<(ExtractFrom, Option<Value>)> {
        let ExtractSpec {
            json_path,
            regex,
            header,
            cookie,
            body,
            all,
            default,
        } = spec;
        if all.is_some() && json_path.is_none() {
            self.problems
                .add(format!("{path}.all"), "goes with jsonPath only");
        }
        let mut default = default.clone();
        if let Some(value) = &mut default {
            self.problems.take(
                &format!("{path}.default"),
                free_value_size(value).and_then(|()| canonicalise(value)),
            );
        }
        let from = match (json_path, regex, header, cookie, body) {
            (Some(source), None, None, None, None) => {
                let json_path = self
                    .problems
                    .take(&format!("{path}.jsonPath"), JsonPath::parse(source))?;
                ExtractFrom::JsonPath {
                    path: json_path,
                    all: all.unwrap_or_default(),
                }
            }
            (None, Some(source), None, None, None) => ExtractFrom::Regex(
                self.problems
                    .take(&format!("{path}.regex"), Pattern::parse(source))?,
            ),
            (None, None, Some(name), None, None) => {
                ExtractFrom::Header(self.field_name(&format!("{path}.header"), name)?)
            }
            (None, None, None, Some(name), None) => {
                ExtractFrom::Cookie(self.field_name(&format!("{path}.cookie"), name)?)
            }
            (None, None, None, None, Some(true)) => ExtractFrom::Body,
            _ => {
                self.problems.add(
                    path,
                    "needs exactly one of jsonPath, regex, header, cookie and body: true",
                );
                return None;
            }
        };
        Some((from, default))
    }

    /// The numbers that a step records; `path` is that of the list, `names` are those of the step.
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
            let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_word || name.len() > 63 {
                self.problems
                    .add(format!("{path}.name"), "a metric's name begins with a letter and holds letters, digits and _, at most 63");
            }
            // results name both alike
            if Metric::ALL.iter().any(|metric| metric.name() == name) {
                self.problems.add(
                    format!("{path}.name"),
                    format!("{name:?} is a metric of every test"),
                );
            }
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

    fn record_from(
        &mut self,
        path: &str,
        spec: &RecordFromSpec,
        names: &Names,
    ) -> Option<RecordFrom> {
        let RecordFromSpec {
            json_path,
            header,
            regex,
            cel,
        } = spec;
        match (json_path, header, regex, cel) {
            (Some(source), None, None, None) => self
                .problems
                .take(&format!("{path}.jsonPath"), JsonPath::parse(source))
                .map(RecordFrom::JsonPath),
            (None, Some(name), None, None) => self
                .field_name(&format!("{path}.header"), name)
                .map(RecordFrom::Header),
            (None, None, Some(source), None) => self
                .problems
                .take(&format!("{path}.regex"), Pattern::parse(source))
                .map(RecordFrom::Regex),
            (None, None, None, Some(source)) => self
                .cel(&format!("{path}.cel"), source, names)
                .map(RecordFrom::Cel),
            _ => {
                self.problems
                    .add(path, "needs exactly one of jsonPath, header, regex and cel");
                None
            }
        }
    }

    /// Also for `if` and `until`.
    pub(super) fn cel(&mut self, path: &str, source: &str, names: &Names) -> Option<Cel> {
        let parsed = Cel::parse(source).and_then(|cel| cel.check(names).map(|()| cel));
        self.problems.take(path, parsed)
    }

    /// The name of a header or cookie.
    fn field_name(&mut self, path: &str, name: &str) -> Option<String> {
        if http::HeaderName::try_from(name).is_err() {
            self.problems.add(path, format!("{name:?} is not a name: it holds a space, a separator or a character outside ASCII"));
            return None;
        }
        Some(name.to_owned())
    }

    fn at_most(&mut self, path: &str, count: usize, most: usize, what: &str) {
        if count > most {
            self.problems
                .add(path, format!("{count} {what}, at most {most} are allowed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::convert::Problems;

    fn names() -> Names {
        let mut names = Names::default();
        names.declare("limit", Declared::Constant(json!(5)));
        names.declare("word", Declared::Constant(json!("x")));
        names.declare("secret", Declared::External);
        names.declare("texts", Declared::Row(0));
        names.declare("found", Declared::Value(1));
        names
    }

    fn converted<T>(convert: impl FnOnce(&mut Context<'_>) -> T) -> Result<T, Vec<Problem>> {
        let mut problems = Problems::default();
        let mut context = Context {
            targets: vec![],
            names: names(),
            free_slot: 0,
            follow_redirects: 0,
            delimiters: &Delimiters::default(),
            max_message_size: 1,
            timeout: std::time::Duration::from_secs(1),
            open: false,
            problems: &mut problems,
        };
        let value = convert(&mut context);
        if problems.0.is_empty() {
            Ok(value)
        } else {
            Err(problems.0)
        }
    }

    fn checks(specs: Value) -> Result<Vec<Check>, Vec<Problem>> {
        converted(|context| {
            context.checks(
                "c",
                &serde_json::from_value::<Vec<CheckSpec>>(specs).unwrap(),
                &names(),
            )
        })
    }

    fn extracts(specs: Value) -> Result<Vec<Extract>, Vec<Problem>> {
        converted(|context| {
            context.extracts("e", &serde_json::from_value(specs).unwrap(), &names())
        })
    }

    fn records(specs: Value) -> Result<Vec<Record>, Vec<Problem>> {
        converted(|context| {
            context.records(
                "r",
                &serde_json::from_value::<Vec<RecordSpec>>(specs).unwrap(),
                &names(),
            )
        })
    }

    fn paths<T: std::fmt::Debug>(outcome: Result<T, Vec<Problem>>) -> Vec<String> {
        outcome
            .expect_err("was accepted")
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn every_mistake_in_a_check_has_its_field_path() {
        for (spec, path) in [
            (json!({}), "c[0]"),
            (json!({"status": [200], "cel": "true"}), "c[0]"),
            (json!({"status": []}), "c[0].status"),
            (json!({"status": [200, "9xx"]}), "c[0].status[1]"),
            (json!({"status": [200], "exists": true}), "c[0].exists"),
            (json!({"cel": "true", "in": [1]}), "c[0].in"),
            (json!({"jsonPath": "a.b"}), "c[0].jsonPath"),
            (
                json!({"jsonPath": "$.a", "equals": "{{ nobody }}"}),
                "c[0].equals",
            ),
            (
                json!({"jsonPath": "$.a", "equals": u64::MAX}),
                "c[0].equals",
            ),
            (
                json!({"jsonPath": "$.a", "in": ["{{ nobody }}"]}),
                "c[0].in",
            ),
            (json!({"jsonPath": "$.a", "matches": "("}), "c[0].matches"),
            (json!({"jsonPath": "$.a", "below": "many"}), "c[0].below"),
            (
                json!({"jsonPath": "$.a", "atLeast": "{{ word }}"}),
                "c[0].atLeast",
            ),
            (json!({"jsonPath": "$.a", "above": [1]}), "c[0].above"),
            (
                json!({"jsonPath": "$.a", "exists": false, "length": 1}),
                "c[0].exists",
            ),
            (json!({"header": "a b"}), "c[0].header"),
            (json!({"body": {}}), "c[0].body"),
            (json!({"body": {"matches": "("}}), "c[0].body.matches"),
            (
                json!({"body": {"contains": "{{ nobody }}"}}),
                "c[0].body.contains",
            ),
            (json!({"latency": {"below": "fast"}}), "c[0].latency.below"),
            (json!({"latency": {"below": "0s"}}), "c[0].latency.below"),
            (json!({"size": {}}), "c[0].size"),
            (json!({"size": {"above": 5, "below": 6}}), "c[0].size"),
            (json!({"cel": "status =="}), "c[0].cel"),
            (json!({"cel": "vars.nobody == 1"}), "c[0].cel"),
        ] {
            assert_eq!(paths(checks(json!([spec]))), [path], "{spec}");
        }
        assert_eq!(
            paths(checks(Value::from(vec![json!({"status": [200]}); 17]))),
            ["c"]
        );
    }

    #[test]
    fn every_mistake_in_an_extract_has_its_field_path() {
        for (spec, path) in [
            (json!({"a": {}}), "e.a"),
            (json!({"a": {"body": false}}), "e.a"),
            (json!({"a": {"jsonPath": "$.a", "regex": "a"}}), "e.a"),
            (json!({"a": {"jsonPath": "$["}}), "e.a.jsonPath"),
            (json!({"a": {"regex": "(?=a)"}}), "e.a.regex"),
            (json!({"a": {"regex": "a", "all": true}}), "e.a.all"),
            (json!({"a": {"header": ""}}), "e.a.header"),
            (json!({"a": {"cookie": "a=b"}}), "e.a.cookie"),
            (
                json!({"a": {"body": true, "default": u64::MAX}}),
                "e.a.default",
            ),
            (json!({"1a": {"body": true}}), "e.1a"),
            (json!({"user": {"body": true}}), "e.user"),
            (json!({"limit": {"body": true}}), "e.limit"),
            (json!({"secret": {"body": true}}), "e.secret"),
            (json!({"texts": {"body": true}}), "e.texts"),
        ] {
            assert_eq!(paths(extracts(spec.clone())), [path], "{spec}");
        }
        let many: BTreeMap<String, Value> = (0..17)
            .map(|i| (format!("v{i}"), json!({"body": true})))
            .collect();
        assert_eq!(paths(extracts(json!(many))), ["e"]);
    }

    #[test]
    fn every_mistake_in_a_record_has_its_field_path() {
        for (spec, path) in [
            (json!({"name": "a b", "from": {"header": "x"}}), "r[0].name"),
            (
                json!({"name": "latency", "from": {"header": "x"}}),
                "r[0].name",
            ),
            (json!({"name": "a", "from": {}}), "r[0].from"),
            (
                json!({"name": "a", "from": {"header": "x", "cel": "1"}}),
                "r[0].from",
            ),
            (
                json!({"name": "a", "from": {"jsonPath": "a"}}),
                "r[0].from.jsonPath",
            ),
            (
                json!({"name": "a", "from": {"regex": "("}}),
                "r[0].from.regex",
            ),
            (
                json!({"name": "a", "from": {"cel": "nobody"}}),
                "r[0].from.cel",
            ),
        ] {
            assert_eq!(paths(records(json!([spec]))), [path], "{spec}");
        }
        let twice = json!({"name": "a", "from": {"header": "x"}});
        assert_eq!(paths(records(json!([twice, twice]))), ["r[1].name"]);
    }

    #[test]
    fn a_check_of_a_part_without_a_condition_asks_whether_it_exists() {
        let found =
            checks(json!([{"jsonPath": "$.a"}, {"header": "X-A", "exists": false}])).unwrap();
        assert_eq!(
            found[0],
            Check::JsonPath {
                path: JsonPath::parse("$.a").unwrap(),
                must: vec![Condition::Exists(true)]
            }
        );
        assert_eq!(
            found[1],
            Check::Header {
                name: "X-A".into(),
                must: vec![Condition::Exists(false)]
            }
        );
    }

    #[test]
    fn what_can_be_said_is_taken() {
        let all = checks(json!([
            {"status": [200, "201", "3xx", "400-404"]},
            {"jsonPath": "$.a", "equals": {"n": "{{ limit }}", "f": "{{ found }}"}, "in": [1, "{{ texts.text }}"]},
            {"jsonPath": "$.a[0]", "above": 0, "atMost": 1.5, "atLeast": "{{ found }}", "below": "{{ limit }}", "exists": true},
            {"jsonPath": "$.a", "minLength": 1, "maxLength": 3, "contains": "x", "matches": "^a"},
            {"header": "content-type", "matches": "json"},
            {"body": {"contains": "{{ secret }}", "matches": "a"}},
            {"latency": {"below": "250ms"}},
            {"size": {"above": 5}},
            {"cel": "json.a > vars.limit && feeders.texts.text != ''"},
        ]));
        let all = all.unwrap();
        assert_eq!(all.len(), 9);
        assert_eq!(
            serde_json::from_value::<Vec<Check>>(serde_json::to_value(&all).unwrap()).unwrap(),
            all
        );
        let taken = extracts(json!({
            "a": {"jsonPath": "$.a", "all": true, "default": 1.0}, "b": {"regex": "a(b)"}, "c": {"header": "Location"}, "d": {"cookie": "sid"},
            "found": {"body": true},
        }));
        let taken = taken.unwrap();
        assert_eq!((taken.len(), &taken[0].default), (5, &Some(json!(1))));
        assert_eq!(
            serde_json::from_value::<Vec<Extract>>(serde_json::to_value(&taken).unwrap()).unwrap(),
            taken
        );
        let recorded = records(
            json!([{"name": "inference", "unit": "ms", "from": {"cel": "json.took * 1000.0"}}, {"name": "n", "from": {"header": "x"}}]),
        );
        let recorded = recorded.unwrap();
        assert_eq!(
            (recorded[0].unit, recorded[1].unit),
            (Unit::Milliseconds, Unit::One)
        );
        assert_eq!(
            serde_json::from_value::<Vec<Record>>(serde_json::to_value(&recorded).unwrap())
                .unwrap(),
            recorded
        );
    }
}
