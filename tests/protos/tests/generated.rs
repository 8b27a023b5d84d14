//! What is checked in is what the protocol files give.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Content of each file of a folder, by its name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("UTF-8");
            (name, fs::read(entry.path()).expect("it is there"))
        })
        .collect()
}

#[test]
fn generated_code_is_what_the_protocol_files_give() {
    let fresh = tempfile::tempdir().expect("a folder");
    starling_protos::generate(fresh.path()).expect("the protocol files compile");
    let (wanted, there) = (
        files(fresh.path()),
        files(&starling_protos::root().join("src/generated")),
    );
    assert_eq!(
        wanted.keys().collect::<Vec<_>>(),
        there.keys().collect::<Vec<_>>(),
        "`make generate` writes src/generated"
    );
    for (name, content) in wanted {
        assert!(
            content == there[&name],
            "src/generated/{name} is not what its protocol file gives: `make generate` writes it"
        );
    }
}
