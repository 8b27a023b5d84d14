//! `starling run URL`: a test of one request, written on the command line.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value, json};
use url::Url;

use super::files::read_file;
use super::overrides::{Overrides, whole};
use crate::plan::Problem;
use crate::plan::threshold::Metric;

/// Schemes of a URL that stands in the place of a file.
const SCHEMES: [&str; 4] = ["http://", "https://", "grpc://", "grpcs://"];

/// Users and length of the load, where no flag says.
const USERS: u32 = 10;
const DURATION: &str = "10s";

/// Metric of a threshold that names none.
const LATENCY: &str = "latency";

/// Arrivals under way at once for each arrival a second, and the most there are, where no flag says.
const IN_FLIGHT: u32 = 4;
const MOST_IN_FLIGHT: u32 = 10_000;

/// The request of a test that is a URL, and what is expected of it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "With a URL in the place of a file")]
pub struct Request {
    /// Method of the request [default: GET, or POST where there is a body]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Header of the request, or metadata of the call
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// JSON body, sent as written, or message of the call; {{ }} in it are expressions
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "body")]
    json_body: Option<String>,
    /// Body of the request as text with expressions, or of the bytes of a file
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// Call this method, package.Service/Method, of a gRPC server that has reflection
    #[arg(long, value_name = "METHOD", conflicts_with_all = ["method", "body"])]
    grpc: Option<String>,
    /// Threshold, of the latency unless another metric comes first: "failures rate < 1%"
    #[arg(long, value_name = "[METRIC] EXPR")]
    expect: Vec<String>,
    /// Requests under way at most with --rate [default: 4 for each a second, at most 10000]
    #[arg(long, value_name = "N", requires = "rate", value_parser = whole(1_000_000), allow_negative_numbers = true)]
    max_in_flight: Option<u32>,
    /// Print the test as a LoadTest, and do not run it
    #[arg(long)]
    print: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME: VALUE".to_owned()),
    }
}

/// Tells whether an argument in the place of a file is a URL.
pub fn is_url(argument: &str) -> bool {
    SCHEMES.iter().any(|scheme| {
        let begin = argument.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })
}

impl Request {
    /// Tells whether the test is to be printed.
    pub fn is_to_be_printed(&self) -> bool {
        self.print
    }

