//! Values of expressions: compared with an answer, and made after it.

use super::*;

#[test]
fn what_an_expression_gave_is_told_in_its_place() {
    let message = |source: &str, condition| {
        let check = at(source, condition);
        failure_of(&check, &answer(200, BODY)).unwrap().1
    };
    let equals = |value: Value| Condition::Equals(template(value));
    for (source, condition, told) in [
        (
            "$.n",
            equals(json!("{{ fruit }}")),
            "$.n equals \"fruit\": found 3, which is a number, not text",
        ),
        (
            "$.t",
            equals(json!("{{ texts.word }}")),
            "$.t equals \"fruit\": found \"5\"",
        ),
        // a variable that is a constant of the test, and one within text
        ("$.n", equals(json!("{{ four }}")), "$.n equals 4: found 3"),
        (
            "$.t",
            equals(json!("a {{ three }}")),
            "$.t equals \"a 3\": found \"5\"",
        ),
        (
            "$.n",
            Condition::Above(template(json!("{{ three }}"))),
            "$.n above 3: found 3",
        ),
        (
            "$.n",
            Condition::In(template(json!([1, "{{ fruit }}"]))),
            "$.n in [1,\"fruit\"]: found 3",
        ),
        // nothing was compared
        (
            "$.x",
            equals(json!("{{ fruit }}")),
            "$.x equals \"{{ fruit }}\": found nothing",
        ),
        (
            "$.n",
            equals(json!("{{ unset }}")),
            "$.n equals \"{{ unset }}\": unset is not set",
        ),
    ] {
        assert_eq!(
            message(source, condition),
            format!("checks[0], jsonPath {told}")
        );
    }
    let long = equals(json!("{{ fruit }}{{ raw('x') }}".repeat(100)));
    assert!(
        message("$.t", long).contains("equals \"fruitxfruitx"),
        "shortened"
    );
}

#[test]
fn a_value_may_be_made_of_what_was_taken_out_before_it() {
    let made = |source: &str, default| {
        let from = ExtractFrom::Value(template(json!(source)));
        let body = extract("found", ExtractFrom::Body, None);
        let mut values = values();
        let judged = rules(&[], &[body, extract("old", from, default)], &[])
            .judge(&answer(200, b"cherry"), &mut values);
        (values.values[5].take(), judged.failure)
    };
    let list = "{{ append(unset, old, found, texts.word) }}";
    assert_eq!(
        made(list, None),
        (Some(json!(["old", "cherry", "fruit"])), None)
    );
    let why = "extract old, value \"{{ add(found, 1) }}\": add: an argument is no number";
    assert_eq!(
        made("{{ add(found, 1) }}", None),
        (None, Some((ErrorClass::Extract, why.to_owned())))
    );
    let default = Some(json!([]));
    assert_eq!(made("{{ unset }}", default.clone()), (default, None));
    let from = ExtractFrom::Value(template(json!("{{ texts.word }}")));
    let rules = rules(&[], &[extract("found", from, None)], &[]);
    assert_eq!((rules.needs(), rules.feeds().len()), (Needs::default(), 1));
}
