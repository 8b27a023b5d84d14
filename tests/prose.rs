//! The prose of the source: every visible item is documented, every doc begins so that it makes
//! sense on its own, and functions are short enough to read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Field, Fields, ImplItem, Item, Meta, TraitItem, Variant, Visibility, token};

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

/// Visible items of each module that have no doc yet; the others have none.
const UNDOCUMENTED: &[(&str, usize)] = &[
    ("cli", 45),
    ("crd", 254),
    ("engine", 389),
    ("master", 123),
    ("operator", 170),
    ("plan", 510),
    ("report", 7),
    ("runtime", 4),
    ("stats", 209),
    ("wire", 54),
    ("worker", 42),
];

/// Docs of each module that begin with a word of [`POINTING`] yet; the others have none.
const POINTING_DOCS: &[(&str, usize)] = &[
    ("cli", 30),
    ("crd", 188),
    ("engine", 401),
    ("lib", 1),
    ("master", 89),
    ("operator", 78),
    ("plan", 243),
    ("report", 7),
    ("runtime", 6),
    ("stats", 85),
    ("wire", 19),
    ("worker", 30),
];

/// Shares of functions, in hundredths of a percent, that may be longer than so many lines.
const LONG_FUNCTIONS: [(usize, usize); 2] = [(50, 420), (100, 50)];

/// Longest function of the engine, in lines.
const LONGEST_IN_ENGINE: usize = 208;

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
    /// First part of the path below `src`: a module of the library.
    fn room(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or(&self.path);
        rest.split(['/', '.']).next().unwrap_or(rest)
    }

    /// Lines before the tests at the foot of the file.
    fn program(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins_tests =
            |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod tests");
        let end = lines.windows(2).position(begins_tests);
        lines[..end.unwrap_or(lines.len())].to_vec()
    }
}

/// Collects the visible items of a file that have no doc.
struct Undocumented<'a> {
    file: &'a str,
    found: Vec<String>,
}

impl Undocumented<'_> {
    fn look_at(&mut self, name: &str, attributes: &[Attribute]) {
        if !attributes
            .iter()
            .any(|attribute| attribute.path().is_ident("doc"))
        {
            self.found.push(format!("{}: {name}", self.file));
        }
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            self.item(item);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Mod(module) if !is_test(&module.attrs) => {
                if let Some((_, items)) = &module.content {
                    self.items(items);
                }
            }
            Item::Impl(block) if block.trait_.is_none() && !is_test(&block.attrs) => {
                let owner = type_name(&block.self_ty);
                for item in &block.items {
                    self.impl_item(&owner, item);
                }
            }
            Item::Struct(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
                self.fields(&it.ident.to_string(), &it.fields);
            }
            Item::Struct(it) if !is_test(&it.attrs) => {
                self.fields(&it.ident.to_string(), &it.fields);
            }
            Item::Enum(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
                self.variants(&it.ident.to_string(), &it.variants);
            }
            Item::Trait(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
                for item in &it.items {
                    self.trait_item(&it.ident.to_string(), item);
                }
            }
            Item::Fn(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.sig.ident.to_string(), &it.attrs);
            }
            Item::Type(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
            }
            Item::Const(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
            }
            Item::Static(it) if is_visible(&it.vis, &it.attrs) => {
                self.look_at(&it.ident.to_string(), &it.attrs);
            }
            _ => {}
        }
    }

    fn impl_item(&mut self, owner: &str, item: &ImplItem) {
        let (visibility, name, attributes) = match item {
            ImplItem::Fn(it) => (&it.vis, &it.sig.ident, &it.attrs),
            ImplItem::Const(it) => (&it.vis, &it.ident, &it.attrs),
            ImplItem::Type(it) => (&it.vis, &it.ident, &it.attrs),
            _ => return,
        };
        if is_visible(visibility, attributes) {
            self.look_at(&format!("{owner}::{name}"), attributes);
        }
    }

    fn trait_item(&mut self, owner: &str, item: &TraitItem) {
        match item {
            TraitItem::Fn(it) => self.look_at(&format!("{owner}::{}", it.sig.ident), &it.attrs),
            TraitItem::Const(it) => self.look_at(&format!("{owner}::{}", it.ident), &it.attrs),
            TraitItem::Type(it) => self.look_at(&format!("{owner}::{}", it.ident), &it.attrs),
            _ => {}
        }
    }

    /// Named fields that are visible. Positional ones have the doc of their type.
    fn fields(&mut self, owner: &str, fields: &Fields) {
        for field in fields
            .iter()
            .filter(|field| is_visible(&field.vis, &field.attrs))
        {
            self.field(owner, field);
        }
    }

    fn field(&mut self, owner: &str, field: &Field) {
        if let Some(name) = &field.ident {
            self.look_at(&format!("{owner}.{name}"), &field.attrs);
        }
    }

    fn variants(&mut self, owner: &str, variants: &Punctuated<Variant, token::Comma>) {
        for variant in variants {
            let name = format!("{owner}::{}", variant.ident);
            self.look_at(&name, &variant.attrs);
            for field in &variant.fields {
                self.field(&name, field);
            }
        }
    }
}

