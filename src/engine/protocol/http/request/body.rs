//! Bodies of requests: text, JSON, forms, files, and several parts of these in one.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::engine::inputs::content;
use crate::engine::protocol::http::request::Pieces;
use crate::plan::template::{self, Place};
use crate::plan::{Body, Field, Inputs, Names, Part, PartContent, Problem, Template};

/// Compiled body and its `Content-Type`.
#[derive(Default)]
pub(super) struct Compiled {
    /// Pieces of the body.
    pub(super) pieces: Pieces,
    /// Value of `Content-Type`; `None` without a body.
    pub(super) content_type: Option<String>,
}

/// Compiles the body of a request. `path` is the field path of the request, for problems.
pub(super) fn compile(
    body: Option<&Body>,
    names: &Names,
    inputs: &Inputs,
    path: &str,
) -> Result<Compiled, Vec<Problem>> {
    let mut pieces = Pieces::default();
    let at = |field: &str| format!("{path}.{field}");
    let content_type = match body {
        None => return Ok(Compiled::default()),
        Some(Body::Text(text)) => {
            pieces.template(
                text.compile(names, Place::Text)
                    .map_err(|why| vec![Problem::new(at("body"), why)])?,
            );
            "text/plain; charset=utf-8".to_owned()
        }
        Some(Body::Json(json)) => {
            pieces.template(
                json.compile(names)
                    .map_err(|why| vec![Problem::new(at("json"), why)])?,
            );
            "application/json".to_owned()
        }
        Some(Body::JsonText(json)) => {
            pieces.template(
                json.compile(names)
                    .map_err(|why| vec![Problem::new(at("json"), why)])?,
            );
            "application/json".to_owned()
        }
        Some(Body::File(file)) => {
            pieces.bytes(
                &content(file, inputs).map_err(|why| vec![Problem::new(at("bodyFrom"), why)])?,
            );
            "application/octet-stream".to_owned()
        }
        Some(Body::Form(fields)) => {
            form(fields, names, &at("form"), &mut pieces)?;
            "application/x-www-form-urlencoded".to_owned()
        }
        Some(Body::Multipart(parts)) => {
            let boundary = multipart(parts, names, inputs, &at("multipart"), &mut pieces)?;
            format!("multipart/form-data; boundary={boundary}")
        }
    };
    Ok(Compiled {
        pieces,
        content_type: Some(content_type),
    })
}

/// Appends `name=value` pairs with `&` between them, as in a form or a query.
pub(super) fn form(
    fields: &[Field],
    names: &Names,
    path: &str,
    pieces: &mut Pieces,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (i, Field { name, value }) in fields.iter().enumerate() {
        pieces.bytes(if i == 0 { b"" } else { b"&" });
        pieces.bytes(
            utf8_percent_encode(name, NON_ALPHANUMERIC)
                .to_string()
                .as_bytes(),
        );
        pieces.bytes(b"=");
        match value.compile(names, Place::Form) {
            Ok(value) => pieces.template(value),
            Err(why) => problems.push(Problem::new(format!("{path}.{name}"), why)),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Content of a part, without its headers.
enum Inner<'a> {
    Text(&'a Template, template::Compiled),
    File(Cow<'a, [u8]>),
}

/// Appends the parts and returns the boundary between them.
fn multipart(
    parts: &[Part],
    names: &Names,
    inputs: &Inputs,
    path: &str,
    pieces: &mut Pieces,
) -> Result<String, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut inner = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let read = match &part.content {
            PartContent::Text(text) => text
                .compile(names, Place::Text)
                .map(|compiled| Inner::Text(text, compiled))
                .map_err(|why| ("value", why)),
            PartContent::File(file) => content(file, inputs)
                .map(Inner::File)
                .map_err(|why| ("valueFrom", why)),
        };
        match read {
            Ok(read) => inner.push(read),
            Err((field, why)) => problems.push(Problem::new(format!("{path}[{i}].{field}"), why)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let boundary = boundary(parts, &inner);
    for (
        Part {
            name,
            file_name,
            content_type,
            content: _,
        },
        inner,
    ) in parts.iter().zip(inner)
    {
        pieces.bytes(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes(),
        );
        if let Some(file_name) = file_name {
            pieces.bytes(format!("; filename=\"{file_name}\"").as_bytes());
        }
        let default = file_name.as_ref().map(|_| "application/octet-stream");
        if let Some(content_type) = content_type.as_deref().or(default) {
            pieces.bytes(format!("\r\nContent-Type: {content_type}").as_bytes());
        }
        pieces.bytes(b"\r\n\r\n");
        match inner {
            Inner::Text(_, compiled) => pieces.template(compiled),
            Inner::File(bytes) => pieces.bytes(&bytes),
        }
        pieces.bytes(b"\r\n");
    }
    pieces.bytes(format!("--{boundary}--\r\n").as_bytes());
    Ok(boundary)
}

/// Returns a boundary that cannot occur in a part unless someone forged it: a digest of everything
/// known about the parts.
fn boundary(parts: &[Part], inner: &[Inner]) -> String {
    let mut hash = Sha256::new();
    for (part, inner) in parts.iter().zip(inner) {
        hash.update(part.name.as_bytes());
        match inner {
            Inner::Text(text, _) => hash.update(text.source().as_bytes()),
            Inner::File(bytes) => hash.update(bytes),
        }
    }
    format!(
        "starling-{}",
        data_encoding::HEXLOWER.encode(&hash.finalize()[..16])
    )
}
