//! Steps of an evaluation, which are counted and bounded: the interpreter itself would go through
//! lists within lists for hours, and double a text until no memory is left.
//!
//! An expression is rewritten when it is parsed. What a macro evaluates for each item is wrapped in
//! a call that counts its expressions, and what an operator or function reads or copies is wrapped
//! in one that counts its size. Functions whose work is a product of two sizes are replaced by ones
//! that count that product before they begin. Once the steps are used up every such call fails, so
//! that the evaluation ends, and its result is an error whatever the expression makes of it.

use std::cell::Cell;

use ::cel::common::ast::operators::{
    ADD, EQUALS, GREATER, GREATER_EQUALS, IN, LESS, LESS_EQUALS, NOT_EQUALS,
};
use ::cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};
use ::cel::common::types::{CelBytes, CelInt, CelList, CelMap, CelString, DYN_TYPE};
use ::cel::common::value::{CowVal, Val};
use ::cel::{Context, DeclarationError, Env, ExecutionError, IdedExpr, Value};
use regex::RegexBuilder;

use super::PLAIN;
use crate::plan::pattern::MAX_PATTERN;

/// Most steps of one evaluation. A step is an expression within a macro, an item or 16 bytes of
/// text that is read or copied; it takes some 100 ns.
pub(super) const MAX_STEPS: usize = 1_000_000;

/// Bytes of text that count as one step.
const PER_STEP: usize = 16;

/// Steps that count for a regular expression of `matches`, which is compiled each time.
const PER_PATTERN: usize = 5_000;

/// Largest compiled regular expression of `matches`, in bytes.
const MAX_COMPILED: usize = 64 << 10;

const COUNT: &str = "@count";
const WEIGH: &str = "@weigh";

/// Functions whose work is a product of sizes, with the names and numbers of operands of those that
/// take their place; the first operand is the target.
const REPLACED: [(&str, &str, &[usize], ::cel::common::functions::Function); 5] = [
    ("replace", "@replace", &[3, 4], replace),
    ("indexOf", "@indexOf", &[2, 3], index_of),
    ("lastIndexOf", "@lastIndexOf", &[2, 3], last_index_of),
    ("join", "@join", &[1, 2], join),
    ("matches", "@matches", &[2], matches),
];

thread_local! {
    /// Steps that are left; `None` once they were used up.
    static LEFT: Cell<Option<usize>> = const { Cell::new(Some(MAX_STEPS)) };
}

/// Begins an evaluation with all its steps.
pub(super) fn begin() {
    LEFT.set(Some(MAX_STEPS));
}

/// Tells whether the evaluation asked for more steps than it has.
pub(super) fn are_used_up() -> bool {
    LEFT.get().is_none()
}

/// Steps that the last evaluation has taken.
#[cfg(test)]
pub(super) fn taken() -> usize {
    MAX_STEPS - LEFT.get().unwrap_or_default()
}

/// Counts steps, also those of values that are handed to an expression. Fails when they are used
/// up.
pub(super) fn take(steps: usize) -> Result<(), ExecutionError> {
    LEFT.set(LEFT.get().and_then(|left| left.checked_sub(steps)));
    match LEFT.get() {
        Some(_) => Ok(()),
        None => Err(ExecutionError::function_error("", "takes too many steps")),
    }
}

/// Declares the functions that count.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload(COUNT, COUNT, vec![DYN_TYPE, DYN_TYPE], count)?;
    env.add_overload(WEIGH, WEIGH, vec![DYN_TYPE], weigh)?;
    for (_, name, operands, function) in REPLACED {
        for count in operands {
            let id = format!("{name}{count}");
            let types = (0..*count).map(|_| DYN_TYPE).collect();
            env.add_overload(name, &id, types, function)?;
        }
    }
    Ok(())
}

/// Rewrites an expression so that its steps are counted.
pub(super) fn count_steps(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => {}
        // a chain of names is looked up as a whole
        Expr::Select(select) => count_steps(&mut select.operand),
        Expr::Call(call) => count_steps_of_call(call),
        Expr::List(list) => list.elements.iter_mut().for_each(count_and_weigh),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    count_and_weigh(&mut entry.key);
                    count_and_weigh(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            count_and_weigh(&mut comprehension.iter_range);
            count_steps(&mut comprehension.accu_init);
            count_for_each(&mut comprehension.loop_step, &comprehension.accu_var);
        }
    }
}

fn count_steps_of_call(call: &mut CallExpr) {
    let is_read_whole = reads_operands(&call.func_name);
    let operands = call.target.iter_mut().map(|target| &mut **target);
    for operand in operands.chain(&mut call.args) {
        match is_read_whole {
            true => count_and_weigh(operand),
            false => count_steps(operand),
        }
    }
    let replaced = REPLACED.iter().find(|(name, ..)| *name == call.func_name);
    if let Some((_, name, ..)) = replaced {
        let target = call.target.take().map(|target| *target);
        call.args.splice(0..0, target);
        call.func_name = (*name).to_owned();
    }
}

/// Tells whether an operator or function may go through all of its operands. Functions have names,
/// operators none that begins with a letter.
fn reads_operands(name: &str) -> bool {
    let operators = [
        ADD,
        EQUALS,
        NOT_EQUALS,
        LESS,
        LESS_EQUALS,
        GREATER,
        GREATER_EQUALS,
        IN,
    ];
    operators.contains(&name) || name.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn count_and_weigh(expression: &mut IdedExpr) {
    count_steps(expression);
    // what is written out is no longer than the expression
    if !matches!(expression.expr, Expr::Literal(_)) {
        wrap(expression, WEIGH, None);
    }
}

/// Rewrites what a macro evaluates for each item. The parts with the accumulator keep their form,
/// by which the interpreter recognises macros.
fn count_for_each(step: &mut IdedExpr, accumulator: &str) {
    let is_accumulator =
        |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name == accumulator);
    if is_accumulator(step) {
        return;
    }
    match &mut step.expr {
        Expr::Call(call) if call.target.is_none() && mentions(call, accumulator) => {
            for part in &mut call.args {
                count_for_each(part, accumulator);
            }
        }
        Expr::List(list) => {
            for element in &mut list.elements {
                count_one(element);
            }
        }
        _ => count_one(step),
    }
}

