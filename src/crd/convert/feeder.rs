//! Feeders, as far as they can be checked without their data, and the volumes that hold files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Problems, free_value_size};
use crate::crd::spec::*;
use crate::plan::feeder::{
    ColumnType, Data, Feeder, FeederScope, OnExhausted, Rows, Source, Strategy, Types,
};
use crate::plan::names::check_name;
use crate::plan::template::canonicalise;
use crate::plan::{Columns, Declared, Kind, Names, Reference, Slot, Variables};

/// Largest number of feeders of a test.
const MAX_FEEDERS: usize = 16;

/// Checks the feeders; their names must differ from each other and from those of variables.
pub(super) fn check_feeders(
    specs: &[FeederSpec],
    variables: &Variables,
    problems: &mut Problems,
) -> Vec<Feeder> {
    problems.unique(
        "spec.feeders",
        "name",
        specs.iter().map(|feeder| feeder.name.as_str()),
    );
    if specs.len() > MAX_FEEDERS {
        problems.add(
            "spec.feeders",
            format!("{} feeders, at most {MAX_FEEDERS} are allowed", specs.len()),
        );
    }
    let mut feeders = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let path = format!("spec.feeders[{i}]");
        problems.take(&format!("{path}.name"), check_name(&spec.name));
        if variables.values.contains_key(&spec.name) || variables.from.contains_key(&spec.name) {
            problems.add(
                format!("{path}.name"),
                format!("{:?} is a variable already", spec.name),
            );
        }
        feeders.extend(check_feeder(&path, spec, problems));
    }
    feeders
}

/// Declares feeders as names of templates, in slots from `first` on, with their columns where these
/// are known: from `columns`, or from rows in the spec itself.
pub(super) fn declare_feeders(
    names: &mut Names,
    first: Slot,
    feeders: &[FeederSpec],
    columns: &BTreeMap<String, Arc<Columns>>,
) {
    for (slot, feeder) in (first..).zip(feeders) {
        names.declare(&feeder.name, Declared::Row(slot));
        if let Some(columns) = columns
            .get(&feeder.name)
            .cloned()
            .or_else(|| inline_columns(feeder))
        {
            names.declare_columns(slot, columns);
        }
    }
}

fn check_feeder(path: &str, spec: &FeederSpec, problems: &mut Problems) -> Option<Feeder> {
    let FeederSpec {
        name,
        csv,
        json,
        json_lines,
        inline,
        files,
        strategy,
        scope,
        on_exhausted,
    } = spec;
    let mut sources = Vec::new();
    let field = |name: &str| format!("{path}.{name}");
    if let Some(csv) = csv {
        sources.push(check_csv(&field("csv"), csv, problems));
    }
    if let Some(json) = json {
        let data = check_data(&field("json"), json, problems);
        sources.push(data.map(|data| Source::Json { data }));
    }
    if let Some(lines) = json_lines {
        let data = check_data(&field("jsonLines"), lines, problems);
        sources.push(data.map(|data| Source::JsonLines { data }));
    }
    if let Some(rows) = inline {
        sources.push(check_inline(&field("inline"), rows, problems));
    }
    if let Some(files) = files {
        sources.push(check_files(&field("files"), files, problems));
    }
    let (strategy, scope, on_exhausted) =
        check_order(path, *strategy, *scope, *on_exhausted, problems);
    if sources.len() != 1 {
        problems.add(
            path,
            format!(
                "needs exactly one of csv, json, jsonLines, inline and files, has {}",
                sources.len()
            ),
        );
        return None;
    }
    Some(Feeder {
        name: name.clone(),
        source: sources.pop().flatten()?,
        strategy,
        scope,
        on_exhausted,
    })
}

/// Checks that order, scope and end of the rows go together.
fn check_order(
    path: &str,
    strategy: FeederStrategySpec,
    scope: FeederScopeSpec,
    on_exhausted: Option<OnExhaustedSpec>,
    problems: &mut Problems,
) -> (Strategy, FeederScope, OnExhausted) {
    let strategy = match strategy {
        FeederStrategySpec::Circular => Strategy::Circular,
        FeederStrategySpec::Random => Strategy::Random,
        FeederStrategySpec::Shuffle => Strategy::Shuffle,
        FeederStrategySpec::Queue => Strategy::Queue,
    };
    let scope = match scope {
        FeederScopeSpec::User => FeederScope::User,
        FeederScopeSpec::Worker => FeederScope::Worker,
        FeederScopeSpec::Test => FeederScope::Test,
    };
    let on_exhausted = match on_exhausted {
        None if strategy == Strategy::Queue => OnExhausted::StopUser,
        None | Some(OnExhaustedSpec::Recycle) => OnExhausted::Recycle,
        Some(OnExhaustedSpec::StopUser) => OnExhausted::StopUser,
        Some(OnExhaustedSpec::StopRun) => OnExhausted::StopRun,
    };
    if strategy == Strategy::Random && scope == FeederScope::Test {
        problems.add(
            format!("{path}.scope"),
            "Test gives each row once, which Random does not; use Shuffle",
        );
    }
    if matches!(strategy, Strategy::Circular | Strategy::Random)
        && on_exhausted != OnExhausted::Recycle
    {
        let instead = if strategy == Strategy::Circular {
            "Queue"
        } else {
            "Shuffle"
        };
        problems.add(
            format!("{path}.onExhausted"),
            format!("{strategy:?} never comes to an end; use {instead}"),
        );
    }
    (strategy, scope, on_exhausted)
}

