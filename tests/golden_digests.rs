//! Digests of the released examples: a digest that changes starts load on every cluster that
//! upgrades.
//!
//! `tests/fixtures/digests.txt` is written by hand, never generated: a line is added with a new
//! example, and edited only when the example is another test. A test that fails prints the lines as they are now.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use starling::crd::{LoadTestSpec, digest};

const FOLDERS: [&str; 2] = ["manifests/samples", "docs/examples"];

/// Digest by file and name of each LoadTest of the examples.
fn digests(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).expect("a folder of examples") {
            let path = entry.expect("an entry").path();
            let file = path
                .strip_prefix(root)
                .expect("below the root")
                .display()
                .to_string();
            let yaml = fs::read_to_string(&path).expect("an example");
            let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml)
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            for document in documents
                .into_iter()
                .filter(|document| document["kind"] == "LoadTest")
            {
                let name = document["metadata"]["name"].as_str().expect("a name");
                let spec: LoadTestSpec = serde_json::from_value(document["spec"].clone())
                    .unwrap_or_else(|error| panic!("{file}: {error}"));
                let before = found.insert(format!("{file} {name}"), digest(&spec));
                assert_eq!(before, None, "{file} holds two LoadTests named {name}");
            }
        }
    }
    found
}

#[test]
fn no_digest_of_an_example_ever_changes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = fs::read_to_string(root.join("tests/fixtures/digests.txt"))
        .expect("the digests written down");
    let found: String = digests(root)
        .iter()
        .map(|(of, digest)| format!("{digest} {of}\n"))
        .collect();
    let mut lines: Vec<_> = found.lines().collect();
    let mut expected: Vec<_> = written
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert!(lines.len() > 90, "{found}");
    assert!(
        lines == expected,
        "tests/fixtures/digests.txt is not what the program says:\n{found}"
    );
}
