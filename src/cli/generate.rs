//! `starling crd`: files whose one source is this program.

use super::exit::Exit;
use crate::crd;

/// Print the LoadTest custom resource definition as YAML
#[derive(Debug, clap::Args)]
pub struct CrdOptions {}

pub fn crd(_: &CrdOptions) -> Exit {
    print("crd", crd::definition())
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
