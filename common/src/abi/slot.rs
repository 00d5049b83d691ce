//! The entries of virtual routers in the arrays that are indexed by slot, and the values by which hash maps lead to
//! them.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Address, Router, RouterKey};

/// A value in a hash map, with a digest of the key that it belongs to. If the element was freed and reused for another
/// key, its reader finds the digest of that key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Checked {
    /// The value itself.
    pub value: u32,
    /// The [`digest`] of the key.
    pub digest: u32,
}

/// Computes a digest of a key of three words. Two different keys have the same digest with a probability of one in four
/// billion.
#[inline(always)]
pub const fn digest([place, high, low]: [u64; 3]) -> u32 {
    // The factors are odd numbers without a pattern. The products are independent, so a processor computes them in
    // parallel.
    let sum = place
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(high.wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_add(low.wrapping_mul(0xa076_1d64_78bd_642f));
    (sum >> 32) as u32
}

/// Entry of the virtual router in a slot, with its lease. The first eight words, which any frame may need, fill one
/// cache line.
///
/// Each field before [`Self::fixed`] is a word or consists of words. Both sides read and write each word as a whole, so
/// a reader sees either the old or the new value. A reader that was led here by a hash map compares [`Self::key`]. A
/// slot is assigned to another virtual router only long after the hash maps have ceased to name the previous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotEntry {
    /// Key of the virtual router; all zero while the slot is free.
    pub key: RouterKey,
    /// Role, flags and priority.
    pub state: StateWord,
    /// Value of [`Router::answer_mac`].
    pub answer_mac: MacWord,
    /// Value of [`Router::interface_mac`].
    pub interface_mac: MacWord,
    /// Lease of the virtual router.
    pub lease: Lease,
    /// Number of changes of [`Self::fixed`]. The lowest bit is the index of the copy that is in force. A change first
    /// writes the other copy, so what a reader has found stays intact until the second change after it.
    pub generation: u64,
    /// Part that changes only with the configuration, in two copies. The generation says which one is in force.
    pub fixed: [Fixed; 2],
}

/// The part of a [`Router`] that changes while the agent runs, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StateWord {
    /// Value of [`Router::role`].
    pub role: u8,
    /// Value of [`Router::flags`].
    pub flags: u8,
    /// Value of [`Router::priority`].
    pub priority: u8,
    /// Value of [`Router::version`].
    pub version: u8,
    /// Value of [`Router::checksum`].
    pub checksum: u8,
    /// Value of [`Router::auth_type`].
    pub auth_type: u8,
    /// Value of [`Router::term`].
    pub term: u8,
    /// Value of [`Router::tolerated`].
    pub tolerated: u8,
}

/// A MAC address in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MacWord {
    /// The MAC address.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// The part of a [`Router`] that changes only with the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fixed {
    /// Value of [`Router::primary`].
    pub primary: Address,
    /// Value of [`Router::auth_data`].
    pub auth_data: [u8; 8],
    /// Value of [`Router::advert_interval`].
    pub advert_interval: u64,
}

impl Router {
    /// Returns the part that is kept in [`SlotEntry::state`].
    pub const fn state(&self) -> StateWord {
        let Self { role, flags, priority, version, checksum, auth_type, term, tolerated, .. } = *self;
        StateWord { role, flags, priority, version, checksum, auth_type, term, tolerated }
    }

    /// Returns the part that is kept in [`SlotEntry::fixed`].
    pub const fn fixed(&self) -> Fixed {
        Fixed { primary: self.primary, auth_data: self.auth_data, advert_interval: self.advert_interval }
    }
}

impl SlotEntry {
    /// Returns the virtual router in this slot. `slot` is the slot's own number.
    pub fn router(&self, slot: u32) -> Router {
        let [even, odd] = self.fixed;
        let Fixed { primary, auth_data, advert_interval } = if self.generation & 1 == 0 { even } else { odd };
        let StateWord { role, flags, priority, version, checksum, auth_type, term, tolerated } = self.state;
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
            term,
            tolerated,
            answer_mac,
            interface_mac,
        }
    }
}

/// The time until which an Active router may serve. After that, the kernel half answers and admits nothing for the
/// virtual router, although its role is still Active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lease {
    /// End of the lease, on the boot-time clock in nanoseconds. Both sides write it as one word. No two leases end at
    /// the same time.
    pub until: u64,
    /// End of the lease that [`Self::sure_before`] was computed for. As long as the kernel's tick counter is below that
    /// value, this lease runs, and the clock need not be read. Only the kernel half uses these two fields.
    pub sure_of: u64,
    /// Value of the tick counter up to which that lease surely runs.
    pub sure_before: u64,
}

impl Lease {
    /// Value of [`Self::until`] without a lease: nothing is served.
    pub const ENDED: u64 = 0;
    /// Value of [`Self::until`] for a lease that never ends (`lease = "off"`).
    pub const UNLIMITED: u64 = u64::MAX;
}

macro_rules! words {
    ($($type:ident)*) => {
        $(impl $type {
            /// Converts the word that the maps hold.
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
