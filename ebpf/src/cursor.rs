//! Checked reads, writes and sums in a frame. No other file does arithmetic on packet pointers.

use core::ptr;

use aya_ebpf::bindings::bpf_hdr_start_off::BPF_HDR_START_NET;
use aya_ebpf::helpers::{bpf_csum_diff, bpf_skb_load_bytes_relative, bpf_xdp_adjust_tail};
use aya_ebpf::programs::{TcContext, XdpContext};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::{MAX_SUMMED, Packet, Summed, Truncated};

/// A frame that has arrived, as XDP sees it.
pub struct Frame<'a> {
    start: *mut u8,
    end: *mut u8,
    ifindex: u32,
    context: &'a XdpContext,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    #[expect(clippy::disallowed_methods, reason = "packet pointers are taken here and nowhere else")]
    pub fn new(context: &'a XdpContext) -> Self {
        Self {
            start: context.data() as *mut u8,
            end: context.data_end() as *mut u8,
            // SAFETY: the kernel passes a valid context.
            ifindex: unsafe { (*context.ctx).ingress_ifindex },
            context,
        }
    }

    /// Returns the interface that the frame arrived on.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Returns the length of the frame in bytes.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "no frame is that long")]
        let length = (self.end as usize).wrapping_sub(self.start as usize) as u32;
        length
    }

    /// Returns the context, which the kernel's helpers take as an argument.
    #[inline(always)]
    pub fn context(&self) -> &'a XdpContext {
        self.context
    }

    /// Overwrites the bytes at `offset`.
    #[inline(always)]
    pub fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Truncated> {
        let at = self.check(self.start.wrapping_add(offset), N)?;
        // SAFETY: the frame has `N` bytes from `offset` on, and XDP frames are writable.
        unsafe { ptr::write_unaligned(at.cast(), bytes) };
        Ok(())
    }

    /// Adds `bytes` bytes at the end of the frame. Fails if the driver has no room for them.
    #[inline(always)]
    pub fn grow(&mut self, bytes: usize) -> Result<(), Truncated> {
        let bytes = i32::try_from(bytes).map_err(|_| Truncated)?;
        // SAFETY: the context is valid, and the start and end of the frame are read again below.
        let grown = unsafe { bpf_xdp_adjust_tail(self.context.ctx, bytes) } == 0;
        *self = Self::new(self.context);
        if grown { Ok(()) } else { Err(Truncated) }
    }

    /// Returns `at` if the frame has `length` bytes there.
    #[inline(always)]
    fn check(&self, at: *mut u8, length: usize) -> Result<*mut u8, Truncated> {
        if at.wrapping_add(length) > self.end { Err(Truncated) } else { Ok(at) }
    }

    /// Adds `N` bytes to a sum in the kernel's own form.
    #[inline(always)]
    fn add<const N: u32>(&self, at: *mut u8, sum: u32) -> Result<u32, Truncated> {
        let at = self.check(at, N as usize)?;
        // SAFETY: the frame has `N` bytes there; the helper only reads them.
        let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, at.cast(), N, sum) };
        // Negative only if the length is not a multiple of four or exceeds 512, which no caller asks for.
        u32::try_from(sum).map_err(|_| Truncated)
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        let at = self.check(self.start.wrapping_add(offset), N)?;
        // SAFETY: the frame has `N` bytes from `offset` on.
        Ok(unsafe { ptr::read_unaligned(at.cast()) })
    }
}

