//! From a spec to a plan: every rule that the schema cannot say, each mistake with its field path.
//! One place for CLI and operator.

mod auth;
mod check;
mod cost;
mod extract;
mod feeder;
mod grpc;
mod http;
mod load;
mod once;
mod pace;
mod scenario;
mod stream;
mod target;
mod threshold;
mod transport;
mod variables;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use cost::check_cost;
use feeder::{check_feeders, check_volumes, inline_columns};
use grpc::{check_grpc, check_protos};
use load::{LoadParts, check_populations, percent};
use threshold::{Judged, check_thresholds};
use variables::{check_delimiters, check_variables};

use super::spec::*;
use crate::plan::template::Place;
use crate::plan::threshold::Metric;
use crate::plan::*;

/// Free values (`json`, `variables`, ...) may be so large as JSON, each.
const MAX_FREE_VALUE: usize = 64 * 1024;
/// The whole spec may be so large as JSON.
const MAX_SPEC: usize = 256 * 1024;

/// A run whose length is planned may take so much longer.
const SPARE: Duration = Duration::from_secs(600);
/// A run whose length nobody knows may take so long.
const OPEN_ENDED: Duration = Duration::from_secs(2 * 3600);

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
    check_with(spec, &BTreeMap::new())
}

/// The same where more is known than the spec says: by name, the columns of feeders whose data
/// could be read.
pub fn check_with(
    spec: &LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> Result<Checked, Vec<Problem>> {
    let mut problems = Problems::default();
    // nothing else is looked at then: the rest of the work grows with the size
    check_size(spec).map_err(|problem| vec![problem])?;
    let LoadTestSpec {
        target,
        targets,
        http,
        grpc,
        protos,
        variables,
        variables_from,
        template_delimiters,
        feeders,
        setup,
        teardown,
        scenarios: scenario_specs,
        load,
        warmup,
        thresholds,
        samples,
        cost,
        workers,
        master: _,
        run,
    } = spec;
    let delimiters = check_delimiters(template_delimiters, &mut problems);
    let (variables, mut resolved) =
        check_variables(variables, variables_from, &delimiters, &mut problems);
    let without_feeders = resolved.names.clone();
    declare_feeders(&mut resolved.names, variables.slots(), feeders, columns);
    let feeders = check_feeders(feeders, &variables, &mut problems);
    let timeout = problems.positive_duration("spec.http.timeout", &http.timeout);
    let mut context = Context {
        names: resolved.names,
        free_slot: variables.slots() + feeders.len() as Slot,
        delimiters: &delimiters,
        follow_redirects: http.follow_redirects,
        timeout,
        targets: targets.keys().map(String::as_str).collect(),
        max_message_size: grpc.max_message_size,
        open: load.open.is_some() || load.capacity.is_some(),
        problems: &mut problems,
    };
    let (target, targets) = match setup.is_empty() && teardown.is_empty() {
        true => (context.target(target), context.targets(targets)),
        // their headers are sent with these steps, too
        false => context.knowing(without_feeders.clone(), |context| {
            (context.target(target), context.targets(targets))
        }),
    };
    let http = context.http(http);
    let once = context.once(without_feeders, setup, teardown);
    let scenarios = context.scenarios(scenario_specs, once.steps().count());
    let parts = LoadParts {
        load,
        scenario_specs,
        scenarios: &scenarios,
        warmup,
    };
    let load_plan = check_populations(parts, &mut problems);
    let once = Once {
        setup_timeout: problems.positive_duration("spec.run.setupTimeout", &run.setup_timeout),
        ..once
    };
    let cost = cost.as_ref().map(|cost| check_cost(cost, &mut problems));
    let grpc = check_grpc(grpc, &mut problems);
    let protos = protos
        .as_ref()
        .map(|protos| check_protos(protos, &mut problems));
    let stop_timeout = problems.duration("spec.run.stopTimeout", &run.stop_timeout);
    let is_open = load_plan
        .iter()
        .flat_map(|(_, populations)| populations)
        .all(|population| population.load.is_open());
    let records = scenarios
        .iter()
        .flat_map(Scenario::steps)
        .flat_map(|place| &place.step.record);
    let trends = problems
        .take("spec.scenarios", trends(records))
        .unwrap_or_default();
    let judged = Judged {
        scenarios: &scenarios,
        is_open,
        trends: &trends,
    };
    let thresholds = check_thresholds(thresholds, &judged, &mut problems);
    let request_log = samples
        .as_ref()
        .and_then(|samples| check_request_log(samples, &mut problems));
    let start_deadline =
        problems.positive_duration("spec.workers.startDeadline", &workers.start_deadline);
    let grace = problems.positive_duration("spec.workers.grace", &workers.grace);
    let ttl_after_finished =
        problems.duration("spec.run.ttlAfterFinished", &run.ttl_after_finished);
    check_workers(workers, &mut problems);
    let awaited = target
        .iter()
        .chain(&targets)
        .filter_map(|target| Some(target.ready_when.as_ref()?.timeout))
        .max()
        .unwrap_or_default();
    let beside = stop_timeout
        + awaited
        + if setup.is_empty() {
            Duration::ZERO
        } else {
            once.setup_timeout
        };
    let deadline = check_deadline(
        run.deadline.as_deref(),
        load_plan.as_ref(),
        beside,
        &mut problems,
    );
    match (target, load_plan, problems.0.is_empty()) {
        (Some(target), Some((warmup, populations)), true) => {
            let plan = Plan {
                target,
                targets,
                http,
                grpc,
                protos,
                variables,
                feeders,
                once,
                cost,
                scenarios,
                populations,
                warmup,
                thresholds,
                stop_timeout,
                preflight: run.preflight,
                on_saturation: run.on_saturation,
                request_log,
                seed: load.seed.map(|seed| seed as u64),
            };
            let warnings = warnings(&plan);
            Ok(Checked {
                plan,
                warnings,
                start_deadline,
                grace,
                deadline,
                ttl_after_finished,
            })
        }
        _ => Err(problems.0),
    }
}

fn check_workers(workers: &WorkersSpec, problems: &mut Problems) {
    check_volumes(&workers.volumes, problems);
    if workers.replicas == 0 {
        problems.add("spec.workers.replicas", "must be at least 1");
    }
}

fn check_size(spec: &LoadTestSpec) -> Result<(), Problem> {
    let size = serde_json::to_vec(spec).map_or(0, |json| json.len());
    let too_large = || {
        Problem::new(
            "spec",
            format!("SpecTooLarge: {size} bytes as JSON, at most {MAX_SPEC} are allowed"),
        )
    };
    if size > MAX_SPEC {
        Err(too_large())
    } else {
        Ok(())
    }
}

/// `first` is the slot of the first feeder.
fn declare_feeders(
    names: &mut Names,
    first: Slot,
    feeders: &[FeederSpec],
    columns: &BTreeMap<String, Arc<Columns>>,
) {
    for (slot, feeder) in (first..).zip(feeders) {
        names.declare(&feeder.name, Declared::Row(slot));
        if let Some(columns) = columns
            .get(&feeder.name)
            .cloned()
            .or_else(|| inline_columns(feeder))
        {
            names.declare_columns(slot, columns);
        }
    }
}

/// From the grant; by default what is planned and ten minutes, and two hours where only the run
/// itself tells how long it takes.
fn check_deadline(
    given: Option<&str>,
    load: Option<&(Duration, Vec<Population>)>,
    beside: Duration,
    problems: &mut Problems,
) -> Duration {
    let (warmup, populations) = load.map_or((Duration::ZERO, &[][..]), |(warmup, populations)| {
        (*warmup, populations)
    });
    let around = |longest: Duration| warmup + longest + beside;
    let longest = |of: fn(&Population) -> Option<Duration>| {
        populations
            .iter()
            .filter_map(of)
            .max()
            .map(around)
            .unwrap_or_default()
    };
    // what is known to be needed
    let planned = longest(Population::length);
    let Some(text) = given else {
        let open_ended = populations
            .iter()
            .any(|population| population.length().is_none());
        return (longest(Population::longest) + SPARE).max(if open_ended {
            OPEN_ENDED
        } else {
            Duration::ZERO
        });
    };
    let deadline = problems.duration("spec.run.deadline", text);
    if deadline < planned {
        problems.add(
            "spec.run.deadline",
            format!(
                "is shorter than the load, stopTimeout and what comes before the load together, {}",
                duration::format(planned)
            ),
        );
    }
    deadline
}

fn check_request_log(spec: &SamplesSpec, problems: &mut Problems) -> Option<RequestLog> {
    let SamplesSpec {
        rate,
        max_bytes,
        max_body_bytes,
    } = spec;
    let Some(share) = percent(rate).filter(|share| *share > 0.0) else {
        problems.add(
            "spec.samples.rate",
            format!("{rate:?} is not a share above 0% and at most 100%"),
        );
        return None;
    };
    Some(RequestLog {
        rate: share,
        max_bytes: (*max_bytes).into(),
        max_body_bytes: *max_body_bytes,
    })
}

fn warnings(plan: &Plan) -> Vec<String> {
    let has = |metric: fn(Metric) -> bool| {
        plan.thresholds
            .iter()
            .any(|threshold| metric(threshold.metric))
    };
    let mut warnings = Vec::new();
    if plan.capacity().is_some() && plan.thresholds.is_empty() {
        warnings.push("spec.thresholds: there are none, so a rate holds as long as any request succeeds and none is dropped".to_owned());
    }
    if has(|metric| metric.reads_successes()) && !has(|metric| metric == Metric::Failures) {
        warnings.push(
            "spec.thresholds: times count successes only, and there is no threshold on failures: a target that fails quickly would pass"
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

    /// What has no name is like nothing else.
    fn unique<'a>(
        &mut self,
        path: &str,
        field: &str,
        names: impl Iterator<Item = impl Into<Option<&'a str>>>,
    ) {
        let mut seen = HashSet::new();
        for (i, name) in names.enumerate() {
            if let Some(name) = name.into()
                && !seen.insert(name)
            {
                self.add(
                    format!("{path}[{i}].{field}"),
                    format!("{name:?} is there twice"),
                );
            }
        }
    }
}

fn free_value_size(value: &Value) -> Result<(), String> {
    let size = value.to_string().len();
    if size > MAX_FREE_VALUE {
        Err(format!(
            "{size} bytes as JSON, at most {MAX_FREE_VALUE} are allowed"
        ))
    } else {
        Ok(())
    }
}

/// What the checks of target and scenarios share.
struct Context<'a> {
    /// What a template at this point may name.
    names: Names,
    /// The first slot that targets and feeders leave to scenarios.
    free_slot: Slot,
    delimiters: &'a Delimiters,
    timeout: Duration,
    /// Names of the targets that a step may choose, in the order of the plan.
    targets: Vec<&'a str>,
    follow_redirects: u32,
    /// Bytes of a message of gRPC.
    max_message_size: u32,
    open: bool,
    problems: &'a mut Problems,
}

impl Context<'_> {
    fn headers(&mut self, path: &str, headers: &BTreeMap<String, String>) -> Vec<Header> {
        let mut seen = HashSet::new();
        let mut checked = Vec::new();
        for (name, value) in headers {
            let path = format!("{path}.{name}");
            if ::http::HeaderName::try_from(name.as_str()).is_err() {
                self.problems.add(&path, "is not a header's name");
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                self.problems.add(
                    &path,
                    "is there twice; case does not matter in a header's name",
                );
            }
            if ["content-length", "transfer-encoding", "connection"]
                .contains(&name.to_ascii_lowercase().as_str())
            {
                self.problems.add(&path, "is set by Starling");
            }
            if let Some(value) = self.template(&path, value, Place::Header) {
                checked.push(Header {
                    name: name.clone(),
                    value,
                });
            }
        }
        checked
    }

    /// Checks something where these names are known instead.
    fn knowing<T>(&mut self, names: Names, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.names, names);
        let checked = check(self);
        self.names = before;
        checked
    }

    fn template(&mut self, path: &str, source: &str, place: Place) -> Option<Template> {
        let parsed = Template::parse_with(source, self.delimiters)
            .and_then(|template| template.check(&self.names, place).map(|()| template));
        self.problems.take(path, parsed)
    }
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
        spec(change)
            .expect_err("was accepted")
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn every_mistake_has_its_field_path() {
        assert_eq!(
            refused_at(|s| s["target"]["url"] = json!("ftp://t")),
            ["spec.target.url"]
        );
        assert_eq!(
            refused_at(|s| s["target"]["url"] = json!("http://user:pw@t")),
            ["spec.target.url"]
        );
        assert_eq!(
            refused_at(|s| s["target"]["url"] = json!("http://")),
            ["spec.target.url"]
        );
        assert_eq!(
            refused_at(
                |s| s["load"]["open"] = json!({"rate": 1, "duration": "1s", "maxInFlight": 1})
            ),
            ["spec.load"]
        );
        assert_eq!(
            refused_at(|s| s["load"]["closed"]["users"] = json!(0)),
            ["spec.load.closed.users", "spec.load"]
        );
        assert_eq!(
            refused_at(|s| s["thresholds"][0] = json!({"metric": "latency", "expr": "p(101) < 1s"})),
            ["spec.thresholds[0].expr"]
        );
        assert_eq!(
            refused_at(|s| s["thresholds"][0]["select"] = json!({"step": "nothing"})),
            ["spec.thresholds[0].select"]
        );
        assert_eq!(
            refused_at(|s| s["target"]["headers"] = json!({"X-A": "{{ nobody }}"})),
            ["spec.target.headers.X-A"]
        );
        assert_eq!(
            refused_at(|s| s["run"]["deadline"] = json!("10s")),
            ["spec.run.deadline"]
        );
        assert_eq!(
            refused_at(|s| s["http"] = json!({"timeout": "0s"})),
            ["spec.http.timeout"]
        );
        assert_eq!(
            refused_at(|s| s["samples"] = json!({"rate": "0%"})),
            ["spec.samples.rate"]
        );
        assert_eq!(
            refused_at(|s| s["samples"] = json!({"rate": "0.1"})),
            ["spec.samples.rate"]
        );
    }

    #[test]
    fn a_column_that_no_row_has_is_found_in_templates_and_expressions() {
        let feeding = |change: fn(&mut Value)| {
            refused_at(|s| {
                s["feeders"] =
                    json!([{"name": "texts", "inline": [{"text": "a", "n": 1}, {"text": "b"}]}]);
                change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]);
            })
        };
        let step = "spec.scenarios[0].tasks[0].steps[0]";
        assert_eq!(
            feeding(|step| step["http"]["path"] = json!("/{{ texts.txet }}")),
            [format!("{step}.http.path")]
        );
        assert_eq!(
            feeding(|step| step["if"] = json!("feeders.texts.txet == 'a'")),
            [format!("{step}.if")]
        );
        assert_eq!(
            feeding(|step| step["checks"] = json!([{"cel": "feeders.texts.txet == 'a'"}])),
            [format!("{step}.checks[0].cel")]
        );
        let fine = spec(|s| {
            s["feeders"] =
                json!([{"name": "texts", "inline": [{"text": "a", "n": 1}, {"text": "b"}]}]);
            s["scenarios"][0]["tasks"][0]["steps"][0]["if"] = json!("feeders.texts.n == 1");
        });
        assert!(fine.is_ok(), "one row has it: {fine:?}");
    }

    fn recording(s: &mut Value) {
        let record =
            json!([{"name": "inference", "unit": "ms", "from": {"header": "x-inference-time"}}]);
        s["scenarios"][0]["tasks"][0]["steps"][0]["record"] = record;
        s["thresholds"] = json!([{"record": "inference", "expr": "p(95) < 40ms", "window": "10s"}]);
    }

    #[test]
    fn a_threshold_on_a_record_names_one_that_is_there() {
        let plan = spec(recording).unwrap().plan;
        let threshold = &plan.thresholds[0];
        assert_eq!(
            (
                threshold.name(),
                threshold.bound,
                threshold.span.window_seconds
            ),
            ("inference", 40_000.0, 10)
        );
        assert_eq!(
            serde_json::from_value::<Plan>(serde_json::to_value(&plan).unwrap()).unwrap(),
            plan
        );
        let refused = |change: fn(&mut Value)| {
            refused_at(|s| {
                recording(s);
                change(s);
            })
        };
        assert_eq!(
            refused(|s| s["thresholds"][0]["record"] = json!("latency")),
            ["spec.thresholds[0].record"]
        );
        assert_eq!(
            refused(|s| s["thresholds"][0]["expr"] = json!("p(95) < 40")),
            ["spec.thresholds[0].expr"]
        );
        assert_eq!(
            refused(|s| s["thresholds"][0]["select"] = json!({"step": "GET /a"})),
            ["spec.thresholds[0].select"]
        );
        assert_eq!(
            refused(|s| s["thresholds"][0]["metric"] = json!("latency")),
            ["spec.thresholds[0]"]
        );
        assert_eq!(
            refused(|s| s["thresholds"] = json!([{"metric": "record", "expr": "max < 1s"}])),
            ["spec.thresholds[0]"]
        );
        assert_eq!(
            refused(|s| s["thresholds"] = json!([{"expr": "max < 1s"}])),
            ["spec.thresholds[0]"]
        );
    }

    #[test]
    fn what_is_in_no_result_records_nothing_and_a_name_has_one_unit() {
        let record = |unit: &str| json!({"http": {"path": "/b"}, "record": [{"name": "inference", "unit": unit, "from": {"header": "x"}}]});
        let outside = |section: &str| {
            refused_at(|s| {
                recording(s);
                s["scenarios"][0][section] =
                    json!([{"pause": {"min": "1s", "max": "1s"}}, record("ms")]);
            })
        };
        assert_eq!(outside("onStart"), ["spec.scenarios[0].onStart[1].record"]);
        assert_eq!(outside("onStop"), ["spec.scenarios[0].onStop[1].record"]);
        let in_two_units = refused_at(|s| {
            recording(s);
            s["scenarios"][0]["tasks"][0]["steps"]
                .as_array_mut()
                .unwrap()
                .push(record("s"));
        });
        assert_eq!(in_two_units, ["spec.scenarios"]);
    }

    #[test]
    fn a_steps_mistakes_are_found_deep_down() {
        let step = |change: fn(&mut Value)| {
            refused_at(|s| change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]["http"]))
        };
        let prefix = "spec.scenarios[0].tasks[0].steps[0].http";
        assert_eq!(
            step(|http| http["path"] = json!("/{{ nobody }}")),
            [format!("{prefix}.path")]
        );
        assert_eq!(
            step(|http| http["path"] = json!("/a b")),
            [format!("{prefix}.path")]
        );
        assert_eq!(
            step(|http| http["json"] = json!({"a": "{{ launch() }}"})),
            [format!("{prefix}.json")]
        );
        assert_eq!(
            step(|http| http["json"] = json!({"a": u64::MAX})),
            [format!("{prefix}.json")]
        );
        assert_eq!(
            step(|http| {
                http["json"] = json!({});
                http["body"] = json!("x");
            }),
            [prefix]
        );
        assert_eq!(
            step(|http| http["headers"] = json!({"Content-Length": "1"})),
            [format!("{prefix}.headers.Content-Length")]
        );
    }

    #[test]
    fn mistakes_of_variables_are_found_where_they_are() {
        assert_eq!(
            refused_at(|s| s["variables"]["a-b"] = json!(1)),
            ["spec.variables.a-b"]
        );
        assert_eq!(
            refused_at(|s| s["variables"]["user"] = json!(1)),
            ["spec.variables.user"]
        );
        assert_eq!(
            refused_at(|s| s["variables"]["x"] = json!("{{ x }}")),
            ["spec.variables.x"]
        );
        assert_eq!(
            refused_at(|s| s["variables"]["x"] = json!(u64::MAX)),
            ["spec.variables.x"]
        );
        let from = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        assert_eq!(
            refused_at(|s| s["variablesFrom"] = json!({"name": from})),
            ["spec.variablesFrom.name"]
        );
        assert_eq!(
            refused_at(|s| s["variablesFrom"] = json!({"token": {}})),
            ["spec.variablesFrom.token"]
        );
        assert_eq!(
            refused_at(|s| s["templateDelimiters"] = json!({"open": "[[", "close": "[["})),
            ["spec.templateDelimiters"]
        );
    }

    #[test]
    fn a_variable_from_a_secret_is_a_reference_of_the_plan() {
        let plan = spec(|s| {
            s["variablesFrom"] = json!({"token": {"secretKeyRef": {"name": "s", "key": "k"}}, "host": {"configMapKeyRef": {"name": "c", "key": "h"}}});
            s["variables"]["header"] = json!("Bearer {{ token }}");
            s["target"]["headers"] = json!({"X-A": "{{ header }}", "X-B": "{{ host }}"});
        });
        let plan = plan.unwrap().plan;
        let shown: Vec<String> = plan.references().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "ConfigMap \"c\" key \"h\" (spec.variablesFrom.host)",
                "Secret \"s\" key \"k\" (spec.variablesFrom.token)"
            ]
        );
        assert_eq!(
            serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
            plan
        );
    }

    #[test]
    fn with_other_delimiters_the_usual_ones_are_text() {
        let plan = spec(|s| {
            s["templateDelimiters"] = json!({"open": "[[", "close": "]]"});
            s["variables"]["other"] = json!("[[ name ]] {{ .Values.x }}");
            s["target"]["headers"] = json!({"X-N": "[[ name ]] {{ nobody }}"});
            s["scenarios"][0]["tasks"][0]["steps"][0]["http"] =
                json!({"path": "/[[ name ]]", "json": ["[[ other ]]", "{{ nobody }}"]});
        });
        let plan = plan.unwrap().plan;
        assert_eq!(
            serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
            plan
        );
        assert_eq!(
            refused_at(|s| {
                s["templateDelimiters"] = json!({"open": "[[", "close": "]]"});
                s["target"]["headers"] = json!({"X-N": "[[ nobody ]]"});
            }),
            ["spec.target.headers.X-N"]
        );
    }

    #[test]
    fn a_flow_that_cannot_go_is_refused() {
        let scenario = |change: fn(&mut Value)| refused_at(|s| change(&mut s["scenarios"][0]));
        let prefix = "spec.scenarios[0]";
        assert_eq!(
            scenario(|s| s["tasks"][0]["steps"][0] = json!({"call": "nobody"})),
            [format!("{prefix}.blocks")]
        );
        assert_eq!(
            scenario(|s| s["blocks"] = json!([{"name": "a", "steps": [{"call": "a"}]}])),
            [format!("{prefix}.blocks[0]")]
        );
        assert_eq!(
            scenario(|s| s["blocks"] = json!([{"name": "t", "steps": [{"http": {"path": "/"}}]}])),
            [format!("{prefix}.blocks[0].name")]
        );
        let step = |change: fn(&mut Value)| {
            refused_at(|s| change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]))
        };
        let prefix = "spec.scenarios[0].tasks[0].steps[0]";
        assert_eq!(
            step(|step| step["pause"] = json!({"constant": "1s"})),
            [prefix]
        );
        assert_eq!(
            step(|step| step["repeat"] = json!({"until": "true"})),
            [format!("{prefix}.repeat")]
        );
        assert_eq!(
            step(|step| step["if"] = json!("vars.nobody == 1")),
            [format!("{prefix}.if")]
        );
        assert_eq!(
            step(|step| step["checks"] = json!([{"jsonPath": "no path"}])),
            [format!("{prefix}.checks[0].jsonPath")]
        );
        assert_eq!(
            step(|step| *step = json!({"pause": {"constant": "1s"}, "name": "x"})),
            [format!("{prefix}.name")]
        );
        assert_eq!(
            step(|step| {
                step["repeat"] = json!({"count": 2});
                step["forEach"] = json!({"in": [1], "as": "x"});
            }),
            [prefix]
        );
    }

    #[test]
    fn a_step_knows_only_what_came_before_it() {
        let steps = |first: &str, second: &str| {
            let step = |path: &str| json!({"name": path, "http": {"path": path}, "extract": {"id": {"body": true}}});
            spec(|s| s["scenarios"][0]["tasks"][0]["steps"] = json!([step(first), step(second)]))
        };
        assert!(steps("/a", "/{{ id }}").is_ok());
        let problems = steps("/{{ id }}", "/b").unwrap_err();
        assert_eq!(
            problems[0].path,
            "spec.scenarios[0].tasks[0].steps[0].http.path"
        );
    }

    #[test]
    fn in_open_load_nobody_stops() {
        let paths = refused_at(|s| {
            s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
            s["scenarios"][0]["onStop"] = json!([{"http": {"path": "/bye"}}]);
        });
        assert_eq!(paths, ["spec.scenarios[0].onStop"]);
    }

    #[test]
    fn a_spec_of_a_megabyte_is_refused_without_a_second_look() {
        let problems =
            spec(|s| s["variables"]["name"] = json!("x".repeat(1024 * 1024))).unwrap_err();
        assert!(
            problems[0].message.starts_with("SpecTooLarge"),
            "{problems:?}"
        );
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
        let checked = spec(|s| {
            s["load"] =
                json!({"open": {"rate": 120, "per": "1m", "duration": "10s", "maxInFlight": 5}})
        })
        .unwrap();
        assert_eq!(checked.plan.arrivals_until(Duration::MAX), Some(20));
    }

    #[test]
    fn a_throttle_would_hide_what_open_load_asks_for() {
        let open = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}, "throttle": {"rps": 5}});
        assert_eq!(refused_at(|s| s["load"] = open), ["spec.load.throttle"]);
    }

    #[test]
    fn either_the_test_has_a_load_or_each_of_its_scenarios() {
        let own = json!({"closed": {"users": 1, "duration": "1s"}});
        assert_eq!(
            refused_at(|s| s["scenarios"][0]["load"] = own.clone()),
            ["spec.load"]
        );
        let two = |s: &mut Value| {
            s.as_object_mut().unwrap().remove("load");
            s["scenarios"][0]["load"] = own.clone();
            let second = json!({"name": "second", "tasks": s["scenarios"][0]["tasks"].clone()});
            s["scenarios"].as_array_mut().unwrap().push(second);
        };
        assert_eq!(refused_at(two), ["spec.scenarios[1].load"]);
        let checked = spec(|s| {
            two(s);
            s["scenarios"][1]["load"] = json!({"startAfter": "10s", "open": {"rate": 50, "duration": "5s", "maxInFlight": 1}});
            s["warmup"] = json!({"duration": "3s"});
        });
        let plan = checked.unwrap().plan;
        assert_eq!(
            (plan.whole_length(), plan.arrivals_until(Duration::MAX)),
            (Some(Duration::from_secs(18)), None)
        );
        assert_eq!(
            plan.populations
                .iter()
                .map(|p| p.warmup_target)
                .collect::<Vec<_>>(),
            [1.0, 5.0]
        );
        assert_eq!(
            refused_at(|s| {
                s.as_object_mut().unwrap().remove("load");
            }),
            ["spec.load"]
        );
    }

    #[test]
    fn a_run_whose_length_nobody_knows_has_two_hours() {
        let iterations = |more: Value| {
            spec(|s| {
                s["load"] = json!({"iterations": {"count": 5, "users": 2}});
                s["load"]["iterations"]
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
            })
            .unwrap()
        };
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        assert_eq!(iterations(json!({})).deadline, hours(2));
        assert_eq!(iterations(json!({"maxDuration": "10m"})).deadline, hours(2));
        assert_eq!(
            iterations(json!({"maxDuration": "3h"})).deadline,
            hours(3) + Duration::from_secs(630)
        );
        assert_eq!(iterations(json!({})).plan.iterations(), Some(5));
    }

    #[test]
    fn users_without_anything_to_play_are_found() {
        assert_eq!(
            refused_at(|s| s["scenarios"][0]["fixedUsers"] = json!(9)),
            ["spec.load"]
        );
        assert_eq!(
            refused_at(|s| s["scenarios"][0]["fixedUsers"] = json!(11)),
            ["spec.load"]
        );
        assert!(spec(|s| s["scenarios"][0]["fixedUsers"] = json!(10)).is_ok());
        let paths = refused_at(|s| {
            s["scenarios"][0]["fixedUsers"] = json!(1);
            s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
        });
        assert_eq!(paths, ["spec.scenarios[0].fixedUsers"]);
    }

    #[test]
    fn pacing_and_think_time_exclude_each_other() {
        let both = |s: &mut Value| {
            s["scenarios"][0]["pacing"] = json!("1s");
            s["scenarios"][0]["thinkTime"] = json!({"constant": "1s"});
        };
        assert_eq!(refused_at(both), ["spec.scenarios[0].pacing"]);
        assert_eq!(
            refused_at(|s| s["scenarios"][0]["thinkTime"] = json!({"min": "1s", "constant": "1s"})),
            ["spec.scenarios[0].thinkTime"]
        );
    }

    #[test]
    fn a_step_without_a_name_is_called_by_what_it_does() {
        let checked = spec(|_| {}).unwrap();
        assert_eq!(checked.plan.steps().next().unwrap().step.name, "GET /a");
    }

    #[test]
    fn a_latency_threshold_alone_is_warned_of() {
        let checked =
            spec(|s| s["thresholds"] = json!([{"metric": "latency", "expr": "p(95) < 1s"}]))
                .unwrap();
        assert_eq!(checked.warnings.len(), 1);
    }

    #[test]
    fn a_plan_survives_its_own_json() {
        let plan = spec(|s| s["target"]["headers"] = json!({"X-N": "{{ name }}"}))
            .unwrap()
            .plan;
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}
