//! Errors about values that a message's fields do not take.

/// Reason why a field takes no such value, and the part of the value that is wrong. Nothing of the
/// value is shown: it may be a credential.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path from the value to the wrong part, such as `.rows[3]`; empty if it is the value itself.
    pub path: String,
    /// Explanation for the test's author.
    pub why: String,
}

impl FieldError {
    /// Builds an error about the value itself.
    pub fn new(why: String) -> Self {
        Self {
            path: String::new(),
            why,
        }
    }

    /// Moves the error below a field.
    pub fn under(mut self, field: &str) -> Self {
        self.path = format!(".{field}{}", self.path);
        self
    }

    /// Moves the error below an item of a list.
    pub fn at(mut self, index: usize) -> Self {
        self.path = format!("[{index}]{}", self.path);
        self
    }
}
