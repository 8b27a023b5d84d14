//! The exit codes of the program.

/// Outcome of a command, in order of importance: of several documents the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Every run passed, or the command did what it was asked.
    Passed,
    /// A threshold was not met.
    Breached,
    /// SIGHUP stopped the command: its terminal is gone.
    HungUp,
    /// SIGINT stopped the command.
    Interrupted,
    /// SIGTERM stopped the command.
    Terminated,
    /// The command could not run, or a run ended without a verdict.
    Failed,
    /// A file or an argument is not valid.
    Invalid,
}

impl Exit {
    /// Returns the outcome for an exit code of `128 + signal`.
    pub fn of_signal(code: u8) -> Self {
        [Exit::Terminated, Exit::HungUp]
            .into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Exit::Interrupted)
    }

    /// Returns the exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Exit::Passed => 0,
            Exit::Breached => 99,
            Exit::HungUp => 129,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Failed => 1,
            Exit::Invalid => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_counts() {
        let ordered = [
            Exit::Passed,
            Exit::Breached,
            Exit::HungUp,
            Exit::Interrupted,
            Exit::Terminated,
            Exit::Failed,
            Exit::Invalid,
        ];
        assert!(ordered.is_sorted());
        assert_eq!(ordered.map(Exit::code), [0, 99, 129, 130, 143, 1, 2]);
        for exit in [Exit::HungUp, Exit::Interrupted, Exit::Terminated] {
            assert_eq!(Exit::of_signal(exit.code()), exit);
        }
    }
}
