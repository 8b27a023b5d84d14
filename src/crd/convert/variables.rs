//! Variables, and the delimiters of templates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::target::file_reference;
use super::{Problems, free_value_size};
use crate::crd::spec::{FileSource, TemplateDelimitersSpec};
use crate::plan::names::check_name;
use crate::plan::{Delimiters, JsonTemplate, Problem, Resolved, Variables, budget};

/// Checks the delimiters; the usual ones if they have a mistake.
pub(super) fn check_delimiters(
    delimiters: &TemplateDelimitersSpec,
    problems: &mut Problems,
) -> Delimiters {
    let TemplateDelimitersSpec { open, close } = delimiters;
    problems
        .take("spec.templateDelimiters", Delimiters::new(open, close))
        .unwrap_or_default()
}

/// Checks the variables. Returns them, and the names that templates know before any Secret or
/// ConfigMap is read.
pub(super) fn check_variables(
    values: &BTreeMap<String, Value>,
    from: &BTreeMap<String, FileSource>,
    delimiters: &Delimiters,
    problems: &mut Problems,
) -> (Variables, Resolved) {
    let mut variables = Variables::default();
    for (name, value) in values {
        let path = format!("spec.variables.{name}");
        budget::at(&path);
        problems.take(&path, check_name(name));
        let template =
            free_value_size(value).and_then(|()| JsonTemplate::new_with(value.clone(), delimiters));
        // a template that uses the variable is not reported, too
        let template = problems
            .take(&path, template)
            .or_else(|| JsonTemplate::new(Value::Null).ok());
        variables
            .values
            .extend(template.map(|template| (name.clone(), template)));
    }
    for (name, source) in from {
        let path = format!("spec.variablesFrom.{name}");
        problems.take(&path, check_name(name));
        if values.contains_key(name) {
            problems.add(&path, "spec.variables has this name, too");
        }
        let reference = problems.take(&path, file_reference(source, &path));
        variables
            .from
            .extend(reference.map(|reference| (name.clone(), reference)));
    }
    let resolved = variables.resolve(None).unwrap_or_else(|found| {
        for Problem { path, message } in found {
            problems.add(path, message);
        }
        Resolved::default()
    });
    (variables, resolved)
}
