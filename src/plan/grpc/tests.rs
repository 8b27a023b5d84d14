//! Messages: each mistake with its path, holes of every type, and the content that another encoder
//! writes.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::*;
use crate::plan::names::Declared;
use crate::plan::template::fixed::Fixed;
use crate::plan::template::{Need, RenderError};
use crate::plan::{Delimiters, Names, Problem};

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Mood { MOOD_UNKNOWN = 0; GOOD = 1; BAD = -2; }
    message All {
      double f64 = 1; float f32 = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6;
      sint32 s32 = 7; sint64 s64 = 8; fixed32 x32 = 9; fixed64 x64 = 10; sfixed32 y32 = 11; sfixed64 y64 = 12;
      bool flag = 13; string text = 14; bytes raw = 15; Mood mood = 16;
      All inner = 17;
      repeated string words = 18; repeated int32 numbers = 19; repeated All children = 20; repeated Mood moods = 21;
      repeated double floats = 22 [packed = false];
      map<string, int32> counts = 23; map<int32, All> by_number = 24; map<bool, string> by_truth = 25;
      oneof choice { string left = 26; All right_side = 27; }
      optional int32 maybe = 28;
      google.protobuf.Timestamp at = 29; google.protobuf.Duration took = 30; google.protobuf.Struct object = 31;
      google.protobuf.Value any_json = 32; google.protobuf.ListValue list = 33; google.protobuf.Int64Value wrapped = 34;
      google.protobuf.StringValue wrapped_text = 35; google.protobuf.FieldMask mask = 36; google.protobuf.Empty empty = 37;
      google.protobuf.Any any = 38; google.protobuf.NullValue nothing = 39; string camel_case_name = 40;
      repeated google.protobuf.Value values = 41; map<string, google.protobuf.Timestamp> times = 42;
    }
    service S { rpc Do(All) returns (All); rpc Send(stream All) returns (All); }
"#;

const OLD_PROTO: &str = r#"
    syntax = "proto2";
    package o;
    message Old {
      required int32 id = 1;
      optional int32 zero = 2 [default = 7];
      repeated int32 plain = 3;
      optional group Part = 4 { optional string name = 1; }
    }
    service O { rpc Do(Old) returns (Old); }
"#;

fn descriptors() -> &'static Descriptors {
    static COMPILED: LazyLock<Descriptors> = LazyLock::new(compile);
    &COMPILED
}

fn compile() -> Descriptors {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        field: String::new(),
        bytes: text.into(),
    };
    Descriptors::compile(
        &[source("t.proto", PROTO), source("o.proto", OLD_PROTO)],
        &[],
        &[],
    )
    .unwrap()
}

fn all() -> MessageDescriptor {
    descriptors()
        .rpc(&Method::parse("t.S/Do").unwrap())
        .unwrap()
        .input
}

fn old() -> MessageDescriptor {
    descriptors()
        .rpc(&Method::parse("o.O/Do").unwrap())
        .unwrap()
        .input
}

/// Slot 0 is the value, 1 a row of it with batches of 2, 2 unset. The iteration's number takes two
/// bytes.
fn scope(value: Value, batch: Value) -> Fixed {
    Fixed {
        batch: Some((1, 2, batch)),
        iteration: 300,
        ..Fixed::of([Some(value.clone()), Some(value)])
    }
}

fn names() -> Names {
    let mut names = Names::default();
    names.declare("v", Declared::Value(0));
    names.declare("rows", Declared::Row(1));
    names.declare("unset", Declared::Value(2));
    names.declare("secret", Declared::External);
    names.declare("number", Declared::Constant(json!(5)));
    names.declare(
        "object",
        Declared::Constant(json!({"text": "t", "i32": "3"})),
    );
    names
}

fn compiled(message: &MessageDescriptor, template: &Value) -> Result<MessageEncoder, Vec<String>> {
    let template = JsonTemplate::new(template.clone()).unwrap();
    let shown = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    MessageEncoder::compile(&template, message, &names(), "m").map_err(shown)
}

/// What `template` becomes when `v` is `value`, read by the other implementation.
fn made(template: Value, value: Value) -> Result<Value, RenderError> {
    let message = all();
    let encoder = compiled(&message, &template).unwrap();
    let mut out = Vec::new();
    encoder.encode(&mut scope(value, json!([{"n": 1}, {"n": 2}])), &mut out)?;
    Ok(short(&message, &out))
}

/// As JSON without what was not set.
fn short(message: &MessageDescriptor, bytes: &[u8]) -> Value {
    let decoded = DynamicMessage::decode(message.clone(), bytes).unwrap();
    let options = prost_reflect::SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    decoded
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

#[track_caller]
fn refuses(template: Value, wanted: &[&str]) {
    let found = compiled(&all(), &template).expect_err("was accepted");
    assert!(
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| f.starts_with(w)),
        "{found:#?}"
    );
}

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

