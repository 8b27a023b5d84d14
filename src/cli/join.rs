//! `starling join`: what a worker from elsewhere needs to join a run in a cluster.

use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::listen::{Folder, TOKENS};
use super::{block_on, could_not_run};
use crate::operator::join::{Invitation, invitation};
use crate::wire::layout::channel;

/// Say how workers from elsewhere join the run of a LoadTest with spec.workers.external
///
/// Prints the address of the run's master, the certificate of its authority, and the tokens of the
/// workers that run elsewhere, and of no others. They are read with the rights of your kubeconfig:
/// the LoadTest, the Service and the Secret of the run, and nodes for an address where the Service
/// is a NodePort. With --out, certificate and tokens are written to files that only you can read.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the LoadTest
    #[arg(value_name = "NAME")]
    name: String,
    /// Namespace of the LoadTest; that of the kubeconfig if unset
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Write ca.crt and workers.token into this folder instead of printing them
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Reads and prints what workers need.
pub fn run(options: &Options) -> Exit {
    let invited = block_on(invitation(&options.name, options.namespace.as_deref()));
    let invited = match invited {
        Ok(Ok(invited)) => invited,
        Ok(Err(error)) => return could_not_run(error.into()),
        Err(error) => return could_not_run(error.into()),
    };
    match &options.out {
        None => super::print(&page(&invited)),
        Some(folder) => match write(folder, &invited) {
            Ok(()) => super::print(&command(&invited, folder)),
            Err(error) => could_not_run(error.into()),
        },
    }
}

/// Writes certificate and tokens, the tokens last.
fn write(folder: &Path, invited: &Invitation) -> std::io::Result<()> {
    let folder = Folder::open(Some(folder))?;
    folder.write(channel::CA, &invited.ca)?;
    folder.write(TOKENS, &lines(invited))
}

fn lines(invited: &Invitation) -> String {
    let lines = invited.tokens.iter().map(|token| format!("{token}\n"));
    lines.collect()
}

/// The address, or what to write for it.
fn address(invited: &Invitation) -> &str {
    invited.address.as_deref().unwrap_or("HOST:PORT")
}

/// The command of each worker.
fn command(invited: &Invitation, folder: &Path) -> String {
    let note = match invited.address {
        Some(_) => "",
        None => "# the address is not known: see the Service of the run\n",
    };
    format!(
        "{note}starling worker --join {} --ca {} --token-file {} [--files DIR] [--region NAME]\n",
        address(invited),
        folder.join(channel::CA).display(),
        folder.join(TOKENS).display()
    )
}

/// All of it, as text to be copied.
fn page(invited: &Invitation) -> String {
    let workers = invited.tokens.len();
    format!(
        "# {workers} workers may join; on each machine, with the two files below:\n{}\n# {}\n{}\n# {TOKENS}; keep it secret\n{}",
        command(invited, Path::new("")),
        channel::CA,
        invited.ca,
        lines(invited)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tokens::JoinToken;

    fn invited(address: Option<&str>) -> Invitation {
        let token = |index: u32| JoinToken {
            run: "r-1".into(),
            index,
            token: format!("{index}.x"),
        };
        Invitation {
            address: address.map(str::to_owned),
            ca: "CERTIFICATE\n".into(),
            tokens: vec![token(2), token(3)],
        }
    }

    #[test]
    fn what_is_printed_or_written_is_what_a_worker_reads() {
        let page = page(&invited(Some("192.0.2.1:8443")));
        assert!(page.contains("--join 192.0.2.1:8443 --ca ca.crt --token-file workers.token"));
        assert!(
            page.contains("CERTIFICATE\n") && page.contains("\nr-1/2.x\nr-1/3.x\n"),
            "{page}"
        );

        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &invited(None)).unwrap();
        let tokens = std::fs::read_to_string(folder.path().join(TOKENS)).unwrap();
        assert_eq!(JoinToken::parse_file(&tokens), Some(invited(None).tokens));
        let command = command(&invited(None), folder.path());
        assert!(
            command.starts_with("# the address is not known"),
            "{command}"
        );
    }
}
