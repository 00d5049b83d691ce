//! Wire formats, one protocol per file.
//!
//! The decoders are generic over [`Packet`], so that both halves run the same code: the kernel half, whose bounds
//! checks the verifier must understand, and user space, which reads from a slice. The emitters return arrays or write
//! to a buffer of the caller.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod vrrp;

use checksum::Sum;

/// Error of a read beyond the end of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// A frame in any kind of memory.
pub trait Packet {
    /// Reads the `N` bytes at `offset`.
    ///
    /// # Errors
    /// The frame ends before these bytes do.
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated>;
}

/// A frame whose bytes can be summed in place.
pub trait Summed: Packet {
    /// Returns the ones' complement sum of the `length` bytes at `offset`. `length` is a multiple of four and less than
    /// [`MAX_SUMMED`].
    ///
    /// # Errors
    /// The frame ends before these bytes do, or the length is too great.
    fn sum(&self, offset: usize, length: usize) -> Result<Sum, Truncated>;
}

/// Limit that the length in [`Summed::sum`] must stay below. It exceeds the size of an ordinary Ethernet frame, and
/// equals 128 IPv6 addresses.
pub const MAX_SUMMED: usize = 2048;

impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        self.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(Truncated)
    }
}

impl Summed for [u8] {
    fn sum(&self, offset: usize, length: usize) -> Result<Sum, Truncated> {
        if length >= MAX_SUMMED {
            return Err(Truncated);
        }
        let end = offset.checked_add(length).ok_or(Truncated)?;
        Ok(Sum::of(self.get(offset..end).ok_or(Truncated)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_up_to_its_last_byte_and_no_further() {
        let packet: &[u8] = &[1, 2, 3, 4];
        assert_eq!(packet.read::<2>(2), Ok([3, 4]));
        assert_eq!(packet.read::<2>(3), Err(Truncated));
        assert_eq!(packet.read::<1>(usize::MAX), Err(Truncated));
        assert_eq!(packet.sum(0, 4), Ok(Sum::of(&[1, 2, 3, 4])));
        assert_eq!(packet.sum(1, 4), Err(Truncated));
        assert_eq!(packet.sum(usize::MAX, 4), Err(Truncated));
    }
}