#[test]
fn a_call_is_held_against_its_descriptor() {
    let step = |method: &str, stream: Option<Messages>| GrpcStep {
        is_health_check: false,
        retry: None,
        method: Method::parse(method).unwrap(),
        message: None,
        metadata: vec![],
        stream: stream.map(|messages| GrpcStream {
            messages,
            interval: Duration::ZERO,
            half_close: true,
        }),
        gzip: false,
        max_message_size: 1,
    };
    let compiled = |step: GrpcStep| {
        CompiledCall::compile(&step, descriptors(), &names(), "s.grpc")
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        compiled(step("t.S/Do", Some(Messages::Times(2)))).unwrap_err(),
        ["s.grpc.stream: t.S/Do takes one message, not a stream of them"]
    );
    assert_eq!(
        compiled(step("t.S/Dont", None)).unwrap_err(),
        ["s.grpc.method: t.S has no method \"Dont\"; it has Do, Send"]
    );
    let list = Messages::List(vec![
        JsonTemplate::new(json!({})).unwrap(),
        JsonTemplate::new(json!({"nope": 1})).unwrap(),
    ]);
    assert!(
        compiled(step("t.S/Send", Some(list))).unwrap_err()[0]
            .starts_with("s.grpc.stream.messages[1].nope: ")
    );
    let call = compiled(step("t.S/Send", Some(Messages::Times(3)))).unwrap();
    assert_eq!((call.messages.len(), call.times), (1, 3));
}

#[test]
fn a_first_message_is_limited_only_where_there_may_be_several() {
    let step = |first| {
        let goodput = crate::plan::Goodput {
            first,
            ..Default::default()
        };
        let grpc = GrpcStep {
            method: Method::parse("t.S/Do").unwrap(),
            is_health_check: false,
            message: None,
            metadata: vec![],
            stream: None,
            gzip: false,
            max_message_size: 1,
            retry: None,
        };
        crate::plan::RequestStep {
            name: "s".into(),
            tags: Default::default(),
            timeout: Duration::from_secs(1),
            checks: vec![],
            extract: vec![],
            record: vec![],
            target: 0,
            goodput: Some(goodput),
            call: crate::plan::Protocol::Grpc(grpc),
        }
    };
    let second = Some(Duration::from_secs(1));
    let found = check_limits(&step(second), CallKind::Unary, "s").unwrap();
    assert_eq!(found.path, "s.goodput.firstMessage");
    assert_eq!(check_limits(&step(None), CallKind::Unary, "s"), None);
    for kind in [
        CallKind::ServerStreaming,
        CallKind::ClientStreaming,
        CallKind::Bidirectional,
    ] {
        assert_eq!(check_limits(&step(second), kind, "s"), None, "{kind:?}");
    }
}

