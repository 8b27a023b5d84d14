//! Numbers of things that are there at once over an interval, such as requests in flight: measured over
//! time, not sampled.

use super::StatsError;
use super::codec::{Reader, Writer};

/// Parts of a second for which the largest number of each is kept.
pub const PARTS: usize = 10;

/// Number of things that are there at once, over an interval.
///
/// Times add up exactly, over places and over time. The largest number of several places is the sum
/// of theirs in the same tenth of a second, the best that is known without a clock they share: it is
/// never below the truth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Integral of the number over time, in microseconds.
    pub micros: u64,
    /// Largest number in each tenth of a second; one for the whole of a longer interval, and none
    /// if it was always 0.
    peaks: Vec<u64>,
}

impl LevelStats {
    /// Creates the level of one second, with the largest number in each tenth of it.
    pub fn new(micros: u64, peaks: [u64; PARTS]) -> Self {
        let peaks = if peaks == [0; PARTS] {
            Vec::new()
        } else {
            peaks.to_vec()
        };
        Self { micros, peaks }
    }

    /// Returns the largest number in the interval.
    pub fn most(&self) -> u64 {
        self.peaks.iter().copied().max().unwrap_or(0)
    }

    /// Replaces the largest number by one that is known better.
    pub fn set_most(&mut self, most: u64) {
        self.peaks = Vec::from_iter((most > 0).then_some(most));
    }

    /// Adds the level of another shard or worker in the same interval.
    pub fn merge(&mut self, other: &LevelStats) {
        self.micros += other.micros;
        if self.peaks.is_empty() {
            self.peaks.clone_from(&other.peaks);
        } else if self.peaks.len() == other.peaks.len() {
            for (ours, theirs) in self.peaks.iter_mut().zip(&other.peaks) {
                *ours += theirs;
            }
        } else if !other.peaks.is_empty() {
            self.set_most(self.most() + other.most());
        }
    }

    /// Adds the level of the same shard or worker in a later interval.
    pub fn follow(&mut self, later: &LevelStats) {
        self.micros += later.micros;
        self.set_most(self.most().max(later.most()));
    }

    /// Appends the level.
    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.micros);
        out.number(self.peaks.len() as u64);
        self.peaks.iter().for_each(|peak| out.number(*peak));
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        let micros = reader.number()?;
        let count: usize = reader.small()?;
        if !matches!(count, 0 | 1 | PARTS) {
            return Err(StatsError::Malformed("a level has a wrong number of parts"));
        }
        let peaks: Result<Vec<u64>, StatsError> = (0..count).map(|_| reader.number()).collect();
        Ok(Self {
            micros,
            peaks: peaks?,
        })
    }
}

/// Requests, users and slots that are there at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// Requests that were sent and not answered.
    pub in_flight: LevelStats,
    /// Users of closed load and of a number of iterations that are alive.
    pub users: LevelStats,
    /// Slots of open load with an iteration.
    pub slots: LevelStats,
}

impl Concurrency {
    fn parts(&mut self) -> [&mut LevelStats; 3] {
        let Self {
            in_flight,
            users,
            slots,
        } = self;
        [in_flight, users, slots]
    }

    fn pairs<'a>(&'a mut self, other: &'a Self) -> [(&'a mut LevelStats, &'a LevelStats); 3] {
        let Self {
            in_flight,
            users,
            slots,
        } = self;
        [
            (in_flight, &other.in_flight),
            (users, &other.users),
            (slots, &other.slots),
        ]
    }

    /// Adds what another shard or worker had in the same interval.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.pairs(other) {
            ours.merge(theirs);
        }
    }

    /// Adds what the same shard or worker had in a later interval.
    pub fn follow(&mut self, later: &Self) {
        for (ours, theirs) in self.pairs(later) {
            ours.follow(theirs);
        }
    }

    /// Puts what one of several places has had until now in place of what it had before.
    pub fn replace(&mut self, before: &Self, now: &Self) {
        let pairs = self.pairs(now).into_iter();
        let before = [&before.in_flight, &before.users, &before.slots];
        for ((ours, now), before) in pairs.zip(before) {
            ours.micros = (ours.micros + now.micros).saturating_sub(before.micros);
            ours.set_most((ours.most() + now.most()).saturating_sub(before.most()));
        }
    }

    /// Lowers the largest numbers to those of `seconds`, the same time second by second: merged
    /// second by second they are nearer to the truth than merged as a whole.
    pub fn refine(&mut self, seconds: &Self) {
        for (ours, theirs) in self.pairs(seconds) {
            if theirs.most() > 0 {
                ours.set_most(theirs.most().min(ours.most()));
            }
        }
    }

    /// Appends all levels.
    pub(super) fn write(&self, out: &mut Writer) {
        let Self {
            in_flight,
            users,
            slots,
        } = self;
        [in_flight, users, slots]
            .into_iter()
            .for_each(|level| level.write(out));
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        let mut read = Self::default();
        for level in read.parts() {
            *level = LevelStats::read(reader)?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(micros: u64, at: usize, most: u64) -> LevelStats {
        let mut peaks = [0; PARTS];
        peaks[at] = most;
        LevelStats::new(micros, peaks)
    }

    #[test]
    fn numbers_of_different_moments_do_not_add_up() {
        let mut level = second(300, 2, 3);
        level.merge(&second(400, 7, 4));
        assert_eq!((level.micros, level.most()), (700, 4));
        level.merge(&second(1, 2, 2));
        assert_eq!(level.most(), 5);
        level.follow(&second(1, 0, 1));
        assert_eq!((level.micros, level.most()), (702, 5));
        level.merge(&LevelStats::default());
        level.merge(&second(0, 0, 2));
        assert_eq!(
            level.most(),
            7,
            "of a longer interval the moment is not known"
        );
    }

    #[test]
    fn merged_second_by_second_the_largest_number_is_nearer_to_the_truth() {
        let with = |in_flight| Concurrency {
            in_flight,
            ..Concurrency::default()
        };
        let (first, second) = (with(second(0, 1, 4)), with(second(0, 1, 4)));
        let mut seconds = Concurrency::default();
        seconds.follow(&first);
        seconds.follow(&second);
        let mut whole = with(LevelStats::default());
        whole.follow(&first);
        let mut other = Concurrency::default();
        other.follow(&second);
        whole.merge(&other);
        assert_eq!(whole.in_flight.most(), 8);
        whole.refine(&seconds);
        assert_eq!(whole.in_flight.most(), 4);
    }

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        for level in [LevelStats::default(), second(9, 9, 200)] {
            let mut out = Writer::default();
            level.write(&mut out);
            assert_eq!(LevelStats::read(&mut Reader(&out.0)), Ok(level));
        }
        let mut out = Writer::default();
        [1, 3].into_iter().for_each(|number| out.number(number));
        assert!(LevelStats::read(&mut Reader(&out.0)).is_err());
    }
}