impl Summed for Frame<'_> {
    /// Splits the length into powers of two, the largest first, because the helper takes constant lengths only.
    ///
    /// The start of a part is computed from the higher bits of the length instead of being counted up. That way, the
    /// verifier is in the same state after each part, whether the part was summed or not, and follows one path instead
    /// of two. The two offsets are added to the pointer one after the other. If they were added to each other first,
    /// the compiler would turn the addition into an `or` wherever their bits cannot overlap, and verifiers up to at
    /// least 6.1 lose track of the result.
    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Result<Sum, Truncated> {
        macro_rules! add_parts {
            ($start:ident, $sum:ident, $($part:literal)*) => {
                $(if length & $part != 0 {
                    let before = length & (MAX_SUMMED - 1) & !(2 * $part - 1);
                    $sum = self.add::<$part>($start.wrapping_add(before), $sum)?;
                })*
            };
        }
        if length >= MAX_SUMMED {
            return Err(Truncated);
        }
        let start = self.start.wrapping_add(offset);
        let mut sum = 0;
        // The helper sums at most 512 bytes at a time.
        if length & 1024 != 0 {
            sum = self.add::<512>(start, sum)?;
            sum = self.add::<512>(start.wrapping_add(512), sum)?;
        }
        add_parts!(start, sum, 512 256 128 64 32 16 8 4);
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        // The kernel sums words in the CPU's byte order. The sum of swapped words is the swapped sum (RFC 1071 2.B).
        #[expect(clippy::cast_possible_truncation, reason = "folded twice, no carry is left")]
        Ok(Sum::new(u16::from_be(folded as u16)))
    }
}

/// A frame that is about to leave, as TC sees it. Its bytes are read and written through helpers only, because the
/// packet may lie in several pieces.
pub struct Skb<'a>(&'a TcContext);

impl<'a> Skb<'a> {
    #[inline(always)]
    pub fn new(context: &'a TcContext) -> Self {
        Self(context)
    }

    /// Returns the interface that the frame leaves by.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    /// Returns the EtherType of the packet.
    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        // SAFETY: as above.
        let protocol = unsafe { (*self.0.skb.skb).protocol };
        #[expect(clippy::cast_possible_truncation, reason = "a __be16 in the kernel's structure")]
        u16::from_be(protocol as u16)
    }

    /// Returns the control information of a VLAN tag that the interface will add to the frame.
    #[inline(always)]
    pub fn pending_tag(&self) -> Option<u16> {
        // SAFETY: as above.
        let (present, tci) = unsafe { ((*self.0.skb.skb).vlan_present, (*self.0.skb.skb).vlan_tci) };
        #[expect(clippy::cast_possible_truncation, reason = "a u16 in the kernel's structure")]
        (present != 0).then_some(tci as u16)
    }

    /// Overwrites the bytes at `offset`.
    #[inline(always)]
    pub fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Truncated> {
        self.0.store(offset, &bytes, 0).map_err(|_| Truncated)
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        self.0.load(offset).map_err(|_| Truncated)
    }
}

/// `PACKET_OTHERHOST` of linux/if_packet.h.
const PACKET_OTHERHOST: u32 = 3;

/// A packet that has arrived, as TC sees it, from its network header on. Interfaces without Ethernet framing receive
/// packets too.
pub struct Network<'a>(&'a TcContext);

impl<'a> Network<'a> {
    #[inline(always)]
    pub fn new(context: &'a TcContext) -> Self {
        Self(context)
    }

    /// Returns the interface that the packet arrived on.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        Skb(self.0).ifindex()
    }

    /// Returns the protocol of the network header, as an EtherType.
    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        Skb(self.0).protocol()
    }

    /// Returns whether the packet is addressed to another MAC, and was received only because the interface is
    /// promiscuous.
    #[inline(always)]
    pub fn is_for_another_host(&self) -> bool {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.0.skb.skb).pkt_type == PACKET_OTHERHOST }
    }
}

impl Packet for Network<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        let (Ok(offset), Ok(length)) = (u32::try_from(offset), u32::try_from(N)) else { return Err(Truncated) };
        let mut bytes = [0; N];
        // SAFETY: the context is valid, and `bytes` has room for `length` bytes.
        let result = unsafe {
            let to = bytes.as_mut_ptr().cast();
            bpf_skb_load_bytes_relative(self.0.skb.skb.cast(), offset, to, length, BPF_HDR_START_NET)
        };
        if result == 0 { Ok(bytes) } else { Err(Truncated) }
    }
}
