//! `starling crd`, `starling schema`, `starling rbac` and `starling reference`: files of which this
//! program is the source.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::exit::Exit;
use super::yaml;
use crate::crd::reference::{self, Example};
use crate::stats::RunResult;
use crate::stats::result::SCHEMA_VERSION;
use crate::{crd, operator};

const RESULT_INTRODUCTION: &str = "# The fields of a result

<!-- Written by `make generate` from the schema; change that. -->

`starling run --json FILE` and `starling report NAME -o json` write the result of a run as JSON: an object, or a list of them for
several tests. [result.schema.json](result.schema.json) is its JSON Schema, which `starling schema --result` prints. Fields may be
added; `schemaVersion` changes when a reader of the older form would misread the newer. Names that end in `Micros` and all
latencies are whole microseconds, `Bytes` are bytes, `PerSecond` and rates are numbers per second, and shares lie between 0 and 1.
In the paths below `[]` is any entry of a list. [failures.md](failures.md) tells the classes of failures.
";

/// Print the LoadTest custom resource definition as YAML
#[derive(Debug, clap::Args)]
pub struct CrdOptions {
    /// Print that of StarlingPolicies instead
    #[arg(long)]
    policy: bool,
}

/// Prints a definition as YAML.
pub fn crd(options: &CrdOptions) -> Exit {
    let definition = match options.policy {
        false => crd::definition(),
        true => crd::policy::definition(),
    };
    print("crd", definition)
}

/// Print the JSON Schema of LoadTests, by which an editor completes and checks files
///
/// It refuses unknown fields, and lets documents of other kinds pass that stand in the same file.
#[derive(Debug, clap::Args)]
pub struct SchemaOptions {
    /// Print that of results, as --json writes them, instead
    #[arg(long)]
    result: bool,
}

/// Prints a schema as JSON.
pub fn schema(options: &SchemaOptions) -> Exit {
    let mut schema = match options.result {
        false => crd::schema::editor_schema(),
        true => {
            let title = format!("Result of a Starling run, version {SCHEMA_VERSION}");
            reference::schema_of::<RunResult>(&title)
        }
    };
    schema.sort_all_objects();
    match serde_json::to_string_pretty(&schema) {
        Ok(text) => super::print(&format!("{text}\n")),
        Err(error) => super::could_not_run(anyhow::Error::new(error)),
    }
}

/// Print the roles that the operator needs as YAML: in watched namespaces, in its own, and in the
/// cluster
#[derive(Debug, clap::Args)]
pub struct RbacOptions {}

/// Prints the roles of the operator as YAML documents.
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

/// Print the reference of every field of a LoadTest as Markdown, with examples; fields without an
/// example are listed on standard error
#[derive(Debug, clap::Args)]
pub struct ReferenceOptions {
    /// Folder of LoadTests, each named after the path of the field it shows: load.open.yaml
    #[arg(value_name = "DIR", required_unless_present_any = ["policy", "result"])]
    examples: Option<PathBuf>,

    /// Print the fields of StarlingPolicies instead
    #[arg(long, conflicts_with = "examples")]
    policy: bool,

    /// Print the fields of results instead
    #[arg(long, conflicts_with_all = ["examples", "policy"])]
    result: bool,
}

/// Prints the reference page. Examples named after no field are an error.
pub fn reference(options: &ReferenceOptions) -> Exit {
    let Some(folder) = &options.examples else {
        return super::print(&match options.result {
            false => reference::policy_page(),
            true => reference::page_of::<RunResult>("result", RESULT_INTRODUCTION),
        });
    };
    let examples = match read_examples(folder) {
        Ok(examples) => examples,
        Err(error) => return super::could_not_run(error),
    };
    let page = reference::page(&examples);
    page.without_example
        .iter()
        .for_each(|field| super::note(&format!("without an example: {field}")));
    if !page.misplaced.is_empty() {
        return super::could_not_run(anyhow::anyhow!(
            "examples named after no part of the spec: {}",
            page.misplaced.join(", ")
        ));
    }
    super::print(&page.markdown)
}

fn read_examples(folder: &Path) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".yaml"))
        else {
            continue;
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let documents = yaml::read(&text).with_context(|| path.display().to_string())?;
        let test = documents
            .iter()
            .map(yaml::Node::to_json)
            .find(|document| document["kind"] == "LoadTest");
        let spec = test
            .map(|mut test| test["spec"].take())
            .filter(Value::is_object)
            .with_context(|| format!("{} holds no LoadTest", path.display()))?;
        examples.push(Example {
            name: name.to_owned(),
            text,
            spec,
        });
    }
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(examples)
}

fn print(command: &str, value: &Value) -> Exit {
    let mut value = value.clone();
    value.sort_all_objects();
    match serde_saphyr::to_string(&value) {
        Ok(yaml) => super::print(&format!("{}\n", yaml.trim_end())),
        Err(error) => super::could_not_run(anyhow::Error::new(error).context(format!(
            "cannot write the output of starling {command} as YAML"
        ))),
    }
}
