//! The commands of the `starling` program: from arguments to an exit code.
//!
//! Each command has a file of its own. `run` and `validate` share `documents`, which reads files,
//! `objects`, which finds the values of references, and `data` and `calls`, which check what
//! only data and descriptors show.

mod calls;
mod data;
mod demo_service;
mod documents;
mod exit;
mod files;
mod generate;
pub mod in_process;
mod join;
mod listen;
mod objects;
mod one_liner;
mod output;
mod overrides;
mod progress;
mod report;
mod reports;
mod roles;
mod run;
mod strict;
mod tags;
mod validate;
mod web;
mod yaml;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub use exit::Exit;
use output::{note, print};

use crate::plan::Columns;
#[cfg(not(test))]
use crate::plan::Problem;
use crate::{checking, crd, demo, master, operator};

/// Run load tests that are Kubernetes resources, in a cluster or without one.
#[derive(Debug, Parser)]
#[command(
    name = "starling",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Options>),
    Validate(validate::Options),
    Report(report::Options),
    Join(join::Options),
    /// Serve a text categoriser and a model endpoint to try load tests on
    ///
    /// The service answers POST /predict and POST /serving-endpoints/NAME/invocations; GET /_count
    /// gives the number of requests received so far.
    #[command(visible_alias = "sample-service")]
    DemoService(Box<demo::Options>),
    Crd(generate::CrdOptions),
    Schema(generate::SchemaOptions),
    Rbac(generate::RbacOptions),
    #[command(hide = true)]
    Reference(generate::ReferenceOptions),
    /// Check the spec on standard input, held to limits; this program starts this command
    #[command(hide = true)]
    CheckSpec,
    /// Carry out the LoadTests of a cluster
    Operator(operator::Options),
    /// Coordinate one run in a cluster; the operator starts this command
    #[command(hide = true)]
    Master(master::Options),
    Worker(Box<roles::WorkerOptions>),
}

/// Carries out the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(options) => run::run(*options),
        Command::Validate(options) => validate::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Join(options) => join::run(&options),
        Command::DemoService(options) => demo_service::run(*options),
        Command::Crd(options) => generate::crd(&options),
        Command::Schema(options) => generate::schema(&options),
        Command::Rbac(options) => generate::rbac(&options),
        Command::Reference(options) => generate::reference(&options),
        Command::CheckSpec => return checking::serve(),
        Command::Operator(options) => return roles::operator(options),
        Command::Master(options) => return roles::master(options),
        Command::Worker(options) => return roles::worker(*options),
    };
    exit.code().into()
}

/// Checks a spec in a process of its own, within the bounds of the operator's checks; `columns` are
/// those of feeders whose data is known.
#[cfg(not(test))]
fn check_spec(
    spec: &crd::LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> checking::Outcome {
    checking::check(spec, columns)
        .unwrap_or_else(|error| Err(vec![Problem::new("spec", error.to_string())]))
}

/// Checks a spec in this process: the program of unit tests has no commands.
#[cfg(test)]
fn check_spec(
    spec: &crd::LoadTestSpec,
    columns: &BTreeMap<String, Arc<Columns>>,
) -> checking::Outcome {
    crd::check_with(spec, columns)
}

/// Time that is left to tasks when the work is done. One that cannot be interrupted, such as a
/// read of a file that does not answer, does not keep the process from ending.
const LEFT_TO_TASKS: Duration = Duration::from_secs(1);

fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LEFT_TO_TASKS);
    Ok(outcome)
}

fn could_not_run(error: anyhow::Error) -> Exit {
    note(&format!("error: {error:#}"));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