/// `pub` or `pub(...)`, and in the program rather than in its tests.
fn is_visible(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    !matches!(visibility, Visibility::Inherited) && !is_test(attributes)
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn type_name(of: &syn::Type) -> String {
    match of {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(|| "impl".to_owned(), |segment| segment.ident.to_string()),
        _ => "impl".to_owned(),
    }
}

fn undocumented(source: &Source) -> Vec<String> {
    let file = syn::parse_file(&source.text)
        .unwrap_or_else(|error| panic!("{} is no Rust: {error}", source.path));
    let mut found = Undocumented {
        file: &source.path,
        found: Vec::new(),
    };
    found.items(&file.items);
    found.found
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

/// Finds of a room, and how many of them it may still have.
fn over_budget(
    found: &[(String, Vec<String>)],
    budget: &[(&str, usize)],
) -> BTreeMap<String, Vec<String>> {
    let mut rooms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (room, found) in found {
        rooms
            .entry(room.clone())
            .or_default()
            .extend(found.iter().cloned());
    }
    let may = |room: &str| {
        budget
            .iter()
            .find(|(name, _)| *name == room)
            .map_or(0, |(_, n)| *n)
    };
    rooms.retain(|room, found| found.len() > may(room));
    rooms
}

#[test]
fn every_visible_item_has_a_doc() {
    let found: Vec<_> = sources()
        .iter()
        .map(|source| (source.room().to_owned(), undocumented(source)))
        .collect();
    let over = over_budget(&found, UNDOCUMENTED);
    assert!(over.is_empty(), "{over:#?}");
}

#[test]
fn no_doc_begins_with_a_word_that_points_elsewhere() {
    let found: Vec<_> = sources()
        .iter()
        .map(|source| (source.room().to_owned(), pointing_docs(source)))
        .collect();
    let over = over_budget(&found, POINTING_DOCS);
    assert!(over.is_empty(), "{over:#?}");
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
    let text = "
        /// A.
        pub struct A { pub(super) b: u8, c: u8 }
        struct Hidden { pub d: u8 }
        pub enum E { F { g: u8 }, H(u8) }
        impl A { pub fn i(&self) {} fn j(&self) {} }
        impl Clone for A { fn clone(&self) -> A { todo!() } }
        pub(crate) trait K { fn l(&self); }
        mod m { pub const N: u8 = 0; }
        #[cfg(test)] mod tests { pub fn o() {} }
    ";
    let expected = [
        "A.b", "Hidden.d", "E", "E::F", "E::F.g", "E::H", "A::i", "K", "K::l", "N",
    ];
    let found = undocumented(&source("a", text));
    assert_eq!(found, expected.map(|name| format!("a: {name}")));
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
