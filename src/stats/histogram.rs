//! A distribution of times in microseconds, with exact count, sum, minimum and maximum beside it.
//!
//! Percentiles are right within 0.1% or 1 us, whichever is larger, from 1 us to 1 h. Times up to
//! 1023 us are counted each by itself, above that each doubling has 512 buckets, and a bucket
//! stands for its middle: half a bucket is less than a thousandth of any time in it. That is half
//! the memory of an HdrHistogram of three digits, which stands for the end of its buckets.
//!
//! An empty histogram holds no memory, and one takes memory only for the ranges that it has seen
//! samples in.

use std::collections::BTreeMap;

use super::StatsError;
use super::codec::{Reader, Writer};

/// Largest time that is kept apart, in microseconds: one hour. Larger ones count as this.
pub const MAX_MICROS: u64 = 3_600_000_000;

/// Number of buckets in each doubling from 1024 us on.
const HALF: u64 = 512;

/// Number of buckets that are stored together: 64 bytes of counts.
const PAGE: usize = 32;

/// Number of pages up to one hour.
const PAGES: usize = index(MAX_MICROS) / PAGE + 1;

/// Length in bytes of the header of the V2 format: cookie, payload length, offset, digits, lowest,
/// highest, ratio.
const HEADER: usize = 40;

/// First word of the V2 format.
const COOKIE: u32 = 0x1c84_9313;

/// Significant decimal digits that the V2 format states.
const DIGITS: u32 = 3;

/// A distribution of times in microseconds, from 1 us to one hour.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Counts of the buckets; `None` until there is a sample.
    counts: Option<Counts>,
    count: u64,
    min: u64,
    max: u64,
    sum: u128,
    clamped: u64,
}

impl Histogram {
    /// Builds an empty histogram, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a time in microseconds. Zero counts as 1 us, anything above one hour as one hour, and
    /// is counted in [`clamped`](Self::clamped).
    pub fn record(&mut self, us: u64) {
        if us > MAX_MICROS {
            self.clamped += 1;
        }
        let us = us.clamp(1, MAX_MICROS);
        if self.count == 0 {
            (self.min, self.max) = (us, us);
        }
        self.counts.get_or_insert_default().add(index(us), 1);
        self.count += 1;
        self.min = self.min.min(us);
        self.max = self.max.max(us);
        self.sum += u128::from(us);
    }

