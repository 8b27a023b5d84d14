//! Flags that change a LoadTest, and their texts in the result.

use std::str::FromStr;

use serde_json::Value;

use super::tags::{Tag, choose};
use crate::crd::LoadTestSpec;
use crate::crd::spec::{Amount, ClosedSpec, OpenSpec, ScenarioSpec, TargetSpec};
use crate::plan::host_address::{self, HostAddress};
use crate::plan::{Problem, duration};

/// Changes of a LoadTest by flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// Send the load to this URL instead of spec.target.url, or instead of the URL of the target
    /// NAME of spec.targets
    #[arg(long, value_name = "[NAME=]URL")]
    pub target: Vec<Place>,
    /// Connect to ADDR for requests to NAME:PORT, instead of to what name servers say; several
    /// addresses have commas between them
    #[arg(long, value_name = "NAME:PORT:ADDR")]
    pub resolve: Vec<Resolve>,
    /// Set a declared variable: a JSON value, or text if it is no JSON
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<Variable>,
    /// Number of users, in closed load; where the file has stages, a constant number, and only
    /// together with --duration
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = whole(1_000_000), allow_negative_numbers = true)]
    pub users: Option<u32>,
    /// Iterations per second, or per the file's unit, in open load; where the file has stages, a
    /// constant rate, and only together with --duration
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rate: Option<Amount>,
    /// Time for which the load is held, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = checked_duration, allow_hyphen_values = true)]
    pub duration: Option<String>,
    /// Send only requests with one of these tags, besides what users do at their start and end
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub tags: Vec<Tag>,
    /// Leave out requests with one of these tags
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub exclude_tags: Vec<Tag>,
}

/// Returns a reader of whole numbers from 1 to `most`.
pub fn whole(most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("must be a whole number from 1 to {most}"))
    }
}

/// Replacement of a target's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// URL of the target of this name, or of `spec.target`.
    One(Option<String>, String),
    /// URL of all targets.
    All(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text
            .split_once('=')
            .filter(|(name, _)| !name.contains(['/', ':', '?']));
        match named {
            Some(("", _)) => Err("write URL or NAME=URL".into()),
            Some((name, url)) => Ok(Self::One(Some(name.to_owned()), url.to_owned())),
            None => Ok(Self::One(None, text.to_owned())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(Some(name), url) => write!(f, "{name}={url}"),
            Self::One(None, url) | Self::All(url) => f.write_str(url),
        }
    }
}

impl Place {
    fn apply(&self, spec: &mut LoadTestSpec) -> Result<(), Problem> {
        match self {
            Self::One(None, url) => spec.target.url.clone_from(url),
            Self::All(url) => {
                spec.target.url.clone_from(url);
                spec.targets
                    .values_mut()
                    .for_each(|target| target.url.clone_from(url));
            }
            Self::One(Some(name), url) => match spec.targets.get_mut(name) {
                Some(target) => target.url.clone_from(url),
                None => {
                    return Err(Problem::new(
                        "spec.targets",
                        format!("--target: there is no target {name:?}"),
                    ));
                }
            },
        }
        Ok(())
    }
}

/// Addresses of a host and port: `NAME:PORT:ADDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Host and port.
    endpoint: String,
    /// Addresses as they were given.
    addresses: String,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // an IPv6 address holds colons too, in the name only within brackets
        let name = text
            .find(']')
            .filter(|_| text.starts_with('['))
            .unwrap_or(0);
        let mut colons = text[name..].match_indices(':').map(|(at, _)| name + at);
        let second = colons.nth(1).ok_or("write NAME:PORT:ADDR")?;
        let endpoint = host_address::endpoint(&text[..second])?;
        let addresses = &text[second + 1..];
        for address in addresses.split(',') {
            HostAddress::parse(address.trim())?;
        }
        Ok(Self {
            endpoint,
            addresses: addresses.to_owned(),
        })
    }
}

impl std::fmt::Display for Resolve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.endpoint, self.addresses)
    }
}

