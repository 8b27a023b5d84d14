//! Secrets of Starling's own, which no test may name: whoever mounts one could pose as the master, a
//! worker or the operator of a run.
//!
//! A Secret is known by its name alone, since neither the operator nor a test's author need be able
//! to read it. The operator makes its Secrets under such names only.

/// Name of the Secret with the operator's install key.
pub const INSTALL_KEY: &str = "starling-operator-key";

/// Number of base32 characters at the end of a run's id.
pub const RUN_SUFFIX: usize = 6;

/// Secret of Starling's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservedSecret {
    /// Install key, from which the operator derives every channel.
    InstallKey,
    /// Channel of a run: its certificates and tokens.
    Channel,
}

impl ReservedSecret {
    /// Returns which Secret of Starling's own has this name; `None` for any other. A channel is
    /// `<run id>-channel`, and a run's id ends in a dash and [`RUN_SUFFIX`] base32 characters.
    pub fn named(name: &str) -> Option<Self> {
        if name == INSTALL_KEY {
            return Some(Self::InstallKey);
        }
        let (_, suffix) = name.strip_suffix("-channel")?.rsplit_once('-')?;
        let is_base32 = suffix
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        (suffix.len() == RUN_SUFFIX && is_base32).then_some(Self::Channel)
    }

    /// Describes why a test may not name the Secret `name`, for its author.
    pub fn refusal(self, name: &str) -> String {
        match self {
            Self::InstallKey => {
                format!("{name:?} is the operator's own key, which no test may read")
            }
            Self::Channel => format!(
                "{name:?} has the name of a run's own keys (<run id>-channel), which no test may \
                 read; a Secret of yours needs another name"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_ours_are_known_by_their_names_and_no_others_are() {
        for channel in [
            "categorizer-ab2cd7-channel",
            "a-aaaaaa-channel",
            "a-b-c-234567-channel",
        ] {
            assert_eq!(
                ReservedSecret::named(channel),
                Some(ReservedSecret::Channel),
                "{channel}"
            );
        }
        assert_eq!(
            ReservedSecret::named(INSTALL_KEY),
            Some(ReservedSecret::InstallKey)
        );
        for other in [
            "channel",
            "slack-channel",
            "my-slack-channel",
            "a-ab1cd7-channel",
            "a-ab2cd7e-channel",
            "a-ab2cd7-channels",
            "a-ab2cd7.channel",
            "starling-operator-key-2",
            "",
        ] {
            assert_eq!(ReservedSecret::named(other), None, "{other}");
        }
    }
}
