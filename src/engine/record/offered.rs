//! Load that a shard takes on, whether or not its arrivals find a slot: what is compared with the
//! profile to see whether load is missing.

use std::time::{Duration, Instant};

use crate::plan::Profile;

/// Open load of all populations of one shard.
#[derive(Default)]
pub(crate) struct Offered {
    /// Shares taken on so far.
    pub(super) open: Vec<OpenShare>,
    /// Time at which arrivals ended, if that was before the end of their profiles.
    pub(super) cut: Option<Instant>,
}

/// A shard's share of the measured part of one open population.
pub(crate) struct OpenShare {
    profile: Profile,
    /// Zero of the profile.
    zero: Instant,
    /// Fraction of the fleet's arrivals.
    part: f64,
    /// Arrivals counted so far.
    counted: f64,
}

impl OpenShare {
    /// Makes the share `part` of a profile that begins at `zero`. Arrivals due before `joined_at`
    /// are not of this share; the others count as the seconds pass.
    pub(crate) fn new(profile: Profile, zero: Instant, part: f64, joined_at: Duration) -> Self {
        Self {
            counted: profile.arrivals_until(joined_at) * part,
            profile,
            zero,
            part,
        }
    }

    /// Goes on by another profile, which is the same up to now.
    pub(super) fn follow(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Counts the arrivals due up to `until` that were not counted before, in millionths.
    fn count(&mut self, until: Instant) -> u64 {
        let Some(at) = until.checked_duration_since(self.zero) else {
            return 0;
        };
        let due = self.profile.arrivals_until(at) * self.part;
        let more = ((due - self.counted) * 1e6).round().max(0.0);
        // what rounding left out comes with the next second
        self.counted += more / 1e6;
        more as u64
    }
}

impl Offered {
    /// Counts the arrivals due up to `until` that were not counted before, in millionths.
    pub(super) fn arrivals_until(&mut self, until: Instant) -> u64 {
        let until = self.cut.map_or(until, |cut| cut.min(until));
        self.open.iter_mut().map(|share| share.count(until)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shares_of_a_fleet_add_up_to_the_profile() {
        let zero = Instant::now();
        let profile = Profile::ramp_and_hold(7.0, seconds(4), seconds(6));
        let mut sum = 0;
        for _ in 0..3 {
            let mut offered = Offered::default();
            offered.open.push(OpenShare::new(
                profile.clone(),
                zero,
                1.0 / 3.0,
                Duration::ZERO,
            ));
            sum += (0..15)
                .map(|second| offered.arrivals_until(zero + seconds(second)))
                .sum::<u64>();
        }
        assert!(sum.abs_diff(56_000_000) <= 3, "{sum}");
    }

    #[test]
    fn a_share_is_what_was_due_between_joining_and_the_cut() {
        let zero = Instant::now();
        let profile = Profile::ramp_and_hold(10.0, Duration::ZERO, seconds(60));
        let mut offered = Offered::default();
        offered
            .open
            .push(OpenShare::new(profile.clone(), zero, 0.5, seconds(20)));
        offered.cut = Some(zero + seconds(30));
        assert_eq!(offered.arrivals_until(zero + seconds(10)), 0);
        assert_eq!(offered.arrivals_until(zero + seconds(50)), 50_000_000);
    }
}