    /// Adds all samples of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        let Histogram {
            counts: Some(theirs),
            count,
            min,
            max,
            sum,
            clamped,
        } = other
        else {
            return;
        };
        match &mut self.counts {
            None => *self = other.clone(),
            Some(ours) => {
                ours.merge(theirs);
                self.count += count;
                self.min = self.min.min(*min);
                self.max = self.max.max(*max);
                self.sum += sum;
                self.clamped += clamped;
            }
        }
    }

    /// Takes out samples that were merged in before. Minimum and maximum are then as exact as
    /// percentiles are, no more.
    pub fn remove(&mut self, other: &Histogram) {
        let Some(theirs) = &other.counts else { return };
        self.count = self.count.saturating_sub(other.count);
        let Some(ours) = self.counts.as_mut().filter(|_| self.count > 0) else {
            *self = Self::new();
            return;
        };
        ours.remove(theirs);
        self.sum = self.sum.saturating_sub(other.sum);
        self.clamped = self.clamped.saturating_sub(other.clamped);
        if let Some((first, last)) = ours.ends() {
            self.min = self.min.max(lowest(first));
            self.max = self.max.min(highest(last));
        }
    }

    /// Tells whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Smallest sample in microseconds, exact; 0 when empty.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Largest sample in microseconds, exact; 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Mean in microseconds, exact up to the rounding of the division; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.is_empty() {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }

    /// Sum of all samples in microseconds.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Number of samples of at most `us` microseconds, as exact as percentiles are.
    pub fn count_up_to(&self, us: u64) -> u64 {
        let last = index(us.min(MAX_MICROS));
        self.buckets()
            .take_while(|(index, _)| *index <= last)
            .map(|(_, count)| count)
            .sum()
    }

    /// Number of samples above one hour.
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Smallest value in microseconds that `p` percent of the samples do not exceed (nearest rank),
    /// never beyond [`max`](Self::max); 0 when empty.
    pub fn percentile(&self, p: f64) -> u64 {
        // less a millionth, so that rounding does not make rank 1000 of 99.9 percent of 1000
        let rank = (p.clamp(0.0, 100.0) / 100.0 * self.count as f64 - 1e-6)
            .ceil()
            .max(1.0) as u64;
        let mut passed = 0;
        for (index, count) in self.buckets() {
            passed += count;
            if passed >= rank {
                return middle(index).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// The counts alone in the HdrHistogram V2 format, as other tools read it; `None` when empty.
    pub fn to_hdr_v2(&self) -> Option<Vec<u8>> {
        let mut out = Writer(Vec::new());
        for number in [COOKIE, 0, 0, DIGITS] {
            out.0.extend_from_slice(&number.to_be_bytes());
        }
        out.0.extend_from_slice(&1u64.to_be_bytes());
        out.0.extend_from_slice(&MAX_MICROS.to_be_bytes());
        out.0.extend_from_slice(&1f64.to_be_bytes());
        let mut next = 0;
        for (index, count) in self.buckets() {
            let place = v2_place(index);
            match place - next {
                0 => {}
                1 => out.number(0),
                // zigzag: a run of zeros is a negative number
                zeros => out.number(2 * zeros - 1),
            }
            out.number(count << 1);
            next = place + 1;
        }
        let length = (out.0.len() - HEADER) as u32;
        out.0[4..8].copy_from_slice(&length.to_be_bytes());
        (!self.is_empty()).then_some(out.0)
    }

    /// Encodes the histogram: min, max, sum, clamped and the V2 format; nothing when empty.
    pub fn encode(&self) -> Vec<u8> {
        let Some(v2) = self.to_hdr_v2() else {
            return Vec::new();
        };
        let mut out = Writer(Vec::with_capacity(v2.len() + 32));
        for number in [
            self.min,
            self.max,
            (self.sum >> 64) as u64,
            self.sum as u64,
            self.clamped,
        ] {
            out.number(number);
        }
        out.0.extend_from_slice(&v2);
        out.0
    }

    /// Reads what [`encode`](Self::encode) wrote. Takes at most some 30 KB of memory, whatever the
    /// bytes say.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatsError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        let mut reader = Reader(bytes);
        let (min, max, high, low, clamped) = (
            reader.number()?,
            reader.number()?,
            reader.number()?,
            reader.number()?,
            reader.number()?,
        );
        let Decoded {
            counts,
            count,
            ends,
        } = decode_v2(reader.0)?;
        let sum = u128::from(high) << 64 | u128::from(low);
        let fits = sum <= u128::from(count) * u128::from(MAX_MICROS)
            && count >= clamped
            && (1..=max).contains(&min)
            && max <= MAX_MICROS
            && ends == Some((index(min), index(max)));
        if !fits {
            return Err(StatsError::Malformed(
                "a histogram's counts and its minimum and maximum do not agree",
            ));
        }
        Ok(Self {
            counts: Some(counts),
            count,
            min,
            max,
            sum,
            clamped,
        })
    }

    /// Buckets with samples, in ascending order: index and count.
    fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().flat_map(Counts::iter)
    }

    /// Memory on the heap, in bytes; [`encode`](Self::encode) takes no more than about that.
    pub(super) fn heap(&self) -> usize {
        self.counts.as_ref().map_or(0, |counts| {
            PAGES * 2 + counts.pages.capacity() * size_of::<Page>() + counts.carries.len() * 16
        })
    }
}

impl Eq for Histogram {}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            counts: _,
            count,
            min,
            max,
            sum,
            clamped,
        } = self;
        (*count, *min, *max, *sum, *clamped)
            == (other.count, other.min, other.max, other.sum, other.clamped)
            && self.buckets().eq(other.buckets())
    }
}

/// Index of the bucket of a time from 1 us to 1 h.
const fn index(us: u64) -> usize {
    let bits = 63 - (us | 1).leading_zeros();
    let shift = bits.saturating_sub(HALF.ilog2());
    (shift as u64 * HALF + (us >> shift)) as usize
}

/// Smallest time of a bucket.
fn lowest(index: usize) -> u64 {
    match index as u64 / HALF {
        0 | 1 => index as u64,
        doubling => (index as u64 % HALF + HALF) << (doubling - 1),
    }
}