fn check_csv(path: &str, spec: &CsvSpec, problems: &mut Problems) -> Option<Source> {
    let CsvSpec {
        config_map_key_ref,
        secret_key_ref,
        file,
        delimiter,
        columns,
        types,
        infer,
    } = spec;
    let mut characters = delimiter.chars();
    let delimiter = match (characters.next(), characters.next()) {
        (Some(c), None) if c.is_ascii() && !matches!(c, '"' | '\r' | '\n' | '\0') => c,
        _ => {
            problems.add(
                format!("{path}.delimiter"),
                "must be one ASCII character, and neither a quote nor a line break",
            );
            ','
        }
    };
    let mut seen = BTreeSet::new();
    for (i, name) in columns.iter().enumerate() {
        if name.is_empty() {
            problems.add(format!("{path}.columns[{i}]"), "must not be empty");
        }
        if !seen.insert(name) {
            problems.add(
                format!("{path}.columns[{i}]"),
                format!("{name:?} is there twice"),
            );
        }
    }
    for name in types.keys() {
        if !columns.is_empty() && !columns.contains(name) {
            problems.add(
                format!("{path}.types"),
                format!("{name:?} is not one of the columns"),
            );
        }
    }
    let named = types.iter().map(|(name, of)| {
        let of = match of {
            CsvTypeSpec::Text => ColumnType::Text,
            CsvTypeSpec::Number => ColumnType::Number,
            CsvTypeSpec::Boolean => ColumnType::Boolean,
            CsvTypeSpec::Json => ColumnType::Json,
        };
        (name.clone(), of)
    });
    let types = Types {
        named: named.collect(),
        infer: *infer,
    };
    let data = check_data_of(
        path,
        config_map_key_ref.as_ref(),
        secret_key_ref.as_ref(),
        file.as_deref(),
        problems,
    )?;
    Some(Source::Csv {
        data,
        delimiter,
        columns: columns.clone(),
        types,
    })
}

/// Checks the source of bytes at `path`; `None` if it has a mistake.
pub(super) fn check_data(path: &str, spec: &DataSpec, problems: &mut Problems) -> Option<Data> {
    let DataSpec {
        config_map_key_ref,
        secret_key_ref,
        file,
    } = spec;
    check_data_of(
        path,
        config_map_key_ref.as_ref(),
        secret_key_ref.as_ref(),
        file.as_deref(),
        problems,
    )
}

fn check_data_of(
    path: &str,
    config_map: Option<&KeyRef>,
    secret: Option<&KeyRef>,
    file: Option<&str>,
    problems: &mut Problems,
) -> Option<Data> {
    let reference = |kind, key: &KeyRef| {
        Data::Reference(Reference {
            kind,
            name: key.name.clone(),
            key: key.key.clone(),
            field: path.to_owned(),
        })
    };
    match (config_map, secret, file) {
        (Some(key), None, None) => Some(reference(Kind::ConfigMap, key)),
        (None, Some(key), None) => Some(reference(Kind::Secret, key)),
        (None, None, Some(file)) => {
            problems.file(&format!("{path}.file"), file);
            Some(Data::File(file.to_owned()))
        }
        _ => {
            problems.add(
                path,
                "needs exactly one of configMapKeyRef, secretKeyRef and file",
            );
            None
        }
    }
}

fn check_inline(path: &str, rows: &[Value], problems: &mut Problems) -> Option<Source> {
    let mut rows = rows.to_vec();
    problems.take(path, free_value_size(&Value::from(rows.clone())));
    for (i, row) in rows.iter_mut().enumerate() {
        problems.take(&format!("{path}[{i}]"), canonicalise(row));
    }
    let source = Source::Inline { rows };
    problems.take(path, Rows::parse(&source, &[]).map_err(|e| e.to_string()));
    Some(source)
}

