//! Mistakes in message templates: each is named with its path, before anything is sent where that
//! can be.

use serde_json::json;

use super::*;

#[test]
fn a_wrong_field_is_named_with_its_path_and_what_there_is() {
    refuses(
        json!({"inner": {"txt": 1}}),
        &["m.inner.txt: t.All has no such field; it has f64, f32, i32,"],
    );
    refuses(
        json!({"children": [{}, {"words": [{}]}]}),
        &["m.children[1].words[0]: must be text, not an object"],
    );
    refuses(
        json!({"by_number": {"1": {"nope": 1}, "x": {}}}),
        &[
            "m.by_number.1.nope: ",
            "m.by_number.x: the key must be a whole number",
        ],
    );
    refuses(
        json!({"text": 1, "flag": "yes", "raw": "!"}),
        &[
            "m.flag: must be true or false, not this text",
            "m.text: must be text, not this number",
            "m.raw: must be bytes as text in base64, not this text",
        ],
    );
}

#[test]
fn a_wrong_type_is_named_before_anything_is_sent() {
    refuses(json!([]), &["m: must be an object, a t.All, not a list"]);
    refuses(
        json!("x"),
        &["m: must be an object, a t.All, not this text"],
    );
    refuses(
        json!({"inner": "x"}),
        &["m.inner: must be an object, a t.All, not this text"],
    );
    refuses(
        json!({"words": "x"}),
        &["m.words: must be a list, not this text"],
    );
    refuses(
        json!({"counts": []}),
        &["m.counts: must be an object, not a list"],
    );
    refuses(
        json!({"words": [null]}),
        &["m.words[0]: must be text, not null"],
    );
    refuses(json!({"mood": "WORSE"}), &["m.mood: must be one of "]);
    for (field, value) in [
        ("i32", json!(2_147_483_648_i64)),
        ("u32", json!(-1)),
        ("u64", json!("18446744073709551616")),
        ("i64", json!(1.5)),
        ("f32", json!(1e39)),
        ("f64", json!("inf")),
        ("i32", json!("+1")),
    ] {
        refuses(json!({field: value}), &[&format!("m.{field}: must be a ")]);
    }
    for (field, value) in [
        ("at", "yesterday"),
        ("at", "2026-01-01 00:00:00Z"),
        ("took", "5"),
        ("took", "1.1234567890s"),
        ("mask", "a_b"),
    ] {
        refuses(json!({field: value}), &[&format!("m.{field}: must be ")]);
    }
    refuses(
        json!({"empty": {"x": 1}}),
        &["m.empty: must be an object without fields"],
    );
    refuses(json!({"any": {"text": "x"}}), &["m.any: needs @type"]);
    refuses(
        json!({"any": {"@type": "x/t.None"}}),
        &["m.any.@type: there is no message"],
    );
    refuses(
        json!({"any": {"@type": "x/t.All", "inner": {"nope": 1}}}),
        &["m.any.inner.nope: t.All has no such field"],
    );
}

#[test]
fn fields_that_exclude_each_other_or_come_twice_are_refused() {
    refuses(
        json!({"left": "a", "right_side": {}}),
        &["m.right_side: left and right_side exclude each other: they are of the oneof choice"],
    );
    refuses(
        json!({"camel_case_name": "a", "camelCaseName": "b"}),
        &["m.camel_case_name: is there twice"],
    );
    assert!(compiled(&all(), &json!({"left": null, "right_side": {}})).is_ok());
    assert!(compiled(&all(), &json!({"maybe": 1, "left": "a"})).is_ok());
}

#[test]
fn what_an_expression_can_only_give_wrong_is_refused() {
    refuses(
        json!({"i32": "{{ uuid() }}"}),
        &["m.i32: must be a whole number of 32 bits"],
    );
    refuses(
        json!({"u32": "{{ randInt(-1, 5) }}"}),
        &["m.u32: must be a whole number of 32 bits, 0 or above"],
    );
    refuses(
        json!({"inner": "{{ user.id }}"}),
        &["m.inner: must be an object"],
    );
    refuses(
        json!({"words": "{{ iteration }}"}),
        &["m.words: must be a list"],
    );
    refuses(
        json!({"mood": "{{ pick('GOOD', 'WORSE') }}"}),
        &["m.mood: must be one of"],
    );
    refuses(
        json!({"mood": "{{ nobody }}", "inner": {"text": "{{ uuid( }}"}}),
        &["m.inner.text: ", "m.mood: \"nobody\" is not declared"],
    );
    refuses(
        json!({"{{ v }}": 1}),
        &["m.{{ v }}: templates do not work in keys"],
    );
}

#[test]
fn what_does_not_fit_when_it_is_made_fails_the_step_and_is_not_shown() {
    for (template, value, wanted) in [
        (
            json!({"i32": "{{ v }}"}),
            json!("canary"),
            "message.i32: must be a whole number of 32 bits, not this text",
        ),
        (
            json!({"inner": {"mood": "{{ v }}"}}),
            json!("canary"),
            "message.inner.mood: must be one of BAD, MOOD_UNKNOWN, GOOD, not this text",
        ),
        (
            json!({"words": ["a", "{{ v }}"]}),
            json!(null),
            "message.words[1]: must be text, not null",
        ),
        (
            json!({"children": "{{ v }}"}),
            json!([{}, {"canary": 1}]),
            "message.children[1].canary: t.All has no such field",
        ),
        (
            json!({"numbers": "{{ v }}"}),
            json!([1, "canary"]),
            "message.numbers[1]: must be a whole number",
        ),
        (
            json!("{{ v }}"),
            json!({"inner": {"i32": "canary"}}),
            "message.inner.i32: must be a whole number",
        ),
        (
            json!({"text": "{{ v }}"}),
            json!(["canary"]),
            "message.text: must be text, not a list",
        ),
        (
            json!({"at": "{{ v }}"}),
            json!("canary"),
            "message.at: must be a time",
        ),
        (json!({"text": "{{ unset }}"}), json!(1), "unset is not set"),
    ] {
        let message = made(template, value).unwrap_err().to_string();
        assert!(message.starts_with(wanted), "{message}");
        let is_value = message.contains("canary") && !message.contains("].canary");
        assert!(!is_value, "{message}");
    }
}