/// A value for a field of `All`, as protobuf's JSON form has it.
fn fields(depth: u32) -> BoxedStrategy<Value> {
    let text = "[a-zé\"\\\\]{0,6}".prop_map(Value::from);
    let whole = any::<i32>().prop_map(Value::from);
    let mut options: Vec<BoxedStrategy<(&str, Value)>> = vec![
        any::<f64>()
            .prop_filter("JSON has no others", |f| f.is_finite())
            .prop_map(|f| ("f64", json!(f)))
            .boxed(),
        any::<f32>()
            .prop_filter("JSON has no others", |f| f.is_finite())
            .prop_map(|f| ("f32", json!(f)))
            .boxed(),
        prop::sample::select(vec!["NaN", "Infinity", "-Infinity"])
            .prop_map(|f| ("f64", json!(f)))
            .boxed(),
        prop::sample::select(vec!["i32", "s32", "y32", "maybe"])
            .prop_flat_map(move |name| any::<i32>().prop_map(move |n| (name, json!(n))))
            .boxed(),
        prop::sample::select(vec!["i64", "s64", "y64", "wrapped"])
            .prop_flat_map(|name| any::<i64>().prop_map(move |n| (name, json!(n))))
            .boxed(),
        prop::sample::select(vec!["u32", "x32"])
            .prop_flat_map(|name| any::<u32>().prop_map(move |n| (name, json!(n))))
            .boxed(),
        prop::sample::select(vec!["u64", "x64"])
            .prop_flat_map(|name| any::<u64>().prop_map(move |n| (name, json!(n.to_string()))))
            .boxed(),
        any::<bool>().prop_map(|b| ("flag", json!(b))).boxed(),
        prop::sample::select(vec!["text", "left", "camelCaseName", "wrapped_text"])
            .prop_flat_map(move |name| text.clone().prop_map(move |t| (name, t)))
            .boxed(),
        prop::collection::vec(any::<u8>(), 0..6)
            .prop_map(|bytes| ("raw", json!(data_encoding::BASE64.encode(&bytes))))
            .boxed(),
        prop_oneof![
            Just(json!("GOOD")),
            Just(json!("BAD")),
            Just(json!(0)),
            Just(json!(77))
        ]
        .prop_map(|mood| ("mood", mood))
        .boxed(),
        prop::collection::vec("[a-z]{0,3}", 0..4)
            .prop_map(|words| ("words", json!(words)))
            .boxed(),
        prop::collection::vec(any::<i32>(), 0..4)
            .prop_map(|numbers| ("numbers", json!(numbers)))
            .boxed(),
        prop::collection::vec(prop_oneof![Just("GOOD"), Just("MOOD_UNKNOWN")], 0..3)
            .prop_map(|moods| ("moods", json!(moods)))
            .boxed(),
        prop::collection::vec(-1e3..1e3, 0..3)
            .prop_map(|floats| ("floats", json!(floats)))
            .boxed(),
        prop::collection::btree_map("[a-z]{0,2}", whole, 0..3)
            .prop_map(|counts| ("counts", json!(counts)))
            .boxed(),
        prop::collection::btree_map(any::<bool>().prop_map(|b| b.to_string()), "[a-z]", 0..3)
            .prop_map(|map| ("by_truth", json!(map)))
            .boxed(),
        (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000_u32)
            .prop_map(|(s, n)| {
                (
                    "at",
                    json!(jiff::Timestamp::new(s, n as i32).unwrap().to_string()),
                )
            })
            .boxed(),
        (any::<bool>(), 0..=315_576_000_000_u64, 0..1_000_000_000_u32)
            .prop_map(|(minus, s, n)| {
                (
                    "took",
                    json!(format!("{}{s}.{n:09}s", if minus { "-" } else { "" })),
                )
            })
            .boxed(),
        prop::sample::select(vec!["", "a", "a.bC,d", "camelCase"])
            .prop_map(|mask| ("mask", json!(mask)))
            .boxed(),
        Just(("empty", json!({}))).boxed(),
        Just(("nothing", json!(null))).boxed(),
        free().prop_map(|value| ("any_json", value)).boxed(),
        prop::collection::btree_map("[a-z]", free(), 0..3)
            .prop_map(|map| ("object", json!(map)))
            .boxed(),
        prop::collection::vec(free(), 0..3)
            .prop_map(|list| ("list", json!(list)))
            .boxed(),
        prop::collection::vec(free(), 0..3)
            .prop_map(|list| ("values", json!(list)))
            .boxed(),
    ];
    if depth > 0 {
        options.push(fields(depth - 1).prop_map(|inner| ("inner", inner)).boxed());
        options.push(
            prop::collection::vec(fields(depth - 1), 0..3)
                .prop_map(|children| ("children", json!(children)))
                .boxed(),
        );
        options.push(
            prop::collection::btree_map(-3..3, fields(depth - 1), 0..3)
                .prop_map(|map| ("by_number", json!(map)))
                .boxed(),
        );
        options.push(
            fields(depth - 1)
                .prop_map(|mut any| {
                    any["@type"] = json!("type.googleapis.com/t.All");
                    ("any", any)
                })
                .boxed(),
        );
    }
    let chosen = prop::collection::vec(prop::strategy::Union::new(options), 0..6);
    chosen
        .prop_map(|fields| {
            Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        })
        .boxed()
}

fn free() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The message as an expression gives it: every scalar and some whole parts of the template are
/// looked up in `v`.
fn looked_up(value: &Value, path: &str, whole: u64, seen: &mut u32) -> Value {
    *seen += 1;
    if whole >> (*seen % 64) & 1 == 1 {
        return json!(format!("{{{{ v{path} }}}}"));
    }
    match value {
        Value::Object(fields) => {
            let below = |name: &str| format!("{path}[{}]", Value::from(name));
            Value::Object(
                fields
                    .iter()
                    .map(|(name, field)| {
                        (name.clone(), looked_up(field, &below(name), whole, seen))
                    })
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| looked_up(item, &format!("{path}[{i}]"), whole, seen))
                .collect(),
        ),
        scalar => scalar.clone(),
    }
}

