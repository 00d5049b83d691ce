//! The fence on interfaces without a virtual router: a TC program that drops what is for a virtual address past the
//! lease.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use aya::programs::SchedClassifier;
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId};
use xvrrp_common::units::IfIndex;

use super::link::{Link, adopt};
use super::pins::{FENCE, Pins};
use super::{DataplaneError, LinkProbe, attach};

/// The program on its interfaces. It is pinned, and outlives its owner.
#[derive(Debug)]
pub struct Fence {
    /// Its links, where they are not pinned, stay when it goes: see [`Self::retain`].
    program: ManuallyDrop<SchedClassifier>,
    pins: Pins,
    interfaces: BTreeMap<IfIndex, HeldFence>,
}

/// What holds the program to an interface.
#[derive(Debug)]
enum HeldFence {
    /// By its pin alone: a descriptor for each would be too many on a host with a thousand interfaces.
    Pinned(PathBuf),
    /// Where the kernel knows no links of TC programs.
    Kept(SchedClassifierLinkId),
}

impl Fence {
    pub(super) fn new(program: &mut SchedClassifier, pins: Pins) -> Result<Self, DataplaneError> {
        let pin = pins.fence_program();
        let failed = |source| DataplaneError::Pins { path: pin.clone(), source };
        // A process that ended between the two steps may have left it.
        let _ = fs::remove_file(&pin);
        program.pin(&pin).map_err(|error| failed(std::io::Error::other(error)))?;
        let opened = SchedClassifier::from_pin(&pin);
        fs::remove_file(&pin).map_err(failed)?;
        Ok(Self { program: ManuallyDrop::new(opened?), pins, interfaces: BTreeMap::new() })
    }

    /// Returns whether it is on the interface, as far as is known.
    pub fn is_attached(&self, ifindex: IfIndex) -> bool {
        match self.interfaces.get(&ifindex) {
            Some(HeldFence::Pinned(pin)) => LinkProbe::open(pin).is_ok_and(|link| link.ifindex() == Some(ifindex)),
            Some(HeldFence::Kept(_)) => true,
            None => false,
        }
    }

    /// Attaches it to an interface, in place of a predecessor's without a gap. Waits for the kernel, some 10 ms.
    ///
    /// # Errors
    /// The kernel refuses to attach or to pin the program.
    pub fn attach(&mut self, interface: &str, ifindex: IfIndex) -> Result<(), DataplaneError> {
        let pin = self.pins.link(FENCE, ifindex);
        let held = if let Some(link) = adopt::<SchedClassifierLink>(&pin)
            && let Ok(id) = self.program.attach_to_link(link)
        {
            drop(self.program.take_link(id)?);
            HeldFence::Pinned(pin)
        } else {
            let id = attach::fence(&mut self.program, interface)?;
            if attach::has_tcx() {
                drop(Link::pin(&pin, self.program.take_link(id)?.try_into()?)?);
                HeldFence::Pinned(pin)
            } else {
                HeldFence::Kept(id)
            }
        };
        self.interfaces.insert(ifindex, held);
        Ok(())
    }

    /// Takes it off all interfaces but these, a predecessor's too.
    pub fn retain(&mut self, wanted: &BTreeSet<IfIndex>) {
        for (_, held) in self.interfaces.extract_if(.., |ifindex, _| !wanted.contains(ifindex)) {
            if let HeldFence::Kept(id) = held {
                // Fails where the interface is gone.
                let _ = self.program.detach(id);
            }
        }
        for ifindex in self.pins.linked(FENCE).into_iter().filter(|ifindex| !wanted.contains(ifindex)) {
            // The link goes with its pin, some time later. By hand it would take an RCU grace period for each of them.
            let _ = fs::remove_file(self.pins.link(FENCE, ifindex));
        }
    }
}
