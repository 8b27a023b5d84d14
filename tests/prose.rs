//! The prose of the source: every visible item is documented, every doc begins so that it makes
//! sense on its own, and functions are short enough to read.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Words that a doc does not begin with: what they point at is not on the reader's screen.
const POINTING: &[&str] = &[
    // pronouns and question words
    "it", "its", "they", "their", "them", "this", "that", "these", "those", "he", "his", "him",
    "she", "her", "who", "whom", "whose", "what", "which", "where", "when", "why", "how",
    "whether", // prepositions
    "of", "in", "on", "at", "by", "for", "from", "with", "without", "to", "into", "onto", "as",
    "after", "before", "between", "among", "under", "over", "above", "below", "beside", "behind",
    "until", "since", "through", "during", "against", "about", "beyond", "per",
    // conjunctions and adverbs
    "not", "only", "likewise", "so", "then", "there", "here", "also", "and", "or", "but", "if",
    "unless", "because", "while",
];

/// Docs that may begin with such a word: file, the beginning of the doc, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Shares of functions, in hundredths of a percent, that may be longer than so many lines.
const LONG_FUNCTIONS: [(usize, usize); 2] = [(50, 400), (100, 50)];

/// Longest function of the engine, in lines.
const LONGEST_IN_ENGINE: usize = 60;

/// A file of the program, without its tests.
struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_tests(path: &Path) -> bool {
    path.with_extension("")
        .components()
        .any(|part| part.as_os_str() == "tests")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.ends_with("src/generated") {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    let of_program = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("it is below the root");
        (!is_tests(name)).then(|| Source {
            path: name.to_str().expect("UTF-8").to_owned(),
            text: fs::read_to_string(&path).expect("it is there"),
        })
    };
    files.into_iter().filter_map(of_program).collect()
}

impl Source {
    /// Lines before the tests at the foot of the file.
    fn program(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins_tests =
            |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod tests");
        let end = lines.windows(2).position(begins_tests);
        lines[..end.unwrap_or(lines.len())].to_vec()
    }
}

/// Visible items of a file that have no doc, by line and name. Relies on rustfmt: each item, variant
/// and field begins a line, and a closing brace stands as far in as what it closes.
fn undocumented(source: &Source) -> Vec<String> {
    let lines = source.program();
    // braces of the visible enum or trait around the line: how far in, and whether it is an enum
    let mut around: Option<(usize, bool)> = None;
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if around.is_some_and(|(of, _)| indent == of && text.starts_with('}')) {
            around = None;
        }
        let is_inner =
            |is_enum: bool, depth: usize| around == Some((indent.wrapping_sub(depth), is_enum));
        let visible = after_visibility(text);
        let name = if is_inner(false, 4) {
            item_name(text).map(|(_, name)| name)
        } else if is_inner(true, 4) {
            variant_name(text)
        } else if is_inner(true, 8) {
            field_name(text)
        } else {
            let item = visible.and_then(item_name);
            if let Some((kind @ ("enum" | "trait"), _)) = item
                && line.ends_with('{')
            {
                around = Some((indent, kind == "enum"));
            }
            item.map(|(_, name)| name).or(visible.and_then(field_name))
        };
        if let Some(name) = name
            && !has_doc(&lines[..at])
        {
            found.push(format!("{}:{}: {name}", source.path, at + 1));
        }
    }
    found
}

/// What follows `pub` or `pub(...)`.
fn after_visibility(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("pub")?;
    match rest.strip_prefix('(') {
        Some(rest) => Some(rest.split_once(") ")?.1),
        None => rest.strip_prefix(' '),
    }
}

/// Kind and name of an item that begins with `text`.
fn item_name(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split_whitespace().peekable();
    let mut kind = words.next()?;
    while ["const", "async", "unsafe", "extern", "\"C\""].contains(&kind)
        && words
            .peek()
            .is_some_and(|next| ["fn", "async", "unsafe", "extern", "\"C\""].contains(next))
    {
        kind = words.next()?;
    }
    let is_item = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "union",
    ]
    .contains(&kind);
    let name = words
        .next()
        .map(identifier)
        .filter(|name| !name.is_empty())?;
    is_item.then_some((kind, name))
}

