//! A virtual router of ours, read from its slot.

use core::ptr;

use xvrrp_common::abi::{Fixed, Lease, MacWord, RouterKey, SlotEntry, StateWord};
use xvrrp_common::units::MacAddress;

/// A virtual router that was looked up, with its state at the time of the look-up.
#[derive(Clone, Copy)]
pub struct RouterView {
    /// Entry of the map, which exists for as long as the program runs.
    entry: *mut SlotEntry,
    slot: u32,
    state: StateWord,
}

/// Reads a field of eight bytes from a slot.
macro_rules! load {
    ($entry:expr, $field:ident) => {
        // SAFETY: the field lies within an entry of the map, which exists for as long as the program runs. The read is
        // volatile because the agent or another CPU may write the aligned word at any time, always as a whole.
        #[allow(clippy::cast_ptr_alignment, reason = "every field of an entry begins at a multiple of eight bytes")]
        unsafe {
            ptr::read_volatile((&raw const (*$entry).$field).cast::<u64>())
        }
    };
}

impl RouterView {
    #[inline(always)]
    pub fn new(entry: *mut SlotEntry, slot: u32) -> Self {
        Self { entry, slot, state: StateWord::from_word(load!(entry, state)) }
    }

    /// Reads the virtual router again. Returns `None` if another one has the slot by now.
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

    /// Returns whether a flag of [`Router::flags`](xvrrp_common::abi::Router::flags) is set.
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
        // SAFETY: the lease lies within an entry of the map.
        unsafe { &raw mut (*self.entry).lease }
    }

    /// Returns a number that changes whenever [`Self::fixed`] does.
    #[inline(always)]
    pub fn generation(&self) -> u64 {
        load!(self.entry, generation)
    }

    /// Returns the part that the configuration sets. Its location depends on the generation, so no processor reads it
    /// before the generation.
    #[inline(always)]
    pub fn fixed(&self) -> &'static Fixed {
        let odd = self.generation() & 1 != 0;
        // SAFETY: both copies lie within an entry of the map. The agent does not write the copy that is in force, and
        // the reader checks the generation again before it uses what it has read.
        unsafe { if odd { &(*self.entry).fixed[1] } else { &(*self.entry).fixed[0] } }
    }
}
