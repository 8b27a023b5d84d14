//! Kill points: places right before and after each write, where a test can have the process kill
//! itself as a node failure would.
//!
//! Only a build with the feature `test-hooks` has any, and no release has that feature.
//! `STARLING_KILL_AFTER=W3` then ends the operator with SIGKILL after W3 (numbers are those of
//! LIFECYCLE 2), `before:W3` right before it, hence at every start until the variable is removed.

#[cfg(feature = "test-hooks")]
pub use hooked::KillPoint;
#[cfg(not(feature = "test-hooks"))]
pub use plain::KillPoint;

/// Stand-in of a build without the feature: nothing is read and nothing is killed.
#[cfg(not(feature = "test-hooks"))]
mod plain {
    /// No kill point.
    pub struct KillPoint;

    impl KillPoint {
        /// Creates nothing.
        pub fn from_env() -> Self {
            Self
        }

        /// Lets the write pass.
        pub fn before(&self, _write: &str) {}

        /// Lets what follows the write pass.
        pub fn after(&self, _write: &str) {}
    }
}

#[cfg(feature = "test-hooks")]
mod hooked {
    /// Environment variable that names the write.
    const VARIABLE: &str = "STARLING_KILL_AFTER";

    /// The write around which the process kills itself, if there is one.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct KillPoint(Option<(Moment, String)>);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Moment {
        Before,
        After,
    }

    impl KillPoint {
        /// Reads the kill point from the process's environment.
        pub fn from_env() -> Self {
            Self::parse(&std::env::var(VARIABLE).unwrap_or_default())
        }

        fn parse(text: &str) -> Self {
            match text.strip_prefix("before:") {
                _ if text.is_empty() => Self(None),
                Some(write) => Self(Some((Moment::Before, write.to_owned()))),
                None => Self(Some((Moment::After, text.to_owned()))),
            }
        }

        /// Kills the process if the kill point lies before `write`.
        pub fn before(&self, write: &str) {
            self.kill_at(Moment::Before, write);
        }

        /// Kills the process if the kill point lies after `write`.
        pub fn after(&self, write: &str) {
            self.kill_at(Moment::After, write);
        }

        #[allow(unsafe_code, reason = "raise and _exit")]
        fn kill_at(&self, moment: Moment, write: &str) {
            if self
                .0
                .as_ref()
                .is_some_and(|(at, name)| *at == moment && name == write)
            {
                eprintln!("{VARIABLE}: killed {moment:?} {write}");
                // SAFETY: neither call has preconditions. The first process of a container ignores
                // signals from within, even this one: it leaves at once instead, without running
                // anything of ours
                unsafe {
                    libc::raise(libc::SIGKILL);
                    libc::_exit(128 + libc::SIGKILL);
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn without_a_write_named_nothing_is_killed() {
            KillPoint::parse("").after("W1");
            KillPoint::parse("W2").after("W1");
            KillPoint::parse("before:W1").after("W1");
            KillPoint::parse("W1").before("W1");
        }
    }
}
