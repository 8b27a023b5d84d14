//! Generated messages: each has the content that another encoder gives it, and none panics.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::*;
use crate::plan::Delimiters;

/// A field of `All` by its name, with a value in protobuf's JSON form.
type NamedField = BoxedStrategy<(&'static str, Value)>;

/// Fields of scalars.
fn scalars() -> Vec<NamedField> {
    let text = "[a-zé\"\\\\]{0,6}".prop_map(Value::from);
    vec![
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
    ]
}

/// Lists and maps of scalars.
fn lists_and_maps() -> Vec<NamedField> {
    let whole = any::<i32>().prop_map(Value::from);
    vec![
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
    ]
}

/// Messages that have a JSON form of their own.
fn well_known() -> Vec<NamedField> {
    vec![
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
    ]
}

/// A message `All`, with messages within each other up to `depth`.
fn fields(depth: u32) -> BoxedStrategy<Value> {
    let mut options = [scalars(), lists_and_maps(), well_known()].concat();
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
