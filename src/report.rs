//! Results in; text, files for other tools and comparisons out.

pub mod compare;
pub mod csv;
pub mod file;
mod histograms;
pub mod html;
pub mod json;
pub mod junit;
pub mod k6;
pub mod markdown;
mod names;
pub mod text;
