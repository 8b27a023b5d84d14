//! The shape of the source: which module may know which, one way to lay out files, and none too
//! long to read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 1250;

struct Rule {
    module: &'static str,
    /// Our own modules it may import.
    may: &'static [&'static str],
    /// Crates it must not see.
    not: &'static [&'static str],
}

const KUBERNETES: &[&str] = &["kube", "k8s_openapi"];
/// The core is plain values: no sockets, no clock, no arguments.
const OUTSIDE: &[&str] = &[
    "kube",
    "k8s_openapi",
    "tokio",
    "hyper",
    "hyper_util",
    "tonic",
    "axum",
    "reqwest",
    "clap",
];

const RULES: &[Rule] = &[
    Rule {
        module: "plan",
        may: &[],
        not: OUTSIDE,
    },
    Rule {
        module: "stats",
        may: &[],
        not: OUTSIDE,
    },
    Rule {
        module: "report",
        may: &["plan", "stats"],
        not: OUTSIDE,
    },
    Rule {
        module: "engine",
        may: &["plan", "stats"],
        not: KUBERNETES,
    },
    Rule {
        module: "wire",
        may: &["plan", "stats"],
        not: KUBERNETES,
    },
    Rule {
        module: "master",
        may: &["wire", "plan", "stats", "report", "runtime"],
        not: KUBERNETES,
    },
    Rule {
        module: "worker",
        may: &["wire", "engine", "plan", "stats", "runtime"],
        not: KUBERNETES,
    },
    Rule {
        module: "crd",
        may: &["plan"],
        not: &["tokio", "hyper", "tonic", "axum", "reqwest"],
    },
    Rule {
        module: "operator",
        may: &["crd", "plan", "stats", "wire", "runtime"],
        not: &["tonic"],
    },
    Rule {
        module: "demo",
        may: &["plan", "runtime"],
        not: KUBERNETES,
    },
    Rule {
        module: "runtime",
        may: &[],
        not: KUBERNETES,
    },
];

/// Joins the others, hence may import them all.
const JOINS: &str = "cli";

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = vec![source().join(module).with_extension("rs")];
    let folder = source().join(module);
    if folder.is_dir() {
        files.extend(rust_files(&folder));
    }
    files
}

/// The program's part of a file: no comments, no tests.
fn code(text: &str) -> String {
    let program = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    program
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// `#[cfg(test)] mod tests;` in a file or folder of its own.
fn is_tests(file: &Path) -> bool {
    file.strip_prefix(source())
        .unwrap()
        .with_extension("")
        .components()
        .any(|part| part.as_os_str() == "tests")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// What stands behind each `path` that is not the end of a longer word.
fn after<'a>(text: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(path)
        .filter(|(at, _)| !text[..*at].ends_with(|c| is_word(c) || c == ':'))
        .map(move |(at, _)| &text[at + path.len()..])
}

/// Our own modules that `text`, which lies `depth` modules below the root, names.
fn own_imports(text: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in after(text, "crate::").chain(after(text, &"super::".repeat(depth))) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest).to_owned())),
            Some(group) => {
                let mut level = 0;
                let mut begins = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => level += 1,
                        '}' if level == 0 => break,
                        '}' => level -= 1,
                        ',' if level == 0 => begins = true,
                        c if c.is_whitespace() => {}
                        _ if begins => {
                            found.insert(word(&group[at..]).to_owned());
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// How many modules lie above the items of `file`.
fn depth(file: &Path) -> usize {
    file.strip_prefix(source()).unwrap().components().count()
}

fn modules() -> BTreeSet<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod "))
        .map(|name| name.trim_end_matches(';').to_owned())
        .collect()
}

#[test]
fn every_module_has_a_rule() {
    let ruled: BTreeSet<_> = RULES
        .iter()
        .map(|rule| rule.module)
        .chain([JOINS])
        .map(str::to_owned)
        .collect();
    assert_eq!(ruled, modules());
}

#[test]
fn modules_import_only_what_they_may() {
    let modules = modules();
    let mut broken = Vec::new();
    for Rule { module, may, not } in RULES {
        for file in files_of(module).into_iter().filter(|file| !is_tests(file)) {
            let text = code(&fs::read_to_string(&file).unwrap());
            for import in own_imports(&text, depth(&file)).intersection(&modules) {
                if import != module && !may.contains(&import.as_str()) {
                    broken.push(format!("{} imports {import}", file.display()));
                }
            }
            for name in *not {
                if after(&text, &format!("{name}::")).next().is_some() {
                    broken.push(format!("{} uses the crate {name}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_ways_to_write_an_import_are_seen() {
    let text = code(
        "use crate::{plan::{a, wire}, stats};\nlet x = crate::demo::Y; // crate::operator\nuse super::super::engine::Z;\nmycrate::report::x;",
    );
    let expected = ["demo", "engine", "plan", "stats"].map(str::to_owned);
    assert_eq!(own_imports(&text, 2), BTreeSet::from(expected));
    assert!(own_imports("#[cfg(test)]\nuse crate::crd;", 1).contains("crd"));
}

#[test]
fn a_module_is_a_file_and_a_folder_of_one_name() {
    let old: Vec<_> = rust_files(&source())
        .into_iter()
        .filter(|file| file.ends_with("mod.rs"))
        .collect();
    assert!(old.is_empty(), "foo.rs and foo/, not foo/mod.rs: {old:?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<_> = rust_files(&source())
        .into_iter()
        .filter(|file| lines(file) > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:?}");
}

#[test]
fn every_file_says_its_subject_first() {
    let silent: Vec<_> = rust_files(&source())
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
