//! The fence on interfaces without a virtual router: a TC program that drops packets for a virtual address after the
//! lease has ended.

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

/// The fence and the interfaces that it is attached to. It is pinned, so it outlives its owner.
#[derive(Debug)]
pub struct Fence {
    /// Links that are not pinned must not end when this is dropped: [`Self::retain`] detaches them.
    program: ManuallyDrop<SchedClassifier>,
    pins: Pins,
    interfaces: BTreeMap<IfIndex, HeldFence>,
}

/// What keeps the program attached to an interface.
#[derive(Debug)]
enum HeldFence {
    /// Its pin. A descriptor for each would be too many on a host with a thousand interfaces.
    Pinned(PathBuf),
    /// A filter, on a kernel without links for TC programs.
    Kept(SchedClassifierLinkId),
}

impl Fence {
    pub(super) fn new(program: &mut SchedClassifier, pins: Pins) -> Result<Self, DataplaneError> {
        let pin = pins.fence_program();
        let failed = |source| DataplaneError::Pins { path: pin.clone(), source };
        // A process that ended between the next two steps may have left a pin.
        let _ = fs::remove_file(&pin);
        program.pin(&pin).map_err(|error| failed(std::io::Error::other(error)))?;
        let opened = SchedClassifier::from_pin(&pin);
        fs::remove_file(&pin).map_err(failed)?;
        Ok(Self { program: ManuallyDrop::new(opened?), pins, interfaces: BTreeMap::new() })
    }

    /// Returns whether the fence is attached to the interface. A filter is assumed to be attached still.
    pub fn is_attached(&self, ifindex: IfIndex) -> bool {
        match self.interfaces.get(&ifindex) {
            Some(HeldFence::Pinned(pin)) => LinkProbe::open(pin).is_ok_and(|link| link.ifindex() == Some(ifindex)),
            Some(HeldFence::Kept(_)) => true,
            None => false,
        }
    }

    /// Attaches the fence to an interface, and replaces a predecessor's without a gap. Waits for the kernel about 10
    /// ms.
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

    /// Detaches the fence, also that of a predecessor, from all interfaces except these.
    pub fn retain(&mut self, wanted: &BTreeSet<IfIndex>) {
        for (_, held) in self.interfaces.extract_if(.., |ifindex, _| !wanted.contains(ifindex)) {
            if let HeldFence::Kept(id) = held {
                // Fails if the interface is gone.
                let _ = self.program.detach(id);
            }
        }
        for ifindex in self.pins.linked(FENCE).into_iter().filter(|ifindex| !wanted.contains(ifindex)) {
            // The link ends some time after its pin. Detaching each link would wait for an RCU grace period.
            let _ = fs::remove_file(self.pins.link(FENCE, ifindex));
        }
    }
}
