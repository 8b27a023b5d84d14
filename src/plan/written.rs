//! Forms in which an author may write the tasks of a scenario, and the field paths that come of
//! them.

use serde::{Deserialize, Serialize};

use super::Section;

/// Form in which a scenario was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Written {
    /// The long form: in `spec.scenarios`, with `tasks`.
    #[default]
    Whole,
    /// A scenario of `spec.scenarios` with the `steps` of its only task.
    Steps,
    /// The steps of the only task of the only scenario, as `spec.steps`.
    Alone,
}

impl Written {
    /// Tells whether the scenario stands in the long form.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// Field path of the scenario that is the plan's `place`-th, from 0.
    pub fn scenario(self, place: usize) -> String {
        match self {
            Self::Alone => "spec".to_owned(),
            Self::Whole | Self::Steps => format!("spec.scenarios[{place}]"),
        }
    }

    /// Field path of a list of steps below that of its scenario, or below `spec`.
    pub fn section(self, section: Section) -> String {
        match section {
            Section::OnStart => "onStart".to_owned(),
            Section::OnStop => "onStop".to_owned(),
            Section::Task(_) if !self.is_whole() => "steps".to_owned(),
            Section::Task(t) => format!("tasks[{t}].steps"),
            Section::Block(b) => format!("blocks[{b}].steps"),
            Section::Setup => "setup".to_owned(),
            Section::Teardown => "teardown".to_owned(),
        }
    }
}
