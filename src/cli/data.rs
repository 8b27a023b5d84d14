//! Checks of the data of feeders and bodies, as far as these stand among the given files or beside
//! them: feeders must have the columns that templates use, and bodies must be readable.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::documents::{Document, Documents, Finding};
use super::objects::Objects;
use crate::engine::{load_content, load_feeder, unredacted};
use crate::plan::feeder::{Data, Feeder, Source};
use crate::plan::symbols::each_step;
use crate::plan::{Action, Body, Columns, Inputs, Names, Plan, Problem, Protocol};

/// Checks the data of all tests. Mistakes become findings, and their tests are removed; data that
/// are not here become notes.
pub fn check(documents: &mut Documents) {
    let Documents {
        tests,
        objects,
        findings,
        notes,
    } = documents;
    tests.retain_mut(|test| {
        let problems = check_one(test, objects, notes).err().unwrap_or_default();
        findings.extend(
            problems
                .iter()
                .map(|problem| Finding::of(test, problem.clone())),
        );
        problems.is_empty()
    });
}

/// Checks the data of one test, whose plan is made anew with the columns that were found.
fn check_one(
    test: &mut Document,
    objects: &Objects,
    notes: &mut Vec<String>,
) -> Result<(), Vec<Problem>> {
    let inputs = inputs_here(test, objects);
    let (mut columns, mut problems) = (BTreeMap::new(), Vec::new());
    for (i, feeder) in test.checked.plan.feeders.iter().enumerate() {
        let field = format!("spec.feeders[{i}].{}", feeder.source.field());
        if let Some(absent) = absent(feeder, &inputs) {
            notes.push(format!(
                "{}: {field}: {absent} is not here, so its columns are not checked",
                test.place
            ));
            continue;
        }
        match load_feeder(feeder, &inputs) {
            Ok(rows) => {
                columns.insert(
                    feeder.name.clone(),
                    Arc::new(Columns {
                        names: rows.columns().clone(),
                        is_secret: feeder.is_secret(),
                    }),
                );
            }
            Err(message) => problems.push(Problem::new(field, message)),
        }
    }
    problems.extend(check_bodies(&test.checked.plan, &inputs, |absent| {
        notes.push(format!("{}: {absent}", test.place))
    }));
    match super::check_spec(&test.spec, &columns) {
        Ok(checked) => {
            test.checked = checked;
            test.checked
                .warnings
                .extend(unredacted(&test.checked.plan, &inputs));
        }
        Err(found) => problems.extend(found),
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Returns the values of the test's references that are among the given files.
fn inputs_here(test: &Document, objects: &Objects) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.set_folder(test.place.folder());
    for reference in test.checked.plan.references() {
        if let Some(value) = objects.get(reference, test.namespace.as_deref()) {
            inputs.insert(
                reference.kind,
                &reference.name,
                &reference.key,
                value.to_owned(),
            );
        }
    }
    inputs
}

/// Returns the mistakes in files that are bodies or parts of them; `note` is called for each file
/// that is not here.
fn check_bodies(plan: &Plan, inputs: &Inputs, mut note: impl FnMut(String)) -> Vec<Problem> {
    let mut problems = Vec::new();
    each_step(plan, Names::default(), |step, path, _| {
        let Action::Request(request) = &step.action else {
            return;
        };
        let Protocol::Http(http) = &request.call else {
            return;
        };
        for (field, data) in http.request.body.iter().flat_map(Body::data) {
            let field = format!("{path}.http.{field}");
            match (data, inputs.folder()) {
                // what keys hold is no larger than an object may be
                (Data::Reference(_), _) | (_, None) => {}
                (Data::File(file), Some(folder)) if !folder.join(file).exists() => note(format!(
                    "{field}: {file:?} is not here, so it is not looked at"
                )),
                (Data::File(_), Some(_)) => problems.extend(
                    load_content(data, inputs)
                        .err()
                        .map(|why| Problem::new(field, why)),
                ),
            }
        }
    });
    problems
}

/// Returns the object or file that holds the data, if it is not here.
fn absent(feeder: &Feeder, inputs: &Inputs) -> Option<String> {
    let folder = inputs.folder()?;
    match &feeder.source {
        Source::Inline { .. } => None,
        Source::Csv { data, .. } | Source::Json { data } | Source::JsonLines { data } => match data
        {
            Data::Reference(reference) if inputs.get(reference).is_none() => Some(format!(
                "{} {:?} key {:?}",
                reference.kind, reference.name, reference.key
            )),
            Data::File(path) if !folder.join(path).exists() => Some(format!("{path:?}")),
            Data::Reference(_) | Data::File(_) => None,
        },
        Source::Files { path, .. } => (!folder.join(path).exists()).then(|| format!("{path:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plan::feeder::MAX_DATA;

    /// A test whose only step asks for `{{ texts.text }}`, with this feeder.
    fn test(feeder: &str) -> String {
        format!(
            "apiVersion: starling.dev/v1alpha1\nkind: LoadTest\nmetadata: {{name: t, namespace: here}}\nspec:\n  target: {{url: http://t}}\n  \
             feeders:\n  - name: texts\n    {feeder}\n  scenarios:\n  - name: s\n    tasks:\n    - name: t\n      steps:\n      - http: {{path: \
             '/{{{{ texts.text }}}}'}}\n        checks: [{{cel: feeders.texts.text != ''}}]\n  load: {{closed: {{users: 1, duration: 1s}}}}\n"
        )
    }

    fn checked(file: &str, text: &str) -> Documents {
        let mut documents = Documents::default();
        documents.add(file, text);
        assert!(documents.findings.is_empty(), "{:?}", documents.findings);
        check(&mut documents);
        documents
    }

    fn shown(documents: &Documents) -> Vec<String> {
        documents.findings.iter().map(ToString::to_string).collect()
    }

    const OBJECT: &str =
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata:\n  rows.csv: |\n";

    #[test]
    fn a_column_that_the_data_of_a_config_map_lack_is_found_with_its_line() {
        let text = test("csv: {configMapKeyRef: {name: words, key: rows.csv}}");
        let found = shown(&checked(
            "f.yaml",
            &format!("{text}{OBJECT}    txet\n    a\n"),
        ));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("line 14: spec.scenarios[0].tasks[0].steps[0].http.path: ")
                && found[0].contains("it has txet"),
            "{found:?}"
        );
        assert!(
            found[1].contains("steps[0].checks[0].cel: feeders.texts has no column \"text\""),
            "{found:?}"
        );
        let good = checked("f.yaml", &format!("{text}{OBJECT}    text\n    a\n"));
        assert_eq!(
            (shown(&good).len(), good.tests.len(), good.notes.len()),
            (0, 1, 0)
        );
    }

    #[test]
    fn data_that_are_wrong_are_a_mistake_of_the_feeder() {
        let text = test("csv: {configMapKeyRef: {name: words, key: rows.csv}}");
        let found = shown(&checked(
            "f.yaml",
            &format!("{text}{OBJECT}    text,n\n    a\n"),
        ));
        assert!(
            found[0].contains("line 8: spec.feeders[0].csv: "),
            "{found:?}"
        );
    }

    #[test]
    fn files_beside_the_test_are_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rows.jsonl"), "{\"txet\": 1}\n").unwrap();
        let file = folder.path().join("test.yaml").to_str().unwrap().to_owned();
        let found = shown(&checked(&file, &test("jsonLines: {file: rows.jsonl}")));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn data_that_are_elsewhere_are_left_to_the_workers_and_it_is_said() {
        for feeder in [
            "json: {secretKeyRef: {name: s, key: k}}",
            "json: {file: volume/rows.json}",
            "files: {path: images}",
        ] {
            let documents = checked("f.yaml", &test(feeder));
            assert_eq!(
                (documents.tests.len(), documents.findings.len()),
                (1, 0),
                "{feeder}"
            );
            assert!(
                documents.notes[0].contains("is not here, so its columns are not checked"),
                "{:?}",
                documents.notes
            );
        }
    }

    /// A test whose only step sends this.
    fn sends(body: &str) -> String {
        format!(
            "apiVersion: starling.dev/v1alpha1\nkind: LoadTest\nmetadata: {{name: t}}\nspec:\n  target: {{url: http://t}}\n  scenarios:\n  \
             - name: s\n    tasks:\n    - name: t\n      steps:\n      - http:\n          method: POST\n          path: /\n          {body}\n  \
             load: {{closed: {{users: 1, duration: 1s}}}}\n"
        )
    }

    #[test]
    fn a_secret_too_short_to_be_taken_out_of_messages_is_warned_of() {
        let warned = |value: &str| {
            let text = sends("body: x").replace(
                "{url: http://t}",
                "{url: http://t, auth: {bearer: {tokenFrom: {secretKeyRef: {name: s, key: k}}}}}",
            );
            let secret = format!(
                "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{k: '{value}'}}\n"
            );
            checked("f.yaml", &format!("{text}{secret}")).tests[0]
                .checked
                .warnings
                .clone()
        };
        let told = "spec.target.auth.bearer.tokenFrom: Secret \"s\" key \"k\" is shorter than 4 characters, \
                    so it is not taken out of messages and samples";
        assert_eq!(warned(" abc "), [told]);
        assert_eq!(warned("abcd"), [""; 0]);
    }

    #[test]
    fn bodies_that_cannot_be_read_or_sent_are_found_with_their_fields() {
        let folder = tempfile::tempdir().unwrap();
        let large = fs::File::create(folder.path().join("large.bin")).unwrap();
        large.set_len(MAX_DATA as u64 + 1).unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("test.yaml").to_str().unwrap().to_owned();
        let step = "line 14: spec.scenarios[0].tasks[0].steps[0].http";
        let found = shown(&checked(&file, &sends("bodyFrom: {file: large.bin}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(&format!("{step}.bodyFrom: "))
                && found[0].contains("at most 67108864 are allowed"),
            "{found:?}"
        );
        let parts =
            "multipart: [{name: a, value: b}, {name: f, fileName: f, valueFrom: {file: images}}]";
        let found = shown(&checked(&file, &sends(parts)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(&format!(
                "{step}.multipart[1].valueFrom: cannot read \"images\""
            )),
            "{found:?}"
        );
    }

    #[test]
    fn bodies_that_are_elsewhere_are_told_and_those_that_are_here_are_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cat.png"), b"\x00\xff").unwrap();
        let file = folder.path().join("test.yaml").to_str().unwrap().to_owned();
        let here = checked(&file, &sends("bodyFrom: {file: cat.png}"));
        assert_eq!(
            (shown(&here).len(), here.tests.len(), here.notes.len()),
            (0, 1, 0),
            "{:?}",
            here.notes
        );
        let elsewhere = checked(&file, &sends("bodyFrom: {file: images/cat.png}"));
        assert_eq!((shown(&elsewhere).len(), elsewhere.tests.len()), (0, 1));
        let told = "spec.scenarios[0].tasks[0].steps[0].http.bodyFrom: \"images/cat.png\" is not here, so it is not looked at";
        assert!(
            elsewhere.notes.len() == 1 && elsewhere.notes[0].ends_with(told),
            "{:?}",
            elsewhere.notes
        );
    }
}
