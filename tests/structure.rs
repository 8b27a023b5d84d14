//! The shape of the source: which module may know which, one way to lay out files, and none too
//! long to read.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 800;

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
        module: "checking",
        may: &["crd", "plan"],
        not: OUTSIDE,
    },
    Rule {
        module: "operator",
        may: &["checking", "crd", "plan", "stats", "wire", "runtime"],
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

/// Most files that may import each other in a circle: what can only be understood together.
const MAX_CIRCLE: usize = 6;

/// Most modules that a folder of the engine may hold beside its tests.
const MAX_MODULES: usize = 14;

/// A room of the engine, or a part of one.
struct Room {
    /// Path below `src/engine`, without `.rs`.
    name: &'static str,
    /// Rooms it may import; a room that is not named here may be imported by nobody.
    may: &'static [&'static str],
}

/// The rooms of the engine, from the bottom to the top: each imports only what stands above it in
/// this list.
const ROOMS: &[Room] = &[
    // leaves: what a request under way is known by, the values of references, bytes of a message
    Room {
        name: "attempt",
        may: &[],
    },
    Room {
        name: "inputs",
        may: &[],
    },
    Room {
        name: "message",
        may: &[],
    },
    Room {
        name: "answer",
        may: &[],
    },
    // writes answers down, hence above them
    Room {
        name: "record",
        may: &["attempt", "message", "answer"],
    },
    Room {
        name: "net",
        may: &["attempt", "inputs"],
    },
    // what the process finds where it runs: name servers, for one
    Room {
        name: "world",
        may: &["net"],
    },
    // tokens are fetched over the network, and are secrets to redact
    Room {
        name: "auth",
        may: &["inputs", "message", "answer", "record", "net", "world"],
    },
    Room {
        name: "protocol",
        may: &[
            "attempt", "inputs", "message", "answer", "record", "net", "world", "auth",
        ],
    },
    Room {
        name: "prepare",
        may: &[
            "attempt", "inputs", "message", "answer", "record", "net", "world", "auth", "protocol",
        ],
    },
    Room {
        name: "user",
        may: &["attempt", "answer", "record", "protocol", "prepare"],
    },
    Room {
        name: "load",
        may: &["record", "protocol", "prepare", "user"],
    },
    // beside the facade: they start load, or do without it what its users do
    Room {
        name: "one_off",
        may: &[
            "attempt", "answer", "record", "protocol", "prepare", "user", "load",
        ],
    },
    Room {
        name: "running",
        may: &["record", "prepare", "user", "load"],
    },
];

/// Parts of the engine that must not know each other, though their rooms do.
const STRANGERS: &[(&str, &str)] = &[
    ("protocol/http", "protocol/grpc"),
    ("protocol/grpc", "protocol/http/response"),
    ("protocol/grpc", "protocol/http/exchange"),
    ("protocol/grpc", "protocol/http/sender"),
    ("protocol/grpc", "protocol/http/request"),
    ("load", "protocol/http"),
    ("load", "protocol/grpc"),
    ("load", "protocol/transport"),
    ("user", "protocol/grpc"),
];

/// Where the enum of protocols is matched: where a step is compiled, and where it is carried out.
const MATCHES_PROTOCOLS: [&str; 2] = ["engine/prepare/compile.rs", "engine/user/executor.rs"];

/// Joins the others, hence may import them all.
const JOINS: &str = "cli";

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // made by tests/protos, and no one's to read
        if path.ends_with("src/generated") {
            continue;
        }
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

/// Reads the paths of a `use` behind its first word, groups expanded, into `found`. Returns what
/// follows them.
fn expand<'a>(prefix: &mut Vec<String>, text: &'a str, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            match rest.chars().next() {
                None => return rest,
                Some('}') => return &rest[1..],
                Some(c) if is_word(c) => rest = expand(prefix, rest, found),
                Some(c) => rest = &rest[c.len_utf8()..],
            }
        }
    }
    let name = word(text);
    prefix.push(name.to_owned());
    let rest = &text[name.len()..];
    let inner = rest
        .strip_prefix("::")
        .filter(|inner| inner.starts_with(|c: char| is_word(c) || c == '{'));
    let rest = match inner {
        Some(inner) => expand(prefix, inner, found),
        None => {
            found.push(prefix.clone());
            rest
        }
    };
    prefix.pop();
    rest
}