fn field_name(text: &str) -> Option<&str> {
    let name = identifier(text.strip_prefix("r#").unwrap_or(text));
    let is_field = text[text.find(name)? + name.len()..].starts_with(": ");
    (is_field && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(name)
}

fn variant_name(text: &str) -> Option<&str> {
    let name = identifier(text);
    name.starts_with(|c: char| c.is_ascii_uppercase())
        .then_some(name)
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Whether a doc stands above an item, with nothing but attributes between them.
fn has_doc(above: &[&str]) -> bool {
    let mut left = above.len();
    while left > 0 {
        let line = above[left - 1].trim_start();
        if line.starts_with("///") {
            return true;
        }
        if !line.ends_with(']') || line.starts_with("//") {
            return false;
        }
        // an attribute of several lines begins with the nearest line above that opens one
        let Some(begin) = above[..left]
            .iter()
            .rposition(|line| line.trim_start().starts_with("#["))
        else {
            return false;
        };
        left = begin;
    }
    false
}

/// Docs of a file that begin with a word of [`POINTING`] and are no exception.
fn pointing_docs(source: &Source) -> Vec<String> {
    let lines = source.program();
    let is_doc = |at: usize| lines[at].trim_start().starts_with("///");
    let begins = |at: usize| {
        is_doc(at) && (at == 0 || !is_doc(at - 1)) || at == 0 && lines[at].starts_with("//!")
    };
    let mut found = Vec::new();
    for at in (0..lines.len()).filter(|at| begins(*at)) {
        let text = lines[at].trim_start().trim_start_matches(['/', '!']).trim();
        let first = text.split_whitespace().next().unwrap_or_default();
        let word: String = first.chars().filter(char::is_ascii_alphabetic).collect();
        let is_pointing =
            !first.starts_with('`') && POINTING.contains(&word.to_ascii_lowercase().as_str());
        if is_pointing && !is_exception(&source.path, text) {
            found.push(format!("{}:{}: {text}", source.path, at + 1));
        }
    }
    found
}

fn is_exception(path: &str, doc: &str) -> bool {
    EXCEPTIONS
        .iter()
        .any(|(file, begins, _)| *file == path && doc.starts_with(begins))
}

/// Name of a function and its length in lines, from `fn` to its closing brace.
type Length = (String, usize);

/// Relies on rustfmt: the closing brace of a function stands alone, as far in as the function.
fn function_lengths(source: &Source) -> Vec<Length> {
    let lines = source.program();
    let mut lengths = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let rest = &lines[at..];
        let opens = rest
            .iter()
            .position(|line| line.ends_with(['{', '}', ';']))
            .unwrap_or(0);
        if rest[opens].ends_with('{')
            && let Some(closes) = rest.iter().position(|line| *line == end)
        {
            lengths.push((format!("{}: {name}", source.path), closes + 1));
        }
    }
    lengths
}

fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let (before, rest) = words.split_once("fn ")?;
    let is_signature = before.split_whitespace().all(|word| {
        word.starts_with("pub")
            || ["in", "const", "async", "unsafe", "extern", "\"C\""].contains(&word)
            || word.ends_with(')')
    });
    let end = rest.find(['(', '<'])?;
    (is_signature && !rest[..end].is_empty()).then_some(&rest[..end])
}

#[test]
fn every_visible_item_has_a_doc() {
    let found: Vec<_> = sources().iter().flat_map(undocumented).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_doc_begins_with_a_word_that_points_elsewhere() {
    let found: Vec<_> = sources().iter().flat_map(pointing_docs).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn functions_are_short() {
    let lengths: Vec<Length> = sources().iter().flat_map(function_lengths).collect();
    assert!(
        lengths.len() > 2000,
        "only {} functions were seen",
        lengths.len()
    );
    for (most, share) in LONG_FUNCTIONS {
        let long: Vec<_> = lengths.iter().filter(|(_, lines)| *lines > most).collect();
        assert!(
            long.len() * 10_000 < lengths.len() * share,
            "{} of {} functions have more than {most} lines: {long:#?}",
            long.len(),
            lengths.len()
        );
    }
    let of_engine = |name: &str| name.starts_with("src/engine");
    let long: Vec<_> = lengths
        .iter()
        .filter(|(name, lines)| of_engine(name) && *lines > LONGEST_IN_ENGINE)
        .collect();
    assert!(
        long.is_empty(),
        "more than {LONGEST_IN_ENGINE} lines: {long:#?}"
    );
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn what_has_no_doc_is_found_wherever_it_stands() {
    let text = "\
/// A.
#[derive(Debug)]
#[serde(
    default
)]
pub struct A {
    pub(super) b: u8,
    c: u8,
}
struct Hidden {
    pub d: u8,
}
pub enum E {
    F {
        g: u8,
    },
    #[serde(skip)]
    H(u8),
    /// Known.
    I,
}
impl A {
    pub const async fn i(&self) {
        let j: u8 = 0;
    }
    fn k(&self) {}
}
impl Clone for A {
    fn clone(&self) -> A {}
}
pub(crate) trait L {
    fn m(&self);
}
mod n {
    pub const N: u8 = 0;
}
#[cfg(test)]
mod tests {
    pub fn o() {}
}
";
    let expected = [
        "7: b", "11: d", "13: E", "14: F", "15: g", "18: H", "23: i", "31: L", "32: m", "35: N",
    ];
    let found = undocumented(&source("a", text));
    assert_eq!(found, expected.map(|name| format!("a:{name}")));
}

#[test]
fn only_the_first_word_of_a_doc_counts() {
    let text = "//! How it is.\n\n/// A doc\n/// of two lines.\nfn a() {}\n\n    /// Of what.\n    fn b() {}\n/// `of`\n";
    let expected = ["src/a.rs:1: How it is.", "src/a.rs:7: Of what."];
    assert_eq!(pointing_docs(&source("src/a.rs", text)), expected);
}

#[test]
fn a_function_is_as_long_as_from_its_signature_to_its_brace() {
    let text = "pub(in crate::a) async fn a<T>(\n    x: T,\n) -> u8\nwhere\n    T: B,\n{\n    0\n}\ntrait C {\n    fn d();\n    fn e() {\n    }\n}\nfn f() {}\n";
    let expected = [("p: a".to_owned(), 8), ("p: e".to_owned(), 2)];
    assert_eq!(function_lengths(&source("p", text)), expected);
}

/// Types whose Debug form is the text itself in quotes.
const QUOTED: [&str; 5] = ["String", "&'static str", "char", "PathBuf", "Box<str>"];

/// Names that hold an error in this code, and where their Debug form is meant all the same.
const ERRORS: [&str; 5] = ["error", "e", "err", "cause", "failure"];
const MEANT: [&str; 1] = ["src/plan/protocol/grpc/descriptors.rs"];

/// Names that a message writes in their Debug form: `{name:?}`.
fn debugged(text: &str) -> Vec<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .filter_map(|inside| inside.split_once(':'))
        .filter(|(_, form)| form.ends_with('?'))
        .map(|(name, _)| name)
        .collect()
}

