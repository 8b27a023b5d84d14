//! Files that results are written to, in the forms that people and other tools read.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::report::file::{self, WriteError};
use crate::report::{csv, html, json, junit, k6, markdown, text};
use crate::stats::RunResult;

/// Form of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Page for people
    #[default]
    Text,
    /// Whole result as JSON, as of `starling run --json`
    Json,
    /// One HTML file with charts, which needs nothing else
    Html,
    /// JUnit XML, for CI servers
    Junit,
    /// Requests by step with the columns of Locust's `_stats.csv`
    Csv,
    /// Markdown, for a pull request
    Markdown,
    /// Summary as k6 writes it
    K6,
}

impl Form {
    /// Writes a result in this form.
    ///
    /// # Errors
    ///
    /// None but those of writing to memory, which do not happen.
    pub fn render(self, result: &RunResult) -> io::Result<String> {
        let pretty = |json: serde_json::Result<String>| {
            json.map(|text| format!("{text}\n"))
                .map_err(io::Error::from)
        };
        match self {
            Form::Text => Ok(text::render(result, text::Style::Plain)),
            Form::Json => pretty(serde_json::to_string_pretty(result)),
            Form::Html => Ok(html::render(result)),
            Form::Junit => junit::render(std::slice::from_ref(result)),
            Form::Csv => csv::render(result, csv::Kind::Stats).map_err(io::Error::other),
            Form::Markdown => Ok(markdown::render(result)),
            Form::K6 => pretty(serde_json::to_string_pretty(&k6::summary(result))),
        }
    }
}

/// Files of `starling run`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Files {
    /// Write the whole result to this file; a list if there are several tests
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page for a browser to this file; with several tests one each, with its name before
    /// the extension
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JUnit XML to this file, a suite for each test
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write PREFIX_stats.csv, PREFIX_stats_history.csv and PREFIX_failures.csv with the columns of
    /// Locust; with several tests, PREFIX_NAME
    #[arg(long, value_name = "PREFIX")]
    csv: Option<PathBuf>,
    /// Write a summary for a pull request to this file; with several tests as --html
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Files {
    /// Finds out, before a run, whether the files can be written.
    pub fn check(&self) -> Result<(), WriteError> {
        let Self {
            json,
            html,
            junit,
            csv,
            markdown,
        } = self;
        let files = [json, html, junit, markdown].into_iter().flatten();
        files.map(PathBuf::as_path).try_for_each(file::check)?;
        let prefix = csv.as_ref().into_iter();
        let mut of_csv = prefix.flat_map(|prefix| csv::Kind::ALL.map(|kind| table(prefix, kind)));
        of_csv.try_for_each(|path| file::check(&path))
    }

    /// Writes the results so far to all files that are wanted; the last of them is new. `are_several`
    /// says whether further tests come or came.
    ///
    /// # Errors
    ///
    /// The first file that cannot be written; the others are.
    pub fn write(&self, results: &[RunResult], are_several: bool) -> Result<(), WriteError> {
        let Self {
            json: to_json,
            html: to_html,
            junit: to_junit,
            csv: prefix,
            markdown: to_markdown,
        } = self;
        let mut outcomes = Vec::new();
        if let Some(path) = to_json {
            outcomes.push(json::write(path, results));
        }
        if let Some(path) = to_junit {
            outcomes.push(write_text(path, junit::render(results)));
        }
        if let Some(last) = results.last() {
            let own = |path: &Path| match are_several {
                true => named(path, &last.name),
                false => path.to_owned(),
            };
            if let Some(path) = to_html {
                outcomes.push(write_text(&own(path), Ok(html::render(last))));
            }
            if let Some(path) = to_markdown {
                outcomes.push(write_text(&own(path), Ok(markdown::render(last))));
            }
            if let Some(prefix) = prefix {
                let prefix = match are_several {
                    true => with_end(prefix, &format!("_{}", last.name)),
                    false => prefix.clone(),
                };
                outcomes.extend(csv::Kind::ALL.map(|kind| {
                    let text = csv::render(last, kind).map_err(io::Error::other);
                    write_text(&table(&prefix, kind), text)
                }));
            }
        }
        outcomes.into_iter().collect()
    }
}

fn write_text(path: &Path, text: io::Result<String>) -> Result<(), WriteError> {
    file::replace(path, |out| out.write_all(text?.as_bytes()))
}

/// Puts the name of a test before the extension of a path.
fn named(path: &Path, name: &str) -> PathBuf {
    let mut file = path.file_stem().unwrap_or_default().to_owned();
    file.push(format!(".{name}"));
    if let Some(extension) = path.extension() {
        file.push(".");
        file.push(extension);
    }
    path.with_file_name(file)
}

fn table(prefix: &Path, kind: csv::Kind) -> PathBuf {
    with_end(prefix, kind.suffix())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut text: OsString = path.as_os_str().to_owned();
    text.push(end);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::tests::result;

    fn all_in(folder: &Path) -> Files {
        let path = |name: &str| Some(folder.join(name));
        Files {
            json: path("r.json"),
            html: path("r.html"),
            junit: path("r.xml"),
            csv: path("r"),
            markdown: path("r.md"),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn each_form_goes_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = all_in(folder.path());
        files.check().unwrap();
        assert_eq!(names(folder.path()), Vec::<String>::new());
        files.write(&[result()], false).unwrap();
        let wanted = [
            "r.html",
            "r.json",
            "r.md",
            "r.xml",
            "r_failures.csv",
            "r_stats.csv",
            "r_stats_history.csv",
        ];
        assert_eq!(names(folder.path()), wanted);
    }

    #[test]
    fn several_tests_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let files = all_in(folder.path());
        let other = RunResult {
            name: "other".into(),
            ..result()
        };
        files.write(&[result()], true).unwrap();
        files.write(&[result(), other], true).unwrap();
        let names = names(folder.path());
        for name in [
            "r.categorizer.html",
            "r.other.html",
            "r.other.md",
            "r_other_stats.csv",
            "r_categorizer_failures.csv",
        ] {
            assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
        }
        let suites = std::fs::read_to_string(folder.path().join("r.xml")).unwrap();
        assert_eq!(suites.matches("<testsuite ").count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_known_beforehand_and_the_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            html: Some(folder.path().join("missing/r.html")),
            ..all_in(folder.path())
        };
        assert!(files.check().is_err());
        assert!(files.write(&[result()], false).is_err());
        assert!(names(folder.path()).contains(&"r_stats.csv".to_owned()));
    }
}