    /// Names a flag that only a URL gives a meaning, if there is one.
    pub fn any(&self) -> Option<&'static str> {
        let Self {
            method,
            header,
            json_body,
            body,
            grpc,
            expect,
            max_in_flight,
            print,
        } = self;
        [
            ("--method", method.is_some()),
            ("--header", !header.is_empty()),
            ("--json-body", json_body.is_some()),
            ("--body", body.is_some()),
            ("--grpc", grpc.is_some()),
            ("--expect", !expect.is_empty()),
            ("--max-in-flight", max_in_flight.is_some()),
            ("--print", *print),
        ]
        .into_iter()
        .find_map(|(flag, is_set)| is_set.then_some(flag))
    }

    /// Writes the test as a LoadTest in YAML. Its load is taken out of the flags that change one.
    ///
    /// # Errors
    ///
    /// A URL, body or threshold that cannot be read.
    pub fn test(&self, url: &str, overrides: &mut Overrides) -> Result<String, Problem> {
        let (target, path) = parts(url)?;
        let step = match &self.grpc {
            Some(method) => {
                if path != "/" {
                    let why = "with --grpc the URL is that of the server: --grpc names the method";
                    return Err(Problem::new("URL", why));
                }
                json!({"grpc": self.call(method)?})
            }
            None => json!({"http": self.request(&path)?}),
        };
        let mut spec = Map::new();
        spec.insert("target".to_owned(), json!({"url": target}));
        spec.insert("steps".to_owned(), json!([step]));
        spec.insert("load".to_owned(), self.load(overrides));
        let thresholds: Result<Vec<Value>, Problem> =
            self.expect.iter().map(|text| threshold(text)).collect();
        let thresholds = thresholds?;
        if !thresholds.is_empty() {
            spec.insert("thresholds".to_owned(), thresholds.into());
        }
        let test = json!({
            "apiVersion": "starling.dev/v1alpha1",
            "kind": "LoadTest",
            "metadata": {"name": "one-request"},
            "spec": spec,
        });
        serde_saphyr::to_string(&test)
            .map(|yaml| format!("{}\n", yaml.trim_end()))
            .map_err(|error| Problem::new("URL", error.to_string()))
    }

    fn request(&self, path: &str) -> Result<Value, Problem> {
        let has_body = self.json_body.is_some() || self.body.is_some();
        let method = match &self.method {
            Some(method) => method.as_str(),
            None if has_body => "POST",
            None => "GET",
        };
        let mut request = Map::new();
        if method != "GET" {
            request.insert("method".to_owned(), method.into());
        }
        request.insert("path".to_owned(), path.into());
        if !self.header.is_empty() {
            request.insert("headers".to_owned(), self.headers("--header")?);
        }
        if let Some(json) = self.json()? {
            request.insert("json".to_owned(), json.into());
        }
        match self
            .body
            .as_deref()
            .map(|body| (body.strip_prefix('@'), body))
        {
            None => {}
            Some((Some(file), _)) => {
                if !Path::new(file).is_file() {
                    return Err(Problem::new("--body", format!("{file:?} is no file here")));
                }
                request.insert("bodyFrom".to_owned(), json!({"file": file}));
            }
            Some((None, text)) => {
                request.insert("body".to_owned(), text.into());
            }
        }
        Ok(request.into())
    }

    fn call(&self, method: &str) -> Result<Value, Problem> {
        let mut call = Map::new();
        call.insert("method".to_owned(), method.trim_start_matches('/').into());
        if let Some(json) = self.json()? {
            let message: Value = serde_json::from_str(&json)
                .map_err(|error| Problem::new("--json-body", format!("is no JSON: {error}")))?;
            call.insert("message".to_owned(), message);
        }
        if !self.header.is_empty() {
            call.insert("metadata".to_owned(), self.headers("--header")?);
        }
        Ok(call.into())
    }

    /// Returns the text of `--json-body`, or of the file that it names.
    fn json(&self) -> Result<Option<String>, Problem> {
        let Some(json) = &self.json_body else {
            return Ok(None);
        };
        let Some(file) = json.strip_prefix('@') else {
            return Ok(Some(json.clone()));
        };
        let text = read_file(Path::new(file))
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()));
        match text {
            Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').to_owned())),
            Err(why) => Err(Problem::new("--json-body", format!("{file:?} {why}"))),
        }
    }

    fn headers(&self, flag: &str) -> Result<Value, Problem> {
        let mut headers = Map::new();
        for (name, value) in &self.header {
            if headers.keys().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Problem::new(flag, format!("{name} is there twice")));
            }
            headers.insert(name.clone(), value.as_str().into());
        }
        Ok(headers.into())
    }

    /// Takes the load out of the flags, so that they do not change it once more.
    fn load(&self, overrides: &mut Overrides) -> Value {
        let duration = overrides.duration.take();
        let duration = duration.unwrap_or_else(|| DURATION.to_owned());
        match (overrides.users.take(), overrides.rate.take()) {
            (None, Some(rate)) => {
                let most = rate.get() * f64::from(IN_FLIGHT);
                let most = (most.ceil() as u32).clamp(1, MOST_IN_FLIGHT);
                let most = self.max_in_flight.unwrap_or(most);
                json!({"open": {"rate": rate, "duration": duration, "maxInFlight": most}})
            }
            (users, _) => {
                let users = users.unwrap_or(USERS);
                json!({"closed": {"users": users, "duration": duration}})
            }
        }
    }
}

