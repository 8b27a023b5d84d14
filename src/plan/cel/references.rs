//! Names that an expression refers to, found before it is evaluated: only their values are handed
//! to it, and a wrong name is found at validation.

use std::collections::BTreeMap;

use ::cel::common::ast::operators::{INDEX, OPT_INDEX, OPT_SELECT};
use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use ::cel::{Context, ExecutionError, IdedExpr, Value};

use super::{AnswerParts, ENVIRONMENT};

/// Parts of a value that an expression reads; without any, the whole value.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    fields: BTreeMap<String, Wanted>,
    whole: bool,
}

/// Names that an expression refers to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct References {
    /// True if it reads `status`.
    pub(super) status: bool,
    /// True if it reads `headers`.
    pub(super) headers: bool,
    /// True if it reads `body`.
    pub(super) body: bool,
    /// Parts of `json` that it reads.
    pub(super) json: Option<Wanted>,
    /// True if it reads `rawEvents`.
    pub(super) raw_events: bool,
    /// True if it reads `latency`.
    pub(super) latency: bool,
    /// Variables that it reads, sorted by name.
    pub(super) vars: BTreeMap<String, Wanted>,
    /// Feeders that it reads, sorted by name, with their columns.
    pub(super) feeders: BTreeMap<String, Wanted>,
    /// True if it reads `iteration`.
    pub(super) iteration: bool,
    /// True if it reads `user.id`.
    pub(super) user: bool,
}

const KNOWN: &str =
    "status, headers, body, json, rawEvents, latency, vars, feeders, iteration, user";

impl Wanted {
    /// Fields that are read, should the value be an object; `None`: the whole value.
    pub(super) fn fields(&self) -> Option<&BTreeMap<String, Wanted>> {
        (!self.whole).then_some(&self.fields)
    }

    fn add(&mut self, path: &[&str]) {
        match path {
            [] => self.whole = true,
            [first, rest @ ..] => self
                .fields
                .entry((*first).to_owned())
                .or_default()
                .add(rest),
        }
    }
}

impl References {
    /// Collects the references of an expression. Fails on a name or function that does not exist.
    pub(super) fn of(expression: &IdedExpr) -> Result<Self, String> {
        let mut references = Self::default();
        references.walk(expression, &mut Vec::new())?;
        Ok(references)
    }

    /// Parts of an answer that must be kept.
    pub(super) fn answer_parts(&self) -> AnswerParts {
        AnswerParts {
            headers: self.headers,
            body: self.body || self.json.is_some() || self.raw_events,
        }
    }

    /// Visits an expression and all within it. `bound` are the names that macros such as `exists(x,
    /// …)` have introduced.
    fn walk<'e>(
        &mut self,
        expression: &'e IdedExpr,
        bound: &mut Vec<&'e str>,
    ) -> Result<(), String> {
        if let Some((root, path)) = chain(expression) {
            return if bound.contains(&root) {
                Ok(())
            } else {
                self.add(root, &path)
            };
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Ok(()),
            Expr::Select(select) => self.walk(&select.operand, bound),
            Expr::Call(call) => {
                known_function(call)?;
                call.target
                    .iter()
                    .map(|target| &**target)
                    .chain(&call.args)
                    .try_for_each(|part| self.walk(part, bound))
            }
            Expr::Comprehension(comprehension) => self.walk_comprehension(comprehension, bound),
            Expr::List(list) => list
                .elements
                .iter()
                .try_for_each(|element| self.walk(element, bound)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self
                    .walk(&entry.key, bound)
                    .and_then(|()| self.walk(&entry.value, bound)),
                EntryExpr::StructField(field) => self.walk(&field.value, bound),
            }),
            Expr::Struct(made) => Err(format!("there is no message type {:?}", made.type_name)),
        }
    }

    /// Visits a macro, which has names of its own.
    fn walk_comprehension<'e>(
        &mut self,
        comprehension: &'e ComprehensionExpr,
        bound: &mut Vec<&'e str>,
    ) -> Result<(), String> {
        self.walk(&comprehension.iter_range, bound)?;
        self.walk(&comprehension.accu_init, bound)?;
        let outside = bound.len();
        bound.extend([
            comprehension.iter_var.as_str(),
            comprehension.accu_var.as_str(),
        ]);
        bound.extend(comprehension.iter_var2.as_deref());
        let inside = [
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ];
        let walked = inside
            .into_iter()
            .try_for_each(|part| self.walk(part, bound));
        bound.truncate(outside);
        walked
    }

    /// Adds a reference: a name, and the path of fields that follows it.
    fn add(&mut self, root: &str, path: &[&str]) -> Result<(), String> {
        match (root, path) {
            ("status", []) => self.status = true,
            ("headers", _) => self.headers = true,
            ("body", []) => self.body = true,
            ("json", path) => self.json.get_or_insert_default().add(path),
            ("rawEvents", []) => self.raw_events = true,
            ("latency", []) => self.latency = true,
            ("iteration", []) => self.iteration = true,
            ("user", ["id"]) => self.user = true,
            ("user", _) => return Err("of user there is user.id only".into()),
            ("vars", [name, rest @ ..]) => {
                self.vars.entry((*name).to_owned()).or_default().add(rest)
            }
            ("feeders", [name, rest @ ..]) => self
                .feeders
                .entry((*name).to_owned())
                .or_default()
                .add(rest),
            ("vars" | "feeders", []) => {
                return Err(format!(
                    "{root} must be followed by a name, such as {root}.name"
                ));
            }
            ("status" | "body" | "rawEvents" | "latency" | "iteration", [part, ..]) => {
                return Err(format!("{root} has no part {part:?}"));
            }
            (name, []) if is_type(name) => {}
            _ => return Err(format!("{root:?} is not known; there are {KNOWN}")),
        }
        Ok(())
    }
}

