//! Results in, text and JSON out.
