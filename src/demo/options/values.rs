//! Values of options, each read from its text: distributions of times, stalls, tokens, clients,
//! fractions and lifetimes.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;

use crate::plan::duration;

/// Longest time an option takes: no client waits longer, so a longer one is a slip of the pen.
const LONGEST: Duration = Duration::from_secs(3600);

/// Distribution of the least time that an answer takes. Waits end on the next millisecond, which is
/// the resolution of the timer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// The same time for every answer.
    Constant(Duration),
    /// A uniform distribution.
    Uniform {
        /// Shortest time.
        min: Duration,
        /// Longest time, not below `min`.
        max: Duration,
    },
    /// A normal distribution; a time below zero counts as no wait.
    Normal {
        /// Mean of the distribution, before times below zero are cut.
        mean: Duration,
        /// Standard deviation.
        deviation: Duration,
    },
    /// An exponential distribution.
    Exponential {
        /// Mean time.
        mean: Duration,
    },
}

/// Recurrent freeze of the service: it begins at each multiple of `every` since the start, and
/// holds each request that arrives during it until its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// Time from the beginning of one freeze to the beginning of the next.
    pub every: Duration,
    /// Length of a freeze: above zero, and shorter than `every`.
    pub lasting: Duration,
}

/// Reason why the text of an option was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// No duration, or one above an hour.
    #[error("{text:?} is not a duration between 0 and 1h, such as 5ms or 1s")]
    Duration {
        /// Text as given.
        text: String,
    },
    /// No distribution of a known form.
    #[error(
        "{text:?} is not constant:TIME, uniform:MIN,MAX, normal:MEAN,DEVIATION or exponential:MEAN"
    )]
    Latency {
        /// Text as given.
        text: String,
    },
    /// A uniform distribution whose bounds are in the wrong order.
    #[error("{text:?}: the first time must not be longer than the second")]
    Order {
        /// Text as given.
        text: String,
    },
    /// No stall, or one without end.
    #[error("{text:?} is not EVERY,FOR, with FOR above 0 and shorter than EVERY, such as 10s,1s")]
    Stall {
        /// Text as given.
        text: String,
    },
    /// No fraction.
    #[error("{text:?} is not a number between 0 and 1")]
    Fraction {
        /// Text as given.
        text: String,
    },
    /// No lifetime that can be told in whole seconds.
    #[error("{text:?} is not a number of whole seconds between 1s and 1h")]
    Lifetime {
        /// Text as given.
        text: String,
    },
    /// A token of no character.
    #[error("the bearer token of the demo service is empty")]
    EmptyToken,
    /// A client without an id or a secret.
    #[error("a client of the demo service is ID:SECRET")]
    Client,
}

/// A bearer token. Its `Debug` form hides it, so that no log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(
    /// The token itself, not empty.
    pub(in crate::demo) String,
);

/// Credentials of a client that may ask for a token. The `Debug` form hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Id of the client, not empty.
    pub(in crate::demo) id: String,
    /// Secret of the client, not empty.
    pub(in crate::demo) secret: String,
}

