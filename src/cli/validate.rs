//! `starling validate`: every mistake in a file, before anything runs.

use super::calls;
use super::data;
use super::documents::Documents;
use super::exit::Exit;
use crate::report::text::clean;

/// Check LoadTests as the operator and a local run would
///
/// Prints every mistake with its document, line and field path. Data of feeders, files that are
/// bodies and descriptors of gRPC are checked where they stand in the files or beside them.
/// Exit code 0: all are valid; 2: at least one is not.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// YAML files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
}

/// Checks the files and prints the outcome.
pub fn run(options: &Options) -> Exit {
    let mut documents = Documents::read(&options.files);
    data::check(&mut documents);
    calls::check(&mut documents);
    documents.print_findings();
    let mut printed = Exit::Passed;
    for test in &documents.tests {
        for warning in &test.checked.warnings {
            let warning = clean(&format!("{}: {warning}", test.place));
            super::note(&format!("warning: {warning}"));
        }
        let valid = format!("{}: valid\n", clean(&test.place.to_string()));
        printed = printed.max(super::print(&valid));
    }
    if documents.findings.is_empty() {
        printed
    } else {
        Exit::Invalid
    }
}
