//! From a spec to a plan: every rule that the schema cannot say, each mistake with its field path. One place for CLI and operator.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::spec::*;
use crate::plan::template::{Place, Variables, canonicalise};
use crate::plan::threshold::{Metric, Select};
use crate::plan::*;

/// Free values (`json`, `variables`, ...) may be so large as JSON, each.
const MAX_FREE_VALUE: usize = 64 * 1024;
/// The whole spec may be so large as JSON.
const MAX_SPEC: usize = 256 * 1024;
/// A profile may be so long.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);

/// A spec found good.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub plan: Plan,
    /// What is allowed but most likely not meant.
    pub warnings: Vec<String>,
    pub start_deadline: Duration,
    pub grace: Duration,
    /// From the grant: a run that has not ended by then never will.
    pub deadline: Duration,
    pub ttl_after_finished: Duration,
}

/// The plan of a spec, or everything that is wrong with it.
pub fn check(spec: &LoadTestSpec) -> Result<Checked, Vec<Problem>> {
    let mut problems = Problems::default();
    let size = serde_json::to_vec(spec).map_or(0, |json| json.len());
    if size > MAX_SPEC {
        // nothing else is looked at: the rest of the work grows with the size
        return Err(vec![Problem::new("spec", format!("SpecTooLarge: {size} bytes as JSON, at most {MAX_SPEC} are allowed"))]);
    }
    let LoadTestSpec { target, http, variables, scenarios, load, thresholds, workers, master: _, run } = spec;
    let variables = check_variables(variables, &mut problems);
    let timeout = problems.positive_duration("spec.http.timeout", &http.timeout);
    let mut context = Context { variables: &variables, timeout, open: load.open.is_some(), problems: &mut problems };
    let target = context.target(target);
    let scenarios = context.scenarios(scenarios);
    let load_plan = check_load(load, &mut problems);
    let stop_timeout = problems.duration("spec.run.stopTimeout", &run.stop_timeout);
    let thresholds = check_thresholds(thresholds, &scenarios, &mut problems);
    let start_deadline = problems.positive_duration("spec.workers.startDeadline", &workers.start_deadline);
    let grace = problems.positive_duration("spec.workers.grace", &workers.grace);
    let ttl_after_finished = problems.duration("spec.run.ttlAfterFinished", &run.ttl_after_finished);
    if workers.replicas == 0 {
        problems.add("spec.workers.replicas", "must be at least 1");
    }
    let planned = load_plan.as_ref().map_or(Duration::ZERO, |load| load.profile().length()) + stop_timeout;
    let deadline = match &run.deadline {
        None => planned + Duration::from_secs(600),
        Some(text) => {
            let deadline = problems.duration("spec.run.deadline", text);
            if deadline < planned {
                problems
                    .add("spec.run.deadline", format!("is shorter than the load and stopTimeout together, {}", duration::format(planned)));
            }
            deadline
        }
    };
    match (target, load_plan, problems.0.is_empty()) {
        (Some(target), Some(load_plan), true) => {
            let plan =
                Plan { target, variables, scenarios, load: load_plan, thresholds, stop_timeout, seed: load.seed.map(|seed| seed as u64) };
            let warnings = warnings(&plan);
            Ok(Checked { plan, warnings, start_deadline, grace, deadline, ttl_after_finished })
        }
        _ => Err(problems.0),
    }
}

fn warnings(plan: &Plan) -> Vec<String> {
    let has = |metric: fn(Metric) -> bool| plan.thresholds.iter().any(|threshold| metric(threshold.metric));
    let mut warnings = Vec::new();
    if has(|metric| matches!(metric, Metric::Latency | Metric::ServiceTime)) && !has(|metric| metric == Metric::Failures) {
        warnings.push(
            "spec.thresholds: latency counts successes only, and there is no threshold on failures: a target that fails quickly would pass"
                .to_owned(),
        );
    }
    warnings
}

