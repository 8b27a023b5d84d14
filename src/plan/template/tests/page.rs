//! The page about expressions beside what expressions do.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::function;
use super::whole;

const PAGE: &str = include_str!("../../../../docs/expressions.md");

/// Cells of the table of functions, row by row.
fn rows() -> Vec<[&'static str; 4]> {
    let (_, functions) = PAGE.split_once("\n## Functions\n").expect("the section");
    let (functions, _) = functions.split_once("\n## ").expect("its end");
    functions
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells = line.trim_matches(['|', ' ']).split(" | ").map(str::trim);
            let cells: Vec<&str> = cells.collect();
            cells.try_into().expect("four cells")
        })
        .collect()
}

#[test]
fn every_function_is_on_the_page_with_its_signature() {
    let told: BTreeSet<&str> = rows()
        .iter()
        .map(|[signature, ..]| signature.trim_matches('`'))
        .collect();
    let there: BTreeSet<&str> = function::signatures().collect();
    assert_eq!(told, there);
}

#[test]
fn every_example_of_the_page_gives_what_it_says() {
    for [signature, _, example, result] in rows() {
        let example = example.trim_matches('`');
        let found = whole(example);
        if let Some(result) = result.strip_prefix("for example ") {
            let said: Value = serde_json::from_str(result.trim_matches('`')).expect(signature);
            let found: Value = serde_json::from_str(&found).expect(signature);
            let kinds = [&said, &found].map(std::mem::discriminant);
            assert_eq!(kinds[0], kinds[1], "{signature}: {found}");
        } else {
            assert_eq!(found, result.trim_matches('`'), "{signature}");
        }
    }
}

#[test]
fn an_alphabet_lists_its_characters() {
    for none in [
        "a-z",
        "A-Za-z0-9",
        "[:alpha:]",
        r"\\d",
        "hex",
        "alphanumeric",
    ] {
        let source = format!("{{{{ randString(4, '{none}') }}}}");
        let error = super::compiled(&source, super::Place::Text).unwrap_err();
        assert!(error.contains("must list its characters"), "{error}");
    }
    let error = super::compiled("{{ randString(4, 7) }}", super::Place::Text).unwrap_err();
    assert!(error.contains("must be text"), "{error}");
    for fits in ["abc", "-az", "az-", "z-a", "0123456789", "a_b-"] {
        let text = super::text(&format!("{{{{ randString(20, '{fits}') }}}}"));
        assert!(text.chars().all(|c| fits.contains(c)), "{fits}: {text}");
    }
}
