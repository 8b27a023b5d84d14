//! Optional fields of an object as the variants of one enum, so that a new field is a new variant.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Fields of which any may be set: a variant of `T` is a field of the variant's name, and its
/// content is the field's value.
///
/// Other fields of the object are ignored, so that the type can be flattened into an object that
/// has more.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyOf<T>(Vec<(&'static str, T)>);

/// Fields of which exactly one must be set, as the variants of `T`.
///
/// All that are set are read, so that one mistake does not hide the others in a file;
/// [`only`](Self::only) gives the one. Its schema has a `oneOf` with a `required` for each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "T: DeserializeOwned"))]
pub struct OneOf<T>(AnyOf<T>);

impl<T> AnyOf<T> {
    /// Fields that are set, each with its name, in the order of the variants.
    pub fn set(&self) -> &[(&'static str, T)] {
        &self.0
    }
}

impl<T: DeserializeOwned> OneOf<T> {
    /// The one field that is set, with its name; fails with a sentence that names all fields if
    /// none or several are.
    pub fn only(&self) -> Result<(&'static str, &T), String> {
        match (self.0.set(), names::<T>()) {
            ([(name, one)], _) => Ok((name, one)),
            (_, [others @ .., last]) => Err(format!(
                "needs exactly one of {} and {last}",
                others.join(", ")
            )),
            (_, []) => Err("has no field that could be set".into()),
        }
    }
}

impl<T: Serialize> Serialize for AnyOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        for (name, variant) in &self.0 {
            let mut field = serde_json::to_value(variant).map_err(S::Error::custom)?;
            fields.serialize_entry(name, &field[*name].take())?;
        }
        fields.end()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for AnyOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let set = names::<T>().iter().filter_map(|name| {
            // null stands for an unset field, as it does for every optional field
            let value = fields.remove(*name).filter(|value| !value.is_null())?;
            let variant = T::deserialize(json!({ *name: value })).map_err(D::Error::custom);
            Some(variant.map(|variant| (*name, variant)))
        });
        set.collect::<Result<_, _>>().map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for AnyOf<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("AnyOf<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema_of::<T>(generator).0
    }
}

impl<T: JsonSchema> JsonSchema for OneOf<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("OneOf<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (mut schema, names) = schema_of::<T>(generator);
        let one_of = names.into_iter().map(|name| json!({"required": [name]}));
        schema.insert("oneOf".into(), one_of.collect());
        schema
    }
}

/// Makes the alternatives of the enum's own schema into properties of one object, each with the
/// description of its variant, and lists their names in order.
fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> (Schema, Vec<String>) {
    let mut schema = T::json_schema(generator);
    let mut names = Vec::new();
    let mut properties = Map::new();
    if let Some(Value::Array(variants)) = schema.remove("oneOf") {
        for mut variant in variants {
            let description = variant["description"].take();
            if let Value::Object(fields) = variant["properties"].take() {
                for (name, mut property) in fields {
                    property["description"] = description.clone();
                    properties.insert(name.clone(), property);
                    names.push(name);
                }
            }
        }
    }
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    (schema, names)
}

/// Names of the variants of `T`, in their order. No variant has an empty name, and the error that
/// says so lists the names.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(StrDeserializer::<Known>::new("")) {
        Err(Known(names)) => names,
        Ok(_) => &[],
    }
}

/// An error of serde that keeps only the names of the variants that exist.
#[derive(Debug)]
struct Known(&'static [&'static str]);

impl serde::de::Error for Known {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

impl std::error::Error for Known {}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "known are {}", self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where something is.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    enum Place {
        /// A number.
        FloorNumber(u8),
        /// A name.
        Room(#[schemars(length(max = 8))] String),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Thing {
        #[serde(flatten)]
        place: OneOf<Place>,
        /// How it is found.
        colour: Option<String>,
    }

    fn read(json: Value) -> Result<Thing, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn none_and_two_are_refused_by_name() {
        for json in [
            json!({"colour": "red"}),
            json!({"room": null}),
            json!({"room": "a", "floorNumber": 1}),
        ] {
            assert_eq!(
                read(json).unwrap().place.only(),
                Err("needs exactly one of floorNumber and room".into())
            );
        }
        assert!(read(json!({"floorNumber": "first"})).is_err());
    }

    #[test]
    fn one_is_written_as_it_was_read() {
        let json = json!({"room": "kitchen", "colour": "red"});
        let thing = read(json.clone()).unwrap();
        assert_eq!(
            thing.place.only(),
            Ok(("room", &Place::Room("kitchen".into())))
        );
        assert_eq!(serde_json::to_value(thing).unwrap(), json);
    }

    #[test]
    fn its_schema_is_that_of_optional_fields_of_which_one_is_required() {
        let schema = schemars::schema_for!(Thing).to_value();
        assert_eq!(
            schema["oneOf"],
            json!([{"required": ["floorNumber"]}, {"required": ["room"]}])
        );
        assert_eq!(
            schema["properties"]["room"],
            json!({"type": "string", "maxLength": 8, "description": "A name."})
        );
        assert_eq!(
            schema["properties"]["colour"]["description"],
            "How it is found."
        );
        assert_eq!(schema["unevaluatedProperties"], Value::Null);
    }
}
