//! Expressions in CEL over an answer and the user's values: for `if`, `until`, and checks that
//! nothing shorter can say.
//!
//! They may refer to `status`, `headers`, `body`, `json`, `rawEvents` and `latency` of the last answer,
//! `vars.NAME` (variables and extracted values), `feeders.NAME.COLUMN`, `iteration` and `user.id`.
//! Header names are in lower case, values of one name are joined by `, `; `latency` is in
//! milliseconds. Functions are those of CEL and of its strings library.

mod references;
mod steps;
#[cfg(test)]
mod tests;
mod values;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use ::cel::common::types::{CelBool, CelDouble, CelInt, CelUInt};
use ::cel::common::value::Val;
use ::cel::{Context, Env, ExecutionError, IdedExpr, extensions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget;
use super::names::{self, Declared, Names, Slot};
use super::template::{Need, Scope};
use references::References;

/// Longest expression, in bytes.
pub const MAX_CEL: usize = 1024;

/// Bytes that a parsed expression takes for each byte of its source, at most: a macro of ten
/// characters becomes a dozen expressions.
const PER_BYTE: usize = 128;

/// Most expressions within each other. Evaluation recurses, and a shard must not run out of stack:
/// unoptimised, a level takes 35 KB of its 2 MB.
const MAX_DEPTH: usize = 24;

/// Stack to parse with, in bytes: unoptimised, the parser takes 110 KB a level, far more than the
/// threads that validate have.
const PARSER_STACK: usize = 16 << 20;

thread_local! {
    /// True on a thread with a stack of more than [`PARSER_STACK`].
    static LARGE_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Functions and macros as the library has them.
static PLAIN: LazyLock<Arc<Env>> = LazyLock::new(|| plain().into());

/// Functions and macros with those that count steps.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = plain();
    steps::declare(&mut env).expect("no other function has such a name");
    Arc::new(env)
});

fn plain() -> Env {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(extensions::strings)
        .expect("its names are not among the standard ones");
    env
}

/// A parsed expression; in JSON it is its source text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cel {
    source: String,
    /// Parsed form; empty in a plan that is only passed on, see [`budget::as_text`].
    parsed: Arc<OnceLock<Parsed>>,
}

/// Expression as it is evaluated, and what it refers to.
#[derive(Debug)]
struct Parsed {
    expression: IdedExpr,
    references: References,
}

/// An answer as expressions see it.
pub trait Subject {
    /// HTTP status code.
    fn status(&self) -> u16;
    /// Calls `each` with the name, in any case, and the value of every header.
    fn headers(&self, each: &mut dyn FnMut(&str, &[u8]));
    /// The whole body, or the reason why there is none.
    fn body(&self) -> Result<&[u8], &str>;
    /// The whole body as JSON, or the reason why it is none.
    fn json(&self) -> Result<&Value, &str>;
    /// The events of a stream, each with `event`, `data` and `json`, or the reason why there are
    /// none.
    fn raw_events(&self) -> Result<&Value, &str>;
    /// Time from the intended start to the last byte.
    fn latency(&self) -> Duration;
}

/// Parts of an answer that must be kept for an expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerParts {
    /// True if the expression reads the headers.
    pub headers: bool,
    /// True if the expression reads the body, as text or as JSON.
    pub body: bool,
}

/// An expression whose references have been resolved.
#[derive(Debug, Clone)]
pub struct CompiledCel {
    cel: Cel,
    /// Bindings in the order of [`References::vars`].
    vars: Vec<Binding>,
    /// Slot of each feeder's row, in the order of [`References::feeders`].
    feeders: Vec<Slot>,
    needs: Vec<Need>,
}

/// Origin of a variable's value.
#[derive(Debug, Clone)]
enum Binding {
    Constant(Arc<Value>),
    Slot(Slot),
}

