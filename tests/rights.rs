//! The operator's rights beside what it did: after the end-to-end suite, the API server's audit log
//! has a request for every right in the table, and no request that the table does not allow.
//!
//! `tests/run.sh` runs it on the cluster of the suite, after the suite.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use starling::operator::rbac::{Place, RULES};

/// Rights that no request is made with, and why they are needed all the same.
const WITHOUT_A_REQUEST: &[(&str, &str)] = &[(
    "update starling.dev/loadtests/finalizers",
    "asked for by the admission plugin OwnerReferencesPermissionEnforcement, which this cluster lacks",
)];

/// Lines of the audit log that are the operators' requests.
fn requests() -> Vec<Value> {
    let kubeconfig = std::env::var("STARLING_TEST_KUBECONFIG").unwrap_or_else(|_| {
        panic!("STARLING_TEST_KUBECONFIG is not set: `make test` runs this after the suite")
    });
    let logs = Path::new(&kubeconfig).with_file_name("log");
    let files = std::fs::read_dir(&logs).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; a cluster of yours must give it",
            logs.display()
        )
    });
    // those that were full have the time in their names
    let is_audit = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("audit")
    };
    let text: String = files
        .map(|file| file.expect("a file").path())
        .filter(is_audit)
        .map(|path| std::fs::read_to_string(path).expect("an audit log"))
        .collect();
    text.lines()
        .filter(|line| line.contains("system:serviceaccount:"))
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is an event"))
        .filter(|event| {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            user.starts_with("system:serviceaccount:") && user.ends_with("starling")
        })
        .collect()
}

fn right(verb: &str, group: &str, resource: &str) -> String {
    format!("{verb} {group}/{resource}")
}

/// The right that a request took; `None` for one that is about no object, such as discovery.
fn taken(event: &Value) -> Option<String> {
    let object = event["objectRef"].as_object()?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut resource = text("resource").to_owned();
    if !text("subresource").is_empty() {
        resource = format!("{resource}/{}", text("subresource"));
    }
    Some(right(
        event["verb"].as_str().unwrap_or_default(),
        text("apiGroup"),
        &resource,
    ))
}

#[test]
fn the_operator_has_the_rights_that_it_uses_and_no_others() {
    let requests = requests();
    assert!(
        requests.len() > 1000,
        "the suite ran before: {} requests",
        requests.len()
    );
    let used: BTreeSet<String> = requests.iter().filter_map(taken).collect();
    let given: BTreeSet<String> = RULES
        .iter()
        .flat_map(|rule| {
            let of_resource = move |resource| {
                let verbs = rule.verbs.iter();
                verbs.map(move |verb| right(verb, rule.group, resource))
            };
            rule.resources.iter().copied().flat_map(of_resource)
        })
        .collect();
    let needed_unseen: BTreeSet<String> = WITHOUT_A_REQUEST
        .iter()
        .map(|(right, _)| (*right).to_owned())
        .collect();
    let too_few: Vec<_> = used.difference(&given).collect();
    assert!(too_few.is_empty(), "used without a right: {too_few:?}");
    let unused: BTreeSet<String> = given.difference(&used).cloned().collect();
    assert_eq!(unused, needed_unseen, "rights that nothing was done with");
}

#[test]
fn no_secret_was_read_but_those_named_in_the_table() {
    let named: BTreeSet<&str> = RULES
        .iter()
        .filter(|rule| rule.place == Place::OwnNamespace)
        .flat_map(|rule| rule.names.iter().copied())
        .collect();
    let read: BTreeSet<String> = requests()
        .iter()
        .filter(|event| event["objectRef"]["resource"] == "secrets" && event["verb"] != "create")
        .map(|event| format!("{} {}", event["verb"], event["objectRef"]["name"]))
        .collect();
    for what in &read {
        assert!(
            named
                .iter()
                .any(|name| *what == format!("\"get\" \"{name}\"")),
            "{read:?}, but {named:?} may be read"
        );
    }
    assert!(!read.is_empty(), "the install key was read");
}
