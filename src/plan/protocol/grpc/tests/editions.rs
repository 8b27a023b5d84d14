//! Files of protobuf editions, and extensions.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Value, json};

use super::*;

/// Descriptors of one text.
fn of_text(text: &str) -> Result<Descriptors, Vec<String>> {
    let source = Source {
        path: "e.proto".into(),
        field: "spec.protos.configMaps[0].items[0]".into(),
        bytes: text.into(),
    };
    Descriptors::compile(&[source], &[], &[])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn input_of(descriptors: &Descriptors) -> MessageDescriptor {
    descriptors
        .rpc(&Method::parse("e.E/Do").unwrap())
        .unwrap()
        .input
}

/// What `template` is encoded as.
fn bytes_of(message: &MessageDescriptor, template: Value) -> Vec<u8> {
    compiled(message, &template)
        .unwrap()
        .as_static()
        .unwrap()
        .to_vec()
}

const EDITION: &str = r#"
    // a file of today
    edition = "2023";
    package e;
    import "google/protobuf/go_features.proto";
    import "google/protobuf/timestamp.proto";
    option features.(pb.go).api_level = API_OPAQUE;
    option features.enum_type = CLOSED;
    message M {
      reserved old, older;
      int32 explicit = 1;
      int32 implicit = 2 [features.field_presence = IMPLICIT];
      repeated int32 packed = 3;
      repeated int32 expanded = 4 [features.repeated_field_encoding = EXPANDED];
      Inner delimited = 5 [features.message_encoding = DELIMITED];
      Inner prefixed = 6;
      map<string, int32> counts = 7;
      oneof choice { string left = 8; int32 right = 9; }
      google.protobuf.Timestamp at = 10;
      Mood mood = 11;
      extensions 100 to 200;
    }
    message Inner { option features.field_presence = IMPLICIT; int32 n = 1; }
    enum Mood { NONE = 0; GOOD = 1; }
    extend M { string note = 100; repeated int32 marks = 101; Inner more = 102; }
    message Home { extend M { int32 within = 103; } }
    service E { rpc Do(M) returns (M); }
"#;

#[test]
fn an_edition_that_is_not_known_or_a_feature_that_is_none_is_named_with_its_file() {
    let at = "spec.protos.configMaps[0].items[0]: e.proto: ";
    let error_of =
        |from: &str, to: &str| of_text(&EDITION.replace(from, to)).unwrap_err().remove(0);
    assert_eq!(
        error_of("2023", "2042"),
        format!(
            "{at}edition \"2042\" is not known here; 2023 and 2024 are, as are proto2 and proto3"
        )
    );
    let maybe = error_of("field_presence = IMPLICIT]", "field_presence = MAYBE]");
    assert_eq!(
        maybe,
        format!("{at}there is no features.field_presence = MAYBE")
    );
    let whole = error_of(
        "option features.enum_type = CLOSED",
        "option features.message_encoding = DELIMITED",
    );
    assert!(
        whole.starts_with(&format!(
            "{at}features.message_encoding = DELIMITED must be said at the field"
        )),
        "{whole}"
    );
    let mixed = error_of("NONE = 0", "NONE = 5");
    assert!(
        mixed.starts_with(&format!(
            "{at}implicit has features.field_presence = IMPLICIT in a file with an enum"
        )),
        "{mixed}"
    );
    let grammar = error_of("int32 explicit = 1;", "int32 explicit = ;");
    assert!(
        grammar.starts_with("spec.protos.configMaps[0].items[0]: e.proto:11:"),
        "{grammar}"
    );
    let unknown = error_of("Inner prefixed", "Outer prefixed");
    assert!(
        unknown.contains("e.proto") && unknown.contains("'Outer' is not defined"),
        "{unknown}"
    );
}

#[test]
fn features_of_an_edition_say_how_fields_are_sent() {
    for edition in ["2023", "2024"] {
        let message = input_of(&of_text(&EDITION.replace("2023", edition)).unwrap());
        let bytes = |template: Value| bytes_of(&message, template);
        assert_eq!(
            bytes(json!({"explicit": 0, "implicit": 0})),
            [0x08, 0],
            "only what is explicit is sent as a default"
        );
        assert_eq!(
            bytes(json!({"packed": [1, 2], "expanded": [1, 2]})),
            [0x1a, 2, 1, 2, 0x20, 1, 0x20, 2]
        );
        assert_eq!(
            bytes(json!({"delimited": {"n": 1}, "prefixed": {"n": 0}})),
            [0x2b, 0x08, 1, 0x2c, 0x32, 0]
        );
        assert_eq!(
            bytes(json!({"counts": {"": 0}})),
            [0x3a, 4, 0x0a, 0, 0x10, 0],
            "entries are whole"
        );
        let shown = to_json(&message, &[0x08, 0, 0x58, 1]).unwrap();
        assert_eq!(
            (&shown["explicit"], &shown["implicit"], &shown["mood"]),
            (&json!(0), &json!(0), &json!("GOOD"))
        );
        assert!(
            to_json(&message, &[]).unwrap().get("explicit").is_none(),
            "what is explicit is absent when it was not sent"
        );
    }
}

/// A field of a message: number, length and content.
fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A field of a message: number and value.
fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}