/// Reason why an expression gave no value of the wanted type. No message shows a value: it may be a
/// credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression has no value of that type over this answer.
    #[error("{0}")]
    NoValue(String),
    /// The expression takes more steps than one may.
    #[error("takes more than {} steps", steps::MAX_STEPS)]
    TooManySteps,
}

impl Cel {
    /// Parses an expression. The error is a sentence for the test's author; names of variables and
    /// feeders are left to [`check`](Self::check).
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_CEL {
            return Err(format!("a CEL expression is at most {MAX_CEL} bytes long"));
        }
        budget::compile(PER_BYTE * source.len())?;
        let parsed = with_stack(|| parse(source))??;
        Ok(Self {
            source: source.to_owned(),
            parsed: Arc::new(parsed.into()),
        })
    }

    fn parsed(&self) -> &Parsed {
        self.parsed.get_or_init(|| {
            with_stack(|| parse(&self.source))
                .flatten()
                .expect("an expression is taken as text only once it has been parsed")
        })
    }

    fn references(&self) -> &References {
        &self.parsed().references
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Parts of an answer that the expression reads.
    pub fn answer_parts(&self) -> AnswerParts {
        self.references().answer_parts()
    }

    /// Tells whether the expression reads the events of a stream.
    pub fn reads_events(&self) -> bool {
        self.references().raw_events
    }

    /// Fails on the first variable or feeder that is not declared.
    pub fn check(&self, names: &Names) -> Result<(), String> {
        for name in self.references().vars.keys() {
            match names.get(name) {
                Some(Declared::Constant(_) | Declared::External | Declared::Value(_)) => {}
                Some(Declared::Row(_)) => {
                    return Err(format!("{name:?} is a feeder; write feeders.{name}"));
                }
                None => {
                    return Err(undeclared("vars", name, names, |declared| {
                        !matches!(declared, Declared::Row(_))
                    }));
                }
            }
        }
        for (name, wanted) in &self.references().feeders {
            let Some(Declared::Row(slot)) = names.get(name) else {
                return Err(undeclared("feeders", name, names, |declared| {
                    matches!(declared, Declared::Row(_))
                }));
            };
            for column in wanted
                .fields()
                .into_iter()
                .flatten()
                .map(|(column, _)| column)
            {
                names.check_column(*slot, &format!("feeders.{name}"), column)?;
            }
        }
        Ok(())
    }

    /// Resolves the references. Fails like [`check`](Self::check), and on a variable whose text is
    /// not known yet.
    pub fn compile(&self, names: &Names) -> Result<CompiledCel, String> {
        self.check(names)?;
        let (mut vars, mut feeders) = (Vec::new(), Vec::new());
        for name in self.references().vars.keys() {
            match names.get(name) {
                Some(Declared::Constant(value)) => vars.push(Binding::Constant(value.clone())),
                Some(Declared::Value(slot)) => vars.push(Binding::Slot(*slot)),
                _ => return Err(format!("vars.{name} has no value yet")),
            }
        }
        for name in self.references().feeders.keys() {
            if let Some(Declared::Row(slot)) = names.get(name) {
                feeders.push(*slot);
            }
        }
        let needs = feeders
            .iter()
            .map(|slot| Need {
                slot: *slot,
                take: None,
            })
            .collect();
        Ok(CompiledCel {
            cel: self.clone(),
            vars,
            feeders,
            needs,
        })
    }
}

/// Runs `work` on a thread whose stack has at least 16 MiB left: CEL is parsed on it, not on a thread
/// of its own for each expression, which a process with little address space may not get.
pub fn with_large_stack<T>(work: impl FnOnce() -> T) -> T {
    LARGE_STACK.set(true);
    let done = work();
    LARGE_STACK.set(false);
    done
}

/// Runs `work` with a large stack, and turns its panic into an error: a resource that someone wrote
/// must not bring the operator down.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let panicked = |_| "the CEL parser cannot read this".to_owned();
    if LARGE_STACK.get() {
        return catch_unwind(AssertUnwindSafe(work)).map_err(panicked);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| format!("there is no thread to read CEL with: {error}"))?;
        thread.join().map_err(panicked)
    })
}

