//! The pages of the repository: their links lead somewhere, the files they name exist, and the
//! README knows every command.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Beginnings of a path from the root of the repository, by which one is told from other code.
const ROOTS: [&str; 12] = [
    ".ci/",
    "benches/",
    "charts/",
    "crds/",
    "docs/",
    "fuzz/",
    "manifests/",
    "src/",
    "tests/",
    "Cargo.toml",
    "Makefile",
    "build.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages that are written by hand.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(|name| root().join(name))
        .into();
    for folder in ["docs", "docs/design"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        pages.extend(
            entries
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
                .filter(|path| !path.ends_with("docs/loadtest.md")),
        );
    }
    pages.sort();
    pages
}

/// Every link of a page that stays in the repository, without the place on the other page.
fn links(page: &str) -> Vec<&str> {
    page.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|link| link.split('#').next())
        .filter(|link| !link.is_empty() && !link.contains(':'))
        .collect()
}

/// Every path of the repository that a page names as code, `{a,b}` in it written out. A name with a
/// capital letter, `<` or `*` in it stands for many, and is cut off before that part.
fn paths(page: &str) -> BTreeSet<String> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(str::split_whitespace)
        .filter(|word| ROOTS.iter().any(|root| word.starts_with(root)))
        .flat_map(alternatives)
        .map(|path| fixed_part(&path).to_owned())
        .collect()
}

fn alternatives(path: &str) -> Vec<String> {
    let written_out = path.split_once('{').and_then(|(before, rest)| {
        let (names, after) = rest.split_once('}')?;
        Some(
            names
                .split(',')
                .map(move |name| format!("{before}{name}{after}")),
        )
    });
    written_out.map_or_else(|| vec![path.to_owned()], Iterator::collect)
}

fn fixed_part(path: &str) -> &str {
    let path = path.trim_end_matches([',', '.', ':', ';']);
    let file = path.rfind('/').map_or(path, |at| &path[at + 1..]);
    let stands_for_many = file.contains(['*', '<'])
        || file.split('.').next().is_some_and(|stem| {
            stem.len() > 1 && stem.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        });
    if stands_for_many {
        &path[..path.len() - file.len()]
    } else {
        path
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        for link in links(&read(&page)) {
            seen += 1;
            if !page.parent().expect("a folder").join(link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 20, "{seen} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for page in pages()
        .into_iter()
        .filter(|page| !page.ends_with("CHANGELOG.md"))
    {
        for path in paths(&read(&page)) {
            seen += 1;
            if !root().join(&path).exists() {
                missing.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(seen > 20, "{seen} paths");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_path_is_told_from_other_code() {
    let page = "`src/plan.rs`, `cargo test src/{a,b}.rs`, src/none.rs, `tests/NAME.rs`, `plan/x`";
    let expected = ["src/a.rs", "src/b.rs", "src/plan.rs", "tests/"].map(str::to_owned);
    assert_eq!(paths(page), BTreeSet::from(expected));
}

#[test]
fn the_readme_names_every_command() {
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .expect("starling starts");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let readme = read(&root().join("README.md"));
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for command in commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
    {
        assert!(
            readme.contains(&format!("`starling {command}")),
            "{command}"
        );
    }
}
