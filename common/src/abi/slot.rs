//! What the kernel half knows of each virtual router, by its slot, and how a hash map leads there.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, Router, RouterKey};

/// The value of a hash map, with a digest of the key it belongs to. A reader whose element was freed and reused for
/// another key finds the digest of that key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Checked {
    /// The value that was put in.
    pub value: u32,
    /// The [`digest`] of the key.
    pub digest: u32,
}

/// Tells keys of three words apart, all but one pair in four billion.
#[inline(always)]
pub const fn digest([place, high, low]: [u64; 3]) -> u32 {
    // Odd numbers without a pattern. The products do not depend on each other, so a processor computes them side by side.
    let sum = place
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(high.wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_add(low.wrapping_mul(0xa076_1d64_78bd_642f));
    (sum >> 32) as u32
}

/// What the kernel half knows of the virtual router in a slot, and its lease. The first eight words, which every frame may
/// need, are a cache line.
///
/// Each field before [`Self::fixed`] is a word or consists of words; both sides read and write each word whole, so a reader
/// sees what was before or what is after. A reader that came by a hash map compares [`Self::key`]: a slot is given to
/// another virtual router only long after the maps named the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotEntry {
    /// All zero while the slot is free.
    pub key: RouterKey,
    /// Role, flags and priority.
    pub state: StateWord,
    /// [`Router::answer_mac`].
    pub answer_mac: MacWord,
    /// [`Router::interface_mac`].
    pub interface_mac: MacWord,
    /// Until when this host may serve.
    pub lease: Lease,
    /// Counts the changes of [`Self::fixed`]; the lowest bit says which of the two is in force. A change writes the other one
    /// first, so a reader has until the second change after its look.
    pub generation: u64,
    /// What changes only with the configuration: the generation says which of the two is in force.
    pub fixed: [Fixed; 2],
}

/// The part of a [`Router`] that changes while it runs, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StateWord {
    /// The fields of [`Router`] by these names.
    pub role: u8,
    /// As in [`Router::flags`].
    pub flags: u8,
    /// As in [`Router::priority`].
    pub priority: u8,
    /// As in [`Router::version`].
    pub version: u8,
    /// As in [`Router::checksum`].
    pub checksum: u8,
    /// As in [`Router::auth_type`].
    pub auth_type: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// A MAC address in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MacWord {
    /// The MAC.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// The part of a [`Router`] that is as the configuration has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fixed {
    /// The fields of [`Router`] by these names.
    pub primary: Address,
    /// As in [`Router::auth_data`].
    pub auth_data: [u8; 8],
    /// As in [`Router::advert_interval`].
    pub advert_interval: u64,
}

impl Router {
    /// The part of it in [`SlotEntry::state`].
    pub const fn state(&self) -> StateWord {
        let Self { role, flags, priority, version, checksum, auth_type, .. } = *self;
        StateWord { role, flags, priority, version, checksum, auth_type, reserved: [0; 2] }
    }

    /// The part of it in [`SlotEntry::fixed`].
    pub const fn fixed(&self) -> Fixed {
        Fixed { primary: self.primary, auth_data: self.auth_data, advert_interval: self.advert_interval }
    }
}

impl SlotEntry {
    /// The virtual router in this slot, which has this number.
    pub fn router(&self, slot: u32) -> Router {
        let [even, odd] = self.fixed;
        let Fixed { primary, auth_data, advert_interval } = if self.generation & 1 == 0 { even } else { odd };
        let StateWord { role, flags, priority, version, checksum, auth_type, .. } = self.state;
        let (answer_mac, interface_mac) = (self.answer_mac.mac, self.interface_mac.mac);
        Router {
            primary,
            auth_data,
            advert_interval,
            slot,
            role,
            flags,
            priority,
            version,
            checksum,
            auth_type,
            answer_mac,
            interface_mac,
        }
    }
}

/// Until when an Active router may serve: past it, the kernel half answers and admits nothing on its behalf, whatever the
/// role says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lease {
    /// On the boot-time clock in nanoseconds. Both sides write it as one word; no two leases end at the same moment.
    pub until: u64,
    /// The kernel half's own: as long as the kernel's tick counter is below [`Self::sure_before`], the lease that ends at
    /// this moment runs, and the clock need not be read.
    pub sure_of: u64,
    /// The tick counter up to which that lease surely runs.
    pub sure_before: u64,
}

impl Lease {
    /// [`Self::until`] of no lease: nothing is served.
    pub const ENDED: u64 = 0;
    /// [`Self::until`] of a lease that never ends (`lease = "off"`).
    pub const UNLIMITED: u64 = u64::MAX;
}

macro_rules! words {
    ($($type:ident)*) => {
        $(impl $type {
            /// From the word that it is in the maps.
            #[inline(always)]
            pub const fn from_word(word: u64) -> Self {
                zerocopy::transmute!(word)
            }
        })*
    };
}

words! { RouterKey StateWord MacWord Checked }

const _: () = {
    assert!(size_of::<SlotEntry>() == 128);
    assert!(size_of::<StateWord>() == 8 && size_of::<MacWord>() == 8 && size_of::<Checked>() == 8);
    assert!(size_of::<Lease>() == 24);
    assert!(offset_of!(SlotEntry, fixed) == 64);
};