/// Returns the columns of inline rows; `None` where there are none, or where they are wrong.
fn inline_columns(spec: &FeederSpec) -> Option<Arc<Columns>> {
    let source = Source::Inline {
        rows: spec.inline.clone()?,
    };
    let rows = Rows::parse(&source, &[]).ok()?;
    Some(Arc::new(Columns {
        names: rows.columns().clone(),
        is_secret: false,
    }))
}

fn check_files(path: &str, spec: &FilesSpec, problems: &mut Problems) -> Option<Source> {
    let FilesSpec { path: folder, glob } = spec;
    problems.file(&format!("{path}.path"), folder);
    if glob.is_empty() || glob.contains('/') {
        problems.add(
            format!("{path}.glob"),
            "is for names of files within the folder, without /",
        );
    }
    Some(Source::Files {
        path: folder.clone(),
        glob: glob.clone(),
    })
}

/// Checks the volumes: their names differ, and each has exactly one source.
pub(super) fn check_volumes(volumes: &[VolumeSpec], problems: &mut Problems) {
    problems.unique(
        "spec.workers.volumes",
        "name",
        volumes.iter().map(|volume| volume.name.as_str()),
    );
    for (
        i,
        VolumeSpec {
            name: _,
            config_map,
            secret,
            persistent_volume_claim,
        },
    ) in volumes.iter().enumerate()
    {
        let sources = [
            config_map.is_some(),
            secret.is_some(),
            persistent_volume_claim.is_some(),
        ];
        if sources.into_iter().filter(|there| *there).count() != 1 {
            problems.add(
                format!("spec.workers.volumes[{i}]"),
                "needs exactly one of configMap, secret and persistentVolumeClaim",
            );
        }
    }
}

