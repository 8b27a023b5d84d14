//! Fixtures of the tests of messages: descriptors, names, and a scope with values.

mod calls;
mod editions;
mod encoding;
mod generated;
mod mistakes;

use std::sync::LazyLock;

use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::*;
use crate::plan::names::Declared;
use crate::plan::template::RenderError;
use crate::plan::template::fixed::Fixed;
use crate::plan::{Names, Problem};

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
    names.declare("number", Declared::Constant(json!(5).into()));
    names.declare(
        "object",
        Declared::Constant(json!({"text": "t", "i32": "3"}).into()),
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
