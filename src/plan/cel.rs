//! Expressions in CEL over an answer and the user's values: for `if`, `until`, and checks that
//! nothing shorter can say.
//!
//! They may refer to `status`, `headers`, `body`, `json` and `latency` of the last answer,
//! `vars.NAME` (variables and extracted values), `feeders.NAME.COLUMN`, `iteration` and `user.id`.
//! Header names are in lower case, values of one name are joined by `, `; `latency` is in
//! milliseconds. Functions are those of CEL and of its strings library.

mod references;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::cel::common::types::{CelBool, CelDouble, CelInt, CelUInt};
use ::cel::common::value::Val;
use ::cel::{Context, Env, ExecutionError, IdedExpr, extensions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{Declared, Names, Slot};
use super::template::{Need, Scope};
use references::References;

/// Longest expression, in bytes.
pub const MAX_CEL: usize = 1024;

/// Most expressions within each other. Evaluation recurses, and a shard must not run out of stack:
/// unoptimised, a level takes 35 KB of its 2 MB.
const MAX_DEPTH: usize = 24;

/// Stack to parse with, in bytes: unoptimised, the parser takes 110 KB a level, far more than the
/// threads that validate have.
const PARSER_STACK: usize = 16 << 20;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(extensions::strings)
        .expect("its names are not among the standard ones");
    Arc::new(env)
});

/// A parsed expression; in JSON it is its source text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cel {
    source: String,
    expression: Arc<IdedExpr>,
    references: Arc<References>,
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
    Constant(Value),
    Slot(Slot),
}

/// Reason why an expression gave no value of the wanted type. No message shows a value: it may be a
/// credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluationError(String);

impl Cel {
    /// Parses an expression. The error is a sentence for the test's author; names of variables and
    /// feeders are left to [`check`](Self::check).
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_CEL {
            return Err(format!("a CEL expression is at most {MAX_CEL} bytes long"));
        }
        let (expression, references) = with_stack(|| parse(source))??;
        Ok(Self {
            source: source.to_owned(),
            expression: Arc::new(expression),
            references: Arc::new(references),
        })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Parts of an answer that the expression reads.
    pub fn answer_parts(&self) -> AnswerParts {
        self.references.answer_parts()
    }