impl Resolve {
    /// Gives the addresses to every target that connects to the host and port.
    fn apply(&self, spec: &mut LoadTestSpec) -> Result<(), Problem> {
        let Self {
            endpoint,
            addresses,
        } = self;
        let mut is_used = false;
        for target in [&mut spec.target]
            .into_iter()
            .chain(spec.targets.values_mut())
        {
            if endpoints(target).contains(endpoint) {
                is_used = true;
                let is_same = |given: &str| host_address::endpoint(given).as_ref() == Ok(endpoint);
                target.resolve.retain(|given, _| !is_same(given));
                target.resolve.insert(endpoint.clone(), addresses.clone());
            }
        }
        match is_used {
            true => Ok(()),
            false => Err(Problem::new(
                "spec.target.resolve",
                format!("--resolve: no target connects to {endpoint}"),
            )),
        }
    }
}

/// Returns the hosts and ports that a target connects to.
fn endpoints(target: &TargetSpec) -> Vec<String> {
    let proxy = target.proxy.iter().map(|proxy| &proxy.url);
    let oauth2 = target.auth.iter().filter_map(|auth| auth.oauth2.as_ref());
    let urls = [&target.url].into_iter().chain(proxy);
    let urls = urls.chain(oauth2.map(|oauth2| &oauth2.token_url));
    urls.filter_map(|url| host_address::endpoint_of(&url.parse().ok()?))
        .collect()
}

/// Value of a declared variable: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    name: String,
    value: Value,
    /// Argument as given, for the result.
    text: String,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                let parsed = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                Ok(Variable {
                    name: name.to_owned(),
                    value: parsed,
                    text: text.to_owned(),
                })
            }
            _ => Err("write NAME=VALUE".into()),
        }
    }
}

fn checked_duration(text: &str) -> Result<String, String> {
    match duration::parse(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than nothing".into()),
        Ok(_) => Ok(text.to_owned()),
        Err(message) => Err(message),
    }
}

impl Overrides {
    /// Changes `spec` and returns the flags as they were written.
    ///
    /// # Errors
    ///
    /// Each flag that does not fit this test.
    pub fn apply(&self, spec: &mut LoadTestSpec) -> Result<Vec<String>, Vec<Problem>> {
        let Overrides {
            target,
            resolve,
            var,
            users: _,
            rate: _,
            duration: _,
            tags,
            exclude_tags,
        } = self;
        let mut problems = Vec::new();
        problems.extend(choose(spec, tags, exclude_tags).err());
        problems.extend(target.iter().filter_map(|place| place.apply(spec).err()));
        problems.extend(resolve.iter().filter_map(|one| one.apply(spec).err()));
        for Variable {
            name,
            value,
            text: _,
        } in var
        {
            match spec.variables.get_mut(name) {
                Some(variable) => variable.clone_from(value),
                None => problems.push(Problem::new("spec.variables", no_such_variable(name, spec))),
            }
        }
        self.change_load(spec, &mut problems);
        if problems.is_empty() {
            Ok(self.texts())
        } else {
            Err(problems)
        }
    }

    /// Changes the load profile by `--users`, `--rate` and `--duration`.
    fn change_load(&self, spec: &mut LoadTestSpec, problems: &mut Vec<Problem>) {
        let (users, rate, duration) = (self.users, self.rate, self.duration.as_ref());
        if users.is_none() && rate.is_none() && duration.is_none() {
            return;
        }
        let of_open = "--rate is for open load; use --users";
        if let Some(closed) = &mut spec.load.closed {
            problems.extend(rate.map(|_| Problem::new("spec.load.closed", of_open)));
            problems.extend(closed_load(closed, users, duration));
        }
        if let Some(iterations) = &mut spec.load.iterations {
            let path = "spec.load.iterations";
            problems.extend(rate.map(|_| Problem::new(path, of_open)));
            problems.extend(duration.map(|_| {
                Problem::new(path, "ends when all are done; --duration is for other load")
            }));
            iterations.users = users.unwrap_or(iterations.users);
        }
        let has_own = |scenario: &ScenarioSpec| scenario.load.is_some();
        let why = "has a load of its own; --users, --rate and --duration change spec.load";
        let own = spec.scenarios.iter().position(has_own);
        problems.extend(own.map(|i| Problem::new(format!("spec.scenarios[{i}].load"), why)));
        if spec.load.capacity.is_some() {
            problems.push(Problem::new(
                "spec.load.capacity",
                "finds its rates and its length by itself; --users, --rate and --duration do not fit",
            ));
        }
        if let Some(open) = &mut spec.load.open {
            let of_closed = "--users is for closed load; use --rate";
            problems.extend(users.map(|_| Problem::new("spec.load.open", of_closed)));
            problems.extend(open_load(open, rate, duration));
        }
    }

