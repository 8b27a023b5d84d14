//! Decoding of answers to JSON, for checks and extracts.

use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// Fields have the names of the `.proto` file, which the author of a check has before them, and
/// those that were not sent have their default. Numbers of 64 bits are numbers, not text, so that
/// they can be compared and sent again.
const FORM: SerializeOptions = SerializeOptions::new()
    .use_proto_field_name(true)
    .stringify_64_bit_integers(false)
    .skip_default_fields(false);

/// JSON form of an encoded message, its fields sorted by name. The error shows nothing of it.
pub fn to_json(message: &MessageDescriptor, bytes: &[u8]) -> Result<Value, String> {
    decoded(message, bytes, &FORM)
}

/// JSON form of an encoded message without the fields that were not sent. The error shows nothing
/// of it.
pub fn to_sparse_json(message: &MessageDescriptor, bytes: &[u8]) -> Result<Value, String> {
    decoded(message, bytes, &FORM.skip_default_fields(true))
}

fn decoded(
    message: &MessageDescriptor,
    bytes: &[u8],
    form: &SerializeOptions,
) -> Result<Value, String> {
    let decoded = DynamicMessage::decode(message.clone(), bytes);
    let decoded = decoded.map_err(|_| format!("what came is not a {}", message.full_name()))?;
    let json = decoded.serialize_with_options(serde_json::value::Serializer, form);
    let mut json = json.map_err(|_| format!("this {} has no JSON form", message.full_name()))?;
    json.sort_all_objects();
    Ok(json)
}
