//! Head of a call: method, metadata and deadline. It is built once, except for what differs between
//! calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};

use crate::engine::attempt::failure::Failure;
use crate::engine::auth::{Credentials, Token};
use crate::engine::message::{USER_AGENT, host};
use crate::plan::grpc;
use crate::plan::template::{Compiled, Need, Place, RenderError, Scope};
use crate::plan::{self, Names, Problem, Target};

/// Names of headers that belong to the protocol, as do all that begin with `grpc-`.
const RESERVED: [&str; 9] = [
    "content-type",
    "te",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// Largest number in a `grpc-timeout`, which has at most eight digits.
const MAX_DEADLINE: u128 = 99_999_999;

/// Head of a step's calls, compiled once.
pub(super) struct Head {
    uri: Uri,
    /// Headers that are the same for each call.
    fixed: HeaderMap,
    varying: Vec<Varying>,
    /// Bearer token to send with each call; it is renewed during the run.
    token: Option<Arc<Token>>,
    /// Size of `fixed` and the path in bytes, as HTTP/1.1 writes them.
    size: usize,
}

struct Varying {
    name: HeaderName,
    value: Compiled,
}

/// Properties of a call besides its message.
pub(super) struct CallOptions<'a> {
    /// Service and method to call.
    pub(super) method: &'a grpc::Method,
    /// Metadata of the step.
    pub(super) metadata: &'a [plan::Header],
    /// Timeout, sent as `grpc-timeout`.
    pub(super) timeout: Duration,
    /// True if messages are sent compressed.
    pub(super) gzip: bool,
}

impl Head {
    /// Builds the head of the calls of a step. `path` is the field path of the call, for problems.
    pub(super) fn compile(
        target: &Target,
        credentials: Option<&Credentials>,
        names: &Names,
        options: &CallOptions<'_>,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let uri = uri(target, options.method)
            .map_err(|why| vec![Problem::new(format!("{path}.method"), why)])?;
        let mut compiler = Compiler {
            names,
            fixed: protocol_headers(options),
            varying: Vec::new(),
            token: None,
            problems: Vec::new(),
        };
        compiler.target(target, credentials, options.metadata);
        for header in options.metadata {
            compiler.header(header, format!("{path}.metadata.{}", header.name));
        }
        let Compiler {
            names: _,
            fixed,
            varying,
            token,
            problems,
        } = compiler;
        if !problems.is_empty() {
            return Err(problems);
        }
        let of_fixed = fixed
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4);
        Ok(Self {
            size: uri.path().len() + of_fixed.sum::<usize>(),
            uri,
            fixed,
            varying,
            token,
        })
    }

    /// Returns the feeder rows that must be taken before rendering.
    pub(super) fn needs(&self) -> impl Iterator<Item = Need> {
        self.varying
            .iter()
            .flat_map(|varying| varying.value.needs().iter().copied())
    }

    /// Renders the values that differ between calls. Fails if a template fails or there is no
    /// token.
    pub(super) fn render(&self, scope: &mut impl Scope) -> Result<Rendered<'_>, Failure> {
        let mut rendered = Rendered {
            head: self,
            varying: Vec::new(),
            size: self.size,
        };
        for Varying { name, value } in &self.varying {
            let mut bytes = Vec::new();
            let unfit = |why: RenderError| Failure::Unfit(why.to_string());
            value.render(scope, &mut bytes).map_err(unfit)?;
            grpc::check_metadata(name.as_str(), &bytes)
                .map_err(|why| Failure::Unfit(format!("metadata {name}: {why}")))?;
            rendered.add(
                name.clone(),
                HeaderValue::from_maybe_shared(Bytes::from(bytes))
                    .map_err(|_| unfit(RenderError::LineBreak))?,
            );
        }
        rendered.show_token()?;
        Ok(rendered)
    }

    /// Returns a request with the target's metadata only, leaving out values that differ between
    /// calls.
    pub(super) fn plain(&self) -> Result<http::Request<()>, Failure> {
        let mut rendered = Rendered {
            head: self,
            varying: Vec::new(),
            size: 0,
        };
        rendered.show_token()?;
        Ok(rendered.request())
    }
}

/// Head of one call.
pub(super) struct Rendered<'a> {
    head: &'a Head,
    varying: Vec<(HeaderName, HeaderValue)>,
    /// Size in bytes, as HTTP/1.1 would write it.
    pub(super) size: usize,
}

