//! Writes that every processor sees before the reads that follow them.

use core::arch::asm;

/// Writes a word, and returns what stood there. BPF's atomic operations that return a value are full barriers, on every
/// architecture: other processors see all that this one wrote before no later than the word, and what this one reads
/// afterwards is read after the word was written.
#[inline(always)]
pub fn exchange(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: an aligned word of a map's entry, by the callers. In assembler, as the compiler knows atomic operations of no
    // BPF processor that it is told to compile for by default.
    unsafe {
        asm!(
            "{value} = xchg_64({word} + 0, {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
    }
    value
}
