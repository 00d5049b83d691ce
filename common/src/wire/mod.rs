//! Wire formats, one protocol per file.
//!
//! The decoders are generic over [`Packet`], so that the kernel half, which reads behind bounds checks that the verifier
//! must understand, and user space, which reads a slice, run the same code. The emitters write into the caller's
//! buffer.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod vrrp;

use checksum::Sum;

/// The packet ends before what was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

/// A frame, wherever its bytes live.
pub trait Packet {
    /// The `N` bytes from `offset` on.
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated>;
}

/// A frame whose bytes can be summed where they are.
pub trait Summed: Packet {
    /// The ones' complement sum of `length` bytes from `offset` on. `length` is a multiple of four below
    /// [`MAX_SUMMED`]; a longer one is [`Truncated`].
    fn sum(&self, offset: usize, length: usize) -> Result<Sum, Truncated>;
}

/// The length that [`Summed::sum`] cannot reach: more than an Ethernet frame of the usual size has, and 128 IPv6 addresses.
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
    fn a_slice_is_read_to_its_last_byte_and_no_further() {
        let packet: &[u8] = &[1, 2, 3, 4];
        assert_eq!(packet.read::<2>(2), Ok([3, 4]));
        assert_eq!(packet.read::<2>(3), Err(Truncated));
        assert_eq!(packet.read::<1>(usize::MAX), Err(Truncated));
        assert_eq!(packet.sum(0, 4), Ok(Sum::of(&[1, 2, 3, 4])));
        assert_eq!(packet.sum(1, 4), Err(Truncated));
        assert_eq!(packet.sum(usize::MAX, 4), Err(Truncated));
    }
}