/// Checks that a path leads only below the folder at which it begins.
///
/// # Errors
///
/// Absolute paths, and those with `.`, `..` or empty parts.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let parts_are_names = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if parts_are_names && !path.contains('\0') {
        Ok(())
    } else {
        Err("must be a relative path without . and .. in it".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(feeders: Value) -> Result<Vec<Feeder>, Vec<String>> {
        let specs: Vec<FeederSpec> = serde_json::from_value(feeders).unwrap();
        let mut problems = Problems::default();
        let mut variables = Variables::default();
        variables.values.insert(
            "taken".into(),
            crate::plan::JsonTemplate::new(json!(1)).unwrap(),
        );
        let feeders = check_feeders(&specs, &variables, &mut problems);
        if problems.found.is_empty() {
            Ok(feeders)
        } else {
            Err(problems.found.iter().map(ToString::to_string).collect())
        }
    }

    /// What is wrong with one feeder of one inline row, changed.
    fn refused(change: Value) -> Vec<String> {
        let mut feeder = json!({"name": "f", "inline": [{"a": 1}]});
        for (name, value) in change.as_object().unwrap() {
            feeder[name] = value.clone();
        }
        check(json!([feeder])).expect_err("was accepted")
    }

    #[test]
    fn names_are_those_of_templates_and_differ() {
        assert!(refused(json!({"name": "a-b"}))[0].starts_with("spec.feeders[0].name: "));
        assert!(refused(json!({"name": "user"}))[0].starts_with("spec.feeders[0].name: "));
        assert_eq!(
            refused(json!({"name": "taken"})),
            ["spec.feeders[0].name: \"taken\" is a variable already"]
        );
        let row = json!([{}]);
        let twice =
            check(json!([{"name": "f", "inline": row}, {"name": "f", "inline": row}])).unwrap_err();
        assert_eq!(twice, ["spec.feeders[1].name: \"f\" is there twice"]);
    }

    #[test]
    fn there_is_exactly_one_source() {
        assert_eq!(
            refused(json!({"json": {"file": "a/b"}})),
            ["spec.feeders[0]: needs exactly one of csv, json, jsonLines, inline and files, has 2"]
        );
        assert_eq!(refused(json!({"inline": null})).len(), 1);
        let both = json!({"inline": null, "csv": {"file": "a/b", "configMapKeyRef": {"name": "n", "key": "k"}}});
        assert_eq!(
            refused(both),
            ["spec.feeders[0].csv: needs exactly one of configMapKeyRef, secretKeyRef and file"]
        );
    }

    #[test]
    fn rows_in_the_test_itself_are_looked_at() {
        assert_eq!(
            refused(json!({"inline": []})),
            ["spec.feeders[0].inline: holds no row"]
        );
        assert_eq!(
            refused(json!({"inline": [{"a": 1}, "b"]})),
            ["spec.feeders[0].inline: row 2: is not an object"]
        );
        assert!(
            refused(json!({"inline": [{"a": u64::MAX}]}))[0]
                .starts_with("spec.feeders[0].inline[0]: ")
        );
        assert!(
            refused(json!({"inline": [{"a": "x".repeat(65536)}]}))[0].contains("at most 65536")
        );
        let feeders = check(json!([{"name": "f", "inline": [{"a": 2.0}]}])).unwrap();
        assert_eq!(
            feeders[0].source,
            Source::Inline {
                rows: vec![json!({"a": 2})]
            }
        );
    }

    #[test]
    fn only_a_local_run_follows_paths_out_of_the_folder() {
        for path in ["a//b", "", "a/", "//a", "a\0"] {
            assert!(
                refused(json!({"inline": null, "json": {"file": path}}))[0]
                    .starts_with("spec.feeders[0].json.file: "),
                "{path}"
            );
            assert!(
                refused(json!({"inline": null, "files": {"path": path}}))[0]
                    .starts_with("spec.feeders[0].files.path: "),
                "{path}"
            );
        }
        assert_eq!(
            refused(json!({"inline": null, "files": {"path": "a", "glob": "b/*"}})),
            ["spec.feeders[0].files.glob: is for names of files within the folder, without /"]
        );
        let local_only = |path: &str| {
            let mut problems = Problems::default();
            problems.file("spec.protos.root", path);
            assert!(problems.found.is_empty(), "{path}");
            !problems.local_only.is_empty()
        };
        for path in ["/data/x", "../x", "a/../b", "a/..", "./../a"] {
            assert!(local_only(path), "{path}");
        }
        for path in ["a", "./a", "a/./b", "a/..b", "."] {
            assert!(!local_only(path), "{path}");
        }
    }

    #[test]
    fn a_delimiter_is_one_character_and_columns_differ() {
        for delimiter in ["", "ab", "\"", "\n", "ü"] {
            let csv = json!({"file": "a", "delimiter": delimiter});
            assert!(
                refused(json!({"inline": null, "csv": csv}))[0]
                    .starts_with("spec.feeders[0].csv.delimiter: "),
                "{delimiter:?}"
            );
        }
        let csv = json!({"file": "a", "columns": ["a", "a"]});
        assert_eq!(
            refused(json!({"inline": null, "csv": csv})),
            ["spec.feeders[0].csv.columns[1]: \"a\" is there twice"]
        );
    }

    #[test]
    fn what_never_ends_has_no_end_and_what_is_given_once_is_not_random() {
        assert_eq!(
            refused(json!({"onExhausted": "StopRun"})),
            ["spec.feeders[0].onExhausted: Circular never comes to an end; use Queue"]
        );
        assert_eq!(
            refused(json!({"strategy": "Random", "onExhausted": "StopUser"})).len(),
            1
        );
        assert_eq!(
            refused(json!({"strategy": "Random", "scope": "Test"})).len(),
            1
        );
    }

    #[test]
    fn a_queue_stops_users_and_all_else_recycles() {
        let ends = |strategy: &str| {
            check(json!([{"name": "f", "inline": [{}], "strategy": strategy}])).unwrap()[0]
                .on_exhausted
        };
        assert_eq!(ends("Queue"), OnExhausted::StopUser);
        assert!(
            ["Circular", "Random", "Shuffle"]
                .iter()
                .all(|strategy| ends(strategy) == OnExhausted::Recycle)
        );
    }

    #[test]
    fn a_volume_has_one_source_and_a_name_of_its_own() {
        let volumes = json!([{"name": "a", "configMap": {"name": "c"}, "secret": {"secretName": "s"}}, {"name": "a"}]);
        let mut problems = Problems::default();
        check_volumes(
            &serde_json::from_value::<Vec<VolumeSpec>>(volumes).unwrap(),
            &mut problems,
        );
        let paths: Vec<&str> = problems
            .found
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "spec.workers.volumes[1].name",
                "spec.workers.volumes[0]",
                "spec.workers.volumes[1]"
            ]
        );
    }

    #[test]
    fn a_reference_says_where_the_test_names_it() {
        let feeders = check(json!([{"name": "f", "csv": {"configMapKeyRef": {"name": "texts", "key": "rows.csv"}}}])).unwrap();
        let field = "spec.feeders[0].csv".to_owned();
        assert_eq!(
            feeders[0].reference(),
            Some(&Reference {
                kind: Kind::ConfigMap,
                name: "texts".into(),
                key: "rows.csv".into(),
                field
            })
        );
    }
}
