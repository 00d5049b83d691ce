//! A virtual router of ours, as its slot has it.

use core::ptr;

use xvrrp_common::abi::{Fixed, Lease, MacWord, RouterKey, SlotEntry, StateWord};
use xvrrp_common::units::MacAddress;

/// A virtual router that was looked up, with its state at that moment.
#[derive(Clone, Copy)]
pub struct Router {
    /// An entry of the map, which is there as long as the program runs.
    entry: *mut SlotEntry,
    slot: u32,
    state: StateWord,
}

/// Reads a field of a slot, of eight bytes.
macro_rules! load {
    ($entry:expr, $field:ident) => {
        // SAFETY: an entry of the map, which is there as long as the program runs. An aligned word, which the agent or another
        // CPU may write at any time, whole; hence volatile.
        unsafe { ptr::read_volatile((&raw const (*$entry).$field).cast::<u64>()) }
    };
}

impl Router {
    #[inline(always)]
    pub fn new(entry: *mut SlotEntry, slot: u32) -> Self {
        Self { entry, slot, state: StateWord::from_word(load!(entry, state)) }
    }

    /// Reads it again; none if another virtual router has the slot meanwhile.
    #[inline(always)]
    pub fn again(&self, key: &RouterKey) -> Option<Self> {
        let router = Self::new(self.entry, self.slot);
        (router.key() == *key).then_some(router)
    }

    #[inline(always)]
    pub fn key(&self) -> RouterKey {
        RouterKey::from_word(load!(self.entry, key))
    }

    #[inline(always)]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    #[inline(always)]
    pub fn state(&self) -> StateWord {
        self.state
    }

    #[inline(always)]
    pub fn role(&self) -> u8 {
        self.state.role
    }

    /// Returns whether it has one of the flags of [`Router::flags`](xvrrp_common::abi::Router::flags).
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.state.flags & flag != 0
    }

    #[inline(always)]
    pub fn answer_mac(&self) -> MacAddress {
        MacAddress(MacWord::from_word(load!(self.entry, answer_mac)).mac)
    }

    #[inline(always)]
    pub fn interface_mac(&self) -> MacAddress {
        MacAddress(MacWord::from_word(load!(self.entry, interface_mac)).mac)
    }

    #[inline(always)]
    pub fn lease(&self) -> *mut Lease {
        // SAFETY: within an entry of the map.
        unsafe { &raw mut (*self.entry).lease }
    }

    /// Becomes another number when [`Self::fixed`] changes.
    #[inline(always)]
    pub fn generation(&self) -> u64 {
        load!(self.entry, generation)
    }

    /// What the configuration says. Its place depends on the generation, so no processor reads it earlier than that.
    #[inline(always)]
    pub fn fixed(&self) -> &'static Fixed {
        let odd = self.generation() & 1 != 0;
        // SAFETY: within an entry of the map. The agent does not write the one that is in force, and the reader asks for the
        // generation again before it believes what it read.
        unsafe { if odd { &(*self.entry).fixed[1] } else { &(*self.entry).fixed[0] } }
    }
}
