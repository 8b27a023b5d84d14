//! The test's variables: constants where they can be, values made anew for each iteration where
//! they differ, texts of Secrets and ConfigMaps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{self, Declared, Names, RESERVED, Slot};
use super::reference::{Inputs, Reference};
use super::template::{Compiled, JsonTemplate};
use super::{Problem, budget};

/// Most variables that may lead from one to another: each is resolved within the one before it.
const MAX_DEPTH: usize = 64;

/// Most problems that are looked for.
const MAX_PROBLEMS: usize = 100;

/// Variables as the test declares them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Variables {
    /// Values by name; their strings are templates over functions and other variables.
    pub values: BTreeMap<String, JsonTemplate>,
    /// References by name, whose text is read where the load is made. No name is in both maps.
    pub from: BTreeMap<String, Reference>,
}

/// Variables as templates see them.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Meaning of each variable's name.
    pub names: Names,
    /// Variables that are computed at run time, in the order in which they must be: each may name
    /// those before it.
    pub computed: Vec<Computed>,
}

/// A variable that is computed at the beginning of each iteration and keeps its value to the end.
#[derive(Debug, Clone)]
pub struct Computed {
    /// Slot that the value is put into.
    pub slot: Slot,
    /// Template of the value, for [`Compiled::value`].
    pub template: Compiled,
}

impl Variables {
    /// Number of slots that variables take, from 0; the same whether their references are known or
    /// not.
    pub fn slots(&self) -> Slot {
        self.values.len() as Slot
    }

    /// Works out every variable. Without `inputs`, as in validation, text of a Secret or ConfigMap
    /// stays unknown.
    pub fn resolve(&self, inputs: Option<&Inputs>) -> Result<Resolved, Vec<Problem>> {
        let mut resolver = Resolver {
            variables: self,
            slots: self.values.keys().map(String::as_str).zip(0..).collect(),
            resolved: Resolved::default(),
            under_way: vec![],
            done: BTreeSet::new(),
            problems: vec![],
        };
        for (name, reference) in &self.from {
            let text = match inputs {
                None => Declared::External,
                Some(inputs) => match inputs.text(reference) {
                    Some(Ok(text)) => Declared::Constant(Arc::new(text.into())),
                    Some(Err(_)) => resolver.wrong_reference(reference, "is not UTF-8 text"),
                    None => resolver.wrong_reference(reference, "is missing"),
                },
            };
            resolver.resolved.names.declare(name, text);
        }
        self.values.keys().for_each(|name| resolver.visit(name));
        if resolver.problems.is_empty() {
            Ok(resolver.resolved)
        } else {
            Err(resolver.problems)
        }
    }
}

