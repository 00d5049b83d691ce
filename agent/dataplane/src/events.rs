//! Events that the kernel half reports.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Map, MapData, RingBuf};
use xvrrp_common::abi::{AdvertEvent, ConflictEvent};
use zerocopy::FromBytes;

use super::{DataplaneError, Slot};

/// An event about a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// An advert has arrived that the election has to know of.
    Advert(AdvertEvent),
    /// Another host has claimed a virtual address.
    Conflict(ConflictEvent),
}

impl KernelEvent {
    /// Returns the slot of the virtual router.
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Advert(event) => Slot::new(event.slot),
            Self::Conflict(claim) => Slot::new(claim.slot),
        }
    }
}

/// Ring buffer of the events. Its descriptor is readable while there are any.
pub struct Events(RingBuf<MapData>);

impl Events {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        Ok(Self(map.try_into()?))
    }

    /// Takes the oldest event, or returns `None` if there is none.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: there may be more later")]
    pub fn next(&mut self) -> Option<KernelEvent> {
        loop {
            let item = self.0.next()?;
            // A record of another length cannot come from our program.
            if let Ok(event) = AdvertEvent::read_from_bytes(&item) {
                return Some(KernelEvent::Advert(event));
            }
            if let Ok(claim) = ConflictEvent::read_from_bytes(&item) {
                return Some(KernelEvent::Conflict(claim));
            }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").finish_non_exhaustive()
    }
}