/// Mistakes found so far.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, message));
    }

    fn take<T>(&mut self, path: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|message| self.add(path, message)).ok()
    }

    fn duration(&mut self, path: &str, text: &str) -> Duration {
        self.take(path, duration::parse(text)).unwrap_or_default()
    }

    fn positive_duration(&mut self, path: &str, text: &str) -> Duration {
        let parsed = duration::parse(text);
        if parsed == Ok(Duration::ZERO) {
            self.add(path, "must be longer than nothing");
        }
        self.take(path, parsed).unwrap_or_default()
    }

    fn unique<'a>(&mut self, path: &str, field: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for (i, name) in names.enumerate() {
            if !seen.insert(name) {
                self.add(format!("{path}[{i}].{field}"), format!("{name:?} is there twice"));
            }
        }
    }
}

fn check_variables(variables: &BTreeMap<String, Value>, problems: &mut Problems) -> Variables {
    let mut checked = Variables::new();
    for (name, value) in variables {
        let path = format!("spec.variables.{name}");
        let is_name =
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !is_name {
            problems.add(&path, "a variable's name holds letters, digits and _ only, and does not begin with a digit");
        }
        if ["user", "iteration", "true", "false", "null"].contains(&name.as_str()) {
            problems.add(&path, "this name has a meaning of its own in templates");
        }
        let mut value = value.clone();
        problems.take(&path, free_value_size(&value).and_then(|()| canonicalise(&mut value)));
        checked.insert(name.clone(), value);
    }
    checked
}

fn free_value_size(value: &Value) -> Result<(), String> {
    let size = value.to_string().len();
    if size > MAX_FREE_VALUE { Err(format!("{size} bytes as JSON, at most {MAX_FREE_VALUE} are allowed")) } else { Ok(()) }
}

/// What the checks of target and scenarios share.
struct Context<'a> {
    variables: &'a Variables,
    timeout: Duration,
    open: bool,
    problems: &'a mut Problems,
}