/// Divides a URL into that of the target and the path with its query.
fn parts(text: &str) -> Result<(String, String), Problem> {
    let refused = |why: String| Problem::new("URL", why);
    let url = Url::parse(text).map_err(|error| refused(format!("{text:?}: {error}")))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refused(format!("{text:?} names no host")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "has a user name: give --header \"Authorization: …\", or write a file with target.auth"
                .to_owned(),
        ));
    }
    // as written, since expressions may stand in it
    let begin = text.find("://").map_or(0, |at| at + "://".len());
    let end = text[begin..].find(['/', '?', '#']);
    let (target, path) = match end {
        Some(end) => text.split_at(begin + end),
        None => (text, ""),
    };
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    // a scheme may be written in any case
    let (scheme, rest) = target.split_at(begin);
    Ok((format!("{}{rest}", scheme.to_ascii_lowercase()), path))
}

/// Returns what to write in place of an argument that is neither a file nor a URL, if it looks like
/// one: `host:8080/path`, `localhost`, or a URL of another kind.
pub fn hint(argument: &str) -> Option<String> {
    if is_url(argument) || Path::new(argument).exists() {
        return None;
    }
    if let Some((scheme, _)) = argument.split_once("://") {
        let known = SCHEMES.join(", ");
        return Some(format!(
            "{scheme}:// is no scheme of a target; there are {known}"
        ));
    }
    let host = argument.split(['/', '?']).next().unwrap_or_default();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
    let looks_like_one = has_port || host == "localhost" || host.parse::<IpAddr>().is_ok();
    looks_like_one.then(|| format!("a URL begins with its scheme: http://{argument}"))
}

