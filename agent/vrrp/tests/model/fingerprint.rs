//! Fingerprints of states. States that differ only in the current time have the same fingerprint.

use std::hash::{Hash, Hasher};

/// Start of time. Instants are above half of this, intervals below.
pub const EPOCH: u64 = 1 << 40;
/// An instant that never comes.
const NEVER: u64 = u64::MAX;

/// Hashes every instant as its distance from now. All instants that are longer ago than `memory` are equal.
#[derive(Debug)]
pub struct Fingerprint {
    state: u128,
    now: u64,
    memory: u64,
}

impl Fingerprint {
    pub const fn new(memory: u64) -> Self {
        Self { state: 0x6a09_e667_f3bc_c908_bb67_ae85_84ca_a73b, now: EPOCH, memory }
    }

    /// Hashes a part of the state that uses a clock with this time.
    pub fn at(&mut self, now: u64, part: impl Hash) {
        self.now = now;
        part.hash(self);
    }

    pub const fn get(&self) -> u128 {
        self.state
    }

    fn mix(&mut self, word: u64) {
        let mixed = (self.state ^ u128::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.state = mixed ^ (mixed >> 67);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let is_instant = (EPOCH / 2..NEVER).contains(&value);
        self.mix(if is_instant { value.max(self.now - self.memory).wrapping_sub(self.now) } else { value });
    }

    fn finish(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is enough for a hash table")]
        let half = self.state as u64;
        half
    }
}