impl Context<'_> {
    fn target(&mut self, target: &TargetSpec) -> Option<Target> {
        let TargetSpec { url, headers, auth, tls } = target;
        let url = self.problems.take("spec.target.url", check_url(url));
        let headers = self.headers("spec.target.headers", headers);
        let auth = auth.as_ref().and_then(|auth| self.problems.take("spec.target.auth", check_auth(auth)));
        let tls = self.tls(tls.as_ref());
        Some(Target { url: url?, headers, auth, tls })
    }

    fn headers(&mut self, path: &str, headers: &BTreeMap<String, String>) -> Vec<Header> {
        let mut seen = HashSet::new();
        let mut checked = Vec::new();
        for (name, value) in headers {
            let path = format!("{path}.{name}");
            if http::HeaderName::try_from(name.as_str()).is_err() {
                self.problems.add(&path, "is not a header's name");
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                self.problems.add(&path, "is there twice; case does not matter in a header's name");
            }
            if ["content-length", "transfer-encoding", "connection"].contains(&name.to_ascii_lowercase().as_str()) {
                self.problems.add(&path, "is set by Starling");
            }
            if let Some(value) = self.template(&path, value, Place::Header) {
                checked.push(Header { name: name.clone(), value });
            }
        }
        checked
    }

    fn template(&mut self, path: &str, source: &str, place: Place) -> Option<Template> {
        let parsed = Template::parse(source).and_then(|template| template.check(self.variables, place).map(|()| template));
        self.problems.take(path, parsed)
    }

    fn tls(&mut self, tls: Option<&TlsSpec>) -> Tls {
        let Some(TlsSpec { ca_from, cert_from, key_from, server_name, insecure_skip_verify }) = tls else { return Tls::default() };
        let ca =
            ca_from.as_ref().and_then(|from| self.problems.take("spec.target.tls.caFrom", file_reference(from, "spec.target.tls.caFrom")));
        let client = match (cert_from, key_from) {
            (Some(cert), Some(key)) => self
                .problems
                .take("spec.target.tls.certFrom", file_reference(cert, "spec.target.tls.certFrom"))
                .map(|certificate| ClientCertificate { certificate, key: secret_reference(key, "spec.target.tls.keyFrom") }),
            (None, None) => None,
            _ => {
                self.problems.add("spec.target.tls", "certFrom and keyFrom go together");
                None
            }
        };
        Tls { ca, client, server_name: server_name.clone(), insecure_skip_verify: *insecure_skip_verify }
    }

    fn scenarios(&mut self, scenarios: &[ScenarioSpec]) -> Vec<Scenario> {
        let path = "spec.scenarios";
        self.problems.unique(path, "name", scenarios.iter().map(|s| s.name.as_str()));
        if scenarios.iter().map(|s| u64::from(s.weight)).sum::<u64>() == 0 {
            self.problems.add(path, "at least one scenario must have a weight above 0");
        }
        let steps: usize = scenarios.iter().flat_map(|s| &s.tasks).map(|t| t.steps.len()).sum();
        if steps > MAX_STEPS {
            self.problems.add(path, format!("{steps} steps in all, at most {MAX_STEPS} are allowed"));
        }
        scenarios.iter().enumerate().map(|(i, scenario)| self.scenario(&format!("{path}[{i}]"), scenario)).collect()
    }

    fn scenario(&mut self, path: &str, scenario: &ScenarioSpec) -> Scenario {
        let ScenarioSpec { name, weight, think_time, tasks } = scenario;
        let think_path = format!("{path}.thinkTime");
        let think_time = think_time.as_ref().map(|ThinkTimeSpec { min, max }| {
            let min = self.problems.duration(&format!("{think_path}.min"), min);
            let max = self.problems.duration(&format!("{think_path}.max"), max);
            if min > max {
                self.problems.add(&think_path, "min is longer than max");
            }
            ThinkTime { min, max }
        });
        if think_time.is_some() && self.open {
            self.problems.add(
                &think_path,
                "open load starts iterations by the clock, so a user's pause between them has no meaning; remove it or use closed load",
            );
        }
        self.problems.unique(&format!("{path}.tasks"), "name", tasks.iter().map(|t| t.name.as_str()));
        if tasks.iter().map(|t| u64::from(t.weight)).sum::<u64>() == 0 {
            self.problems.add(format!("{path}.tasks"), "at least one task must have a weight above 0");
        }
        let tasks = tasks.iter().enumerate().map(|(i, task)| self.task(&format!("{path}.tasks[{i}]"), task)).collect();
        Scenario { name: name.clone(), weight: *weight, think_time, tasks }
    }

    fn task(&mut self, path: &str, task: &TaskSpec) -> Task {
        let steps: Vec<Step> =
            task.steps.iter().enumerate().filter_map(|(i, step)| self.step(&format!("{path}.steps[{i}]"), step)).collect();
        self.problems.unique(&format!("{path}.steps"), "name", steps.iter().map(|s| s.name.as_str()));
        Task { name: task.name.clone(), weight: task.weight, steps }
    }

    fn step(&mut self, path: &str, step: &StepSpec) -> Option<Step> {
        let StepSpec { name, http, timeout } = step;
        let timeout = match timeout {
            Some(text) => self.problems.positive_duration(&format!("{path}.timeout"), text),
            None => self.timeout,
        };
        let HttpStepSpec { method, path: http_path, headers, json, body } = http;
        let path = format!("{path}.http");
        if http::Method::try_from(method.as_str()).is_err() || method.to_ascii_uppercase() != *method {
            self.problems.add(format!("{path}.method"), format!("{method:?} is not a method"));
        }
        let headers = self.headers(&format!("{path}.headers"), headers);
        let body = self.body(&path, json.as_ref(), body.as_deref());
        let template = self.path(&format!("{path}.path"), http_path)?;
        let name = name.clone().unwrap_or_else(|| default_name(method, http_path));
        Some(Step { name, http: HttpRequest { method: method.clone(), path: template, headers, body }, timeout })
    }

    fn path(&mut self, field: &str, source: &str) -> Option<Template> {
        if !source.starts_with('/') {
            self.problems.add(field, "must begin with /");
        }
        let template = self.template(field, source, Place::Path)?;
        // what is not a template must already be a request target: a space or a control would end it early
        let text_is_clean = template.texts().all(|text| text.bytes().all(|b| b > b' ' && b != 0x7f && b != b'#'));
        if !text_is_clean {
            self.problems.add(field, "holds a space, a control character or #; write it percent-encoded");
        }
        Some(template)
    }

    fn body(&mut self, path: &str, json: Option<&Value>, text: Option<&str>) -> Option<Body> {
        match (json, text) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.problems.add(path, "json and body exclude each other");
                None
            }
            (Some(json), None) => {
                let field = format!("{path}.json");
                let checked = free_value_size(json)
                    .and_then(|()| JsonTemplate::new(json.clone()))
                    .and_then(|json| json.check(self.variables).map(|()| json));
                self.problems.take(&field, checked).map(Body::Json)
            }
            (None, Some(text)) => self.template(&format!("{path}.body"), text, Place::Text).map(Body::Text),
        }
    }
}

