//! What the kernel half tells of its own accord.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{Map, MapData, RingBuf};
use xvrrp_common::abi::{Claim, Event};
use zerocopy::FromBytes;

use super::{DataplaneError, Slot};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// An advert that changes something.
    Advert(Event),
    /// Another host claims a virtual address.
    Claim(Claim),
}

impl Told {
    /// Returns the slot of the virtual router that it is about.
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Advert(event) => Slot::new(event.slot),
            Self::Claim(claim) => Slot::new(claim.slot),
        }
    }
}

/// The ring buffer; its descriptor is readable while there are events.
pub struct Events(RingBuf<MapData>);

impl Events {
    pub(super) fn new(map: Map) -> Result<Self, DataplaneError> {
        Ok(Self(map.try_into()?))
    }

    /// The oldest event that has not been taken; `None` if there is none.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: there may be more later")]
    pub fn next(&mut self) -> Option<Told> {
        loop {
            let item = self.0.next()?;
            // A record of another length cannot come from our program.
            if let Ok(event) = Event::read_from_bytes(&item) {
                return Some(Told::Advert(event));
            }
            if let Ok(claim) = Claim::read_from_bytes(&item) {
                return Some(Told::Claim(claim));
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
