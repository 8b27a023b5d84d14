//! Compiled templates: byte segments, ready to be put together.

use std::borrow::Cow;

use serde_json::Value;

use super::escape::write_value;
use super::expression::Expression;
use super::value_source::ValueSource;
use super::{Need, Place, RenderError, Scope};
use crate::plan::budget;
use crate::plan::names::Names;

/// Largest text that a template renders to, in bytes. Variables that are computed for each
/// iteration may name each other, and double with each name.
pub(super) const MAX_RENDERED: usize = 64 << 20;

/// A template with everything that can be known beforehand worked out and escaped.
#[derive(Clone, Default)]
pub struct Compiled {
    segments: Vec<Segment>,
    needs: Vec<Need>,
}

#[derive(Clone)]
enum Segment {
    Bytes(Vec<u8>),
    /// One of several constants, already escaped, all equally likely.
    OneOf(Vec<Vec<u8>>),
    Dynamic(ValueSource, Place),
}

impl Compiled {
    /// The whole text, when nothing differs per rendering.
    pub fn as_static(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [] => Some(b""),
            [Segment::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// Bytes that every rendering begins with.
    pub fn beginning(&self) -> &[u8] {
        match self.segments.first() {
            Some(Segment::Bytes(bytes)) => bytes,
            _ => b"",
        }
    }

    /// Rows to fetch before rendering, each once.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Appends the rendered text. Only values that differ per rendering can fail; then `out` holds
    /// a part of the text.
    pub fn render(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        for segment in &self.segments {
            match segment {
                Segment::Bytes(bytes) => out.extend_from_slice(bytes),
                Segment::OneOf(options) => {
                    let at = (u128::from(scope.random()) * options.len() as u128) >> 64;
                    out.extend_from_slice(&options[at as usize]);
                }
                Segment::Dynamic(source, place) => source.write(*place, scope, out)?,
            }
            if out.len() > MAX_RENDERED {
                return Err(RenderError::TooLarge);
            }
        }
        Ok(())
    }

    /// Renders a JSON template to a value. Fails where the text that `raw(x)` writes makes it no
    /// JSON.
    pub fn value(&self, scope: &mut impl Scope) -> Result<Value, RenderError> {
        if let [Segment::Dynamic(source, Place::JsonValue)] = self.segments.as_slice() {
            return source.value(scope).map(Cow::into_owned);
        }
        let mut json = Vec::new();
        self.render(scope, &mut json)?;
        serde_json::from_slice(&json).map_err(|_| RenderError::NotJson)
    }

    /// Appends text that never differs. Fails beyond the budget of the check.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        budget::keep(bytes.len())?;
        match self.segments.last_mut() {
            Some(Segment::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.segments.push(Segment::Bytes(bytes.to_vec())),
        }
        Ok(())
    }

    /// Appends an expression, worked out and escaped now if it never differs.
    pub(super) fn push_expression(
        &mut self,
        expression: &Expression,
        names: &Names,
        place: Place,
    ) -> Result<(), String> {
        let (expression, place) = outermost(expression, place);
        let source = expression.resolve(names)?;
        let escaped = |value: &Value| {
            let mut bytes = Vec::new();
            write_value(value, place, &mut bytes)
                .map(|()| bytes)
                .map_err(|why| why.to_string())
        };
        match &source {
            ValueSource::Constant(value) => self.push_bytes(&escaped(value)?)?,
            ValueSource::Pick(options)
                if options.iter().all(|option| option.constant().is_some()) =>
            {
                let options = options
                    .iter()
                    .filter_map(ValueSource::constant)
                    .map(escaped)
                    .collect::<Result<Vec<_>, _>>()?;
                let size = |option: &Vec<u8>| option.len() + size_of::<Vec<u8>>();
                budget::keep(options.iter().map(size).sum())?;
                self.segments.push(Segment::OneOf(options));
            }
            _ => {
                budget::keep(source.size())?;
                source.needs(&mut self.needs);
                self.segments.push(Segment::Dynamic(source, place));
            }
        }
        Ok(())
    }
}

/// Takes off the call that only says how the value is to be escaped.
fn outermost(expression: &Expression, place: Place) -> (&Expression, Place) {
    match (expression, place) {
        (Expression::Call(name, arguments), _) if name == "raw" && arguments.len() == 1 => {
            match place {
                Place::Header => (&arguments[0], place),
                Place::Path | Place::Target => (&arguments[0], Place::Target),
                Place::Text | Place::Form | Place::JsonString | Place::JsonValue => {
                    (&arguments[0], Place::Text)
                }
            }
        }
        // the place encodes already, and encoding twice is hardly ever meant
        (Expression::Call(name, arguments), Place::Path | Place::Form)
            if name == "urlEncode" && arguments.len() == 1 =>
        {
            (&arguments[0], Place::Path)
        }
        _ => (expression, place),
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a constant may come from a Secret
        write!(f, "Compiled({} segments)", self.segments.len())
    }
}
