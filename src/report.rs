//! Results in, text and JSON out.

pub mod json;
pub mod text;