/// Largest time of a bucket.
fn highest(index: usize) -> u64 {
    lowest(index + 1) - 1
}

/// Time that a bucket stands for.
fn middle(index: usize) -> u64 {
    lowest(index) + (highest(index) - lowest(index)) / 2
}

/// Position of a bucket in the V2 format, which has twice as many: readers of it take the end of a
/// bucket, and the end of the lower half is the middle of ours.
fn v2_place(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * HALF {
        index
    } else {
        2 * index - 2 * HALF
    }
}

/// Low 16 bits of the counts of some buckets; the few counts that exceed them have the rest in
/// [`Counts::carries`].
///
/// Each is a line of the processor's cache: of thousands of histograms most are fetched from memory.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Page([u16; PAGE]);

/// Counts of the buckets, with memory only for the ranges that have samples.
#[derive(Debug, Clone)]
struct Counts {
    /// Position in `pages`, counted from 1, of each range of buckets; 0: it has no samples.
    places: Box<[u16; PAGES]>,
    pages: Vec<Page>,
    /// Number of times that a bucket's count has passed 16 bits.
    carries: BTreeMap<u16, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            places: Box::new([0; PAGES]),
            pages: Vec::new(),
            carries: BTreeMap::new(),
        }
    }
}

impl Counts {
    fn add(&mut self, index: usize, count: u64) {
        let place = match self.places[index / PAGE] {
            0 => self.open(index / PAGE),
            place => place,
        };
        let slot = &mut self.pages[usize::from(place) - 1].0[index % PAGE];
        let sum = u64::from(*slot) + count;
        *slot = sum as u16;
        if sum > u64::from(u16::MAX) {
            *self.carries.entry(index as u16).or_default() += sum >> u16::BITS;
        }
    }

    #[cold]
    fn open(&mut self, page: usize) -> u16 {
        if self.pages.len() == self.pages.capacity() {
            // grows by a quarter and not to the double, since there may be thousands of histograms
            self.pages.reserve_exact((self.pages.len() / 4).max(4));
        }
        self.pages.push(Page([0; PAGE]));
        self.places[page] = self.pages.len() as u16;
        self.places[page]
    }

    fn merge(&mut self, other: &Counts) {
        for (page, theirs) in other.opened() {
            let place = match self.places[page] {
                0 => self.open(page),
                place => place,
            };
            let ours = &mut self.pages[usize::from(place) - 1];
            if add_page(ours, theirs) {
                let wrapped = (0..PAGE).filter(|slot| ours.0[*slot] < theirs.0[*slot]);
                for index in wrapped.map(|slot| page * PAGE + slot) {
                    *self.carries.entry(index as u16).or_default() += 1;
                }
            }
        }
        for (index, carries) in &other.carries {
            // the page may be new here, where the low bits of the count are 0
            self.add(usize::from(*index), carries << u16::BITS);
        }
    }

    /// Takes out counts, as far as they are there.
    fn remove(&mut self, other: &Counts) {
        for (index, count) in other.iter() {
            let left = self.of(index).saturating_sub(count);
            if let Some(place) = usize::from(self.places[index / PAGE]).checked_sub(1) {
                self.pages[place].0[index % PAGE] = left as u16;
            }
            self.carries.remove(&(index as u16));
            if left > u64::from(u16::MAX) {
                self.carries.insert(index as u16, left >> u16::BITS);
            }
        }
    }

    /// Ranges of buckets that have memory, in ascending order, with their counts.
    fn opened(&self) -> impl Iterator<Item = (usize, &Page)> {
        let opened = self.places.iter().enumerate();
        opened
            .filter(|(_, place)| **place > 0)
            .map(|(page, place)| (page, &self.pages[usize::from(*place) - 1]))
    }

    fn of(&self, index: usize) -> u64 {
        let low = usize::from(self.places[index / PAGE])
            .checked_sub(1)
            .map_or(0, |place| self.pages[place].0[index % PAGE]);
        self.carried(index, low)
    }

    fn carried(&self, index: usize, low: u16) -> u64 {
        u64::from(low)
            + self
                .carries
                .get(&(index as u16))
                .map_or(0, |carries| carries << u16::BITS)
    }

