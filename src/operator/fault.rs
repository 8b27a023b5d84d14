//! A hook for tests: the process kills itself right after a write of its choice, as a node failure
//! would.
//!
//! `STARLING_KILL_AFTER=W3` ends it with SIGKILL after W3 (LIFECYCLE 2), `before:W3` right before,
//! hence again at every start until the variable is taken back. Without the variable nothing
//! happens.

/// Environment variable that names the write.
pub const VARIABLE: &str = "STARLING_KILL_AFTER";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KillPoint(Option<(Moment, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

impl KillPoint {
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

    pub fn before(&self, write: &str) {
        self.kill_at(Moment::Before, write);
    }

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
            // SAFETY: neither has preconditions. The first process of a container ignores signals
            // from within, even this one: it leaves at once instead, without running
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
