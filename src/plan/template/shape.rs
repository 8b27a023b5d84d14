//! JSON templates taken apart, for encoders that write values in a form other than JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::compiled::Compiled;
use super::expression::Expression;
use super::value_source::{Format, ValueSource};
use super::{Need, Place, RenderError, Scope, Template};
use crate::plan::budget;
use crate::plan::names::Names;

/// A JSON template with everything that never differs worked out.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A null, number, truth value or text as the test's author wrote it.
    Literal(Value),
    /// Value of an expression that never differs.
    Constant(Value),
    /// Text with expressions in it.
    Text(Compiled),
    /// Value of an expression that differs per rendering.
    Placeholder(Placeholder),
    /// A list.
    Array(Vec<Shape>),
    /// An object, sorted by name.
    Object(BTreeMap<String, Shape>),
}

/// A value that is made anew for each rendering.
#[derive(Clone)]
pub struct Placeholder(ValueSource);

impl Shape {
    /// Compiles a value. Calls `wrong` with the path from here, such as `.rows[3]`, and the
    /// explanation of each mistake; the shape is of no use then.
    pub(super) fn of(
        value: &Value,
        parse: &dyn Fn(&str) -> Result<Template, String>,
        names: &Names,
        path: &str,
        wrong: &mut Wrong<'_>,
    ) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Shape::Literal(value.clone()),
            Value::String(text) => parse(text)
                .and_then(|template| Self::of_text(&template, names))
                .unwrap_or_else(|why| {
                    wrong(path, why);
                    Shape::Literal(Value::Null)
                }),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                Shape::Array(
                    items
                        .map(|(i, item)| {
                            Self::of(item, parse, names, &format!("{path}[{i}]"), wrong)
                        })
                        .collect(),
                )
            }
            Value::Object(fields) => {
                let mut shapes = BTreeMap::new();
                for (name, field) in fields {
                    let path = format!("{path}.{name}");
                    if parse(name).map_or(true, |template| template.has_expressions()) {
                        wrong(&path, "templates do not work in keys".into());
                    }
                    shapes.insert(name.clone(), Self::of(field, parse, names, &path, wrong));
                }
                Shape::Object(shapes)
            }
        }
    }

    fn of_text(template: &Template, names: &Names) -> Result<Self, String> {
        if let Some(expression) = template.single_expression() {
            return Ok(match unescaped(expression).resolve(names)? {
                ValueSource::Constant(value) => {
                    budget::keep(budget::size(&value))?;
                    Shape::Constant(value)
                }
                source => {
                    budget::keep(source.size())?;
                    Shape::Placeholder(Placeholder(source))
                }
            });
        }
        let text = template.compile(names, Place::Text)?;
        Ok(match text.as_static() {
            None => Shape::Text(text),
            Some(text) => {
                let text = Value::from(String::from_utf8_lossy(text));
                if template.has_expressions() {
                    Shape::Constant(text)
                } else {
                    Shape::Literal(text)
                }
            }
        })
    }

    /// The whole value, where nothing in it differs.
    pub fn constant(&self) -> Option<Value> {
        match self {
            Shape::Literal(value) | Shape::Constant(value) => Some(value.clone()),
            Shape::Text(_) | Shape::Placeholder(_) => None,
            Shape::Array(items) => items.iter().map(Shape::constant).collect(),
            Shape::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, field)| Some((name.clone(), field.constant()?)));
                fields.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }

    /// Adds the rows that feeders must give out first, each once.
    pub fn needs(&self, needs: &mut Vec<Need>) {
        match self {
            Shape::Literal(_) | Shape::Constant(_) => {}
            Shape::Text(text) => {
                let new: Vec<Need> = text
                    .needs()
                    .iter()
                    .filter(|need| !needs.contains(need))
                    .copied()
                    .collect();
                needs.extend(new);
            }
            Shape::Placeholder(Placeholder(source)) => source.needs(needs),
            Shape::Array(items) => items.iter().for_each(|item| item.needs(needs)),
            Shape::Object(fields) => fields.values().for_each(|field| field.needs(needs)),
        }
    }

    /// Renders the whole value.
    pub fn value(&self, scope: &mut impl Scope) -> Result<Value, RenderError> {
        Ok(match self {
            Shape::Literal(value) | Shape::Constant(value) => value.clone(),
            Shape::Text(text) => {
                let mut bytes = Vec::new();
                text.render(scope, &mut bytes)?;
                String::from_utf8_lossy(&bytes).into_owned().into()
            }
            Shape::Placeholder(placeholder) => placeholder.value(scope)?.into_owned(),
            Shape::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| item.value(scope))
                    .collect::<Result<_, _>>()?,
            ),
            Shape::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), field.value(scope)?)));
                Value::Object(fields.collect::<Result<_, RenderError>>()?)
            }
        })
    }
}

/// Receiver of a mistake: the path from the template's root, and the explanation.
pub(super) type Wrong<'w> = dyn FnMut(&str, String) + 'w;

/// Takes off `raw(x)`, which is `x` where nothing is escaped.
fn unescaped(expression: &Expression) -> &Expression {
    match expression {
        Expression::Call(name, arguments) if name == "raw" && arguments.len() == 1 => &arguments[0],
        _ => expression,
    }
}

impl Placeholder {
    /// Renders the value.
    pub fn value<'s>(&'s self, scope: &'s mut impl Scope) -> Result<Cow<'s, Value>, RenderError> {
        self.0.value(scope)
    }

    /// Appends the value as text: text as it is, anything else as JSON.
    pub fn write(&self, scope: &mut impl Scope, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.0.write(Place::Text, scope, out)
    }

    /// Tells whether the value is always text, made letter by letter.
    pub fn is_text(&self) -> bool {
        matches!(
            self.0,
            ValueSource::Uuid
                | ValueSource::RandString { .. }
                | ValueSource::Now(Format::Rfc3339 | Format::Strftime(_))
        )
    }

    /// Values that it can take, as far as they are known: where one of them does not fit, the test
    /// is wrong.
    pub fn examples(&self) -> Vec<Value> {
        match &self.0 {
            ValueSource::Pick(options) => options
                .iter()
                .filter_map(ValueSource::constant)
                .cloned()
                .collect(),
            ValueSource::RandInt { min, max } => vec![(*min).into(), (*max).into()],
            ValueSource::UserId
            | ValueSource::Iteration
            | ValueSource::WorkerIndex
            | ValueSource::Sequence => {
                vec![0.into()]
            }
            ValueSource::Uuid => vec!["00000000-0000-4000-8000-000000000000".into()],
            ValueSource::RandString { length, alphabet } => vec![
                alphabet
                    .iter()
                    .cycle()
                    .take(*length)
                    .collect::<String>()
                    .into(),
            ],
            ValueSource::Now(Format::Unix) => vec![1_800_000_000.into()],
            ValueSource::Now(Format::UnixMillis) => vec![1_800_000_000_000_u64.into()],
            ValueSource::Now(Format::Rfc3339) => vec!["2027-01-15T08:00:00.000Z".into()],
            _ => vec![],
        }
    }

    /// All values that it can take, where these are few and known; all are equally likely.
    pub fn options(&self) -> Option<Vec<&Value>> {
        match &self.0 {
            ValueSource::Pick(options) => options.iter().map(ValueSource::constant).collect(),
            _ => None,
        }
    }

    /// Adds the rows that feeders must give out first, each once.
    pub fn needs(&self, needs: &mut Vec<Need>) {
        self.0.needs(needs);
    }
}

impl std::fmt::Debug for Placeholder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a constant may come from a Secret
        f.write_str("Placeholder")
    }
}
