//! A distribution of times in microseconds: an HdrHistogram with exact count, sum, minimum and maximum beside it.
//!
//! Percentiles are right within 0.1% or 1 us, whichever is larger, from 1 us to 1 h. An empty histogram holds no memory, and one
//! grows with the largest value it has seen, so that many small series stay small.

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Serializer, V2Serializer};

use super::StatsError;
use super::codec::{Reader, Writer};

/// Significant decimal digits that are kept.
const DIGITS: u8 = 3;

/// One hour; larger values count as this.
pub const MAX_MICROS: u64 = 3_600_000_000;

/// Cookie, payload length, offset, digits, lowest, highest, ratio: the header of the V2 format.
const HEADER: usize = 40;

/// First word of the V2 format.
const COOKIE: u32 = 0x1c84_9313;

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// `None` until there is a sample.
    counts: Option<Hdr<u64>>,
    min: u64,
    max: u64,
    sum: u128,
    clamped: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self::default()
    }

    /// Zero counts as 1 us, what is above one hour as one hour (and is counted in [`clamped`](Self::clamped)).
    pub fn record(&mut self, us: u64) {
        if us > MAX_MICROS {
            self.clamped += 1;
        }
        let us = us.clamp(1, MAX_MICROS);
        if self.counts.is_none() {
            (self.min, self.max) = (us, us);
        }
        // saturating_record never resizes, so it is not what is wanted here
        self.counts.get_or_insert_with(empty).record(us).expect("a value up to one hour always fits a histogram that grows");
        self.min = self.min.min(us);
        self.max = self.max.max(us);
        self.sum += u128::from(us);
    }

    pub fn merge(&mut self, other: &Histogram) {
        let Histogram { counts: Some(theirs), min, max, sum, clamped } = other else { return };
        match &mut self.counts {
            None => *self = other.clone(),
            Some(ours) => {
                ours.add(theirs).expect("a histogram that grows takes any other");
                self.min = self.min.min(*min);
                self.max = self.max.max(*max);
                self.sum += sum;
                self.clamped += clamped;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_none()
    }

    pub fn count(&self) -> u64 {
        self.counts.as_ref().map_or(0, Hdr::len)
    }

    /// Exact; 0 when empty.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Exact; 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Exact up to the rounding of the division; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.sum as f64 / self.count() as f64 }
    }

    /// Of all samples, microseconds.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Samples of at most `us`, as exactly as percentiles are.
    pub fn count_up_to(&self, us: u64) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.count_between(0, us))
    }

    /// Samples above one hour.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// The smallest value that `p` percent of the samples do not pass (nearest rank), never beyond [`max`](Self::max); 0 when empty.
    pub fn percentile(&self, p: f64) -> u64 {
        let Some(counts) = &self.counts else { return 0 };
        let count = counts.len();
        // 99.9 percent of 1000 is rank 999, whatever the floats make of it
        let rank = (p.clamp(0.0, 100.0) / 100.0 * count as f64 - 1e-6).ceil().clamp(1.0, count as f64);
        // from the middle below a rank the crate rounds up to just that rank
        counts.value_at_quantile((rank - 0.5) / count as f64).clamp(self.min, self.max)
    }

    /// The counts alone in the HdrHistogram V2 format, as other tools read it; `None` when empty.
    pub fn to_hdr_v2(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(self.counts.as_ref()?, &mut bytes)
            .expect("writing to memory does not fail, and counts are below 2^63");
        // the crate writes how far it happens to have grown; equal samples shall be equal bytes
        bytes[24..32].copy_from_slice(&MAX_MICROS.to_be_bytes());
        Some(bytes)
    }

    /// The whole of it: min, max, sum, clamped and the V2 format; nothing when empty.
    pub fn encode(&self) -> Vec<u8> {
        let Some(v2) = self.to_hdr_v2() else { return Vec::new() };
        let mut out = Writer(Vec::with_capacity(v2.len() + 32));
        for number in [self.min, self.max, (self.sum >> 64) as u64, self.sum as u64, self.clamped] {
            out.number(number);
        }
        out.0.extend_from_slice(&v2);
        out.0
    }

    /// Reads what [`encode`](Self::encode) wrote. Takes at most some 250 KB of memory, whatever the bytes say.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatsError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        let mut reader = Reader(bytes);
        let (min, max, high, low, clamped) = (reader.number()?, reader.number()?, reader.number()?, reader.number()?, reader.number()?);
        let counts = decode_v2(reader.0)?;
        let sum = u128::from(high) << 64 | u128::from(low);
        let fits = sum <= u128::from(counts.len()) * u128::from(MAX_MICROS)
            && !counts.is_empty()
            && counts.len() >= clamped
            && (1..=max).contains(&min)
            && counts.equivalent(max, counts.max())
            && counts.equivalent(min, counts.min());
        if !fits {
            return Err(StatsError::Malformed("a histogram's counts and its minimum and maximum do not agree"));
        }
        Ok(Self { counts: Some(counts), min, max, sum, clamped })
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let Self { counts, min, max, sum, clamped } = self;
        *counts == other.counts && (*min, *max, *sum, *clamped) == (other.min, other.max, other.sum, other.clamped)
    }
}

