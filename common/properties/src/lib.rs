//! Properties that each decoder in `common::wire` has for any input.
//!
//! Both the targets of cargo-fuzz and the ordinary test beside this library call these functions. Each of them panics
//! if its decoder lacks a property, and otherwise reports the outcome to `seen`.

#![warn(missing_docs)]
#![allow(clippy::missing_panics_doc, reason = "every function panics if its property does not hold")]

mod advert;
mod headers;
mod neighbor;
mod peer;

use std::cell::Cell;

use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::{Packet, Summed, Truncated};

pub use advert::{advert, advert_ipv6};
pub use headers::{arp, ethernet, ipv4, ipv6};
pub use neighbor::icmpv6;

/// Function that is called with the outcome of a decoder.
pub type Seen<'a> = &'a mut dyn FnMut(&'static str);

/// A decoder with the name of its target and corpus, and every outcome that the corpus must bring about.
#[derive(Debug)]
pub struct Target {
    /// Name of the decoder, which is also that of its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Checks the properties for one input. Panics if one does not hold.
    pub check: fn(&[u8], Seen<'_>),
    /// Every outcome that the corpus must bring about.
    pub outcomes: &'static [&'static str],
}

/// All decoders.
pub const TARGETS: &[Target] = &[
    Target {
        name: "advert",
        check: advert,
        outcomes: &[
            "version 3",
            "version 2",
            "Version",
            "Type",
            "NoAddress",
            "Length",
            "Checksum",
            "IntervalZero",
            "IntervalMismatch",
            "Authentication",
            "OwnSource",
        ],
    },
    Target {
        name: "advert_ipv6",
        check: advert_ipv6,
        outcomes: &[
            "version 3",
            "Version",
            "Type",
            "NoAddress",
            "Length",
            "Checksum",
            "IntervalZero",
            "FirstAddress",
            "OwnSource",
        ],
    },
    Target { name: "arp", check: arp, outcomes: &["for us", "other hardware or protocol", "truncated"] },
    Target { name: "ethernet", check: ethernet, outcomes: &["untagged", "tagged", "tag in tag", "truncated"] },
    Target {
        name: "icmpv6",
        check: icmpv6,
        outcomes: &["solicitation", "advertisement", "wrong checksum", "something else", "truncated"],
    },
    Target { name: "ipv4", check: ipv4, outcomes: &["whole", "first", "later", "malformed", "truncated"] },
    Target { name: "ipv6", check: ipv6, outcomes: &["ipv6", "malformed", "truncated"] },
];

/// Ethernet padding after a packet, which must not affect the outcome.
const PADDING: [u8; 46] = [0xee; 46];

fn padded(bytes: &[u8]) -> Vec<u8> {
    [bytes, &PADDING].concat()
}

/// A packet that records how far it was read.
struct Watched<'a> {
    bytes: &'a [u8],
    end: Cell<usize>,
}

impl<'a> Watched<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, end: Cell::new(0) }
    }
}

impl Packet for Watched<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        let read = self.bytes.read(offset)?;
        self.end.set(self.end.get().max(offset + N));
        Ok(read)
    }
}

impl Summed for Watched<'_> {
    fn sum(&self, offset: usize, length: usize) -> Result<Sum, Truncated> {
        let sum = self.bytes.sum(offset, length)?;
        self.end.set(self.end.get().max(offset + length));
        Ok(sum)
    }
}