proptest! {
    #[test]
    fn every_message_has_the_content_that_another_encoder_gives_it(message in fields(2)) {
        let wanted = DynamicMessage::deserialize(all(), message.clone()).unwrap();
        let encoder = compiled(&all(), &message).unwrap();
        let bytes = encoder.as_static().expect("nothing differs");
        let found = DynamicMessage::decode(all(), bytes.clone()).unwrap();
        // not a number equals nothing, so both are compared as they are written
        prop_assert_eq!(short(&all(), &found.encode_to_vec()), short(&all(), &wanted.encode_to_vec()));
    }

    #[test]
    fn what_is_looked_up_gives_the_same_message(message in fields(2), whole in any::<u64>()) {
        let mut wanted = message.clone();
        crate::plan::template::canonicalise(&mut wanted).unwrap();
        let template = looked_up(&wanted, "", whole, &mut 0);
        let fixed = compiled(&all(), &wanted).unwrap();
        let made = made(template, wanted).unwrap();
        prop_assert_eq!(made, short(&all(), fixed.as_static().unwrap()));
    }

    #[test]
    fn arbitrary_json_is_refused_or_encoded_and_never_panics(message in free(), field in "[a-z0-9_]{1,4}") {
        let _outcome = compiled(&all(), &message);
        let _outcome = compiled(&all(), &json!({field: message}));
    }

    #[test]
    fn arbitrary_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _outcome = to_json(&all(), &bytes);
    }
}

#[test]
fn other_delimiters_work_in_messages_too() {
    let delimiters = Delimiters::new("[[", "]]").unwrap();
    let template =
        JsonTemplate::new_with(json!({"text": "[[ number ]]{{ v }}"}), &delimiters).unwrap();
    let encoder = MessageEncoder::compile(&template, &all(), &names(), "m").unwrap();
    assert_eq!(
        short(&all(), encoder.as_static().unwrap()),
        json!({"text": "5{{ v }}"})
    );
}

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
    let told = |from: &str, to: &str| of_text(&EDITION.replace(from, to)).unwrap_err().remove(0);
    assert_eq!(
        told("2023", "2042"),
        format!(
            "{at}edition \"2042\" is not known here; 2023 and 2024 are, as are proto2 and proto3"
        )
    );
    let maybe = told("field_presence = IMPLICIT]", "field_presence = MAYBE]");
    assert_eq!(
        maybe,
        format!("{at}there is no features.field_presence = MAYBE")
    );
    let whole = told(
        "option features.enum_type = CLOSED",
        "option features.message_encoding = DELIMITED",
    );
    assert!(
        whole.starts_with(&format!(
            "{at}features.message_encoding = DELIMITED must be said at the field"
        )),
        "{whole}"
    );
    let mixed = told("NONE = 0", "NONE = 5");
    assert!(
        mixed.starts_with(&format!(
            "{at}implicit has features.field_presence = IMPLICIT in a file with an enum"
        )),
        "{mixed}"
    );
    let grammar = told("int32 explicit = 1;", "int32 explicit = ;");
    assert!(
        grammar.starts_with("spec.protos.configMaps[0].items[0]: e.proto:11:"),
        "{grammar}"
    );
    let unknown = told("Inner prefixed", "Outer prefixed");
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

#[test]
fn files_of_an_edition_mean_the_same_from_a_text_and_from_a_compiler() {
    use prost::encoding::{WireType, encode_key, encode_varint};
    let bytes = |number: u32, content: &[u8]| {
        let mut out = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut out);
        encode_varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    };
    let varint = |number: u32, value: u64| {
        let mut out = Vec::new();
        encode_key(number, WireType::Varint, &mut out);
        encode_varint(value, &mut out);
        out
    };
    // as descriptor.proto numbers them: name, number, label, type, type name, options with features
    let field = |name: &str, number: u64, label: u64, kind: u64, of: &str, features: Vec<u8>| {
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
        bytes(
            2,
            &[
                bytes(1, name.as_bytes()),
                varint(3, number),
                varint(4, label),
                varint(5, kind),
                named,
                options,
            ]
            .concat(),
        )
    };
    let message = [
        bytes(1, b"M"),
        field("explicit", 1, 1, 5, "", vec![]),
        field("implicit", 2, 1, 5, "", varint(1, 2)),
        field("packed", 3, 3, 5, "", vec![]),
        field("expanded", 4, 3, 5, "", varint(3, 2)),
        field("delimited", 5, 1, 11, ".e.M", varint(5, 2)),
    ];
    let service = [
        bytes(1, b"E"),
        bytes(
            2,
            &[bytes(1, b"Do"), bytes(2, b".e.M"), bytes(3, b".e.M")].concat(),
        ),
    ]
    .concat();
    let file = |edition: u64| {
        [
            bytes(1, b"e.proto"),
            bytes(2, b"e"),
            bytes(4, &message.concat()),
            bytes(6, &service),
            bytes(12, b"editions"),
            varint(14, edition),
        ]
        .concat()
    };
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
