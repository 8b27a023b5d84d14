//! The `LoadTest` resource: its types, its schema, and the way from a spec to a plan.
