//! Loader of the feeders' data, from inputs and files.

use std::fs;
use std::io;
use std::path::Path;

use crate::engine::inputs::{content, folder, permitted, read_data, unreadable};
use crate::plan::feeder::{Feeder, MAX_DATA, Rows, Source, glob_matches};
use crate::plan::{Inputs, Plan, Problem};

/// Loads the rows of each feeder, or returns all problems with the data. Reads files, so it may
/// block.
pub fn load(plan: &Plan, inputs: &Inputs) -> Result<Vec<Rows>, Vec<Problem>> {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for (i, feeder) in plan.feeders.iter().enumerate() {
        match load_feeder(feeder, inputs) {
            Ok(loaded) => rows.push(loaded),
            Err(message) => problems.push(Problem::new(
                format!("spec.feeders[{i}].{}", feeder.source.field()),
                message,
            )),
        }
    }
    if problems.is_empty() {
        Ok(rows)
    } else {
        Err(problems)
    }
}

/// Loads the rows of one feeder.
pub fn load_feeder(feeder: &Feeder, inputs: &Inputs) -> Result<Rows, String> {
    let source = &feeder.source;
    let data = match source {
        Source::Inline { .. } => None,
        Source::Files { path, glob } => {
            let files = read_folder(inputs, &folder(inputs)?.join(path), glob)
                .map_err(|e| unreadable(path, &e))?;
            return Rows::of_files(files).map_err(|e| e.to_string());
        }
        Source::Csv { data, .. } | Source::Json { data } | Source::JsonLines { data } => Some(data),
    };
    let rows = match data {
        None => Rows::parse(source, &[]),
        Some(data) => Rows::parse(source, &content(data, inputs)?),
    };
    rows.map_err(|e| e.to_string())
}

/// Reads the matching files of a folder, as names and contents sorted by name. Names that begin
/// with a dot are skipped, since Kubernetes volumes use them internally.
fn read_folder(inputs: &Inputs, path: &Path, glob: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(permitted(inputs, path)?)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        // a link to a file is a file
        if !name.starts_with('.')
            && glob_matches(glob, &name)
            && fs::metadata(path.join(&name))?.is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    let mut left = MAX_DATA;
    let mut files = Vec::new();
    for name in names {
        let content = read_data(inputs, &path.join(&name), left)?;
        left -= content.len();
        files.push((name, content));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Kind, Reference};

    fn loaded(feeder: serde_json::Value, inputs: &Inputs) -> Result<Rows, String> {
        let spec = json!({
            "target": {"url": "http://t"}, "feeders": [feeder],
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        });
        let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan;
        load(&plan, inputs)
            .map(|mut rows| rows.remove(0))
            .map_err(|problems| problems[0].to_string())
    }

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Inputs) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut inputs = Inputs::default();
        inputs.set_folder(folder.path());
        (folder, inputs)
    }

    #[test]
    fn what_is_not_there_is_said_with_its_field() {
        let (_folder, inputs) = folder(&[]);
        let message = loaded(
            json!({"name": "f", "csv": {"file": "data/rows.csv"}}),
            &inputs,
        )
        .unwrap_err();
        assert!(
            message.starts_with("spec.feeders[0].csv: cannot read \"data/rows.csv\""),
            "{message}"
        );
        assert!(message.contains("spec.workers.volumes"), "{message}");
        let message =
            loaded(json!({"name": "f", "files": {"path": "images"}}), &inputs).unwrap_err();
        assert!(
            message.starts_with("spec.feeders[0].files: cannot read \"images\""),
            "{message}"
        );
        let message = loaded(
            json!({"name": "f", "json": {"file": "a"}}),
            &Inputs::default(),
        )
        .unwrap_err();
        assert!(message.contains("no folder"), "{message}");
    }

    #[test]
    fn a_mistake_in_the_data_has_field_and_line() {
        let (_folder, inputs) = folder(&[("rows.csv", "a,b\n1\n")]);
        let message =
            loaded(json!({"name": "f", "csv": {"file": "rows.csv"}}), &inputs).unwrap_err();
        assert_eq!(
            message,
            "spec.feeders[0].csv: line 2: 1 field, but there are 2 columns"
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let (_folder, inputs) = folder(&[("a", "12345")]);
        assert_eq!(
            read_data(&inputs, &inputs.folder().unwrap().join("a"), 5)
                .unwrap()
                .len(),
            5
        );
        assert!(read_data(&inputs, &inputs.folder().unwrap().join("a"), 4).is_err());
    }

    #[test]
    fn rows_come_from_objects_files_and_folders() {
        let (_folder, mut inputs) = folder(&[
            ("d/b.txt", "22"),
            ("d/a.txt", "1"),
            ("d/a.md", ""),
            ("d/.hidden.txt", ""),
            ("d/e.txt/x", ""),
        ]);
        inputs.insert(
            Kind::ConfigMap,
            "texts",
            "rows.jsonl",
            b"{\"a\": 1}".to_vec(),
        );
        let rows = loaded(json!({"name": "f", "jsonLines": {"configMapKeyRef": {"name": "texts", "key": "rows.jsonl"}}}), &inputs).unwrap();
        assert_eq!(rows.get(0), &json!({"a": 1}));
        let rows = loaded(
            json!({"name": "f", "files": {"path": "d", "glob": "*.txt"}}),
            &inputs,
        )
        .unwrap();
        assert_eq!(
            (0..rows.count())
                .map(|i| rows.get(i)["name"].clone())
                .collect::<Vec<_>>(),
            ["a.txt", "b.txt"]
        );
        let rows = loaded(
            json!({"name": "f", "csv": {"file": "d/b.txt", "columns": ["n"]}}),
            &inputs,
        )
        .unwrap();
        assert_eq!(rows.get(0), &json!({"n": "22"}));
    }

    #[test]
    fn a_reference_without_a_value_is_named() {
        let feeder = json!({"name": "f", "csv": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let message = loaded(feeder, &Inputs::default()).unwrap_err();
        let reference = Reference {
            kind: Kind::Secret,
            name: "s".into(),
            key: "k".into(),
            field: "spec.feeders[0].csv".into(),
        };
        assert!(message.contains(&reference.to_string()), "{message}");
    }
}