/// The method and the path, cut to a name's length.
fn default_name(method: &str, path: &str) -> String {
    format!("{method} {path}").chars().take(128).collect()
}

fn check_url(text: &str) -> Result<Url, String> {
    if text.contains("{{") {
        return Err("templates do not work in the target's URL; use a step's path".into());
    }
    let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match url {
        _ if !["http", "https"].contains(&url.scheme()) => Err(format!("{text:?} does not begin with http:// or https://")),
        _ if url.host_str().is_none_or(str::is_empty) => Err(format!("{text:?} has no host")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("credentials do not belong into the URL; use spec.target.auth".into())
        }
        _ if url.query().is_some() || url.fragment().is_some() => Err("a query or fragment belongs to a step's path".into()),
        _ => Ok(url),
    }
}

fn check_auth(auth: &AuthSpec) -> Result<Auth, String> {
    let AuthSpec { bearer, basic, header } = auth;
    let field = |name: &str| format!("spec.target.auth.{name}");
    match (bearer, basic, header) {
        (Some(bearer), None, None) => Ok(Auth::Bearer { token: secret_reference(&bearer.token_from, &field("bearer.tokenFrom")) }),
        (None, Some(basic), None) => Ok(Auth::Basic {
            username: secret_reference(&basic.username_from, &field("basic.usernameFrom")),
            password: secret_reference(&basic.password_from, &field("basic.passwordFrom")),
        }),
        (None, None, Some(header)) => match http::HeaderName::try_from(header.name.as_str()) {
            Ok(_) => {
                Ok(Auth::Header { name: header.name.clone(), value: secret_reference(&header.value_from, &field("header.valueFrom")) })
            }
            Err(_) => Err(format!("header.name {:?} is not a header's name", header.name)),
        },
        _ => Err("exactly one of bearer, basic and header".into()),
    }
}

fn secret_reference(source: &SecretSource, field: &str) -> Reference {
    reference(Kind::Secret, &source.secret_key_ref, field)
}

fn file_reference(source: &FileSource, field: &str) -> Result<Reference, String> {
    match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(key), None) => Ok(reference(Kind::Secret, key, field)),
        (None, Some(key)) => Ok(reference(Kind::ConfigMap, key, field)),
        _ => Err("exactly one of secretKeyRef and configMapKeyRef".into()),
    }
}

fn reference(kind: Kind, key: &KeyRef, field: &str) -> Reference {
    Reference { kind, name: key.name.clone(), key: key.key.clone(), field: field.to_owned() }
}

fn check_load(load: &LoadSpec, problems: &mut Problems) -> Option<Load> {
    let checked = match (&load.closed, &load.open) {
        (Some(closed), None) => Load::Closed { profile: check_closed(closed, problems)? },
        (None, Some(open)) => check_open(open, problems)?,
        _ => {
            problems.add("spec.load", "exactly one of closed and open");
            return None;
        }
    };
    let profile = checked.profile();
    if profile.max_level() <= 0.0 {
        problems.add("spec.load", "no load: every level is 0");
    }
    if profile.length().is_zero() || profile.length() > MAX_LENGTH {
        problems
            .add("spec.load", format!("lasts {}; it must last longer than nothing and at most 7 days", duration::format(profile.length())));
    }
    Some(checked)
}

fn check_closed(closed: &ClosedSpec, problems: &mut Problems) -> Option<Profile> {
    let ClosedSpec { users, duration, ramp_up, start_at, stages } = closed;
    let shape = Shape { level: *users, level_name: "users", duration, ramp_up, start_at, stages };
    check_profile("spec.load.closed", shape, 1.0, problems)
}

