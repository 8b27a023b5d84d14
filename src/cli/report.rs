//! `starling report`: the stored result of a run that ended in a cluster.

use super::exit::Exit;
use super::run::show;
use super::{block_on, could_not_run};
use crate::operator::stored::{Asked, stored_report};

/// Show the stored result of a LoadTest's last run in a cluster
///
/// Reads the report that the operator stored, with the rights of your kubeconfig: also when the
/// run's master is gone. Who may change ConfigMaps in the namespace can change a report, and its
/// seal can be checked by the operator only; status.phase of the LoadTest is the verdict.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the LoadTest
    #[arg(value_name = "NAME")]
    name: String,
    /// Namespace of the LoadTest; that of the kubeconfig if unset
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Id of a run of the history; the last one if unset
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Form of a printed result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Page for people.
    #[default]
    Text,
    /// JSON as of `starling run --json`.
    Json,
}

/// Reads the report and prints it.
pub fn run(options: &Options) -> Exit {
    let asked = Asked {
        test: &options.name,
        namespace: options.namespace.as_deref(),
        run: options.run.as_deref(),
    };
    let result = match block_on(stored_report(&asked)) {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => return could_not_run(error.into()),
        Err(error) => return could_not_run(error.into()),
    };
    match options.output {
        Output::Text => show(&result),
        Output::Json => match serde_json::to_string_pretty(&result) {
            Ok(json) => super::print(&format!("{json}\n")),
            Err(error) => could_not_run(error.into()),
        },
    }
}