    /// Buckets with samples, in ascending order: index and count.
    fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        let slots = self.opened().flat_map(|(page, counts)| {
            let slots = counts.0.iter().enumerate();
            slots.map(move |(slot, low)| (page * PAGE + slot, *low))
        });
        slots
            .map(|(index, low)| (index, self.carried(index, low)))
            .filter(|(_, count)| *count > 0)
    }

    /// First and last bucket with samples.
    fn ends(&self) -> Option<(usize, usize)> {
        let mut buckets = self.iter().map(|(index, _)| index);
        let first = buckets.next()?;
        Some((first, buckets.last().unwrap_or(first)))
    }
}

/// Adds counts to those of a page. Returns whether a count has passed 16 bits: its low bits are then
/// less than what was added. Without a branch, so that many are added at once.
fn add_page(ours: &mut Page, theirs: &Page) -> bool {
    let mut has_passed = false;
    for (own, more) in ours.0.iter_mut().zip(&theirs.0) {
        let sum = own.wrapping_add(*more);
        has_passed |= sum < *more;
        *own = sum;
    }
    has_passed
}

/// Content of the V2 format.
struct Decoded {
    counts: Counts,
    /// Number of samples.
    count: u64,
    /// First and last bucket with samples; `None` without any.
    ends: Option<(usize, usize)>,
}

/// Reads the V2 format as this version writes it. No memory is taken by what the header says, and no
/// number can make it overflow: each is a count, or if negative a run of zeros.
fn decode_v2(bytes: &[u8]) -> Result<Decoded, StatsError> {
    let header = bytes.get(..HEADER).ok_or(StatsError::Truncated)?;
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let lowest = u64::from_be_bytes(header[16..24].try_into().expect("8 bytes"));
    if (word(0), word(8), word(12), lowest) != (COOKIE, 0, DIGITS, 1) {
        return Err(StatsError::Malformed(
            "a histogram has another format, range or precision",
        ));
    }
    if word(4) as usize != bytes.len() - HEADER {
        return Err(StatsError::Truncated);
    }
    let mut numbers = &bytes[HEADER..];
    let mut counts = Counts::default();
    let (mut place, mut total) = (0u64, 0u64);
    let mut ends: Option<(usize, usize)> = None;
    while !numbers.is_empty() {
        let number = zigzag(&mut numbers)?;
        if number < 0 {
            place = place.saturating_add(number.unsigned_abs());
            continue;
        }
        total = total
            .checked_add(number as u64)
            .filter(|total| *total <= i64::MAX as u64)
            .ok_or(StatsError::Malformed("a histogram's counts overflow"))?;
        let value = value_at(place)
            .filter(|value| *value <= MAX_MICROS)
            .ok_or(StatsError::Malformed("a histogram reaches beyond an hour"))?;
        if number > 0 {
            let last = index(value);
            counts.add(last, number as u64);
            ends = Some((ends.map_or(last, |(first, _)| first), last));
        }
        place += 1;
    }
    Ok(Decoded {
        counts,
        count: total,
        ends,
    })
}

/// Lowest value of a position in the V2 format's counts: single microseconds first, then 1024
/// positions for each doubling.
fn value_at(place: u64) -> Option<u64> {
    match place / 1024 {
        0 | 1 => Some(place),
        doubling if doubling <= 32 => Some((place % 1024 + 1024) << (doubling - 1)),
        _ => None,
    }
}

