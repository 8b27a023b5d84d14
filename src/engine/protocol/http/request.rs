//! Request of a step in bytes: prepared once if it never differs, else in pieces that are joined
//! for each request.

mod body;
pub(crate) mod http2;

use std::sync::OnceLock;

use crate::engine::auth::Credentials;
use crate::engine::message::{USER_AGENT, host, is_token};
use crate::plan::template::{Compiled, Need, Place, RenderError, Scope};
use crate::plan::{Header, HttpRequest, Inputs, Names, Problem, Target};

/// Headers that frame a message. A plan that set them could send something that is not one request.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// Request of a step, compiled once.
pub(crate) struct Request {
    /// True if the method is HEAD: such answers have no body, whatever their headers say.
    pub(crate) is_head: bool,
    /// True if refreshed credentials must be added: the step itself sets none.
    pub(crate) wants_credentials: bool,
    form: Form,
    /// Form of the request for HTTP/2, if it never differs and was sent that way.
    http2: OnceLock<http2::Form>,
}

enum Form {
    Static(Box<[u8]>),
    Dynamic { head: Vec<Piece>, body: Vec<Piece> },
}

enum Piece {
    Bytes(Vec<u8>),
    Template(Compiled),
    BodyLength,
}

impl Piece {
    fn render(
        &self,
        scope: &mut impl Scope,
        body_length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        match self {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Template(template) => template.render(scope, out)?,
            Piece::BodyLength => push_number(body_length, out),
        }
        Ok(())
    }
}

/// Buffers of one user in which requests that differ are built; empty if they never differ.
#[derive(Default)]
pub(crate) struct Scratch {
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    /// Returns the bytes to send, built in `scratch` if they differ. Fails if a template fails.
    pub(crate) fn render<'a>(
        &'a self,
        scope: &mut impl Scope,
        scratch: &'a mut Scratch,
    ) -> Result<&'a [u8], RenderError> {
        match &self.form {
            Form::Static(bytes) => Ok(bytes),
            Form::Dynamic { head, body } => {
                let Scratch {
                    request,
                    body: rendered,
                } = scratch;
                request.clear();
                rendered.clear();
                for piece in body {
                    piece.render(scope, 0, rendered)?;
                }
                for piece in head {
                    piece.render(scope, rendered.len(), request)?;
                }
                request.extend_from_slice(rendered);
                Ok(request)
            }
        }
    }

    /// Returns the feeder rows that must be taken before rendering, each once.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let Form::Dynamic { head, body } = &self.form else {
            return needs;
        };
        for piece in head.iter().chain(body) {
            if let Piece::Template(template) = piece {
                let new: Vec<Need> = template
                    .needs()
                    .iter()
                    .filter(|need| !needs.contains(need))
                    .copied()
                    .collect();
                needs.extend(new);
            }
        }
        needs
    }

    /// Returns the cell that keeps the HTTP/2 form, if the request never differs.
    pub(crate) fn http2(&self) -> Option<&OnceLock<http2::Form>> {
        matches!(self.form, Form::Static(_)).then_some(&self.http2)
    }

    /// Compiles the request of a step. `path` is its field path, for problems.
    pub(crate) fn compile(
        target: &Target,
        credentials: Option<&Credentials>,
        names: &Names,
        inputs: &Inputs,
        request: &HttpRequest,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler {
            names,
            problems: Vec::new(),
            head: Pieces::default(),
        };
        let body =
            body::compile(request.body.as_ref(), names, inputs, path).unwrap_or_else(|problems| {
                compiler.problems.extend(problems);
                body::Compiled::default()
            });
        compiler.request_line(target, request, path);
        compiler.headers(
            target,
            credentials,
            &request.headers,
            path,
            body.content_type.as_deref(),
        );
        let sends_body =
            request.body.is_some() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH");
        if sends_body {
            compiler.head.bytes(b"Content-Length: ");
            compiler.head.0.push(Piece::BodyLength);
            compiler.head.bytes(b"\r\n");
        }
        compiler.head.bytes(b"\r\n");
        let Compiler { problems, head, .. } = compiler;
        let form = Form::of(head.0, body.pieces.0);
        let refreshed = credentials.filter(|credentials| credentials.refreshed().is_some());
        let wants_credentials = refreshed.is_some_and(|credentials| {
            !request
                .headers
                .iter()
                .any(|header| credentials.is_called(&header.name))
        });
        let is_head = request.method == "HEAD";
        if problems.is_empty() {
            Ok(Self {
                is_head,
                wants_credentials,
                form,
                http2: OnceLock::new(),
            })
        } else {
            Err(problems)
        }
    }
}

