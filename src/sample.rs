//! The sample service: what the users of Starling test.