/// The path of a file's module, from the root.
fn module_path(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(source()).unwrap().with_extension("");
    let parts = path.components();
    parts
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .filter(|part| part != "lib")
        .collect()
}

/// The paths from the root that `text`, which is the module `here`, names.
fn own_paths(text: &str, here: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for rest in after(text, "crate::") {
        expand(&mut Vec::new(), rest, &mut found);
    }
    for mut rest in after(text, "super::") {
        let mut base = here[..here.len().saturating_sub(1)].to_vec();
        while let Some(further) = rest.strip_prefix("super::") {
            rest = further;
            base.pop();
        }
        expand(&mut base, rest, &mut found);
    }
    found
}

/// The files of the program, and for each those that it imports.
fn arrows() -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let files: BTreeMap<Vec<String>, PathBuf> = rust_files(&source())
        .into_iter()
        .filter(|file| !is_tests(file))
        .map(|file| (module_path(&file), file))
        .collect();
    let arrows = files.iter().map(|(here, file)| {
        let text = code(&fs::read_to_string(file).unwrap());
        let imported = own_paths(&text, here).into_iter().filter_map(|path| {
            let mut lengths = (1..=path.len()).rev();
            lengths.find_map(|length| files.get(&path[..length]).cloned())
        });
        let others = imported.filter(|other| other != file).collect();
        (file.clone(), others)
    });
    arrows.collect()
}

/// All files that `from` imports, by itself or through others.
fn reached<'a>(
    arrows: &'a BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    from: &'a PathBuf,
) -> BTreeSet<&'a PathBuf> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(file) = ahead.pop() {
        let new = arrows[file].iter().filter(|next| !reached.contains(next));
        let new: Vec<_> = new.collect();
        reached.extend(new.iter().copied());
        ahead.extend(new);
    }
    reached
}

/// The path of a file below `src/engine`, without `.rs`.
fn in_engine(file: &Path) -> Option<String> {
    let path = file.strip_prefix(source().join("engine")).ok()?;
    Some(path.with_extension("").to_string_lossy().into_owned())
}