fn check_open(open: &OpenSpec, problems: &mut Problems) -> Option<Load> {
    let OpenSpec { rate, per, duration, ramp_up, start_at, stages, max_in_flight, max_dropped } = open;
    let seconds = match per {
        Per::Second => 1.0,
        Per::Minute => 60.0,
        Per::Hour => 3600.0,
    };
    if *max_in_flight == 0 {
        problems.add("spec.load.open.maxInFlight", "must be at least 1");
    }
    let share =
        max_dropped.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    if share.is_none() {
        problems.add("spec.load.open.maxDropped", format!("{max_dropped:?} is not a share from 0% to 100%"));
    }
    let shape = Shape { level: *rate, level_name: "rate", duration, ramp_up, start_at, stages };
    let profile = check_profile("spec.load.open", shape, 1.0 / seconds, problems)?;
    Some(Load::Open { profile, max_in_flight: *max_in_flight, max_dropped: share.unwrap_or_default() / 100.0 })
}

/// The fields that closed and open load write alike.
struct Shape<'a> {
    level: Option<u32>,
    level_name: &'a str,
    duration: &'a Option<String>,
    ramp_up: &'a Option<String>,
    start_at: &'a Option<u32>,
    stages: &'a Option<Vec<StageSpec>>,
}

fn check_profile(path: &str, shape: Shape<'_>, scale: f64, problems: &mut Problems) -> Option<Profile> {
    let Shape { level, level_name, duration, ramp_up, start_at, stages } = shape;
    match (level, duration, stages) {
        (Some(level), Some(duration), None) => {
            if level == 0 {
                problems.add(format!("{path}.{level_name}"), "must be at least 1");
            }
            if start_at.is_some() {
                problems.add(format!("{path}.startAt"), "goes with stages");
            }
            let hold = problems.duration(&format!("{path}.duration"), duration);
            let ramp_up = ramp_up.as_ref().map_or(Duration::ZERO, |text| problems.duration(&format!("{path}.rampUp"), text));
            Some(Profile::ramp_and_hold(f64::from(level) * scale, ramp_up, hold))
        }
        (None, None, Some(stages)) => {
            if ramp_up.is_some() {
                problems.add(format!("{path}.rampUp"), "goes with a duration; stages ramp by themselves");
            }
            let stages = stages.iter().enumerate().map(|(i, StageSpec { duration, target })| Stage {
                duration: problems.duration(&format!("{path}.stages[{i}].duration"), duration),
                target: f64::from(*target) * scale,
            });
            Some(Profile { stages: stages.collect(), start_at: f64::from(start_at.unwrap_or(0)) * scale })
        }
        _ => {
            problems.add(path, format!("either {level_name} and duration, or stages"));
            None
        }
    }
}

