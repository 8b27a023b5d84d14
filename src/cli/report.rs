//! `starling report`: a result that is in a file or was stored in a cluster, in any form; and two
//! results compared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::exit::Exit;
use super::reports::Form;
use super::run::show;
use super::{block_on, could_not_run};
use crate::operator::stored::{Asked, stored_report};
use crate::report::compare::{self, MIN_CHANGE};
use crate::report::text::clean;
use crate::stats::RunResult;

/// Most bytes of a result in a file.
const MAX_FILE: u64 = 512 * 1024 * 1024;

/// Show a result: that of a file, or the stored one of a LoadTest's last run in a cluster
///
/// SOURCE is a file of `starling run --json`, if there is one of that name, or else the name of a
/// LoadTest in a cluster, whose report the operator stored. It is read with the rights of your
/// kubeconfig, also when the run's master is gone. Who may change ConfigMaps in the namespace can
/// change a report, and its seal can be checked by the operator only; status.phase of the LoadTest
/// is the verdict.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// File of a result, or name of a LoadTest
    #[arg(value_name = "SOURCE", required = true)]
    source: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Id of a run of the history; the last one if unset
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// Parts of `starling report`.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Compare(CompareOptions),
}

/// Place of a result among others.
#[derive(Debug, Clone, Default, clap::Args)]
struct Place {
    /// Namespace of the LoadTest; that of the kubeconfig if unset
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Name of the test, where a file holds the results of several
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
}

/// Compare two results: what changed, by how much, and how sure that is
///
/// A and B are files of `starling run --json`, or LoadTests in a cluster: NAME for its last run, or
/// NAME/RUN. Of latency percentiles, failures and rates the difference is shown with its 95%
/// interval, from blocks of time of either run. Something is worse if the interval excludes no
/// change, and the change is at least --min-change.
///
/// Exit codes: 0 nothing got worse, 99 something did, 1 could not compare, 2 an argument is not valid.
#[derive(Debug, clap::Args)]
struct CompareOptions {
    /// First result
    #[arg(value_name = "A")]
    first: String,
    /// Second result
    #[arg(value_name = "B")]
    second: String,
    #[command(flatten)]
    place: Place,
    /// Smallest change that counts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = MIN_CHANGE * 100.0, value_parser = percent)]
    min_change: f64,
    /// Form of the comparison
    #[arg(short, long, value_enum, default_value_t)]
    output: CompareForm,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("give a number from 0 to 1000".to_owned()),
    }
}

/// Form of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum CompareForm {
    /// Table for people
    #[default]
    Text,
    /// The comparison as JSON
    Json,
    /// One HTML file with the latencies of both
    Html,
}

/// Reads what is asked for and prints it.
pub fn run(options: &Options) -> Exit {
    let done = match (&options.command, &options.source) {
        (Some(Command::Compare(asked)), _) => compare_both(asked),
        (None, Some(source)) => show_one(options, source),
        // the parser asks for one of them
        (None, None) => Ok(Exit::Invalid),
    };
    done.unwrap_or_else(could_not_run)
}

fn show_one(options: &Options, source: &str) -> anyhow::Result<Exit> {
    let result = read(source, &options.place, options.run.as_deref())?;
    Ok(match options.output {
        Form::Text => show(&result),
        form => super::print(&form.render(&result)?),
    })
}

fn compare_both(asked: &CompareOptions) -> anyhow::Result<Exit> {
    let [first, second] = [&asked.first, &asked.second].map(|source| {
        let (name, run) = match source.split_once('/') {
            Some((name, run)) if !Path::new(source).exists() => (name, Some(run)),
            _ => (source.as_str(), None),
        };
        read(name, &asked.place, run)
    });
    let (first, second) = (first?, second?);
    let comparison = compare::compare(&first, &second, asked.min_change / 100.0);
    let text = match asked.output {
        CompareForm::Text => compare::render_text(&comparison),
        CompareForm::Html => compare::render_html(&comparison, &first, &second),
        CompareForm::Json => format!("{}\n", serde_json::to_string_pretty(&comparison)?),
    };
    let printed = super::print(&text);
    Ok(match comparison.is_worse() {
        true => printed.max(Exit::Breached),
        false => printed,
    })
}

/// Reads the result of a file, or the stored one of a LoadTest.
fn read(source: &str, place: &Place, run: Option<&str>) -> anyhow::Result<RunResult> {
    let path = PathBuf::from(source);
    if path.is_file() {
        return read_file(&path, place.test.as_deref());
    }
    let is_path = source.contains('/') || source.ends_with(".json");
    if is_path {
        bail!("there is no file {}", clean(source));
    }
    let asked = Asked {
        test: source,
        namespace: place.namespace.as_deref(),
        run,
    };
    Ok(block_on(stored_report(&asked))??)
}

fn read_file(path: &Path, test: Option<&str>) -> anyhow::Result<RunResult> {
    let shown = path.display();
    let size = fs::metadata(path).map(|about| about.len());
    if size.is_ok_and(|size| size > MAX_FILE) {
        bail!("{shown} has more than {MAX_FILE} bytes");
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let all: Vec<RunResult> = match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(list @ serde_json::Value::Array(_)) => serde_json::from_value(list),
        Ok(one) => serde_json::from_value(one).map(|one| vec![one]),
        Err(error) => Err(error),
    }
    .with_context(|| format!("{shown} is no result of `starling run --json`"))?;
    let names: Vec<String> = all.iter().map(|result| clean(&result.name)).collect();
    let is_meant = |result: &RunResult| test.is_none_or(|test| result.name == test);
    let mut meant: Vec<RunResult> = all.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(result), true) => Ok(result),
        (Some(_), false) => bail!(
            "{shown} holds several results: choose one of {} with --test",
            names.join(", ")
        ),
        (None, _) => bail!(
            "{shown} holds no such result; it has {}",
            match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            }
        ),
    }
}