/// Type of a field of what follows an `#[error(...)]`: by its number in a tuple, or by its name.
fn type_of<'a>(name: &str, item: &'a str) -> Option<&'a str> {
    if let Ok(place) = name.parse::<usize>() {
        let fields = item.split_once('(')?.1;
        let fields = fields.split(")").next()?;
        return fields.split(',').nth(place).map(clean);
    }
    let field = item.split_once(&format!("{name}: "))?.1;
    field.split([',', '\n']).next().map(clean)
}

fn clean(kind: &str) -> &str {
    let kind = kind.trim();
    kind.rsplit("#[source] ").next().unwrap_or(kind)
}

/// Messages of error types that hold the Debug form of anything but a text.
fn debug_shaped(source: &Source) -> Vec<String> {
    let program = source.program().join("\n");
    let mut found = Vec::new();
    for part in program.split("#[error(").skip(1) {
        let Some((message, item)) = part.split_once(")]\n") else {
            continue;
        };
        // the item ends where the next one, or its own block, does
        let item = item.split("\n    ///").next().unwrap_or(item);
        for name in debugged(message) {
            let kind = type_of(name, item);
            if !kind.is_some_and(|kind| QUOTED.contains(&kind)) {
                found.push(format!("{}: {name} ({kind:?}) in {message}", source.path));
            }
        }
    }
    if !MEANT.contains(&source.path.as_str()) {
        let shown = debugged(&program).into_iter();
        let errors = shown.filter(|name| ERRORS.contains(name));
        found.extend(errors.map(|name| format!("{}: {{{name}:?}}", source.path)));
    }
    found
}

#[test]
fn no_message_holds_the_debug_form_of_an_error() {
    let sources = sources();
    let types: usize = sources
        .iter()
        .map(|source| {
            source
                .program()
                .join("\n")
                .matches("thiserror::Error")
                .count()
        })
        .sum();
    assert!(types > 35, "only {types} error types were seen");
    let found: Vec<_> = sources.iter().flat_map(debug_shaped).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_debug_form_of_an_error_is_seen() {
    let seen = |text: &str| {
        debug_shaped(&Source {
            path: "x.rs".to_owned(),
            text: text.to_owned(),
        })
        .len()
    };
    assert_eq!(seen("    #[error(\"a {0:?}\")]\n    A(String),\n"), 0);
    assert_eq!(seen("    #[error(\"a {0:?}\")]\n    A(io::Error),\n"), 1);
    assert_eq!(
        seen("    #[error(\"{b:?}\")]\n    A {\n        b: Kind,\n    },\n"),
        1
    );
    assert_eq!(
        seen("    #[error(\"{b:?}\")]\n    A {\n        b: PathBuf,\n    },\n"),
        0
    );
    assert_eq!(seen("let text = format!(\"{error:?}\");\n"), 1);
}