/// Number of levels of expressions within each other.
pub(super) fn depth(expression: &IdedExpr) -> usize {
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        EntryExpr::StructField(field) => depth(&field.value),
    };
    let deepest = |parts: &[&IdedExpr]| {
        parts
            .iter()
            .map(|part| depth(part))
            .max()
            .unwrap_or_default()
    };
    1 + match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => 0,
        Expr::Select(select) => depth(&select.operand),
        Expr::Call(call) => call
            .target
            .iter()
            .map(|target| &**target)
            .chain(&call.args)
            .map(depth)
            .max()
            .unwrap_or_default(),
        Expr::Comprehension(part) => deepest(&[
            &part.iter_range,
            &part.accu_init,
            &part.loop_cond,
            &part.loop_step,
            &part.result,
        ]),
        Expr::List(list) => list.elements.iter().map(depth).max().unwrap_or_default(),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|part| entry(&part.expr))
            .max()
            .unwrap_or_default(),
        Expr::Struct(made) => made
            .entries
            .iter()
            .map(|part| entry(&part.expr))
            .max()
            .unwrap_or_default(),
    }
}

/// Number of expressions in an expression, itself included.
pub(super) fn size(expression: &IdedExpr) -> usize {
    let all = |parts: &[&IdedExpr]| parts.iter().map(|part| size(part)).sum::<usize>();
    1 + match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => 0,
        Expr::Select(select) => size(&select.operand),
        Expr::Call(call) => {
            let target = call.target.as_ref().map_or(0, |target| size(target));
            target + call.args.iter().map(size).sum::<usize>()
        }
        Expr::Comprehension(part) => all(&[
            &part.iter_range,
            &part.accu_init,
            &part.loop_cond,
            &part.loop_step,
            &part.result,
        ]),
        Expr::List(list) => list.elements.iter().map(size).sum(),
        Expr::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => size(&entry.key) + size(&entry.value),
                EntryExpr::StructField(field) => size(&field.value),
            });
            entries.sum()
        }
    }
}

/// Splits `a.b["c"]` and `has(a.b)` into the name at the root and the path from there; `None` for
/// any other expression.
fn chain(expression: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    let mut path = Vec::new();
    let mut expression = expression;
    loop {
        match &expression.expr {
            Expr::Ident(name) => {
                path.reverse();
                return Some((name, path));
            }
            Expr::Select(select) => {
                path.push(select.field.as_str());
                expression = &select.operand;
            }
            Expr::Call(CallExpr {
                func_name,
                target: None,
                args,
            }) if func_name == INDEX => {
                let [
                    of,
                    IdedExpr {
                        expr: Expr::Literal(LiteralValue::String(key)),
                        ..
                    },
                ] = args.as_slice()
                else {
                    return None;
                };
                path.push(key.inner());
                expression = of;
            }
            _ => return None,
        }
    }
}

/// Tells whether a name is a type, as in `type(x) == int`.
fn is_type(name: &str) -> bool {
    probe(Expr::Ident(name.to_owned())).is_ok()
}

fn known_function(call: &CallExpr) -> Result<(), String> {
    let CallExpr {
        func_name: name,
        target,
        args: _,
    } = call;
    // operators have names that no function can have
    let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_operator && ![OPT_INDEX, OPT_SELECT].contains(&name.as_str()) {
        return Ok(());
    }
    let nothing = IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::Null),
    };
    let bare = CallExpr {
        func_name: name.clone(),
        target: target.as_ref().map(|_| Box::new(nothing)),
        args: Vec::new(),
    };
    match probe(Expr::Call(bare)) {
        Err(ExecutionError::UndeclaredReference(_)) if target.is_some() => {
            Err(format!("there is no function .{name}()"))
        }
        Err(ExecutionError::UndeclaredReference(_)) => {
            Err(format!("there is no function {name}()"))
        }
        _ => Ok(()),
    }
}

fn probe(expression: Expr) -> Result<Value, ExecutionError> {
    Value::resolve(
        &IdedExpr {
            id: 0,
            expr: expression,
        },
        &Context::with_env(ENVIRONMENT.clone()),
    )
}
