//! The internet checksum (RFC 1071).

/// A ones' complement sum of 16-bit words in network order, folded to 16 bits.
///
/// It is zero only if every summed byte was zero, because carries are added back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Sum(u16);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of a message that contains its own, correct checksum (RFC 1071 1).
    pub const VALID: Self = Self(0xffff);

    /// Makes a sum from a number without carries.
    pub const fn new(folded: u16) -> Self {
        Self(folded)
    }

    /// Sums the bytes. An odd last byte is padded with zero.
    #[inline(always)]
    pub fn of(bytes: &[u8]) -> Self {
        let (words, odd) = bytes.as_chunks::<2>();
        // Overflows only after more than 0x10000 words, which is far longer than any packet.
        let mut sum: u32 = 0;
        for word in words {
            sum += u32::from(u16::from_be_bytes(*word));
        }
        if let [last] = odd {
            sum += u32::from(*last) << 8;
        }
        Self::fold(sum)
    }

    /// Adds two sums (RFC 1071).
    #[inline(always)]
    pub const fn add(self, other: Self) -> Self {
        Self::fold(self.0 as u32 + other.0 as u32)
    }

    /// Returns the sum as a number, not complemented.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the checksum field for a message that was summed with this field set to zero.
    pub const fn checksum(self) -> [u8; 2] {
        (!self.0).to_be_bytes()
    }

    /// Returns the checksum field of a message after words at even offsets have changed from `old` to `new` (RFC 1624
    /// 3, equation 3).
    #[inline(always)]
    pub fn updated(checksum: [u8; 2], old: &[u8], new: &[u8]) -> [u8; 2] {
        let before = Self(!u16::from_be_bytes(checksum));
        before.add(Self(!Self::of(old).0)).add(Self::of(new)).checksum()
    }

    /// Returns whether this is the sum of a message that contains its own, correct checksum.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.0 == Self::VALID.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "the second fold leaves no carry")]
    #[inline(always)]
    const fn fold(sum: u32) -> Self {
        let sum = (sum & 0xffff) + (sum >> 16);
        Self(((sum & 0xffff) + (sum >> 16)) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_has_the_sum_that_is_printed_there() {
        // RFC 1071 3
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.get(), 0xddf2);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(Sum::of(&[0x12]), Sum::of(&[0x12, 0x00]));
    }

    proptest! {
        #[test]
        fn a_message_with_its_checksum_is_valid(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let checksum = Sum::of(&bytes).checksum();
            prop_assert!(Sum::of(&bytes).add(Sum::of(&checksum)).is_valid());
        }

        #[test]
        fn an_updated_checksum_is_valid_for_the_changed_message(
            mut words in proptest::collection::vec(any::<[u8; 2]>(), 4..40),
            new in any::<[[u8; 2]; 3]>(),
        ) {
            let checksum = Sum::of(words.as_flattened()).checksum();
            let old = [words[1], words[2], words[3]];
            words[1..4].copy_from_slice(&new);
            let updated = Sum::updated(checksum, old.as_flattened(), new.as_flattened());
            prop_assert!(Sum::of(words.as_flattened()).add(Sum::of(&updated)).is_valid());
        }

        #[test]
        fn sums_of_parts_add_up_to_the_sum_of_the_whole(
            words in proptest::collection::vec(any::<[u8; 2]>(), 0..100),
            at in 0_usize..100,
        ) {
            let bytes = words.as_flattened();
            let (head, tail) = bytes.split_at((2 * at).min(bytes.len()));
            prop_assert_eq!(Sum::of(head).add(Sum::of(tail)), Sum::of(bytes));
        }
    }
}
