//! The wire decoders under cargo-fuzz.

use std::sync::atomic::{AtomicU8, Ordering};

const COUNTERS: usize = 256;

/// libFuzzer looks at these as at the code that was reached, and so keeps an input that ends in another way even if it takes
/// the same branches.
#[used]
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static REACHED: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

/// A decoder has ended in this way.
pub fn reached(outcome: &'static str) {
    let place = outcome.bytes().fold(0, |place: usize, byte| place.wrapping_mul(31) + usize::from(byte));
    REACHED[place % COUNTERS].store(1, Ordering::Relaxed);
}