/// Whether the path of a file is that of `room`, or lies in it.
fn is_in(path: &str, room: &str) -> bool {
    path.strip_prefix(room)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[test]
fn no_circle_of_imports_is_too_large_to_understand() {
    let arrows = arrows();
    let reached: BTreeMap<_, _> = arrows
        .keys()
        .map(|file| (file, reached(&arrows, file)))
        .collect();
    let circle = |file: &PathBuf| -> BTreeSet<&PathBuf> {
        let ahead = reached[file].iter();
        ahead
            .filter(|other| reached[**other].contains(file))
            .copied()
            .collect()
    };
    let large: BTreeSet<_> = arrows
        .keys()
        .map(circle)
        .filter(|circle| circle.len() > MAX_CIRCLE)
        .collect();
    assert!(large.is_empty(), "{large:#?}");
}

#[test]
fn rooms_of_the_engine_import_only_what_they_may() {
    let mut broken = Vec::new();
    for (file, imports) in arrows() {
        let Some(path) = in_engine(&file) else {
            continue;
        };
        let Some(room) = ROOMS.iter().find(|room| is_in(&path, room.name)) else {
            broken.push(format!("{path} belongs to no room"));
            continue;
        };
        for other in imports.iter().filter_map(|other| in_engine(other)) {
            let may = |other: &str| room.may.iter().any(|may| is_in(other, may));
            if !is_in(&other, room.name) && !may(&other) {
                broken.push(format!("{path} imports {other}"));
            }
            for (one, stranger) in STRANGERS {
                if is_in(&path, one) && is_in(&other, stranger) {
                    broken.push(format!("{path} knows {other}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn rooms_of_the_engine_stand_one_upon_the_other() {
    for (place, room) in ROOMS.iter().enumerate() {
        let below: Vec<_> = ROOMS[..place].iter().map(|room| room.name).collect();
        for may in room.may {
            assert!(below.contains(may), "{} may not import {may}", room.name);
        }
    }
}

#[test]
fn no_folder_of_the_engine_holds_too_many_modules() {
    let mut modules: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in files_of("engine")
        .into_iter()
        .filter(|file| !is_tests(file))
    {
        *modules
            .entry(file.parent().unwrap().to_owned())
            .or_default() += 1;
    }
    modules.remove(&source());
    let large: Vec<_> = modules
        .into_iter()
        .filter(|(_, count)| *count > MAX_MODULES)
        .collect();
    assert!(large.is_empty(), "more than {MAX_MODULES}: {large:?}");
}

#[test]
fn the_enum_of_protocols_is_matched_in_two_places() {
    let registration = fs::read_to_string(source().join("engine/protocol.rs")).unwrap();
    let (_, variants) = registration.split_once("enum Call {").unwrap();
    let (variants, _) = variants.split_once("\n}").unwrap();
    let variants: Vec<String> = code(variants)
        .lines()
        .filter_map(|line| Some(format!("Call::{}(", line.trim().split_once('(')?.0)))
        .collect();
    assert!(variants.len() > 1, "{variants:?}");
    let names = |file: &PathBuf| {
        let text = code(&fs::read_to_string(file).unwrap());
        variants
            .iter()
            .any(|variant| after(&text, variant).next().is_some())
    };
    let places: Vec<_> = files_of("engine")
        .into_iter()
        .filter(|file| !is_tests(file) && names(file))
        .map(|file| file.strip_prefix(source()).unwrap().to_owned())
        .collect();
    assert_eq!(places, MATCHES_PROTOCOLS.map(PathBuf::from));
}

#[test]
fn the_paths_of_an_import_are_seen() {
    let here = ["engine", "net", "pool"].map(str::to_owned);
    let text = "use crate::engine::{net::{a, b::C}, user};\nuse super::super::load::D;\nlet x = crate::plan::f::<u8>(1);";
    let found: BTreeSet<String> = own_paths(text, &here)
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    let expected = [
        "engine::load::D",
        "engine::net::a",
        "engine::net::b::C",
        "engine::user",
        "plan::f",
    ];
    assert_eq!(found, BTreeSet::from(expected.map(str::to_owned)));
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

/// Files of the program, but for tests, that name `what` outside comments.
fn files_that_name(what: &str) -> BTreeSet<String> {
    rust_files(&source())
        .into_iter()
        .filter(|file| !is_tests(file))
        .filter(|file| {
            after(&code(&fs::read_to_string(file).unwrap()), what)
                .next()
                .is_some()
        })
        .map(|file| file.strip_prefix(source()).unwrap().display().to_string())
        .collect()
}

/// The price of a new metric is a row of the table in plan/threshold/metric.rs, and an arm here.
#[test]
fn only_the_reader_of_a_metric_tells_it_from_others() {
    for metric in [
        "Metric::Latency",
        "Metric::Ttft",
        "Metric::Achieved",
        "Metric::Goodput",
    ] {
        let expected = BTreeSet::from(["master/reading.rs".to_owned()]);
        assert_eq!(files_that_name(metric), expected, "{metric}");
    }
}

/// The price of a new kind of check is a variant of the spec and one of the plan, and an arm of
/// what turns the one into the other and of the judge.
#[test]
fn only_the_judge_of_a_check_tells_it_from_others() {
    for check in ["Trailer", "Messages", "Size"] {
        let spec = BTreeSet::from(["crd/convert/check.rs".to_owned()]);
        assert_eq!(
            files_that_name(&format!("CheckKindSpec::{check}")),
            spec,
            "{check}"
        );
        let plan = [
            "crd/convert/check.rs",
            "engine/answer/check.rs",
            "plan/check.rs",
        ];
        assert_eq!(
            files_that_name(&format!("Check::{check}")),
            BTreeSet::from(plan.map(str::to_owned)),
            "{check}"
        );
    }
}