fn parse(source: &str) -> Result<Parsed, String> {
    let parsed = ENVIRONMENT
        .parser()
        .max_recursion_depth(MAX_DEPTH as u16)
        .parse(source);
    let mut expression = parsed.map_err(|errors| match errors.errors.first() {
        Some(error) if error.msg.contains("Recursion limit") => too_deep(),
        Some(error) => format!(
            "is not CEL, column {}: {}",
            error.pos.1,
            error.msg.lines().next().unwrap_or_default()
        ),
        None => "is not CEL".to_owned(),
    })?;
    if references::depth(&expression) > MAX_DEPTH {
        return Err(too_deep());
    }
    let references = References::of(&expression)?;
    steps::count_steps(&mut expression);
    Ok(Parsed {
        expression,
        references,
    })
}

fn too_deep() -> String {
    format!("expressions are nested more than {MAX_DEPTH} deep; split it into several")
}

fn undeclared(of: &str, name: &str, names: &Names, fits: fn(&Declared) -> bool) -> String {
    let known: Vec<String> = names
        .iter()
        .filter(|(_, declared)| fits(declared))
        .map(|(name, _)| format!("{of}.{name}"))
        .collect();
    match known.as_slice() {
        [] => format!("{of}.{name} is not declared, nor is any other"),
        known => format!(
            "{of}.{name} is not declared; there are {}",
            names::list(known.iter().map(String::as_str))
        ),
    }
}

impl PartialEq for Cel {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl TryFrom<String> for Cel {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        if budget::is_as_text() && source.len() <= MAX_CEL {
            let parsed = Arc::default();
            return Ok(Self { source, parsed });
        }
        Self::parse(&source)
    }
}

impl From<Cel> for String {
    fn from(cel: Cel) -> String {
        cel.source
    }
}