/// A field as descriptor.proto numbers its parts: name, number, label, type, type name, options
/// with features.
fn field(name: &str, number: u64, label: u64, kind: u64, of: &str, features: Vec<u8>) -> Vec<u8> {
    let named = if of.is_empty() {
        vec![]
    } else {
        bytes(6, of.as_bytes())
    };
    let options = if features.is_empty() {
        vec![]
    } else {
        bytes(8, &bytes(21, &features))
    };
    let name = bytes(1, name.as_bytes());
    let numbers = [varint(3, number), varint(4, label), varint(5, kind)].concat();
    bytes(2, &[name, numbers, named, options].concat())
}

/// A file of an edition as a compiler writes it.
fn file(edition: u64) -> Vec<u8> {
    let message = [
        bytes(1, b"M"),
        field("explicit", 1, 1, 5, "", vec![]),
        field("implicit", 2, 1, 5, "", varint(1, 2)),
        field("packed", 3, 3, 5, "", vec![]),
        field("expanded", 4, 3, 5, "", varint(3, 2)),
        field("delimited", 5, 1, 11, ".e.M", varint(5, 2)),
    ];
    let method = [bytes(1, b"Do"), bytes(2, b".e.M"), bytes(3, b".e.M")].concat();
    let service = [bytes(1, b"E"), bytes(2, &method)].concat();
    [
        bytes(1, b"e.proto"),
        bytes(2, b"e"),
        bytes(4, &message.concat()),
        bytes(6, &service),
        bytes(12, b"editions"),
        varint(14, edition),
    ]
    .concat()
}

#[test]
fn files_of_an_edition_mean_the_same_from_a_text_and_from_a_compiler() {
    let of_set = |edition: u64| {
        let source = Source {
            path: String::new(),
            field: "spec.protos.descriptorSets[0]".into(),
            bytes: bytes(1, &file(edition)),
        };
        Descriptors::compile(&[], &[source], &[])
    };
    let problems = of_set(9999).unwrap_err();
    assert!(
        problems[0].to_string().contains("descriptorSets[0]: ")
            && problems[0].message.contains("edition number 9999"),
        "{problems:?}"
    );
    assert!(
        Descriptors::of_reflection([file(9999)], None)
            .unwrap_err()
            .contains("edition number 9999")
    );
    for descriptors in [
        of_set(1000).unwrap(),
        Descriptors::of_reflection([file(1001)], None).unwrap(),
    ] {
        let message = input_of(&descriptors);
        assert_eq!(
            bytes_of(&message, json!({"explicit": 0, "implicit": 0})),
            [0x08, 0]
        );
        assert_eq!(
            bytes_of(&message, json!({"packed": [1, 2], "expanded": [1, 2]})),
            [0x1a, 2, 1, 2, 0x20, 1, 0x20, 2]
        );
        assert_eq!(
            bytes_of(&message, json!({"delimited": {"explicit": 1}})),
            [0x2b, 0x08, 1, 0x2c]
        );
    }
}

#[test]
fn extensions_are_fields_by_their_full_name_in_brackets() {
    let message = input_of(&of_text(EDITION).unwrap());
    let problems = compiled(
        &message,
        &json!({"[e.nothing]": 1, "[e.marks]": ["x"], "note": "y"}),
    )
    .unwrap_err();
    let known = "known extensions: [e.Home.within], [e.note], [e.marks], [e.more]";
    assert!(
        problems
            .iter()
            .any(|told| told.starts_with("m.[e.nothing]: ") && told.contains(known)),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|told| told.starts_with("m.[e.marks][0]: ")),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|told| told.starts_with("m.note: e.M has no such field")),
        "{problems:?}"
    );
    let template = json!({"[e.note]": "{{ v }}", "[e.marks]": [1, 2], "[e.more]": {"n": "{{ iteration }}"}, "[e.Home.within]": 0});
    let encoder = compiled(&message, &template).unwrap();
    let mut out = Vec::new();
    encoder
        .encode(&mut scope(json!("hi"), Value::Null), &mut out)
        .unwrap();
    let expected = json!({"[e.note]": "hi", "[e.marks]": [1, 2], "[e.more]": {"n": 300}, "[e.Home.within]": 0});
    assert_eq!(short(&message, &out), expected);
    let answered = to_json(&message, &out).unwrap();
    assert_eq!(
        answered["[e.note]"], "hi",
        "checks find them under the same name"
    );
}
