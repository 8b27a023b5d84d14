//! The pages of the repository: their links lead somewhere, the files and the code that they name
//! exist, as do the sections that comments cite, and the README knows every command.

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
    "web/",
    "Cargo.toml",
    "Makefile",
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
                .filter(|path| !path.ends_with("docs/loadtest.md"))
                .filter(|path| !path.ends_with("docs/starlingpolicy.md"))
                .filter(|path| !path.ends_with("docs/result.md")),
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

/// Every file of the source.
fn source_files() -> Vec<PathBuf> {
    let mut folders = vec![root().join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// The names of types and functions that a page has as code: `Type`, `function`, `Type::function`.
fn names(page: &str) -> BTreeSet<&str> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| {
            code.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
        })
        .flat_map(words)
        .filter(|word| !word.is_empty() && !root().join(word).exists())
        .collect()
}

#[test]
fn every_type_and_function_that_the_map_names_exists() {
    let source: Vec<String> = source_files().iter().map(|file| read(file)).collect();
    let known: BTreeSet<&str> = source.iter().flat_map(|text| words(text)).collect();
    let map = read(&root().join("docs/development.md"));
    let named = names(&map);
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(
        names("`Call`, `Reader::read`, `cargo test`, `src`, `src/plan.rs`, none"),
        BTreeSet::from(["Call", "Reader", "read"])
    );
}

#[test]
fn every_section_that_a_comment_cites_exists() {
    let pages = [
        ("DESIGN ", "overview"),
        ("SEMANTICS ", "semantics"),
        ("LIFECYCLE ", "lifecycle"),
    ];
    let mut seen = 0;
    for (cited, page) in pages {
        let page = read(&root().join(format!("docs/design/{page}.md")));
        for file in source_files() {
            let text = read(&file);
            for section in text.split(cited).skip(1) {
                let number: String = section.chars().take_while(char::is_ascii_digit).collect();
                if number.is_empty() {
                    continue;
                }
                seen += 1;
                assert!(
                    page.contains(&format!("\n## {number}. ")),
                    "{}: {cited}{number}",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 3, "{seen} citations");
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

/// The rows of the table below a heading, without the two lines at its top, each with its cells.
fn table<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, below) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rows = below
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &'a str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.skip(2).map(cells).collect()
}

/// Functions of the source and of the tests, those that a macro makes of a list too.
fn functions() -> BTreeSet<String> {
    let tests = [root().join("src"), root().join("tests")];
    let mut folders = Vec::from(tests);
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(functions_of(&read(&path)));
            }
        }
    }
    found
}

fn functions_of(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        // a line of a macro's list is a name and its argument
        let rest = line.strip_prefix("fn ").unwrap_or(line);
        let name = words(rest).next()?;
        let after = rest[name.len()..].trim_start();
        let is_function = rest.len() < line.len() && after.starts_with('(');
        let is_listed = name.contains('_')
            && (after.starts_with('"') || after.starts_with(|c: char| c.is_ascii_digit()));
        (is_function || is_listed).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// Every row of the table names tests that are there, or says why there are none.
fn assert_shown(page: &str, heading: &str, at_least: usize) {
    let text = read(&root().join(page));
    let (rows, functions) = (table(&text, heading), functions());
    assert!(rows.len() >= at_least, "{page}: {} rows", rows.len());
    for row in rows {
        let shown = row.last().expect("a cell");
        let tests: Vec<&str> = shown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.contains('_'))
            .collect();
        let is_told = shown.starts_with("No test: ") || shown.starts_with("No test on a cluster: ");
        assert!(is_told == tests.is_empty(), "{page}: {row:?}");
        for test in tests {
            assert!(functions.contains(test), "{page}: there is no test {test}");
        }
    }
}

#[test]
fn every_fault_has_a_test_or_a_reason_why_not() {
    assert_shown("docs/reliability.md", "Faults", 22);
}

#[test]
fn every_threat_has_a_test_or_a_reason_why_not() {
    assert_shown("docs/security.md", "Threats", 14);
    let page = read(&root().join("docs/security.md"));
    let numbers: Vec<String> = table(&page, "Threats")
        .iter()
        .map(|row| row[0].to_owned())
        .collect();
    let expected: Vec<String> = (1..=14).map(|number| format!("T{number}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn functions_are_found_whoever_makes_them() {
    let text = "fn a_b() {}\n    async fn c() {\nkilled! {\n    d_e 0\n    f_g \"W1\"\n}\nlet h = i;\n// j_k 1";
    assert_eq!(functions_of(text), ["a_b", "c", "d_e", "f_g"]);
    let page = "x\n## H\ntext\n| a | b |\n|---|---|\n| c | `d_e` |\n\n| f | g |\n";
    assert_eq!(table(page, "H"), [["c", "`d_e`"]]);
}

#[test]
fn the_page_of_failures_has_each_class() {
    let page = read(&root().join("docs/failures.md"));
    for class in starling::stats::ErrorClass::ALL {
        let row = format!("\n| `{}` | ", class.name());
        assert!(page.contains(&row), "{}", class.name());
    }
}
