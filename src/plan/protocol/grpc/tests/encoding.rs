//! Encoded messages: constants, placeholders of every type, and answers decoded again.

use serde_json::{Value, json};

use super::*;
use crate::plan::template::Need;

#[test]
fn what_never_differs_is_encoded_once() {
    let encoder =
        compiled(&all(), &json!({"text": "a{{ number }}", "i32": "{{ number }}", "inner": {"flag": true}, "counts": {"a": 1}})).unwrap();
    assert_eq!(
        short(&all(), encoder.as_static().unwrap()),
        json!({"text": "a5", "i32": 5, "inner": {"flag": true}, "counts": {"a": 1}})
    );
    assert_eq!(
        compiled(&all(), &json!({}))
            .unwrap()
            .as_static()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(MessageEncoder::empty().as_static().unwrap().len(), 0);
    assert!(
        compiled(&all(), &json!({"inner": {"text": "{{ v }}"}}))
            .unwrap()
            .as_static()
            .is_none()
    );
}

#[test]
fn expressions_are_brought_to_the_type_of_their_field() {
    let csv = json!("12");
    assert_eq!(
        made(
            json!({"i32": "{{ v }}", "f64": "{{ v }}", "text": "{{ v }}", "u64": "1{{ v }}"}),
            csv
        )
        .unwrap(),
        json!({"i32": 12, "f64": 12.0, "text": "12", "u64": 112})
    );
    assert_eq!(
        made(
            json!({"text": "{{ user.id }}", "s32": "{{ sub(0, 3) }}"}),
            json!(0)
        )
        .unwrap(),
        json!({"text": "7", "s32": -3})
    );
    assert_eq!(
        made(json!({"flag": "{{ v }}", "text": "{{ v }}"}), json!("true")).unwrap(),
        json!({"flag": true, "text": "true"})
    );
    assert_eq!(
        made(json!({"mood": "{{ v }}"}), json!(-2)).unwrap(),
        json!({"mood": "BAD"})
    );
    assert_eq!(
        made(
            json!({"text": "<{{ v }}>", "raw": "{{ base64(v) }}"}),
            json!("é")
        )
        .unwrap(),
        json!({"text": "<é>", "raw": "w6k="})
    );
}

#[test]
fn null_and_defaults_are_not_sent_unless_they_say_something() {
    let template = json!({"text": "{{ v }}", "maybe": "{{ v }}", "inner": "{{ v }}", "words": "{{ v }}", "any_json": "{{ v }}", "at": "{{ v }}"});
    assert_eq!(
        made(template, json!(null)).unwrap(),
        json!({"any_json": null})
    );
    assert_eq!(
        made(
            json!({"i32": "{{ v }}", "maybe": "{{ v }}", "numbers": ["{{ v }}"]}),
            json!(0)
        )
        .unwrap(),
        json!({"maybe": 0, "numbers": [0]})
    );
    assert_eq!(
        made(
            json!({"text": "{{ v }}", "left": "{{ v }}", "words": ["{{ v }}"]}),
            json!("")
        )
        .unwrap(),
        json!({"left": "", "words": [""]})
    );
}

#[test]
fn whole_batches_and_objects_come_out_of_expressions() {
    assert_eq!(
        made(json!({"numbers": "{{ rows.take(2).n }}"}), json!(0)).unwrap(),
        json!({"numbers": [1, 2]})
    );
    let rows = json!([{"text": "a"}, {"i32": "4", "inner": {"words": ["b"]}}]);
    assert_eq!(
        made(json!({"children": "{{ v }}"}), rows).unwrap(),
        json!({"children": [{"text": "a"}, {"i32": 4, "inner": {"words": ["b"]}}]})
    );
    assert_eq!(
        made(
            json!({"inner": "{{ object }}", "object": {"a": ["{{ v }}"]}}),
            json!(1)
        )
        .unwrap(),
        json!({"inner": {"text": "t", "i32": 3}, "object": {"a": [1.0]}})
    );
    assert_eq!(
        made(json!("{{ v }}"), json!({"counts": {"k": 1}})).unwrap(),
        json!({"counts": {"k": 1}})
    );
    let encoder = compiled(
        &all(),
        &json!({"numbers": "{{ rows.take(2).n }}", "text": "{{ rows.a }}-{{ rows.b }}"}),
    )
    .unwrap();
    assert_eq!(
        encoder.needs(),
        [
            Need {
                slot: 1,
                take: Some(2)
            },
            Need {
                slot: 1,
                take: None
            }
        ]
    );
}

#[test]
fn messages_longer_than_a_short_length_are_whole() {
    let long = "x".repeat(70_000);
    for text in [&long[..127], &long[..128], &long[..16_383], &long] {
        let wanted = json!({"inner": {"inner": {"text": text}, "words": [text]}});
        assert_eq!(
            made(
                json!({"inner": {"inner": {"text": "{{ v }}"}, "words": ["{{ v }}"]}}),
                json!(text)
            )
            .unwrap(),
            wanted
        );
    }
}

#[test]
fn proto2_keeps_what_it_was_given_and_has_groups() {
    let template =
        json!({"id": 0, "zero": "{{ v }}", "plain": [1, "{{ v }}"], "part": {"name": "n{{ v }}"}});
    let encoder = compiled(&old(), &template).unwrap();
    let mut out = Vec::new();
    encoder
        .encode(&mut scope(json!(0), Value::Null), &mut out)
        .unwrap();
    assert_eq!(
        short(&old(), &out),
        json!({"id": 0, "zero": 0, "plain": [1, 0], "part": {"name": "n0"}})
    );
}

#[test]
fn answers_have_the_names_of_the_file_numbers_for_numbers_and_their_defaults() {
    let message = descriptors()
        .rpc(&Method::parse("grpc.health.v1.Health/Check").unwrap())
        .unwrap()
        .output;
    assert_eq!(
        to_json(&message, &[]).unwrap(),
        json!({"status": "UNKNOWN"})
    );
    let encoder = compiled(
        &all(),
        &json!({"u64": "18446744073709551615", "camelCaseName": "x", "mood": 1}),
    )
    .unwrap();
    let json = to_json(&all(), encoder.as_static().unwrap()).unwrap();
    assert_eq!(
        (
            &json["u64"],
            &json["camel_case_name"],
            &json["mood"],
            &json["words"]
        ),
        (&json!(u64::MAX), &json!("x"), &json!("GOOD"), &json!([]))
    );
    assert_eq!(
        (json.get("inner"), json.get("maybe"), json.get("left")),
        (None, None, None)
    );
    assert!(
        to_json(&all(), b"\x0f")
            .unwrap_err()
            .contains("is not a t.All")
    );
}

/// Bytes of a field whose content has its length before it.
fn nested(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::tag(number, wire::WireType::Length, &mut out);
    wire::varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

#[test]
fn a_part_without_a_json_form_is_shown_as_what_it_is() {
    let unknown = [nested(1, b"type.example/gone.Type"), nested(2, b"\x01\x02")].concat();
    let untyped = nested(2, b"\xff");
    // a type that is known, and bytes that are not of it
    let broken = [nested(1, b"x/t.All"), nested(2, b"\x0f")].concat();
    for (any, shown) in [
        (
            unknown,
            json!({"@type": "type.example/gone.Type", "value": "AQI="}),
        ),
        (untyped, json!({"value": "/w=="})),
        (broken, json!({"@type": "x/t.All", "value": "Dw=="})),
        (vec![], json!({})),
    ] {
        let bytes = [nested(38, &any), nested(14, b"ok")].concat();
        let json = to_json(&all(), &bytes).unwrap();
        assert_eq!((&json["any"], &json["text"]), (&shown, &json!("ok")));
    }
    // 9e17 s after 1970; a duration whose parts point both ways; NaN within JSON
    let mut late = vec![0x08];
    wire::varint(900_000_000_000_000_000, &mut late);
    let torn = [
        0x08, 0x01, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    let nan = [&[0x11][..], &f64::NAN.to_le_bytes()].concat();
    let camel = nested(1, b"notSnake");
    let bytes = [
        nested(29, &late),
        nested(30, &torn),
        nested(32, &nan),
        nested(36, &camel),
    ]
    .concat();
    let json = to_sparse_json(&all(), &bytes).unwrap();
    assert_eq!(json["at"]["seconds"], json!(900_000_000_000_000_000_i64));
    assert_eq!(json["took"], json!({"seconds": 1, "nanos": -1}));
    assert_eq!(json["any_json"], json!("NaN"));
    assert_eq!(json["mask"], json!({"paths": ["notSnake"]}));
}

#[test]
fn numbers_are_plain_for_rules_and_mapped_for_what_is_shown() {
    let encoder = compiled(
        &all(),
        &json!({
            "i64": -5, "u64": "18446744073709551615", "f32": 0.1, "f64": 3.0, "x64": 7,
            "floats": ["NaN", "-Infinity"], "at": "2026-01-31T12:00:00.5Z", "took": "-1.000001s",
            "any": {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"},
            "wrapped": 6, "object": {"a": 1.5, "b": null},
        }),
    )
    .unwrap();
    let decoded = Decoded::new(&all(), encoder.as_static().unwrap()).unwrap();
    let plain = decoded.json(Numbers::Plain);
    let mapped = decoded.json(Numbers::Mapped);
    let of = |name: &str| (plain[name].clone(), mapped[name].clone());
    for (name, number, text) in [
        ("i64", json!(-5), json!("-5")),
        ("u64", json!(u64::MAX), json!("18446744073709551615")),
        ("x64", json!(7), json!("7")),
        ("wrapped", json!(6), json!("6")),
        ("f32", json!(0.1), json!(0.1)),
        ("f64", json!(3.0), json!(3)),
        ("i32", json!(0), json!(0)),
        (
            "floats",
            json!(["NaN", "-Infinity"]),
            json!(["NaN", "-Infinity"]),
        ),
        (
            "at",
            json!("2026-01-31T12:00:00.500Z"),
            json!("2026-01-31T12:00:00.500Z"),
        ),
        ("took", json!("-1.000001s"), json!("-1.000001s")),
        (
            "object",
            json!({"a": 1.5, "b": null}),
            json!({"a": 1.5, "b": null}),
        ),
    ] {
        assert_eq!(of(name), (number, text), "{name}");
    }
    assert_eq!(plain["any"]["reason"], json!("R"), "{plain}");
}