impl Latency {
    /// Draws one time from the distribution.
    pub(in crate::demo) fn draw(self, random: &mut impl RngExt) -> Duration {
        match self {
            Latency::Constant(time) => time,
            Latency::Uniform { min, max } => min + max.saturating_sub(min).mul_f64(random.random()),
            Latency::Normal { mean, deviation } => {
                // The Box-Muller transform makes a normal number of two uniform ones; 1 - x keeps
                // the logarithm from zero.
                let (radius, angle): (f64, f64) = (
                    (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt(),
                    TAU * random.random::<f64>(),
                );
                Duration::from_secs_f64(
                    (mean.as_secs_f64() + deviation.as_secs_f64() * radius * angle.cos()).max(0.0),
                )
            }
            Latency::Exponential { mean } => mean.mul_f64(-(1.0 - random.random::<f64>()).ln()),
        }
    }
}

impl FromStr for Latency {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Latency, OptionError> {
        let (name, times) = text.split_once(':').unwrap_or((text, ""));
        let times = times
            .split(',')
            .filter(|time| !time.trim().is_empty())
            .map(parse_duration)
            .collect::<Result<Vec<_>, _>>()?;
        match (name, times.as_slice()) {
            ("constant", [time]) => Ok(Latency::Constant(*time)),
            ("uniform", [min, max]) if min > max => Err(OptionError::Order { text: text.into() }),
            ("uniform", [min, max]) => Ok(Latency::Uniform {
                min: *min,
                max: *max,
            }),
            ("normal", [mean, deviation]) => Ok(Latency::Normal {
                mean: *mean,
                deviation: *deviation,
            }),
            ("exponential", [mean]) => Ok(Latency::Exponential { mean: *mean }),
            _ => Err(OptionError::Latency { text: text.into() }),
        }
    }
}

impl Stall {
    /// Returns the time until the freeze ends for a request that arrives `since_start` after the
    /// start; zero outside of a freeze.
    pub(in crate::demo) fn rest(self, since_start: Duration) -> Duration {
        let every = self.every.as_nanos().max(1);
        if since_start < self.every {
            return Duration::ZERO;
        }
        let into_period = u64::try_from(since_start.as_nanos() % every).unwrap_or(u64::MAX);
        self.lasting
            .saturating_sub(Duration::from_nanos(into_period))
    }
}

impl FromStr for Stall {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Stall, OptionError> {
        let refused = || OptionError::Stall { text: text.into() };
        let (every, lasting) = text.split_once(',').ok_or_else(refused)?;
        let stall = Stall {
            every: parse_duration(every)?,
            lasting: parse_duration(lasting)?,
        };
        if stall.lasting.is_zero() || stall.lasting >= stall.every {
            Err(refused())
        } else {
            Ok(stall)
        }
    }
}

impl FromStr for Token {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Token, OptionError> {
        match text.trim() {
            "" => Err(OptionError::EmptyToken),
            token => Ok(Token(token.to_owned())),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl FromStr for Client {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Client, OptionError> {
        match text.trim().split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => Ok(Client {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            _ => Err(OptionError::Client),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, hidden)", self.id)
    }
}

/// Parses a fraction between 0 and 1, both included.
pub(super) fn parse_fraction(text: &str) -> Result<f64, OptionError> {
    match text.trim().parse::<f64>() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err(OptionError::Fraction { text: text.into() }),
    }
}

/// Parses the lifetime of a token: whole seconds, since clients are told it in these, from 1 s to
/// 1 h.
pub(super) fn parse_lifetime(text: &str) -> Result<Duration, OptionError> {
    let whole = parse_duration(text)
        .ok()
        .filter(|time| !time.is_zero() && time.subsec_nanos() == 0);
    whole.ok_or_else(|| OptionError::Lifetime { text: text.into() })
}

/// Parses a duration from 0 to 1 h.
pub(super) fn parse_duration(text: &str) -> Result<Duration, OptionError> {
    let parsed = duration::parse(text.trim())
        .ok()
        .filter(|time| *time <= LONGEST);
    parsed.ok_or_else(|| OptionError::Duration { text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_latency_of_no_known_form_is_refused() {
        for text in [
            "",
            "5ms",
            "constant",
            "constant:",
            "constant:5ms,6ms",
            "uniform:5ms",
            "gamma:5ms",
        ] {
            assert_eq!(
                text.parse::<Latency>(),
                Err(OptionError::Latency { text: text.into() }),
                "{text:?}"
            );
        }
        for text in [
            "constant:5",
            "constant:-5ms",
            "exponential:2h",
            "normal:5ms,soon",
        ] {
            assert!(
                matches!(text.parse::<Latency>(), Err(OptionError::Duration { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            "uniform:6ms,5ms".parse::<Latency>(),
            Err(OptionError::Order { .. })
        ));
    }

    #[test]
    fn a_stall_that_never_ends_or_never_begins_is_refused() {
        for text in ["", "10s", "1s,1s", "1s,2s", "1s,0s"] {
            assert_eq!(
                text.parse::<Stall>(),
                Err(OptionError::Stall { text: text.into() }),
                "{text:?}"
            );
        }
        assert!(matches!(
            "10s,1s,1s".parse::<Stall>(),
            Err(OptionError::Duration { .. })
        ));
    }

    #[test]
    fn an_error_rate_is_a_fraction() {
        for text in ["", "-0.1", "1.1", "1%", "NaN"] {
            assert!(parse_fraction(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_fraction("0.01"), Ok(0.01));
    }

    #[test]
    fn a_lifetime_is_whole_seconds() {
        for text in ["", "0s", "500ms", "2h", "soon"] {
            assert!(parse_lifetime(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_lifetime("2s"), Ok(2000 * MS));
    }
}