fn empty() -> Hdr<u64> {
    Hdr::new(DIGITS).expect("3 digits are allowed")
}

/// Reads the V2 format as this version writes it. The crate's own reader allocates by what the header says and overflows on some
/// bytes, so the counts are read here: each number is a count, or if negative a run of zeros.
fn decode_v2(bytes: &[u8]) -> Result<Hdr<u64>, StatsError> {
    let header = bytes.get(..HEADER).ok_or(StatsError::Truncated)?;
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let lowest = u64::from_be_bytes(header[16..24].try_into().expect("8 bytes"));
    if (word(0), word(8), word(12), lowest) != (COOKIE, 0, u32::from(DIGITS), 1) {
        return Err(StatsError::Malformed("a histogram has another format, range or precision"));
    }
    if word(4) as usize != bytes.len() - HEADER {
        return Err(StatsError::Truncated);
    }
    let mut numbers = &bytes[HEADER..];
    let mut counts = empty();
    let (mut index, mut total) = (0u64, 0u64);
    while !numbers.is_empty() {
        let number = zigzag(&mut numbers)?;
        if number < 0 {
            index = index.saturating_add(number.unsigned_abs());
            continue;
        }
        total = total
            .checked_add(number as u64)
            .filter(|total| *total <= i64::MAX as u64)
            .ok_or(StatsError::Malformed("a histogram's counts overflow"))?;
        let value =
            value_at(index).filter(|value| *value <= MAX_MICROS).ok_or(StatsError::Malformed("a histogram reaches beyond an hour"))?;
        if number > 0 {
            counts.record_n(value, number as u64).map_err(|_| StatsError::Malformed("a histogram's counts cannot be read"))?;
        }
        index += 1;
    }
    Ok(counts)
}

/// The lowest value of a place in the array of counts: single microseconds first, then 1024 places for each doubling.
fn value_at(index: u64) -> Option<u64> {
    match index / 1024 {
        0 | 1 => Some(index),
        doubling if doubling <= 32 => Some((index % 1024 + 1024) << (doubling - 1)),
        _ => None,
    }
}