    /// Fails on the first variable or feeder that is not declared.
    pub fn check(&self, names: &Names) -> Result<(), String> {
        for name in self.references.vars.keys() {
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
        for (name, wanted) in &self.references.feeders {
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
        for name in self.references.vars.keys() {
            match names.get(name) {
                Some(Declared::Constant(value)) => vars.push(Binding::Constant(value.clone())),
                Some(Declared::Value(slot)) => vars.push(Binding::Slot(*slot)),
                _ => return Err(format!("vars.{name} has no value yet")),
            }
        }
        for name in self.references.feeders.keys() {
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

/// Runs `work` on a thread with a large stack, and turns its panic into an error: a resource that
/// someone wrote must not bring the operator down.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| format!("there is no thread to read CEL with: {error}"))?;
        thread
            .join()
            .map_err(|_| "the CEL parser cannot read this".to_owned())
    })
}

fn parse(source: &str) -> Result<(IdedExpr, References), String> {
    let parsed = ENVIRONMENT
        .parser()
        .max_recursion_depth(MAX_DEPTH as u16)
        .parse(source);
    let expression = parsed.map_err(|errors| match errors.errors.first() {
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
    Ok((expression, references))
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
            known.join(", ")
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

    /// Evaluates a condition. `facts` are those of the last answer; without one, an expression that
    /// reads an answer fails.
    pub fn is_true(
        &self,
        facts: Option<&dyn Subject>,
        scope: &impl Scope,
    ) -> Result<bool, EvaluationError> {
        self.evaluate(facts, scope, |value| {
            let fits = value.downcast_ref::<CelBool>().map(|truth| *truth.inner());
            fits.ok_or_else(|| {
                format!(
                    "gives a value of type {}, not true or false",
                    value.get_type().name()
                )
            })
        })
    }

    /// Evaluates a number, which is never infinite or NaN. `facts` are those of the last answer.
    pub fn number(
        &self,
        facts: Option<&dyn Subject>,
        scope: &impl Scope,
    ) -> Result<f64, EvaluationError> {
        self.evaluate(facts, scope, |value| {
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
        facts: Option<&dyn Subject>,
        scope: &impl Scope,
        take: impl Fn(&dyn Val) -> Result<T, String>,
    ) -> Result<T, EvaluationError> {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        self.bind(facts, scope, &mut context)
            .map_err(EvaluationError)?;
        let resolve = || match ::cel::Value::resolve_val(&self.cel.expression, &context) {
            Ok(value) => take(&*value),
            Err(error) => Err(explain(&error)),
        };
        // a library's bug must not end a shard with all its users
        catch_unwind(AssertUnwindSafe(resolve))
            .unwrap_or_else(|_| Err("the CEL interpreter gave up".into()))
            .map_err(EvaluationError)
    }

    fn bind<'v>(
        &'v self,
        facts: Option<&'v dyn Subject>,
        scope: &'v impl Scope,
        context: &mut Context<'_, 'v>,
    ) -> Result<(), String> {
        let References {
            status,
            headers,
            body,
            json,
            latency,
            vars,
            feeders,
            iteration,
            user,
        } = &*self.cel.references;
        let facts = || facts.ok_or_else(|| "there is no answer yet".to_owned());
        if *status {
            context.add_variable_as_val("status", values::whole(facts()?.status().into()));
        }
        if *headers {
            context.add_variable_as_val("headers", values::headers(facts()?));
        }
        if *body {
            context.add_variable_as_val("body", values::text(facts()?.body()?));
        }
        if let Some(wanted) = json {
            context.add_variable_as_val("json", values::part(facts()?.json()?, wanted));
        }
        if *latency {
            context.add_variable_as_val(
                "latency",
                values::broken(facts()?.latency().as_secs_f64() * 1e3),
            );
        }
        if !vars.is_empty() {
            let set = vars
                .iter()
                .zip(&self.vars)
                .filter_map(|((name, wanted), binding)| {
                    let value = match binding {
                        Binding::Constant(value) => Some(value),
                        Binding::Slot(slot) => scope.value(*slot),
                    };
                    Some((name.as_str(), values::part(value?, wanted)))
                });
            context.add_variable_as_val("vars", values::fields(set));
        }
        if !feeders.is_empty() {
            let rows = feeders
                .iter()
                .zip(&self.feeders)
                .filter_map(|((name, wanted), slot)| {
                    scope
                        .value(*slot)
                        .map(|row| (name.as_str(), values::part(row, wanted)))
                });
            context.add_variable_as_val("feeders", values::fields(rows));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Columns;
    use super::super::template::fixed::Fixed;
    use super::*;

    struct Answered(Result<Value, &'static str>);

    impl Subject for Answered {
        fn status(&self) -> u16 {
            201
        }
        fn headers(&self, each: &mut dyn FnMut(&str, &[u8])) {
            each("Content-Type", b"application/json");
            each("Vary", b"a");
            each("vary", b"b");
        }
        fn body(&self) -> Result<&[u8], &str> {
            Ok(b"text \xff")
        }
        fn json(&self) -> Result<&Value, &str> {
            self.0.as_ref().map_err(|why| *why)
        }
        fn latency(&self) -> Duration {
            Duration::from_micros(2500)
        }
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.declare("limit", Declared::Constant(json!(5)));
        names.declare("token", Declared::Value(0));
        names.declare("unset", Declared::Value(1));
        names.declare("texts", Declared::Row(2));
        names
    }

    fn compiled(source: &str) -> CompiledCel {
        Cel::parse(source)
            .and_then(|cel| cel.compile(&names()))
            .unwrap_or_else(|why| panic!("{source}: {why}"))
    }

    fn evaluated(source: &str) -> Result<bool, String> {
        let answer = Answered(Ok(
            json!({"n": 3, "f": 1.5, "t": "x", "items": [{"ok": true}, {"ok": false}], "deep": {"a": {"b": 1}}}),
        ));
        let values = Fixed::of([Some(json!("t-1")), None, Some(json!({"text": "row"}))]);
        compiled(source)
            .is_true(Some(&answer), &values)
            .map_err(|why| why.to_string())
    }

    #[test]
    fn what_is_wrong_is_found_before_it_is_evaluated() {
        for (source, why) in [
            ("status ==", "is not CEL"),
            ("", "is not CEL"),
            ("state == 200", "\"state\" is not known; there are status"),
            ("status.code == 200", "has no part"),
            ("vars == 1", "must be followed by a name"),
            (
                "vars.nobody == 1",
                "vars.nobody is not declared; there are vars.limit, vars.token, vars.unset",
            ),
            ("vars['nobody'] == 1", "vars.nobody is not declared"),
            ("vars.texts.text == ''", "write feeders.texts"),
            ("feeders.nobody.x == ''", "there are feeders.texts"),
            ("user.name == ''", "user.id only"),
            ("json.items.exists(x, y.ok)", "\"y\" is not known"),
            ("launch(status)", "there is no function launch()"),
            ("json.t.launch()", "there is no function .launch()"),
            ("json.?a == 1", "is not CEL"),
            ("optional.of(1) == 1", "there is no function .of()"),
            ("Message{a: 1} == 1", "no message type"),
        ] {
            let error = Cel::parse(source)
                .and_then(|cel| cel.check(&names()))
                .expect_err(source);
            assert!(error.contains(why), "{source} gave {error}");
        }
        assert!(Cel::parse(&format!("status == {}", "1".repeat(MAX_CEL))).is_err());
    }

    #[test]
    fn a_column_that_no_row_has_is_found_where_the_data_are_known() {
        let mut names = names();
        let check = |names: &Names, source: &str| Cel::parse(source).unwrap().check(names);
        assert_eq!(
            check(&names, "feeders.texts.txet == ''"),
            Ok(()),
            "nobody knows yet"
        );
        let columns = Columns {
            names: ["text".to_owned()].into(),
            is_secret: false,
        };
        names.declare_columns(2, Arc::new(columns));
        for source in [
            "feeders.texts.txet == ''",
            "feeders.texts['txet'] == ''",
            "has(feeders.texts.txet)",
        ] {
            assert_eq!(
                check(&names, source).unwrap_err(),
                "feeders.texts has no column \"txet\"; it has text",
                "{source}"
            );
        }
        for source in [
            "feeders.texts.text == ''",
            "size(feeders.texts) == 1",
            "feeders.texts.text.size() > 1",
        ] {
            assert_eq!(check(&names, source), Ok(()), "{source}");
        }
    }

    #[test]
    fn no_depth_runs_out_of_stack() {
        let times = |part: &str, count: usize| part.repeat(count);
        for (begin, middle, end) in [
            ("(", "true", ")"),
            ("[", "true", "]"),
            ("[", "", ""),
            ("!", "true", ""),
            ("-", "1", ""),
            ("int(", "1", ")"),
            ("[1].map(x,", "1", ")"),
        ] {
            for count in [10, 30, 90, 500] {
                let _outcome = Cel::parse(&format!(
                    "{}{middle}{}",
                    times(begin, count),
                    times(end, count)
                ));
            }
        }
        for (first, more) in [
            ("json", ".a"),
            ("json", "[0]"),
            ("body", ".trim()"),
            ("1", " + 1"),
            ("true", " && true"),
            ("1", " == 1"),
            ("", "true ? 1 : "),
        ] {
            for count in [10, 24, 90, 250] {
                if let Ok(cel) = Cel::parse(&format!("{first}{}", times(more, count))) {
                    let _outcome = cel
                        .compile(&names())
                        .unwrap()
                        .is_true(Some(&Answered(Ok(json!({})))), &Fixed::default());
                }
            }
        }
        assert!(
            Cel::parse(&format!("1{}", " + 1".repeat(90)))
                .unwrap_err()
                .contains("nested more than")
        );
        let maps = format!("{}1{} == [1]", times("[1].map(x, ", 4), times(")", 4));
        assert_eq!(evaluated(&maps), Ok(false));
    }

    #[test]
    fn what_goes_wrong_at_run_time_is_said_without_a_value() {
        for (source, why) in [
            ("json.nothing == 1", "there is no \"nothing\""),
            ("vars.unset == 1", "there is no \"unset\""),
            ("json.t", "type string, not true or false"),
            ("1 / (json.n - 3) == 1", "divided by 0"),
            ("1 % (json.n - 3) == 1", "divided by 0"),
            ("9223372036854775807 + json.n == 0", "beyond 64 bits"),
            ("-(-9223372036854775807 - 1) == json.n", "beyond 64 bits"),
            (
                "(-9223372036854775807 - 1) / (json.n - 4) == 1",
                "beyond 64 bits",
            ),
            ("(-9223372036854775807 - 1) % (json.n - 4) == 1", ""),
            ("json.items[7].ok", "beyond the end"),
            ("json.items[-1].ok", "beyond the end"),
            ("json.n + json.t == 1", "does not fit"),
            ("json.n + json.f == 4.5", "does not fit"),
            ("json.t < json.n", "no matching overload"),
            ("int(json.t) == 1", "int() cannot do that"),
            ("int(json.f * 1e300) == 1", "int() cannot do that"),
            ("json.t.matches('(')", "matches() cannot do that"),
            ("json.t.substring(5) == ''", "substring() cannot do that"),
            ("json.n.exists(x, x)", "iterable"),
            ("size(json.n) == 1", "no matching overload"),
        ] {
            match evaluated(source) {
                Err(error) => assert!(
                    error.contains(why) && error.len() < 200 && !error.contains("t-1"),
                    "{source} gave {error}"
                ),
                Ok(truth) => panic!("{source} gave {truth}"),
            }
        }
    }

    #[test]
    fn without_an_answer_only_what_asks_for_it_fails() {
        let values = Fixed::of([Some(json!(1)), None, None]);
        assert_eq!(
            compiled("status == 200").is_true(None, &values),
            Err(EvaluationError("there is no answer yet".into()))
        );
        assert_eq!(
            compiled("vars.token == 1 && iteration == 3 && user.id == 7").is_true(None, &values),
            Ok(true)
        );
    }

    #[test]
    fn a_body_that_is_no_json_fails_only_what_asks_for_json() {
        let values = Fixed::of([None, None, None]);
        let broken = Answered(Err("the body is not JSON"));
        assert_eq!(
            compiled("json.a == 1").is_true(Some(&broken), &values),
            Err(EvaluationError("the body is not JSON".into()))
        );
        assert_eq!(
            compiled("status == 201").is_true(Some(&broken), &values),
            Ok(true)
        );
    }

    #[test]
    fn an_expression_sees_the_answer_and_the_users_values() {
        for source in [
            "status == 201 && status in [200, 201]",
            "headers['content-type'].startsWith('application/') && headers.vary == 'a, b'",
            "!('x-none' in headers)",
            "body.startsWith('text') && size(body) == 6",
            "json.n == 3 && json.n == 3.0 && json.f > 1 && json.n < vars.limit",
            "json.deep == {'a': {'b': 1}} && json.deep.a.b == 1 && json['deep']['a'].b == 1",
            "has(json.deep.a) && !has(json.deep.c) && !has(json.c)",
            "json.items.exists(x, x.ok) && !json.items.all(x, x.ok) && json.items.filter(x, x.ok).size() == 1",
            "json.items.map(i, i.ok)[1] == false",
            "json.items.exists(status, status.ok)",
            "latency > 2.4 && latency < 2.6",
            "vars.token.replace('-', '') == 't1' && vars['limit'] == 5",
            "feeders.texts.text == 'row' && feeders.texts.size() == 1",
            "type(json.n) == int && type(json.f) == double && type(json.t) == string && type(json.items) == list",
            "iteration + user.id == 10 && string(json.n) + 'x' == '3x' && json.t.upperAscii() == 'X'",
            "has(vars.unset) || vars.limit == 5",
            "json == json",
        ] {
            assert_eq!(evaluated(source), Ok(true), "{source}");
        }
    }

    #[test]
    fn a_number_is_any_finite_number() {
        let answer = Answered(Ok(json!({"n": 3, "f": 0.5, "big": u64::MAX, "t": "3"})));
        let values = Fixed::default();
        let number = |source: &str| {
            Cel::parse(source)
                .unwrap()
                .compile(&Names::default())
                .unwrap()
                .number(Some(&answer), &values)
        };
        assert_eq!(number("json.n"), Ok(3.0));
        assert_eq!(number("json.f * 1000.0"), Ok(500.0));
        assert_eq!(number("json.big"), Ok(u64::MAX as f64));
        assert!(number("json.t").is_err());
        assert!(number("json.f / 0.0").is_err());
    }

    #[test]
    fn only_what_is_asked_for_must_be_kept() {
        let answer_parts = |source: &str| Cel::parse(source).unwrap().answer_parts();
        assert_eq!(
            answer_parts("status == 200 && latency < 5.0"),
            AnswerParts::default()
        );
        assert_eq!(
            answer_parts("json.a == 1"),
            AnswerParts {
                headers: false,
                body: true
            }
        );
        assert_eq!(
            answer_parts("headers.a == body"),
            AnswerParts {
                headers: true,
                body: true
            }
        );
        assert_eq!(
            compiled("feeders.texts.text == ''").needs(),
            [Need {
                slot: 2,
                take: None
            }]
        );
    }

    #[test]
    fn long_chains_are_not_deep() {
        let many = vec!["status == 200"; 40].join(" || ");
        assert_eq!(evaluated(&format!("{many} || status == 201")), Ok(true));
    }

    #[test]
    fn an_expression_is_its_source_in_json() {
        let cel = Cel::parse("json.a == 1").unwrap();
        assert_eq!(
            serde_json::from_value::<Cel>(serde_json::to_value(&cel).unwrap()).unwrap(),
            cel
        );
        assert!(serde_json::from_value::<Cel>(json!("a ==")).is_err());
    }

    fn expressions() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "json",
            "json.n",
            "json.f",
            "json.t",
            "json.items",
            "json.deep",
            "status",
            "latency",
            "body",
            "headers",
            "vars.token",
            "0",
            "1u",
            "-1",
            "1.5",
            "'a'",
            "b'a'",
            "null",
            "true",
            "[]",
            "{}",
            "9223372036854775807",
            "type(json)",
        ])
        .prop_map(str::to_owned);
        atom.prop_recursive(4, 24, 2, |inner| {
            let operators = vec!["+", "-", "*", "/", "%", "==", "<", ">=", "&&", "||", "in"];
            let functions = vec![
                "size", "int", "double", "string", "uint", "bool", "bytes", "type",
            ];
            let members = vec![
                "contains",
                "matches",
                "split",
                "indexOf",
                "charAt",
                "substring",
                "format",
                "join",
                "startsWith",
            ];
            prop_oneof![
                (
                    inner.clone(),
                    prop::sample::select(operators),
                    inner.clone()
                )
                    .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
                (prop::sample::select(functions), inner.clone())
                    .prop_map(|(function, a)| format!("{function}({a})")),
                (inner.clone(), prop::sample::select(members), inner.clone())
                    .prop_map(|(a, member, b)| format!("({a}).{member}({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).map(x, {b})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("({a} ? {b} : x)").replace('x', "1")),
                inner.prop_map(|a| format!("!({a})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_program_panics(source in expressions()) {
            if let Ok(cel) = Cel::parse(&source) {
                let compiled = cel.compile(&names()).unwrap();
                let answer = Answered(Ok(json!({"n": 3, "f": 1.5, "t": "é", "items": [1, "a"], "deep": {"a": null}})));
                let outcome = compiled.is_true(Some(&answer), &Fixed::of([Some(json!("t")), None, None]));
                prop_assert_ne!(outcome, Err(EvaluationError("the CEL interpreter gave up".into())));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(source in ".{0,60}") {
            let _outcome = Cel::parse(&source);
        }
    }
}
