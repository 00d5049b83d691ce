//! Writes that become visible to every processor before the reads that follow them.

use core::arch::asm;

/// Writes a word and returns the one that it replaced. BPF's atomic operations that return a value are full barriers on
/// every architecture. A processor that sees the new word also sees everything that this one wrote before it, and
/// everything that this one reads afterwards is read after the word was written.
#[inline(always)]
pub fn exchange(word: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: every caller passes an aligned word of a map's entry. This is written in assembler because the compiler's
    // default BPF processor has no atomic operations.
    unsafe {
        asm!(
            "{value} = xchg_64({word} + 0, {value})",
            word = in(reg) word,
            value = inout(reg) value,
        );
    }
    value
}