fn mentions(call: &CallExpr, accumulator: &str) -> bool {
    call.args.iter().any(|part| match &part.expr {
        Expr::Ident(name) => name == accumulator,
        Expr::Call(call) => call.target.is_none() && mentions(call, accumulator),
        _ => false,
    })
}

fn count_one(expression: &mut IdedExpr) {
    let size = super::references::size(expression);
    count_steps(expression);
    wrap(expression, COUNT, Some(size));
}

fn wrap(expression: &mut IdedExpr, function: &str, number: Option<usize>) {
    let id = expression.id;
    let number = number.map(|number| IdedExpr {
        id,
        expr: Expr::Literal(LiteralValue::Int(CelInt::from(number as i64))),
    });
    let args = std::iter::once(std::mem::take(expression)).chain(number);
    expression.id = id;
    expression.expr = Expr::Call(CallExpr {
        func_name: function.to_owned(),
        target: None,
        args: args.collect(),
    });
}

/// Returns its first operand and counts the second one, and what the first one weighs.
fn count<'b, 'v>(mut operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let number = operands
        .pop()
        .and_then(|number| {
            number
                .downcast_ref::<CelInt>()
                .map(|number| *number.inner())
        })
        .unwrap_or_default();
    take(number as usize)?;
    weigh(operands)
}

/// Returns its operand and counts what it weighs.
fn weigh<'b, 'v>(mut operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    match operands.pop() {
        Some(value) => weigh_value(value.as_ref()).map(|()| value),
        None => Err(ExecutionError::function_error(WEIGH, "has no operand")),
    }
}

/// Counts a value and all that is in it.
fn weigh_value(value: &dyn Val) -> Result<(), ExecutionError> {
    if let Some(list) = value.downcast_ref::<CelList>() {
        take(1)?;
        list.inner()
            .iter()
            .try_for_each(|item| weigh_value(&**item))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        take(1)?;
        map.inner().iter().try_for_each(|(key, value)| {
            weigh_value(key.inner()).and_then(|()| weigh_value(&**value))
        })
    } else {
        take(1 + length(value) / PER_STEP)
    }
}

/// Returns the length of a text in bytes, 0 for another value.
fn length(value: &dyn Val) -> usize {
    let text = value
        .downcast_ref::<CelString>()
        .map(|text| text.inner().len());
    let bytes = || {
        value
            .downcast_ref::<CelBytes>()
            .map(|bytes| bytes.inner().len())
    };
    text.or_else(bytes).unwrap_or_default()
}

fn length_of(operands: &[CowVal<'_, '_>], place: usize) -> usize {
    operands
        .get(place)
        .map_or(0, |operand| length(operand.as_ref()))
}

/// Counts a product of two sizes in bytes.
fn take_product(one: usize, other: usize) -> Result<(), ExecutionError> {
    take(one.saturating_mul(other) / PER_STEP)
}

fn replace<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (text, new) = (length_of(&operands, 0), length_of(&operands, 2));
    let most = text / length_of(&operands, 1).max(1) + 1;
    take_product(most, new + 1)?;
    call("replace", operands)
}

fn index_of<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    take_product(length_of(&operands, 0), 1 + length_of(&operands, 1) / 4)?;
    call("indexOf", operands)
}

fn last_index_of<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    take_product(length_of(&operands, 0), 1 + length_of(&operands, 1) / 4)?;
    call("lastIndexOf", operands)
}

fn join<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let items = operands.first().and_then(|list| {
        list.downcast_ref::<CelList>()
            .map(|list| list.inner().len())
    });
    take_product(items.unwrap_or_default(), length_of(&operands, 1))?;
    call("join", operands)
}

/// Searches a text for a regular expression, as the standard function does, but within bounds.
fn matches<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let texts = operands
        .iter()
        .filter_map(|operand| operand.downcast_ref::<CelString>());
    let texts: Vec<&str> = texts.map(|text| text.inner()).collect();
    let [text, pattern] = texts.as_slice() else {
        return call("matches", operands);
    };
    take(PER_PATTERN.saturating_add(text.len()))?;
    let refused = || ExecutionError::function_error("matches", "is no regular expression");
    if pattern.len() > MAX_PATTERN {
        return Err(refused());
    }
    let mut compiled = RegexBuilder::new(pattern);
    let compiled = compiled
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| refused())?;
    Ok(CowVal::owned(::cel::common::types::CelBool::from(
        compiled.is_match(text),
    )))
}

/// Calls the library's own function on the first operand, with the others as its arguments.
fn call<'b, 'v>(
    name: &str,
    operands: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut context = Context::with_env(PLAIN.clone());
    let mut names = Vec::new();
    for (place, operand) in operands.into_iter().enumerate() {
        let name = format!("operand{place}");
        context.add_variable_as_val(&name, operand.into_owned());
        names.push(IdedExpr {
            id: 0,
            expr: Expr::Ident(name),
        });
    }
    let target = Some(Box::new(names.remove(0)));
    let expression = IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target,
            args: names,
        }),
    };
    Value::resolve_val(&expression, &context).map(|value| CowVal::Owned(value.into_owned()))
}
