//! The budget of a check: how much a spec may expand to and compile to. A spec of a few kilobytes
//! can ask for gigabytes: variables that double each other, or expressions that are short to write
//! and long to hold.
//!
//! The budget belongs to the thread for as long as [`within`] runs, since patterns and templates
//! are also compiled where a plan is read. Without one nothing is counted.

use std::cell::RefCell;

use serde_json::Value;

/// Most bytes that the variables and templates of a spec may expand to, all together.
pub const MAX_EXPANDED: usize = 1 << 20;

/// Most bytes that the templates of a run may expand to where the load is made. There the texts of
/// Secrets and ConfigMaps, of up to 1 MiB each, are known and part of it.
pub const MAX_EXPANDED_IN_RUN: usize = 64 << 20;

/// Most bytes that the regular expressions, JSONPaths and CEL expressions of a spec may take when
/// compiled, all together.
pub const MAX_COMPILED: usize = 16 << 20;

/// Bytes that one constant in a list or map takes beside its text.
const PER_VALUE: usize = 16;

/// Called with each field path before the field is checked.
type Observer = Box<dyn FnMut(&str)>;

struct Budget {
    expanded: usize,
    /// Bytes that expressions have looked at and not kept.
    held: usize,
    compiled: usize,
    /// Bound of `expanded` and of `held`.
    most: usize,
    /// Observer of the fields that are checked.
    at: Option<Observer>,
}

thread_local! {
    static BUDGET: RefCell<Option<Budget>> = const { RefCell::new(None) };
    static AS_TEXT: RefCell<bool> = const { RefCell::new(false) };
}

/// Calls `work` with a budget of `most` bytes for expansions and [`MAX_COMPILED`] for what is
/// compiled. A budget that is open already is set aside for that time, and its observer of field
/// paths is kept.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let before = BUDGET.take();
    let (before, at) = match before {
        Some(mut before) => {
            let at = before.at.take();
            (Some(before), at)
        }
        None => (None, None),
    };
    open(most, at);
    let outcome = work();
    let at = BUDGET.take().and_then(|budget| budget.at);
    BUDGET.set(before.map(|before| Budget { at, ..before }));
    outcome
}

/// Calls `work`, and `at` with the path of each field before it is checked.
pub fn observed<T>(at: impl FnMut(&str) + 'static, work: impl FnOnce() -> T) -> T {
    open(MAX_EXPANDED, Some(Box::new(at)));
    let outcome = work();
    BUDGET.take();
    outcome
}

fn open(most: usize, at: Option<Observer>) {
    BUDGET.set(Some(Budget {
        expanded: 0,
        held: 0,
        compiled: 0,
        most,
        at,
    }));
}

/// Calls `work`; regular expressions, JSONPaths and CEL expressions that are read from a plan
/// meanwhile are taken as text, and compiled at their first use. It is for plans that have been
/// checked and are only passed on.
pub fn as_text<T>(work: impl FnOnce() -> T) -> T {
    AS_TEXT.set(true);
    let outcome = work();
    AS_TEXT.set(false);
    outcome
}

/// Tells whether [`as_text`] is under way.
pub(super) fn is_as_text() -> bool {
    AS_TEXT.with_borrow(|as_text| *as_text)
}

/// Notes that the field at `path` is checked next.
pub fn at(path: &str) {
    BUDGET.with_borrow_mut(|budget| {
        if let Some(at) = budget.as_mut().and_then(|budget| budget.at.as_mut()) {
            at(path);
        }
    });
}

/// Counts bytes that a template or variable keeps.
///
/// # Errors
///
/// A sentence for the test's author once they are too many in all.
pub(super) fn keep(bytes: usize) -> Result<(), String> {
    charge(|budget| {
        budget.expanded = budget.expanded.saturating_add(bytes);
        budget.expanded <= budget.most
    })
    .map_err(|most| {
        format!(
            "variables and templates expand to more than {} MiB in all",
            most >> 20
        )
    })
}

/// Counts bytes that an expression looks at and does not keep, which take time.
///
/// # Errors
///
/// A sentence for the test's author once they are too many in all.
pub(super) fn hold(bytes: usize) -> Result<(), String> {
    charge(|budget| {
        budget.held = budget.held.saturating_add(bytes);
        bytes <= budget.most && budget.held <= 16 * budget.most
    })
    .map_err(|most| {
        format!(
            "an expression works on more than {} MiB, or all of them on more than {} MiB",
            most >> 20,
            most >> 16
        )
    })
}

/// Counts bytes of a compiled expression.
///
/// # Errors
///
/// A sentence for the test's author once they are too many in all.
pub(super) fn compile(bytes: usize) -> Result<(), String> {
    charge(|budget| {
        budget.compiled = budget.compiled.saturating_add(bytes);
        budget.compiled <= MAX_COMPILED
    })
    .map_err(|_| {
        format!(
            "regular expressions, JSONPaths and CEL expressions take more than {} MiB in all \
             when compiled",
            MAX_COMPILED >> 20
        )
    })
}

/// Applies `count` to the open budget; `Err` has its bound of expansions.
fn charge(count: impl FnOnce(&mut Budget) -> bool) -> Result<(), usize> {
    BUDGET.with_borrow_mut(|budget| match budget {
        Some(budget) => count(budget).then_some(()).ok_or(budget.most),
        None => Ok(()),
    })
}

/// Tells whether a budget is open on this thread.
pub(super) fn is_open() -> bool {
    BUDGET.with_borrow(Option::is_some)
}

/// Tells whether more was asked of the open budget than it has.
pub fn is_over() -> bool {
    BUDGET.with_borrow(|budget| {
        budget.as_ref().is_some_and(|budget| {
            budget.expanded > budget.most
                || budget.held > 16 * budget.most
                || budget.compiled > MAX_COMPILED
        })
    })
}

/// Returns the bytes that a constant takes, about.
pub(super) fn size(value: &Value) -> usize {
    PER_VALUE
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, field)| name.len() + size(field))
                .sum(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_compiled_is_counted_only_within_a_budget() {
        assert!(keep(usize::MAX).is_ok() && compile(usize::MAX).is_ok());
        within(10, || {
            assert!(keep(10).is_ok() && !is_over());
            assert!(keep(1).unwrap_err().contains("in all") && is_over());
        });
        within(10, || {
            assert!(keep(10).is_ok());
            assert!(compile(MAX_COMPILED).is_ok() && compile(1).is_err());
        });
        assert!(!is_open());
    }

    #[test]
    fn a_number_that_overflows_is_too_many() {
        within(10, || {
            assert!(keep(usize::MAX).is_err() && keep(usize::MAX).is_err());
        });
    }

    #[test]
    fn each_field_is_told_to_the_observer_also_within_a_budget() {
        let (send, seen) = std::sync::mpsc::sync_channel(10);
        observed(
            move |path| send.send(path.to_owned()).unwrap(),
            || within(1, || at("spec.a")),
        );
        assert_eq!(seen.iter().collect::<Vec<_>>(), ["spec.a"]);
    }
}
