//! `starling crd` and `starling rbac`: files whose one source is this program.

use super::exit::Exit;
use crate::{crd, operator};

/// Print the LoadTest custom resource definition as YAML
#[derive(Debug, clap::Args)]
pub struct CrdOptions {}

pub fn crd(_: &CrdOptions) -> Exit {
    print("crd", crd::definition())
}

/// Print the rules of the roles the operator needs as YAML: in watched namespaces, in its own, and in the cluster
#[derive(Debug, clap::Args)]
pub struct RbacOptions {}

pub fn rbac(_: &RbacOptions) -> Exit {
    for (i, document) in operator::rbac::documents().iter().enumerate() {
        if i > 0 {
            println!("---");
        }
        match print("rbac", document) {
            Exit::Passed => {}
            failed => return failed,
        }
    }
    Exit::Passed
}

fn print(command: &str, value: &serde_json::Value) -> Exit {
    match serde_saphyr::to_string(value) {
        Ok(yaml) => {
            super::print(&format!("{}\n", yaml.trim_end()));
            Exit::Passed
        }
        Err(error) => {
            super::could_not_run(anyhow::Error::new(error).context(format!("cannot write the output of starling {command} as YAML")))
        }
    }
}