fn check_thresholds(thresholds: &[ThresholdSpec], scenarios: &[Scenario], problems: &mut Problems) -> Vec<Threshold> {
    let mut checked = Vec::new();
    for (i, ThresholdSpec { metric, select, expr }) in thresholds.iter().enumerate() {
        let path = format!("spec.thresholds[{i}]");
        let SelectSpec { scenario, task, step, outcome } = select.clone().unwrap_or_default();
        let select = Select { scenario, task, step, outcome };
        // steps that were refused above are missing from the plan; one mistake is enough to report
        if problems.0.is_empty() && !steps_of(scenarios).any(|place| select.matches(&place)) {
            problems.add(format!("{path}.select"), "no step has these names, so there would be nothing to judge");
        }
        if *metric == Metric::Achieved && select != Select::default() {
            problems.add(format!("{path}.select"), "achieved is counted over all iterations; it has nothing to select");
        }
        checked.extend(problems.take(&format!("{path}.expr"), Threshold::parse(*metric, select, expr)));
    }
    checked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(change: impl FnOnce(&mut Value)) -> Result<Checked, Vec<Problem>> {
        let mut value = json!({
            "target": {"url": "http://t:8000/base"},
            "variables": {"name": "x"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/a"}}]}]}],
            "load": {"closed": {"users": 10, "duration": "1m"}},
            "thresholds": [{"metric": "failures", "expr": "rate < 1%"}],
        });
        change(&mut value);
        check(&serde_json::from_value(value).unwrap())
    }

    fn refused_at(change: impl FnOnce(&mut Value)) -> Vec<String> {
        spec(change).expect_err("was accepted").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_mistake_has_its_field_path() {
        assert_eq!(refused_at(|s| s["target"]["url"] = json!("ftp://t")), ["spec.target.url"]);
        assert_eq!(refused_at(|s| s["target"]["url"] = json!("http://user:pw@t")), ["spec.target.url"]);
        assert_eq!(refused_at(|s| s["target"]["url"] = json!("http://")), ["spec.target.url"]);
        assert_eq!(refused_at(|s| s["load"]["open"] = json!({"rate": 1, "duration": "1s", "maxInFlight": 1})), ["spec.load"]);
        assert_eq!(refused_at(|s| s["load"]["closed"]["users"] = json!(0)), ["spec.load.closed.users", "spec.load"]);
        assert_eq!(refused_at(|s| s["thresholds"][0] = json!({"metric": "latency", "expr": "p(101) < 1s"})), ["spec.thresholds[0].expr"]);
        assert_eq!(refused_at(|s| s["thresholds"][0]["select"] = json!({"step": "nothing"})), ["spec.thresholds[0].select"]);
        assert_eq!(refused_at(|s| s["target"]["headers"] = json!({"X-A": "{{ nobody }}"})), ["spec.target.headers.X-A"]);
        assert_eq!(refused_at(|s| s["run"]["deadline"] = json!("10s")), ["spec.run.deadline"]);
        assert_eq!(refused_at(|s| s["http"] = json!({"timeout": "0s"})), ["spec.http.timeout"]);
    }

    #[test]
    fn a_steps_mistakes_are_found_deep_down() {
        let step = |change: fn(&mut Value)| refused_at(|s| change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]["http"]));
        let prefix = "spec.scenarios[0].tasks[0].steps[0].http";
        assert_eq!(step(|http| http["path"] = json!("/{{ nobody }}")), [format!("{prefix}.path")]);
        assert_eq!(step(|http| http["path"] = json!("/a b")), [format!("{prefix}.path")]);
        assert_eq!(step(|http| http["json"] = json!({"a": "{{ launch() }}"})), [format!("{prefix}.json")]);
        assert_eq!(step(|http| http["json"] = json!({"a": u64::MAX})), [format!("{prefix}.json")]);
        assert_eq!(
            step(|http| {
                http["json"] = json!({});
                http["body"] = json!("x");
            }),
            [prefix]
        );
        assert_eq!(step(|http| http["headers"] = json!({"Content-Length": "1"})), [format!("{prefix}.headers.Content-Length")]);
    }

    #[test]
    fn a_spec_of_a_megabyte_is_refused_without_a_second_look() {
        let problems = spec(|s| s["variables"]["name"] = json!("x".repeat(1024 * 1024))).unwrap_err();
        assert!(problems[0].message.starts_with("SpecTooLarge"), "{problems:?}");
    }

    #[test]
    fn think_time_has_no_meaning_in_open_load() {
        let paths = refused_at(|s| {
            s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
            s["scenarios"][0]["thinkTime"] = json!({"min": "1s", "max": "1s"});
        });
        assert_eq!(paths, ["spec.scenarios[0].thinkTime"]);
    }

    #[test]
    fn a_rate_per_minute_is_a_rate_per_second() {
        let checked = spec(|s| s["load"] = json!({"open": {"rate": 120, "per": "1m", "duration": "1s", "maxInFlight": 5}})).unwrap();
        assert_eq!(checked.plan.load.profile().max_level(), 2.0);
    }

    #[test]
    fn a_step_without_a_name_is_called_by_what_it_does() {
        let checked = spec(|_| {}).unwrap();
        assert_eq!(checked.plan.steps().next().unwrap().step.name, "GET /a");
    }

    #[test]
    fn a_latency_threshold_alone_is_warned_of() {
        let checked = spec(|s| s["thresholds"] = json!([{"metric": "latency", "expr": "p(95) < 1s"}])).unwrap();
        assert_eq!(checked.warnings.len(), 1);
    }

    #[test]
    fn a_plan_survives_its_own_json() {
        let plan = spec(|s| s["target"]["headers"] = json!({"X-N": "{{ name }}"})).unwrap().plan;
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}