/// Reads a threshold: `p(95) < 200ms`, or with a metric before it, `failures rate < 1%`.
fn threshold(text: &str) -> Result<Value, Problem> {
    let text = text.trim();
    let (first, rest) = text.split_once([' ', ':']).unwrap_or((text, ""));
    let named = Metric::all().find(|metric| metric.name() == first);
    let (metric, expr) = match named {
        Some(metric) => (metric.name(), rest.trim_start_matches([' ', ':'])),
        None => (LATENCY, text),
    };
    if expr.is_empty() {
        let why =
            format!("{text:?} says nothing of it: write \"{metric} p(95) < 200ms\" or the like");
        return Err(Problem::new("--expect", why));
    }
    Ok(json!({"metric": metric, "expr": expr}))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::crd::{LoadTestSpec, check};

    #[derive(Debug, Parser)]
    struct Line {
        url: String,
        #[command(flatten)]
        request: Request,
        #[command(flatten)]
        overrides: Overrides,
    }

    fn test(arguments: &[&str]) -> Result<Value, Problem> {
        let mut line = Line::parse_from([&["run"], arguments].concat());
        let yaml = line.request.test(&line.url, &mut line.overrides)?;
        let test: Value = serde_saphyr::from_str(&yaml).unwrap();
        let spec: LoadTestSpec = serde_json::from_value(test["spec"].clone()).unwrap();
        if let Err(problems) = check(&spec) {
            panic!("{yaml}\n{problems:?}");
        }
        assert_eq!((line.overrides.users, line.overrides.rate), (None, None));
        Ok(test["spec"].clone())
    }

    #[test]
    fn a_url_alone_is_a_get_by_ten_users_for_ten_seconds() {
        for (url, target, path) in [
            ("http://h", "http://h", "/"),
            (
                "https://h:8443/a/b?c={{ user.id }}#d",
                "https://h:8443",
                "/a/b?c={{ user.id }}",
            ),
            ("http://[::1]:80?q=1", "http://[::1]:80", "/?q=1"),
            ("HTTP://Host/A", "http://Host", "/A"),
        ] {
            let spec = test(&[url]).unwrap();
            assert_eq!(spec["target"], json!({"url": target}));
            assert_eq!(spec["steps"], json!([{"http": {"path": path}}]));
            assert_eq!(
                spec["load"],
                json!({"closed": {"users": 10, "duration": "10s"}})
            );
            assert_eq!(spec.get("thresholds"), None);
        }
    }

    #[test]
    fn flags_make_the_request_the_load_and_the_thresholds() {
        let spec = test(&[
            "http://h/x",
            "--json-body",
            r#"{"b": 1, "a": "{{ uuid() }}"}"#,
            "--header",
            "X-Key: a: b",
            "--rate",
            "100",
            "--duration",
            "30s",
            "--expect",
            "p(95) < 200ms",
            "--expect",
            "failures rate < 1%",
            "--expect",
            "achieved: rate > 99%",
        ])
        .unwrap();
        let request = &spec["steps"][0]["http"];
        assert_eq!(request["method"], "POST");
        assert_eq!(request["json"], r#"{"b": 1, "a": "{{ uuid() }}"}"#);
        assert_eq!(request["headers"], json!({"X-Key": "a: b"}));
        let open = json!({"rate": 100, "duration": "30s", "maxInFlight": 400});
        assert_eq!(spec["load"], json!({"open": open}));
        assert_eq!(
            spec["thresholds"],
            json!([
                {"metric": "latency", "expr": "p(95) < 200ms"},
                {"metric": "failures", "expr": "rate < 1%"},
                {"metric": "achieved", "expr": "rate > 99%"},
            ])
        );
        let spec = test(&[
            "http://h", "--rate", "1000000", "--method", "PURGE", "--body", "x",
        ]);
        let spec = spec.unwrap();
        assert_eq!(spec["load"]["open"]["maxInFlight"], 10_000);
        assert_eq!(spec["steps"][0]["http"]["method"], "PURGE");
        let spec = test(&["http://h", "--rate", "5", "--max-in-flight", "7"]).unwrap();
        assert_eq!(spec["load"]["open"]["maxInFlight"], 7);
    }

    #[test]
    fn a_call_is_by_reflection_of_the_server() {
        let spec = test(&[
            "http://h:50051",
            "--grpc",
            "pkg.Service/Do",
            "--json-body",
            r#"{"text": "a"}"#,
            "--header",
            "x-key: v",
        ])
        .unwrap();
        let call = json!({"method": "pkg.Service/Do", "message": {"text": "a"}, "metadata": {"x-key": "v"}});
        assert_eq!(spec["steps"], json!([{"grpc": call}]));
    }

    #[test]
    fn what_cannot_be_a_test_is_refused_by_the_flag_that_is_wrong() {
        for (arguments, path) in [
            (&["http://"][..], "URL"),
            (&["http://u:p@h"], "URL"),
            (&["http://h/x", "--grpc", "a.B/C"], "URL"),
            (
                &["http://h", "--grpc", "a.B/C", "--json-body", "{"],
                "--json-body",
            ),
            (&["http://h", "--body", "@/nowhere"], "--body"),
            (&["http://h", "--expect", "failures"], "--expect"),
            (
                &["http://h", "--header", "a: 1", "--header", "A: 2"],
                "--header",
            ),
        ] {
            assert_eq!(test(arguments).unwrap_err().path, path, "{arguments:?}");
        }
        for (argument, said) in [
            ("127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
            ("localhost", "http://localhost"),
            ("models.example:80", "http://models.example:80"),
            ("::1", "http://::1"),
            ("ws://h/", "ws:// is no scheme of a target"),
        ] {
            let hint = hint(argument).expect("a hint");
            assert!(hint.contains(said), "{argument}: {hint}");
        }
        for file in ["none.yaml", "folder/none.yaml", "http://h", "a:b.yaml", ""] {
            assert_eq!(hint(file), None, "{file}");
        }
        assert!(is_url("HTTPS://h") && is_url("grpc://h") && !is_url("http.yaml"));
    }
}
