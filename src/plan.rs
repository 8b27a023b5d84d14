//! The validated test that every role speaks.
