//! Checks of gRPC calls against descriptors, as far as these stand among the given files or beside
//! them.

use std::path::Path;

use super::documents::{Document, Documents, Finding};
use super::objects::Objects;
use crate::engine::load_descriptors;
use crate::plan::feeder::Data;
use crate::plan::grpc::{self, DescriptorSet, ProtoRoot, Protos};
use crate::plan::{Inputs, Plan, Problem, budget};

/// Checks the calls of all tests. Mistakes become findings, and their tests are removed;
/// descriptors that are not here become notes.
pub fn check(documents: &mut Documents) {
    let Documents {
        tests,
        objects,
        findings,
        notes,
    } = documents;
    tests.retain(|test| {
        let problems = check_one(test, objects).unwrap_or_else(|absent| {
            notes.push(format!(
                "{}: spec.protos: {absent} is not here, so messages are not checked",
                test.place
            ));
            vec![]
        });
        findings.extend(
            problems
                .iter()
                .map(|problem| Finding::of(test, problem.clone())),
        );
        problems.is_empty()
    });
}

/// Checks the calls of one test; the error names a descriptor that is not here.
fn check_one(test: &Document, objects: &Objects) -> Result<Vec<Problem>, String> {
    let Some(protos) = &test.checked.plan.protos else {
        return Ok(vec![]);
    };
    let mut inputs = Inputs::default();
    inputs.set_folder(test.place.folder());
    for reference in protos.references() {
        let value = objects.get(reference, test.namespace.as_deref());
        let value = value.ok_or_else(|| {
            format!(
                "{} {:?} key {:?}",
                reference.kind, reference.name, reference.key
            )
        })?;
        inputs.insert(
            reference.kind,
            &reference.name,
            &reference.key,
            value.to_owned(),
        );
    }
    match absent_file(protos, test.place.folder()) {
        Some(path) => Err(format!("{path:?}")),
        None => Ok(check_with(&test.checked.plan, &inputs)),
    }
}

/// Returns the mistakes in the calls of a plan, whose descriptors are in `inputs` or in the folder
/// of `inputs`. A plan that uses reflection has none before it runs.
pub fn check_with(plan: &Plan, inputs: &Inputs) -> Vec<Problem> {
    if plan.protos.is_none() {
        return vec![];
    }
    match load_descriptors(plan, inputs) {
        Ok(descriptors) => budget::within(budget::MAX_EXPANDED, || grpc::check(plan, &descriptors)),
        Err(problems) => problems,
    }
}

/// Returns the first file or folder of descriptors that is not in `folder`: in a cluster files come
/// from volumes, which need not be on this machine.
fn absent_file<'a>(protos: &'a Protos, folder: &Path) -> Option<&'a str> {
    let sets = protos
        .sets
        .iter()
        .filter_map(|DescriptorSet { data, field: _ }| match data {
            Data::File(path) => Some(path.as_str()),
            Data::Reference(_) => None,
        });
    let root = protos
        .root
        .as_ref()
        .map(|ProtoRoot { folder, files: _ }| folder.as_str());
    sets.chain(root).find(|path| !folder.join(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "
apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {name: good}
spec:
  target: {url: http://127.0.0.1:1}
  protos:
    configMaps:
    - name: protos
      items: [{key: a.proto, path: a.proto}]
  variables: {word: x}
  scenarios:
  - name: s
    tasks:
    - name: t
      steps:
      - grpc:
          method: a.B/C
          message:
            text: '{{ word }}'
  load:
    closed: {users: 1, duration: 1s}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: protos}
data:
  a.proto: |
    syntax = \"proto3\"; package a;
    service B { rpc C(D) returns (D); }
    message D { string text = 1; int32 count = 2; }
";

    fn checked(from: &str, to: &str) -> Documents {
        assert!(TEST.contains(from), "{from}");
        let mut documents = Documents::default();
        documents.add("f.yaml", &TEST.replace(from, to));
        assert!(documents.findings.is_empty(), "{:?}", documents.findings);
        check(&mut documents);
        documents
    }

    fn found(from: &str, to: &str) -> Vec<String> {
        let documents = checked(from, to);
        assert!(
            documents.tests.is_empty(),
            "a test with a mistake is not valid"
        );
        documents.findings.iter().map(ToString::to_string).collect()
    }

    fn note(from: &str, to: &str) -> String {
        let documents = checked(from, to);
        assert_eq!(
            (
                documents.tests.len(),
                documents.findings.len(),
                documents.notes.len()
            ),
            (1, 0, 1)
        );
        documents.notes[0].clone()
    }

    #[test]
    fn a_mistake_in_a_message_has_its_line_and_field() {
        let step = "spec.scenarios[0].tasks[0].steps[0].grpc";
        let shown = found("text: '{{ word }}'", "text: x\n            txt: y");
        assert_eq!(
            shown,
            [format!(
                "f.yaml: document 1 (good): line 21: {step}.message.txt: a.D has no such field; it has text, count"
            )]
        );
        let shown = found("text: '{{ word }}'", "count: '{{ word }}'");
        assert_eq!(
            shown,
            [format!(
                "f.yaml: document 1 (good): line 20: {step}.message.count: must be a whole number of 32 bits, not this text"
            )]
        );
        let shown = found("a.B/C", "a.B/Get");
        assert_eq!(
            shown,
            [format!(
                "f.yaml: document 1 (good): line 18: {step}.method: a.B has no method \"Get\"; it has C"
            )]
        );
    }

    #[test]
    fn a_mistake_in_a_proto_file_is_told_where_the_test_names_the_file() {
        let shown = found("int32 count", "int3 count");
        assert_eq!(
            shown,
            [
                "f.yaml: document 1 (good): line 10: spec.protos.configMaps[0].items[0]: a.proto:3:30: name 'int3' is not defined"
            ]
        );
    }

    #[test]
    fn what_is_not_here_is_said_and_is_no_mistake() {
        let why = note("metadata: {name: protos}", "metadata: {name: others}");
        assert!(
            why.contains("ConfigMap \"protos\" key \"a.proto\" is not here"),
            "{why}"
        );
        let why = note(
            "    configMaps:",
            "    root: no/such/folder\n    configMaps:",
        );
        assert!(why.contains("\"no/such/folder\" is not here"), "{why}");
    }

    #[test]
    fn a_test_that_asks_by_reflection_is_checked_when_it_runs() {
        let protos = &TEST[TEST.find("  protos:").unwrap()..TEST.find("  variables:").unwrap()];
        let documents = checked(protos, "");
        assert_eq!((documents.tests.len(), documents.notes.len()), (1, 0));
    }
}
