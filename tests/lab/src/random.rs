//! A reproducible source of random numbers.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Creates a generator. The same seed leads to the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number. All numbers are equally likely.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `count`, which must not be 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.number() % count as u64).unwrap_or_default()
    }

    /// Returns `true` with a probability of this many percent.
    pub fn happens(&mut self, percent: u8) -> bool {
        self.number() % 100 < u64::from(percent)
    }

    /// Returns a duration up to and including `max`, in whole milliseconds.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX - 1);
        Duration::from_millis(self.number() % (max + 1))
    }

    /// Returns a duration from `min` to `max`, in whole milliseconds. Each order of magnitude is equally likely.
    pub fn any_length(&mut self, min: Duration, max: Duration) -> Duration {
        let share = f64::from(u32::try_from(self.number() % 1001).unwrap_or_default()) / 1000.0;
        let ratio = max.as_secs_f64() / min.as_secs_f64();
        let length = Duration::from_secs_f64(min.as_secs_f64() * ratio.powf(share));
        Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or_default())
    }
}