/// Reads a number of the V2 format: LEB128 in which a ninth byte is taken whole, zigzag for the
/// sign.
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
    use hdrhistogram::Histogram as Hdr;
    use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        samples.iter().for_each(|us| histogram.record(*us));
        histogram
    }

    /// Samples over all magnitudes.
    fn samples() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(
            (0u32..33, 0u64..1 << 32).prop_map(|(bits, seed)| (1u64 << bits) + seed % (1 << bits)),
            0..200,
        )
    }

    #[test]
    fn nothing_recorded_summarises_to_zero() {
        let histogram = Histogram::new();
        assert_eq!(
            (
                histogram.count(),
                histogram.min(),
                histogram.max(),
                histogram.percentile(99.0)
            ),
            (0, 0, 0, 0)
        );
        assert_eq!(histogram.mean(), 0.0);
        assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
    }

    #[test]
    fn values_out_of_range_are_clamped_and_counted() {
        let histogram = of(&[0, 5, MAX_MICROS + 1, u64::MAX]);
        assert_eq!(
            (
                histogram.min(),
                histogram.max(),
                histogram.clamped(),
                histogram.count()
            ),
            (1, MAX_MICROS, 2, 4)
        );
    }

    #[test]
    fn ranks_are_exact() {
        let thousand = of(&(1..=1000).collect::<Vec<_>>());
        assert_eq!(
            [50.0, 99.0, 99.9, 100.0, 0.0].map(|p| thousand.percentile(p)),
            [500, 990, 999, 1000, 1]
        );
        assert_eq!(thousand.mean(), 500.5);
    }

    #[test]
    fn a_small_series_is_small() {
        assert!(of(&[100, 90_000]).encode().len() < 100);
    }

    #[test]
    fn every_bucket_begins_where_the_one_before_it_ends() {
        for bucket in 0..PAGES * PAGE - 1 {
            assert_eq!(
                (index(lowest(bucket)), index(highest(bucket))),
                (bucket, bucket)
            );
            assert_eq!(highest(bucket) + 1, lowest(bucket + 1));
        }
        assert!(index(MAX_MICROS) < PAGES * PAGE);
    }

    #[test]
    fn a_count_may_pass_32_bits() {
        let mut histogram = of(&[7]);
        for _ in 0..40 {
            let twice = histogram.clone();
            histogram.merge(&twice);
        }
        histogram.merge(&of(&[9]));
        assert_eq!(
            (histogram.count(), histogram.count_up_to(7)),
            ((1 << 40) + 1, 1 << 40)
        );
        assert_eq!(
            Histogram::decode(&histogram.encode()).as_ref(),
            Ok(&histogram)
        );
        let most = histogram.clone();
        histogram.merge(&of(&[7]));
        histogram.remove(&most);
        assert_eq!(histogram, of(&[7]));
    }

    #[test]
    fn a_count_that_is_kept_apart_alone_is_merged_too() {
        let mut many = of(&[7]);
        for _ in 0..16 {
            let twice = many.clone();
            many.merge(&twice);
        }
        let mut histogram = of(&[70_000]);
        histogram.merge(&many);
        assert_eq!(
            (histogram.count_up_to(7), histogram.percentile(50.0)),
            (1 << 16, 7)
        );
        assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
    }

    #[test]
    fn taking_out_everything_leaves_nothing() {
        let mut histogram = of(&[5, 70_000, MAX_MICROS * 2]);
        histogram.remove(&histogram.clone());
        assert_eq!(histogram, Histogram::new());
    }

    #[test]
    fn counts_beyond_an_hour_are_refused() {
        let mut counts = Hdr::<u64>::new(DIGITS as u8).unwrap();
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
        fn other_tools_read_the_same_from_the_v2_format(samples in samples(), p in 0.0..100.0f64) {
            prop_assume!(!samples.is_empty());
            let histogram = of(&samples);
            let read: Hdr<u64> = Deserializer::new().deserialize(&mut histogram.to_hdr_v2().unwrap().as_slice()).unwrap();
            prop_assert_eq!(read.len(), histogram.count());
            let (theirs, ours) = (read.value_at_percentile(p), histogram.percentile(p));
            prop_assert!(theirs.abs_diff(ours) as f64 <= (ours as f64 / 1000.0).max(1.0), "{theirs} is not {ours}");
        }

        #[test]
        fn what_is_taken_out_was_never_there(kept in samples(), gone in samples()) {
            let mut histogram = of(&kept);
            histogram.merge(&of(&gone));
            histogram.remove(&of(&gone));
            let only_kept = of(&kept);
            prop_assert_eq!((histogram.count(), histogram.sum(), histogram.clamped()), (only_kept.count(), only_kept.sum(), only_kept.clamped()));
            for p in [50.0, 99.0] {
                let (got, exact) = (histogram.percentile(p), only_kept.percentile(p));
                prop_assert!(got.abs_diff(exact) as f64 <= (exact as f64 / 1000.0).max(1.0));
            }
            let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= (b as f64 / 500.0).max(1.0);
            prop_assert!(near(histogram.min(), only_kept.min()) && near(histogram.max(), only_kept.max()));
            prop_assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
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