impl CompiledCel {
    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.cel.source
    }

    /// Parts of an answer that the expression reads.
    pub fn answer_parts(&self) -> AnswerParts {
        self.cel.answer_parts()
    }

    /// Rows to fetch before the expression is evaluated.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Evaluates a condition. `subject` is the last answer; without one, an expression that
    /// reads an answer fails.
    pub fn is_true(
        &self,
        subject: Option<&dyn Subject>,
        scope: &impl Scope,
    ) -> Result<bool, EvaluationError> {
        self.evaluate(subject, scope, |value| {
            let fits = value.downcast_ref::<CelBool>().map(|truth| *truth.inner());
            fits.ok_or_else(|| {
                format!(
                    "gives a value of type {}, not true or false",
                    value.get_type().name()
                )
            })
        })
    }

    /// Evaluates a number, which is never infinite or NaN. `subject` is the last answer.
    pub fn number(
        &self,
        subject: Option<&dyn Subject>,
        scope: &impl Scope,
    ) -> Result<f64, EvaluationError> {
        self.evaluate(subject, scope, |value| {
            let whole = value
                .downcast_ref::<CelInt>()
                .map(|number| *number.inner() as f64);
            let positive = || {
                value
                    .downcast_ref::<CelUInt>()
                    .map(|number| *number.inner() as f64)
            };
            let broken = || {
                value
                    .downcast_ref::<CelDouble>()
                    .map(|number| *number.inner())
            };
            let number = whole
                .or_else(positive)
                .or_else(broken)
                .filter(|number| number.is_finite());
            number.ok_or_else(|| {
                format!(
                    "gives a value of type {}, not a number",
                    value.get_type().name()
                )
            })
        })
    }

    fn evaluate<T>(
        &self,
        subject: Option<&dyn Subject>,
        scope: &impl Scope,
        take: impl Fn(&dyn Val) -> Result<T, String>,
    ) -> Result<T, EvaluationError> {
        steps::begin();
        let mut context = Context::with_env(ENVIRONMENT.clone());
        self.bind(subject, scope, &mut context)
            .map_err(EvaluationError::NoValue)?;
        let resolve = || match ::cel::Value::resolve_val(&self.cel.parsed().expression, &context) {
            Ok(value) => take(&*value),
            Err(error) => Err(explain(&error)),
        };
        // a library's bug must not end a shard with all its users
        let outcome = catch_unwind(AssertUnwindSafe(resolve))
            .unwrap_or_else(|_| Err("the CEL interpreter gave up".into()));
        // an expression may go on without what has failed in it
        match steps::are_used_up() {
            true => Err(EvaluationError::TooManySteps),
            false => outcome.map_err(EvaluationError::NoValue),
        }
    }

    fn bind<'v>(
        &'v self,
        subject: Option<&'v dyn Subject>,
        scope: &'v impl Scope,
        context: &mut Context<'_, 'v>,
    ) -> Result<(), String> {
        let References {
            status,
            headers,
            body,
            json,
            raw_events,
            latency,
            vars,
            feeders,
            iteration,
            user,
        } = self.cel.references();
        let subject = || subject.ok_or_else(|| "there is no answer yet".to_owned());
        if *status {
            context.add_variable_as_val("status", values::whole(subject()?.status().into()));
        }
        if *headers {
            context.add_variable_as_val("headers", values::headers(subject()?));
        }
        if *body {
            context.add_variable_as_val("body", values::text(subject()?.body()?));
        }
        if let Some(wanted) = json {
            context.add_variable_as_val("json", values::part(subject()?.json()?, wanted));
        }
        if *raw_events {
            context.add_variable_as_val("rawEvents", values::json(subject()?.raw_events()?));
        }
        if *latency {
            context.add_variable_as_val(
                "latency",
                values::broken(subject()?.latency().as_secs_f64() * 1e3),
            );
        }
        if !vars.is_empty() {
            context.add_variable_as_val("vars", self.variables(scope));
        }
        if !feeders.is_empty() {
            context.add_variable_as_val("feeders", self.rows(scope));
        }
        if *iteration {
            context.add_variable_as_val("iteration", values::whole(scope.iteration()));
        }
        if *user {
            context.add_variable_as_val(
                "user",
                values::fields([("id", values::whole(scope.user()))].into_iter()),
            );
        }
        Ok(())
    }

    /// Values of the variables that the expression reads and that are set.
    fn variables<'v>(&'v self, scope: &'v impl Scope) -> Box<dyn Val + 'v> {
        let set = self.cel.references().vars.iter().zip(&self.vars);
        values::fields(set.filter_map(|((name, wanted), binding)| {
            let value = match binding {
                Binding::Constant(value) => Some(&**value),
                Binding::Slot(slot) => scope.value(*slot),
            };
            Some((name.as_str(), values::part(value?, wanted)))
        }))
    }

    /// Current rows of the feeders that the expression reads.
    fn rows<'v>(&'v self, scope: &'v impl Scope) -> Box<dyn Val + 'v> {
        let rows = self.cel.references().feeders.iter().zip(&self.feeders);
        values::fields(rows.filter_map(|((name, wanted), slot)| {
            let row = scope.value(*slot)?;
            Some((name.as_str(), values::part(row, wanted)))
        }))
    }
}

/// Explanation of an error without the values that the library's own messages show.
fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no {key:?}"),
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UndeclaredReference(_)
        | ExecutionError::UnexpectedType { .. } => error.to_string(),
        ExecutionError::FunctionError { function, .. } => {
            format!("{function}() cannot do that with what it was given")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "a number was divided by 0".into()
        }
        ExecutionError::Overflow(operator, ..) => {
            format!("the result of {operator} is beyond 64 bits")
        }
        ExecutionError::IndexOutOfBounds(_) => "an index is beyond the end of its list".into(),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("{operator} does not fit the types of its two values")
        }
        ExecutionError::ValuesNotComparable(..) => {
            "two values of different types were compared".into()
        }
        _ => "an operator or function does not fit its values".into(),
    }
}
