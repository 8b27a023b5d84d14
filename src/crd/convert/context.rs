//! The state that the checks of targets and steps share: names, defaults, and the list of mistakes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::Problems;
use crate::plan::template::Place;
use crate::plan::*;

/// State shared by the checks of targets, `setup`, `teardown` and scenarios.
pub(super) struct Context<'a> {
    /// Names that a template at this point may use.
    pub(super) names: Names,
    /// First slot that variables and feeders leave free.
    pub(super) free_slot: Slot,
    /// Delimiters of the test's templates.
    pub(super) delimiters: &'a Delimiters,
    /// Timeout of steps that set none.
    pub(super) timeout: Duration,
    /// Names of the further targets, in the order of the plan.
    pub(super) targets: Vec<&'a str>,
    /// Highest number of redirects for steps that set none.
    pub(super) follow_redirects: u32,
    /// Largest gRPC message, in bytes, for steps that set none.
    pub(super) max_message_size: u32,
    /// `true` while a scenario with open load is checked.
    pub(super) open: bool,
    /// Mistakes found so far.
    pub(super) problems: &'a mut Problems,
}

impl Context<'_> {
    /// Checks the headers at `path`: their names and the templates of their values.
    pub(super) fn headers(
        &mut self,
        path: &str,
        headers: &BTreeMap<String, String>,
    ) -> Vec<Header> {
        let mut seen = HashSet::new();
        let mut checked = Vec::new();
        for (name, value) in headers {
            let path = format!("{path}.{name}");
            if ::http::HeaderName::try_from(name.as_str()).is_err() {
                self.problems.add(&path, "is not a header's name");
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                self.problems.add(
                    &path,
                    "is there twice; case does not matter in a header's name",
                );
            }
            if ["content-length", "transfer-encoding", "connection"]
                .contains(&name.to_ascii_lowercase().as_str())
            {
                self.problems.add(&path, "is set by Starling");
            }
            if let Some(value) = self.template(&path, value, Place::Header) {
                checked.push(Header {
                    name: name.clone(),
                    value,
                });
            }
        }
        checked
    }

    /// Calls `check` with `names` known instead of the current ones.
    pub(super) fn knowing<T>(&mut self, names: Names, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.names, names);
        let checked = check(self);
        self.names = before;
        checked
    }

    /// Parses and checks a template for `place`; `None` if it has a mistake, which is added.
    pub(super) fn template(&mut self, path: &str, source: &str, place: Place) -> Option<Template> {
        if self.problems.are_complete() {
            return None;
        }
        budget::at(path);
        let parsed = Template::parse_with(source, self.delimiters)
            .and_then(|template| template.check(&self.names, place).map(|()| template));
        self.problems.take(path, parsed)
    }
}