struct Resolver<'a> {
    variables: &'a Variables,
    slots: BTreeMap<&'a str, Slot>,
    resolved: Resolved,
    /// Variables that led to the one being resolved.
    under_way: Vec<&'a str>,
    done: BTreeSet<&'a str>,
    problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    fn wrong_reference(&mut self, reference: &Reference, what: &str) -> Declared {
        self.problems.push(Problem::new(
            &reference.field,
            format!("{reference} {what}"),
        ));
        Declared::External
    }

    /// Resolves `name`, after all that it names.
    fn visit(&mut self, name: &'a str) {
        let Some((slot, template)) = self
            .slots
            .get(name)
            .copied()
            .zip(self.variables.values.get(name))
        else {
            return;
        };
        if let Some(at) = self.under_way.iter().position(|known| *known == name) {
            // declared, so that variables that refer to it get no error of their own
            self.resolved.names.declare(name, Declared::Value(slot));
            let circle = [&self.under_way[at..], &[name]].concat().join(" -> ");
            return self.wrong(
                name,
                format!("variables name each other in a circle: {circle}"),
            );
        }
        if !self.done.insert(name) {
            return;
        }
        if self.problems.len() >= MAX_PROBLEMS {
            // the plan is refused, and the list of why is long enough
            self.resolved.names.declare(name, Declared::Value(slot));
            return;
        }
        budget::at(&format!("spec.variables.{name}"));
        self.under_way.push(name);
        let declared = self
            .named(name, template)
            .and_then(|()| self.declare(slot, template));
        self.under_way.pop();
        let declared = declared.unwrap_or_else(|message| {
            self.wrong(name, message);
            // any declaration will do, since the plan is refused
            Declared::Value(slot)
        });
        self.resolved.names.declare(name, declared);
    }

    fn named(&mut self, name: &str, template: &'a JsonTemplate) -> Result<(), String> {
        if self.under_way.len() > MAX_DEPTH {
            return Err(format!(
                "variables name each other more than {MAX_DEPTH} deep"
            ));
        }
        let Variables { values, from } = self.variables;
        for other in template.names()? {
            if let Some((other, _)) = values.get_key_value(&other) {
                self.visit(other);
            } else if !from.contains_key(&other) && !RESERVED.contains(&other.as_str()) {
                let known = values
                    .keys()
                    .chain(from.keys())
                    .map(String::as_str)
                    .filter(|known| *known != name);
                return Err(format!(
                    "{other:?} is no variable, and variables may name nothing else; the others are {}",
                    names::list(known)
                ));
            }
        }
        Ok(())
    }

    fn declare(&mut self, slot: Slot, template: &JsonTemplate) -> Result<Declared, String> {
        let compiled = template.compile(&self.resolved.names)?;
        match compiled.as_static() {
            Some(json) => {
                let value: Value = serde_json::from_slice(json)
                    .map_err(|_| "what raw(x) writes is not JSON here")?;
                Ok(Declared::Constant(value.into()))
            }
            None => {
                self.resolved.computed.push(Computed {
                    slot,
                    template: compiled,
                });
                Ok(Declared::Value(slot))
            }
        }
    }

    fn wrong(&mut self, name: &str, message: String) {
        self.problems
            .push(Problem::new(format!("spec.variables.{name}"), message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Kind;

    fn variables(values: Value) -> Variables {
        let fields = values.as_object().unwrap();
        let values = fields
            .iter()
            .map(|(name, value)| (name.clone(), JsonTemplate::new(value.clone()).unwrap()))
            .collect();
        let token = Reference {
            kind: Kind::Secret,
            name: "s".into(),
            key: "k".into(),
            field: "spec.variablesFrom.token".into(),
        };
        Variables {
            values,
            from: [("token".to_owned(), token)].into(),
        }
    }

    fn inputs(value: &[u8]) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.insert(Kind::Secret, "s", "k", value.to_vec());
        inputs
    }

    fn problem(values: Value) -> String {
        let problems = variables(values).resolve(None).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }

    #[test]
    fn a_circle_is_refused_once_and_shown() {
        assert_eq!(
            problem(json!({"a": "{{ b }}", "b": ["{{ c }}"], "c": "x{{ a }}", "d": "{{ a }}"})),
            "spec.variables.a: variables name each other in a circle: a -> b -> c -> a"
        );
        assert!(problem(json!({"a": "{{ a }}"})).contains("a -> a"));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(
            problem(json!({"a": "{{ texts.word }}", "b": 1})),
            "spec.variables.a: \"texts\" is no variable, and variables may name nothing else; the others are b, token"
        );
        assert!(problem(json!({"a": "{{ sha256() }}"})).contains("does not take 0 arguments"));
        assert!(problem(json!({"a": "{{ raw('{') }}"})).contains("not JSON"));
    }

    #[test]
    fn what_never_differs_is_a_constant_whatever_the_order() {
        let resolved = variables(
            json!({"a": "{{ b.n }}", "b": {"n": "{{ add(z, 1) }}"}, "f": "{{ float(1) }}", "z": 1}),
        )
        .resolve(None)
        .unwrap();
        assert!(resolved.computed.is_empty());
        assert!(resolved.names.get("a") == Some(&Declared::Constant(json!(2).into())));
        assert!(resolved.names.get("f") == Some(&Declared::Constant(json!(1.0).into())));
    }

    #[test]
    fn what_differs_is_made_after_what_it_names() {
        let resolved = variables(json!({"a": "<{{ b }}>", "b": "{{ uuid() }}", "c": 1}))
            .resolve(None)
            .unwrap();
        let slots: Vec<Slot> = resolved
            .computed
            .iter()
            .map(|computed| computed.slot)
            .collect();
        assert_eq!(slots, [1, 0]);
        assert!(resolved.names.get("a") == Some(&Declared::Value(0)));
    }

    #[test]
    fn a_secret_is_text_until_it_is_known_and_then_a_constant() {
        let variables = variables(json!({"header": "Bearer {{ token }}"}));
        let resolved = variables.resolve(None).unwrap();
        assert_eq!((resolved.computed.len(), variables.slots()), (1, 1));
        let resolved = variables.resolve(Some(&inputs(b"canary\n"))).unwrap();
        assert!(
            resolved.names.get("header")
                == Some(&Declared::Constant(json!("Bearer canary").into()))
        );
        assert!(!format!("{resolved:?} {variables:?}").contains("canary"));
    }

    #[test]
    fn a_secret_that_is_no_text_is_named_and_not_shown() {
        let problems = variables(json!({}))
            .resolve(Some(&inputs(b"canary\xff")))
            .unwrap_err();
        assert_eq!(problems[0].path, "spec.variablesFrom.token");
        assert!(!problems[0].message.contains("canary"), "{problems:?}");
        assert!(
            variables(json!({}))
                .resolve(Some(&Inputs::default()))
                .unwrap_err()[0]
                .message
                .contains("missing")
        );
    }
}
