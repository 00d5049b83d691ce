//! The wire decoders under cargo-fuzz.

use std::sync::atomic::{AtomicU8, Ordering};

const COUNTERS: usize = 256;

/// Counters that libFuzzer treats like counters of reached code. It therefore keeps an input that leads to a new
/// outcome even if that input takes the same branches as another one.
#[used]
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

/// Records that a decoder had this outcome.
pub fn reached(outcome: &'static str) {
    let place = outcome.bytes().fold(0, |place: usize, byte| place.wrapping_mul(31) + usize::from(byte));
    REACHED[place % COUNTERS].store(1, Ordering::Relaxed);
}