    fn texts(&self) -> Vec<String> {
        let Overrides {
            target,
            resolve,
            var,
            users,
            rate,
            duration,
            tags,
            exclude_tags,
        } = self;
        let mut texts = Vec::new();
        texts.extend(target.iter().map(|place| format!("--target {place}")));
        texts.extend(resolve.iter().map(|one| format!("--resolve {one}")));
        texts.extend(
            var.iter()
                .map(|variable| format!("--var {}", variable.text)),
        );
        texts.extend(users.map(|users| format!("--users {users}")));
        texts.extend(rate.map(|rate| format!("--rate {rate}")));
        texts.extend(
            duration
                .as_ref()
                .map(|duration| format!("--duration {duration}")),
        );
        texts.extend(tags.iter().map(|tag| format!("--tags {tag}")));
        texts.extend(
            exclude_tags
                .iter()
                .map(|tag| format!("--exclude-tags {tag}")),
        );
        texts
    }
}

fn no_such_variable(name: &str, spec: &LoadTestSpec) -> String {
    let known: Vec<_> = spec.variables.keys().map(String::as_str).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    format!("--var {name}: the test declares no such variable; it declares {known}")
}

fn closed_load(
    closed: &mut ClosedSpec,
    users: Option<u32>,
    duration: Option<&String>,
) -> Option<Problem> {
    match (closed.stages.is_some(), users, duration) {
        (true, None, None) => {}
        (true, Some(_), Some(duration)) => {
            *closed = ClosedSpec {
                users,
                duration: Some(duration.clone()),
                ramp_up: None,
                start_at: None,
                stages: None,
                spawn_rate: None,
                max_missing: std::mem::take(&mut closed.max_missing),
                retry_pause: std::mem::take(&mut closed.retry_pause),
            }
        }
        (true, _, _) => {
            return Some(Problem::new(
                "spec.load.closed.stages",
                "stages are replaced only by --users and --duration together",
            ));
        }
        (false, _, _) => {
            closed.users = users.or(closed.users);
            closed.duration = duration.cloned().or(closed.duration.take());
        }
    }
    None
}