/// A number of the V2 format: LEB128 in which a ninth byte is taken whole, zigzag for the sign.
fn zigzag(bytes: &mut &[u8]) -> Result<i64, StatsError> {
    let mut value = 0u64;
    for place in 0..9 {
        let (&byte, rest) = bytes.split_first().ok_or(StatsError::Truncated)?;
        *bytes = rest;
        let last = place == 8;
        value |= u64::from(if last { byte } else { byte & 0x7f }) << (7 * place);
        if last || byte & 0x80 == 0 {
            break;
        }
    }
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        samples.iter().for_each(|us| histogram.record(*us));
        histogram
    }

    /// Samples over all magnitudes.
    fn samples() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0u32..33, 0u64..1 << 32).prop_map(|(bits, seed)| (1u64 << bits) + seed % (1 << bits)), 0..200)
    }

    #[test]
    fn nothing_recorded_summarises_to_zero() {
        let histogram = Histogram::new();
        assert_eq!((histogram.count(), histogram.min(), histogram.max(), histogram.percentile(99.0)), (0, 0, 0, 0));
        assert_eq!(histogram.mean(), 0.0);
        assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
    }

    #[test]
    fn values_out_of_range_are_clamped_and_counted() {
        let histogram = of(&[0, 5, MAX_MICROS + 1, u64::MAX]);
        assert_eq!((histogram.min(), histogram.max(), histogram.clamped(), histogram.count()), (1, MAX_MICROS, 2, 4));
    }

    #[test]
    fn ranks_are_exact() {
        let thousand = of(&(1..=1000).collect::<Vec<_>>());
        assert_eq!([50.0, 99.0, 99.9, 100.0, 0.0].map(|p| thousand.percentile(p)), [500, 990, 999, 1000, 1]);
        assert_eq!(thousand.mean(), 500.5);
    }

    #[test]
    fn a_small_series_is_small() {
        assert!(of(&[100, 90_000]).encode().len() < 100);
    }

    #[test]
    fn counts_beyond_an_hour_are_refused() {
        let mut counts = Hdr::<u64>::new(DIGITS).unwrap();
        counts.record(MAX_MICROS * 4).unwrap();
        let mut bytes = vec![1, 1, 0, 1, 0];
        V2Serializer::new().serialize(&counts, &mut bytes).unwrap();
        assert!(Histogram::decode(&bytes).is_err());
    }

    #[test]
    fn a_run_of_zeros_without_end_is_refused() {
        let mut bytes = of(&[7]).encode();
        let place = bytes.len() - 2;
        bytes.splice(place.., [0xff; 9]);
        let length = (bytes.len() - HEADER - 5) as u32;
        bytes[9..13].copy_from_slice(&length.to_be_bytes());
        assert!(Histogram::decode(&bytes).is_err());
    }

    proptest! {
        // each case makes many histograms; more of them would cost seconds in an unoptimised build
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn percentiles_are_within_a_thousandth(samples in samples(), p in 0.0..100.0f64) {
            prop_assume!(!samples.is_empty());
            let mut sorted: Vec<u64> = samples.iter().map(|us| *us.min(&MAX_MICROS)).collect();
            sorted.sort_unstable();
            let rank = ((p / 100.0 * sorted.len() as f64).ceil() as usize).max(1);
            let (exact, got) = (sorted[rank - 1], of(&samples).percentile(p));
            prop_assert!(got.abs_diff(exact) as f64 <= (exact as f64 / 1000.0).max(1.0), "{got} is not {exact}");
        }

        #[test]
        fn any_split_and_order_of_merging_gives_the_same(samples in samples(), parts in 1usize..8, salt in any::<u64>(), reverse in any::<bool>()) {
            let mut split = vec![Histogram::new(); parts];
            for (i, us) in samples.iter().enumerate() {
                split[(salt.wrapping_mul(i as u64 + 1) >> 32) as usize % parts].record(*us);
            }
            if reverse { split.reverse(); }
            let mut merged = Histogram::new();
            split.iter().for_each(|part| merged.merge(part));
            let whole = of(&samples);
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(merged.encode(), whole.encode());
            for p in [0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0] { prop_assert_eq!(merged.percentile(p), whole.percentile(p)); }
        }

        #[test]
        fn what_is_encoded_reads_back(samples in samples()) {
            let histogram = of(&samples);
            prop_assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
        }

        #[test]
        fn damaged_bytes_never_panic(samples in samples(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = of(&samples).encode();
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(read) = Histogram::decode(&bytes) { let _unused = (read.percentile(99.0), read.encode()); }
        }
    }
}