impl Rendered<'_> {
    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.size += name.as_str().len() + value.len() + 4;
        self.varying.push((name, value));
    }

    /// Sets the current token, replacing an older one. Fails if there is no valid token.
    pub(super) fn show_token(&mut self) -> Result<(), Failure> {
        let Some(token) = &self.head.token else {
            return Ok(());
        };
        let value = token.header().map_err(Failure::NoCredentials)?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| Failure::NoCredentials("the token does not go into a header".into()))?;
        match self
            .varying
            .iter_mut()
            .find(|(name, _)| *name == header::AUTHORIZATION)
        {
            Some((_, shown)) => {
                self.size = self.size + value.len() - shown.len();
                *shown = value;
            }
            None => self.add(header::AUTHORIZATION, value),
        }
        Ok(())
    }

    /// Writes the head as HTTP/1.1 would, with the empty line at its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let varying = self.varying.iter().map(|(name, value)| (name, value));
        out.extend_from_slice(format!("POST {} HTTP/2\r\n", self.head.uri.path()).as_bytes());
        for (name, value) in self.head.fixed.iter().chain(varying) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Returns the request to send; each attempt needs one of its own.
    pub(super) fn request(&self) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.head.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.head.fixed.clone();
        for (name, value) in &self.varying {
            request.headers_mut().append(name.clone(), value.clone());
        }
        request
    }
}