fn open_load(
    open: &mut OpenSpec,
    rate: Option<Amount>,
    duration: Option<&String>,
) -> Option<Problem> {
    match (open.stages.is_some(), rate, duration) {
        (true, None, None) => {}
        (true, Some(_), Some(duration)) => {
            (open.rate, open.duration) = (rate, Some(duration.clone()));
            (open.stages, open.start_at) = (None, None);
        }
        (true, _, _) => {
            return Some(Problem::new(
                "spec.load.open.stages",
                "stages are replaced only by --rate and --duration together",
            ));
        }
        (false, _, _) => {
            open.rate = rate.or(open.rate);
            open.duration = duration.cloned().or(open.duration.take());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd;

    fn spec(load: Value) -> LoadTestSpec {
        let tasks = json!([{"name": "t", "steps": [{"http": {"path": "/{{ n }}"}}]}]);
        let spec = json!({"target": {"url": "http://x"}, "variables": {"n": 1, "word": "a"}, "scenarios": [{"name": "s", "tasks": tasks}], "load": load});
        serde_json::from_value(spec).unwrap()
    }

    fn closed() -> LoadTestSpec {
        spec(json!({"closed": {"users": 5, "duration": "1m", "rampUp": "10s"}}))
    }

    fn stages() -> LoadTestSpec {
        spec(json!({"closed": {"startAt": 1, "stages": [{"duration": "10s", "target": 5}]}}))
    }

    fn overrides(change: impl FnOnce(&mut Overrides)) -> Overrides {
        let mut overrides = Overrides::default();
        change(&mut overrides);
        overrides
    }

    fn refused(overrides: &Overrides, mut spec: LoadTestSpec) -> String {
        overrides
            .apply(&mut spec)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn an_override_that_does_not_fit_is_refused() {
        let users = overrides(|o| o.users = Some(3));
        let rate = overrides(|o| o.rate = Some(3.into()));
        let open = || spec(json!({"open": {"rate": 5, "duration": "1m", "maxInFlight": 1}}));
        assert!(refused(&users, open()).contains("use --rate"));
        assert!(refused(&rate, closed()).contains("use --users"));
        assert!(refused(&users, stages()).contains("--users and --duration together"));
        let variable = overrides(|o| o.var = vec!["wrod=b".parse().unwrap()]);
        assert_eq!(
            refused(&variable, closed()),
            "spec.variables: --var wrod: the test declares no such variable; it declares n, word"
        );
        assert!("=1".parse::<Variable>().is_err() && "n".parse::<Variable>().is_err());
        assert!(checked_duration("0s").is_err() && checked_duration("5").is_err());
    }

    #[test]
    fn users_and_duration_replace_stages_but_keep_a_ramp() {
        let both = overrides(|o| (o.users, o.duration) = (Some(3), Some("5s".into())));
        let mut staged = stages();
        both.apply(&mut staged).unwrap();
        assert_eq!(
            staged.load,
            spec(json!({"closed": {"users": 3, "duration": "5s"}})).load
        );
        let mut ramped = closed();
        both.apply(&mut ramped).unwrap();
        assert_eq!(
            ramped.load,
            spec(json!({"closed": {"users": 3, "duration": "5s", "rampUp": "10s"}})).load
        );
        assert!(crd::check(&staged).is_ok() && crd::check(&ramped).is_ok());
    }

    #[test]
    fn a_rate_keeps_the_unit_and_the_slots_of_the_file() {
        let mut spec = spec(
            json!({"open": {"stages": [{"duration": "10s", "target": 5}], "per": "1m", "maxInFlight": 7}}),
        );
        overrides(|o| (o.rate, o.duration) = (Some(60.into()), Some("5s".into())))
            .apply(&mut spec)
            .unwrap();
        let open = spec.load.open.clone().unwrap();
        assert_eq!(
            (open.rate, open.max_in_flight, open.stages),
            (Some(60.into()), 7, None)
        );
        assert_eq!(
            crd::check(&spec)
                .unwrap()
                .plan
                .arrivals_until(std::time::Duration::MAX),
            Some(5)
        );
    }

    #[test]
    fn variables_are_json_where_they_can_be() {
        let mut spec = closed();
        let variables = ["n={\"a\": 1}", "word=two words=x"].map(|text| text.parse().unwrap());
        let texts = overrides(|o| o.var = variables.into())
            .apply(&mut spec)
            .unwrap();
        assert_eq!(
            (&spec.variables["n"], &spec.variables["word"]),
            (&json!({"a": 1}), &json!("two words=x"))
        );
        assert_eq!(texts, ["--var n={\"a\": 1}", "--var word=two words=x"]);
    }

    #[test]
    fn addresses_go_to_the_targets_that_connect_to_the_host() {
        for text in [
            "host:80",
            "host:port:10.0.0.7",
            "host:80:name",
            "::1:80:10.0.0.7",
            "host:80:10.0.0.7,",
        ] {
            assert!(text.parse::<Resolve>().is_err(), "{text}");
        }
        let six: Resolve = "[::1]:80:fe80::1%eth0".parse().unwrap();
        assert_eq!(
            (six.endpoint.as_str(), six.addresses.as_str()),
            ("[::1]:80", "fe80::1%eth0")
        );
        let mut spec = closed();
        spec.target.url = "https://API.example.com/v1".into();
        spec.target.resolve = [("Api.example.com:443".into(), "10.0.0.8".into())].into();
        let resolve = |text: &str| overrides(|o| o.resolve = vec![text.parse().unwrap()]);
        let texts = resolve("api.example.com:443:10.0.0.7")
            .apply(&mut spec)
            .unwrap();
        assert_eq!(texts, ["--resolve api.example.com:443:10.0.0.7"]);
        assert_eq!(
            spec.target.resolve,
            [("api.example.com:443".into(), "10.0.0.7".into())].into()
        );
        assert!(crd::check(&spec).is_ok());
        let refused = refused(&resolve("api.example.com:80:10.0.0.7"), spec);
        assert!(
            refused.ends_with("no target connects to api.example.com:80"),
            "{refused}"
        );
    }

    #[test]
    fn a_target_that_is_no_url_is_found_by_the_rules() {
        let mut spec = closed();
        overrides(|o| o.target = vec!["nowhere".parse().unwrap()])
            .apply(&mut spec)
            .unwrap();
        assert_eq!(crd::check(&spec).unwrap_err()[0].path, "spec.target.url");
    }
}
