//! Files that `.proto` files import without having them, and types that an `Any` holds: the common
//! ones of Google's APIs, as far as tests need them. `google/protobuf` itself comes with the compiler.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// Paths by which files are imported, with their texts.
const FILES: &[(&str, &str)] = &[
    (
        "google/api/annotations.proto",
        include_str!("googleapis/api_annotations.proto"),
    ),
    (
        "google/api/client.proto",
        include_str!("googleapis/api_client.proto"),
    ),
    (
        "google/api/field_behavior.proto",
        include_str!("googleapis/api_field_behavior.proto"),
    ),
    (
        "google/api/field_info.proto",
        include_str!("googleapis/api_field_info.proto"),
    ),
    (
        "google/api/http.proto",
        include_str!("googleapis/api_http.proto"),
    ),
    (
        "google/api/httpbody.proto",
        include_str!("googleapis/api_httpbody.proto"),
    ),
    (
        "google/api/launch_stage.proto",
        include_str!("googleapis/api_launch_stage.proto"),
    ),
    (
        "google/api/resource.proto",
        include_str!("googleapis/api_resource.proto"),
    ),
    (
        "google/api/routing.proto",
        include_str!("googleapis/api_routing.proto"),
    ),
    (
        "google/api/visibility.proto",
        include_str!("googleapis/api_visibility.proto"),
    ),
    (
        "google/longrunning/operations.proto",
        include_str!("googleapis/longrunning_operations.proto"),
    ),
    (
        "google/rpc/code.proto",
        include_str!("googleapis/rpc_code.proto"),
    ),
    (
        "google/rpc/error_details.proto",
        include_str!("googleapis/rpc_error_details.proto"),
    ),
    (
        "google/rpc/status.proto",
        include_str!("googleapis/rpc_status.proto"),
    ),
    (
        "google/type/calendar_period.proto",
        include_str!("googleapis/type_calendar_period.proto"),
    ),
    (
        "google/type/color.proto",
        include_str!("googleapis/type_color.proto"),
    ),
    (
        "google/type/date.proto",
        include_str!("googleapis/type_date.proto"),
    ),
    (
        "google/type/datetime.proto",
        include_str!("googleapis/type_datetime.proto"),
    ),
    (
        "google/type/dayofweek.proto",
        include_str!("googleapis/type_dayofweek.proto"),
    ),
    (
        "google/type/decimal.proto",
        include_str!("googleapis/type_decimal.proto"),
    ),
    (
        "google/type/expr.proto",
        include_str!("googleapis/type_expr.proto"),
    ),
    (
        "google/type/fraction.proto",
        include_str!("googleapis/type_fraction.proto"),
    ),
    (
        "google/type/interval.proto",
        include_str!("googleapis/type_interval.proto"),
    ),
    (
        "google/type/latlng.proto",
        include_str!("googleapis/type_latlng.proto"),
    ),
    (
        "google/type/localized_text.proto",
        include_str!("googleapis/type_localized_text.proto"),
    ),
    (
        "google/type/money.proto",
        include_str!("googleapis/type_money.proto"),
    ),
    (
        "google/type/month.proto",
        include_str!("googleapis/type_month.proto"),
    ),
    (
        "google/type/phone_number.proto",
        include_str!("googleapis/type_phone_number.proto"),
    ),
    (
        "google/type/postal_address.proto",
        include_str!("googleapis/type_postal_address.proto"),
    ),
    (
        "google/type/quaternion.proto",
        include_str!("googleapis/type_quaternion.proto"),
    ),
    (
        "google/type/timeofday.proto",
        include_str!("googleapis/type_timeofday.proto"),
    ),
];

/// Files that come with every compiler beside those above.
const WELL_KNOWN: [&str; 8] = [
    "google/protobuf/any.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/wrappers.proto",
    "google/protobuf/descriptor.proto",
];

/// Pool of everything that is built in.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut resolver = ChainFileResolver::new();
    resolver.add(BuiltIn);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    let files = FILES.iter().map(|(path, _)| *path).chain(WELL_KNOWN);
    for path in files {
        compiler
            .open_file(path)
            .expect("the file is part of the program");
    }
    compiler.descriptor_pool()
});

/// Resolver of the files that are built in.
pub(super) struct BuiltIn;

impl FileResolver for BuiltIn {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = FILES.iter().find(|(path, _)| *path == name);
        match text {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Tells whether a file is built in.
pub fn is_built_in(path: &str) -> bool {
    path.starts_with("google/protobuf/") || FILES.iter().any(|(known, _)| *known == path)
}

/// Finds a message type by its full name in `pool`, or else among those that are built in.
pub fn find_message(pool: &DescriptorPool, name: &str) -> Option<prost_reflect::MessageDescriptor> {
    pool.get_message_by_name(name)
        .or_else(|| POOL.get_message_by_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_compiles_and_is_known_by_its_types() {
        let none = DescriptorPool::new();
        for name in [
            "google.rpc.Status",
            "google.rpc.BadRequest.FieldViolation",
            "google.longrunning.Operation",
            "google.type.Money",
            "google.protobuf.Timestamp",
        ] {
            assert!(find_message(&none, name).is_some(), "{name}");
        }
        assert_eq!(POOL.files().count(), FILES.len() + WELL_KNOWN.len());
        assert!(is_built_in("google/api/annotations.proto") && !is_built_in("mine.proto"));
    }
}