fn uri(target: &Target, method: &grpc::Method) -> Result<Uri, String> {
    let path = format!(
        "{}{}",
        target.url.path().trim_end_matches('/'),
        method.path()
    );
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if target.url.scheme() == "https" {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = Some(
        Authority::try_from(host(&target.url))
            .map_err(|e| format!("the target's host does not go with HTTP/2: {e}"))?,
    );
    parts.path_and_query = Some(
        PathAndQuery::try_from(path)
            .map_err(|e| format!("the path does not go with HTTP/2: {e}"))?,
    );
    Uri::from_parts(parts).map_err(|e| e.to_string())
}

/// Returns the headers that every call has, in the order that gRPC asks for.
fn protocol_headers(options: &CallOptions<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", deadline(options.timeout));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    if options.gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("gzip"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers
}

/// Formats a `grpc-timeout` in the finest unit in which it fits eight digits.
fn deadline(timeout: Duration) -> HeaderValue {
    let units = [
        (1, "n"),
        (1_000, "u"),
        (1_000_000, "m"),
        (1_000_000_000, "S"),
        (60_000_000_000, "M"),
        (3_600_000_000_000, "H"),
    ];
    let nanos = timeout.as_nanos();
    let fitting = units
        .iter()
        .find(|(in_nanos, _)| nanos / in_nanos <= MAX_DEADLINE);
    let text = fitting.map_or_else(
        || format!("{MAX_DEADLINE}H"),
        |(in_nanos, unit)| format!("{}{unit}", nanos / in_nanos),
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1H"))
}

fn is_reserved(name: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
        || name.to_ascii_lowercase().starts_with("grpc-")
}

struct Compiler<'a> {
    names: &'a Names,
    fixed: HeaderMap,
    varying: Vec<Varying>,
    token: Option<Arc<Token>>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    /// Adds the headers and credentials of a target. A name given nearer to the call wins: of
    /// `metadata`, then of the credentials, then of the target.
    fn target(
        &mut self,
        target: &Target,
        credentials: Option<&Credentials>,
        metadata: &[plan::Header],
    ) {
        let is_given = |name: &str| {
            metadata
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case(name))
        };
        let credentials = credentials.filter(|credentials| !is_given(credentials.header_name()));
        for header in &target.headers {
            let replaced = is_given(&header.name)
                || credentials.is_some_and(|credentials| credentials.is_called(&header.name));
            // what a target's HTTP requests say of their bodies means nothing here
            if !replaced && !is_reserved(&header.name) {
                let field = format!("{}.headers.{}", target.field(), header.name);
                self.header(header, field);
            }
        }
        if let Some(credentials) = credentials {
            self.credentials(credentials, &format!("{}.auth", target.field()));
        }
    }

    fn credentials(&mut self, credentials: &Credentials, field: &str) {
        let (name, value) = match credentials {
            Credentials::Fixed { name, value } => (name, value),
            Credentials::Refreshed(credentials) => match credentials.token() {
                Some(token) => return self.token = Some(token.clone()),
                None => {
                    return self.problems.push(Problem::new(
                        field,
                        "signs requests of HTTP, which calls over gRPC are not",
                    ));
                }
            },
        };
        match (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => drop(self.fixed.append(name, value)),
            _ => self.problems.push(Problem::new(
                field,
                "these credentials do not go with HTTP/2",
            )),
        }
    }

    fn header(&mut self, header: &plan::Header, field: String) {
        if let Err(why) = self.try_header(header) {
            self.problems.push(Problem::new(field, why));
        }
    }

    fn try_header(&mut self, header: &plan::Header) -> Result<(), String> {
        if is_reserved(&header.name) {
            return Err("this name belongs to gRPC itself and may not be set".into());
        }
        let name =
            HeaderName::try_from(&header.name).map_err(|_| "this is not the name of metadata")?;
        let value = header.value.compile(self.names, Place::Header)?;
        let Some(known) = value.as_static() else {
            self.varying.push(Varying { name, value });
            return Ok(());
        };
        grpc::check_metadata(name.as_str(), known)?;
        let value = HeaderValue::from_bytes(known).map_err(|_| "this does not go with HTTP/2")?;
        if name == header::USER_AGENT {
            self.fixed.insert(name, value);
        } else {
            self.fixed.append(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::plan::{Template, Tls};

    fn header(name: &str, value: &str) -> plan::Header {
        plan::Header {
            name: name.into(),
            value: Template::parse(value).unwrap(),
        }
    }

    fn target(headers: Vec<plan::Header>) -> Target {
        let url = Url::parse("https://models.example:8001/base/").unwrap();
        Target {
            name: None,
            url,
            headers,
            auth: None,
            tls: Tls::default(),
            proxy: None,
            unix_socket: None,
            ready_when: None,
            resolve: Default::default(),
        }
    }

    fn compiled(
        target: &Target,
        credentials: Option<(&str, &[u8])>,
        metadata: &[plan::Header],
    ) -> Result<Head, Vec<Problem>> {
        let fixed = credentials.map(|(name, value)| Credentials::Fixed {
            name: name.to_owned(),
            value: value.to_vec(),
        });
        let method = grpc::Method::parse("a.B/C").unwrap();
        let options = CallOptions {
            method: &method,
            metadata,
            timeout: Duration::from_secs(2),
            gzip: false,
        };
        Head::compile(target, fixed.as_ref(), &Names::default(), &options, "grpc")
    }

    #[test]
    fn metadata_that_belongs_to_the_protocol_or_is_none_is_refused() {
        for (name, value) in [
            ("grpc-timeout", "1S"),
            ("Content-Type", "x"),
            ("te", "x"),
            ("a b", "x"),
            ("x-bin", "no base64!"),
            ("x", "a\nb"),
        ] {
            let problems = compiled(&target(vec![]), None, &[header(name, value)])
                .err()
                .unwrap_or_default();
            assert_eq!(problems.len(), 1, "{name}: {value} was accepted");
            assert_eq!(problems[0].path, format!("grpc.metadata.{name}"));
        }
    }

    #[test]
    fn the_nearer_header_wins_and_the_path_follows_the_targets() {
        let target = target(vec![
            header("Accept", "a"),
            header("x-a", "target"),
            header("authorization", "target"),
            header("user-agent", "me"),
        ]);
        let head = compiled(
            &target,
            Some(("Authorization", b"Bearer t")),
            &[header("x-a", "call"), header("t-bin", "aGk=")],
        )
        .unwrap();
        assert_eq!(
            head.uri.to_string(),
            "https://models.example:8001/base/a.B/C"
        );
        let value = |name: &str| {
            head.fixed
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (value("x-a"), value("authorization")),
            (vec!["call"], vec!["Bearer t"])
        );
        assert_eq!(
            (value("t-bin"), value("user-agent"), value("grpc-timeout")),
            (vec!["aGk="], vec!["me"], vec!["2000000u"])
        );
    }

    #[test]
    fn a_deadline_has_at_most_eight_digits() {
        for (timeout, text) in [
            (Duration::from_nanos(5), "5n"),
            (Duration::from_millis(100), "100000u"),
            (Duration::from_secs(30), "30000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(86_400), "86400000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(deadline(timeout), text);
        }
    }
}