impl Form {
    fn of(head: Vec<Piece>, body: Vec<Piece>) -> Self {
        if head
            .iter()
            .chain(&body)
            .any(|piece| matches!(piece, Piece::Template(_)))
        {
            return Form::Dynamic { head, body };
        }
        let joined = |pieces: Vec<Piece>, length: usize| {
            let mut bytes = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Bytes(part) => bytes.extend_from_slice(&part),
                    Piece::BodyLength => push_number(length, &mut bytes),
                    Piece::Template(_) => unreachable!("there is none in a static request"),
                }
            }
            bytes
        };
        let body = joined(body, 0);
        let mut bytes = joined(head, body.len());
        bytes.extend_from_slice(&body);
        Form::Static(bytes.into())
    }
}

/// Message, or a part of one, while it is compiled.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.to_vec())),
        }
    }

    fn template(&mut self, compiled: Compiled) {
        match compiled.as_static() {
            Some(bytes) => self.bytes(bytes),
            None => self.0.push(Piece::Template(compiled)),
        }
    }
}

fn push_number(number: usize, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

struct Compiler<'a> {
    names: &'a Names,
    problems: Vec<Problem>,
    head: Pieces,
}

impl Compiler<'_> {
    fn problem(&mut self, path: String, message: impl Into<String>) {
        self.problems.push(Problem::new(path, message));
    }

    fn request_line(&mut self, target: &Target, request: &HttpRequest, path: &str) {
        let field = format!("{path}.path");
        let compiled = match request.path.compile(self.names, Place::Path) {
            Ok(compiled) => compiled,
            Err(message) => return self.problem(field, message),
        };
        if !compiled.beginning().starts_with(b"/") {
            return self.problem(field, "a path must start with /");
        }
        self.head.bytes(request.method.as_bytes());
        self.head.bytes(b" ");
        self.head
            .bytes(target.url.path().trim_end_matches('/').as_bytes());
        self.head.template(compiled);
        if !request.query.is_empty() {
            let has_query = request.path.source().contains('?');
            self.head.bytes(if has_query { b"&" } else { b"?" });
            let query = body::form(
                &request.query,
                self.names,
                &format!("{path}.query"),
                &mut self.head,
            );
            self.problems.extend(query.err().unwrap_or_default());
        }
        self.head.bytes(b" HTTP/1.1\r\n");
    }

    /// Adds the headers. For each name, the step wins over credentials, these over the target, and
    /// these over the defaults.
    fn headers(
        &mut self,
        target: &Target,
        auth: Option<&Credentials>,
        step: &[Header],
        path: &str,
        body_type: Option<&str>,
    ) {
        let names = |headers: &[Header]| {
            headers
                .iter()
                .map(|header| header.name.to_ascii_lowercase())
                .collect::<Vec<_>>()
        };
        let (of_step, of_target) = (names(step), names(&target.headers));
        let of_auth: Vec<_> = auth
            .iter()
            .map(|auth| auth.header_name().to_ascii_lowercase())
            .collect();
        let given = |name: &str, by: &[&Vec<String>]| {
            by.iter().any(|names| names.iter().any(|n| n == name))
        };

        let all = [&of_step, &of_auth, &of_target];
        let own = [
            ("Host", Some(host(&target.url))),
            ("User-Agent", Some(USER_AGENT.into())),
            ("Accept", Some("*/*".into())),
            ("Content-Type", body_type.map(str::to_owned)),
        ];
        for (name, value) in own {
            if let Some(value) = value.filter(|_| !given(&name.to_ascii_lowercase(), &all)) {
                self.head.bytes(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        for (i, header) in target.headers.iter().enumerate() {
            if !given(&of_target[i], &[&of_step, &of_auth]) {
                self.header(
                    header,
                    format!("{}.headers.{}", target.field(), header.name),
                );
            }
        }
        if let Some(Credentials::Fixed { name, value }) =
            auth.filter(|_| !given(&of_auth[0], &[&of_step]))
        {
            self.head.bytes(name.as_bytes());
            self.head.bytes(b": ");
            self.head.bytes(value);
            self.head.bytes(b"\r\n");
        }
        for header in step {
            self.header(header, format!("{path}.headers.{}", header.name));
        }
    }

    fn header(&mut self, header: &Header, field: String) {
        if FRAMING
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
        {
            return self.problem(
                field,
                "this header follows from the body and may not be set",
            );
        }
        if !is_token(&header.name) {
            return self.problem(field, "this is not the name of a header");
        }
        match header.value.compile(self.names, Place::Header) {
            Ok(value) => {
                self.head.bytes(header.name.as_bytes());
                self.head.bytes(b": ");
                self.head.template(value);
                self.head.bytes(b"\r\n");
            }
            Err(message) => self.problem(field, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::plan::template::fixed::Fixed;
    use crate::plan::{Body, JsonTemplate, Template, Tls};

    fn target(headers: &[(&str, &str)]) -> Target {
        Target {
            name: None,
            url: Url::parse("http://example.test:8000/base/").unwrap(),
            headers: self::headers(headers),
            auth: None,
            tls: Tls::default(),
            proxy: None,
            unix_socket: None,
            ready_when: None,
            resolve: Default::default(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
        pairs
            .iter()
            .map(|(name, value)| Header {
                name: (*name).into(),
                value: Template::parse(value).unwrap(),
            })
            .collect()
    }

    fn get(path: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            path: Template::parse(path).unwrap(),
            query: vec![],
            headers: vec![],
            body: None,
        }
    }

    fn compiled(
        target: &Target,
        auth: Option<(&str, &str)>,
        request: &HttpRequest,
    ) -> Result<String, Vec<Problem>> {
        let auth = auth.map(|(name, value)| Credentials::Fixed {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        });
        let names = Names::from(&[("v".to_owned(), json!("a b"))].into());
        let request = Request::compile(
            target,
            auth.as_ref(),
            &names,
            &Inputs::default(),
            request,
            "spec.http",
        )?;
        let mut scratch = Scratch::default();
        Ok(String::from_utf8(
            request
                .render(&mut Fixed::default(), &mut scratch)
                .unwrap()
                .to_vec(),
        )
        .unwrap())
    }

    #[test]
    fn what_would_break_the_message_is_refused() {
        for path in [
            "/a b",
            "/ü",
            "/a\r\nX: y",
            "/{{ raw(v) }}",
            "/{{ nobody }}",
            "a",
        ] {
            assert!(
                compiled(&target(&[]), None, &get(path)).is_err(),
                "{path:?} was accepted"
            );
        }
        for header in [
            ("Content-Length", "3"),
            ("transfer-encoding", "chunked"),
            ("a b", "c"),
            ("X", "a\nb"),
        ] {
            assert!(
                compiled(&target(&[header]), None, &get("/")).is_err(),
                "{header:?} was accepted"
            );
        }
    }

    #[test]
    fn a_get_is_one_prepared_message() {
        let expected = format!(
            "GET /base/x?q=a%20b HTTP/1.1\r\nHost: example.test:8000\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\r\n"
        );
        assert_eq!(
            compiled(&target(&[]), None, &get("/x?q={{ v }}")).unwrap(),
            expected
        );
    }

    #[test]
    fn the_nearer_header_wins() {
        let step = HttpRequest {
            headers: headers(&[("accept", "step")]),
            ..get("/")
        };
        let text = compiled(
            &target(&[
                ("Accept", "target"),
                ("authorization", "target"),
                ("X", "1"),
            ]),
            Some(("Authorization", "Bearer t")),
            &step,
        )
        .unwrap();
        assert!(
            text.ends_with("X: 1\r\nAuthorization: Bearer t\r\naccept: step\r\n\r\n"),
            "{text}"
        );
        assert_eq!(text.to_lowercase().matches("accept").count(), 1);
        assert_eq!(text.to_lowercase().matches("authorization").count(), 1);
    }

    #[test]
    fn a_body_has_its_length_and_type() {
        let json =
            Body::Json(JsonTemplate::new(json!({"u": "{{ user.id }}", "v": "{{ v }}"})).unwrap());
        let post = HttpRequest {
            method: "POST".into(),
            body: Some(json),
            ..get("/")
        };
        let text = compiled(&target(&[]), None, &post).unwrap();
        assert!(text.ends_with("Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"u\":7,\"v\":\"a b\"}"), "{text}");
        let empty = HttpRequest {
            method: "POST".into(),
            ..get("/")
        };
        assert!(
            compiled(&target(&[]), None, &empty)
                .unwrap()
                .ends_with("Content-Length: 0\r\n\r\n")
        );
    }
}
