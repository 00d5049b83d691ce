//! The programs and the interfaces that they are attached to. With pins, they stay attached when the agent dies.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fmt, io};

use aya::Ebpf;
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId};
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use xvrrp_common::abi::{map, program};
use xvrrp_common::units::IfIndex;
use xvrrp_common::xdp::{XdpMode, XdpProgram};

use super::attach;
use super::fence::Fence;
use super::link::{Link, adopt};
use super::link_probe;
use super::pins::{EGRESS, FENCE, INGRESS, Pins, unpin};
use super::{DataplaneError, Monitor, kernel_log};

/// The programs and the interfaces that they are attached to. The management side owns them.
pub struct Attachments {
    ebpf: Ebpf,
    pins: Option<Pins>,
    /// The pinned maps with the names of their pins. Empty without pins.
    maps: Vec<(&'static str, OwnedFd)>,
    interfaces: BTreeMap<IfIndex, InterfaceAttachment>,
    /// The pins that existed at the last check.
    seen: BTreeSet<OsString>,
}

/// Result of [`Attachments::restore_pins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredPins {
    /// Number of pins that were missing and have been put back.
    pub count: usize,
    /// Whether the fence may have lost pins. Its links end with their pins, so it may have to be attached again.
    pub fence: bool,
}

/// An interface that both programs are attached to.
#[derive(Debug)]
struct InterfaceAttachment {
    interface: String,
    /// Empty without pins, or if the kernel has no links. aya then holds the programs on the interface.
    links: Vec<Link>,
    /// The filter of the TC program, if aya holds it.
    filter: Option<SchedClassifierLinkId>,
}

/// What holds the TC program to its interface.
enum Egress {
    Pinned(Link),
    /// aya holds it, without pins or on a kernel without links for TC programs.
    Kept(SchedClassifierLinkId),
}

/// Loads a program. The kernel stops verifying it when this thread gets a signal, and there can be several signals, for
/// example when children end.
fn load(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 20;
    let is_interrupted = |error: &ProgramError| matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN));
    for _ in 1..ATTEMPTS {
        match load() {
            Err(error) if is_interrupted(&error) => {}
            loaded => return loaded,
        }
    }
    load()
}

impl Attachments {
    pub(super) fn new(mut ebpf: Ebpf, pins: Option<Pins>) -> Result<Self, DataplaneError> {
        let program = ingress(&mut ebpf)?;
        load(|| program.load())?;
        let program = egress(&mut ebpf)?;
        load(|| program.load())?;
        let program = fence(&mut ebpf)?;
        load(|| program.load())?;
        let open = |(pins, name): (&Pins, &'static str)| {
            let path = pins.map(name);
            let opened = link_probe::get(&path).map_err(|source| DataplaneError::Pins { path, source });
            Ok((name, opened?))
        };
        let names = pins.iter().flat_map(|pins| map::PINNED.iter().map(move |name| (pins, *name)));
        let maps = names.map(open).collect::<Result<_, DataplaneError>>()?;
        Ok(Self { ebpf, pins, maps, interfaces: BTreeMap::new(), seen: BTreeSet::new() })
    }

    /// Puts back the pins that something else has removed. Without them, the kernel half works, but ends with this
    /// process.
    ///
    /// # Errors
    /// The BPF file system cannot be read or written.
    pub fn restore_pins(&mut self) -> Result<RestoredPins, DataplaneError> {
        let none = RestoredPins { count: 0, fence: false };
        let Some(pins) = &self.pins else { return Ok(none) };
        let look = || pins.names().map_err(|source| DataplaneError::Pins { path: pins.directory().to_owned(), source });
        let there = look()?;
        let is_missing = |path: &Path| path.file_name().is_none_or(|name| !there.contains(name));
        let links = self.interfaces.values().flat_map(|attached| &attached.links);
        let links = links.filter(|link| is_missing(link.path())).collect::<Vec<_>>();
        let maps = self.maps.iter().map(|(name, map)| (pins.map(name), map)).filter(|(path, _)| is_missing(path));
        // The stamp comes last. Without it, a successor considers the maps incomplete.
        let maps = maps.collect::<Vec<_>>();
        let count = links.len() + maps.len();
        if count > 0 {
            pins.create()?;
        }
        for link in links {
            link.pin_again()?;
        }
        for (path, map) in maps {
            link_probe::pin(map, &path).map_err(|source| DataplaneError::Pins { path, source })?;
        }
        let is_fence = |name: &&OsString| name.to_string_lossy().starts_with(FENCE);
        // A pin that appeared and vanished since the last check usually vanished together with others.
        let fence = count > 0 || self.seen.difference(&there).any(|name| is_fence(&name));
        self.seen = if count > 0 { look()? } else { there };
        Ok(RestoredPins { count, fence })
    }

    /// Attaches both programs to an interface, in driver mode if possible, otherwise in generic mode. Replaces a
    /// predecessor's programs without a gap. `occupant` is the XDP program that somebody else has attached, if any.
    ///
    /// # Errors
    /// Another program holds the hook, which the error names, or the kernel refuses to attach or to pin one of ours.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: IfIndex,
        occupant: Option<XdpProgram>,
    ) -> Result<XdpMode, DataplaneError> {
        let (mode, ingress) = self.attach_ingress(interface, ifindex, occupant)?;
        let mut links: Vec<_> = ingress.into_iter().collect();
        let filter = match self.attach_egress(interface, ifindex) {
            Ok(Egress::Pinned(egress)) => {
                links.push(egress);
                None
            }
            Ok(Egress::Kept(filter)) => Some(filter),
            Err(error) => {
                // Detaches the program that was attached just now. A predecessor's program stays attached.
                for link in links.iter().filter(|link| link.is_new()) {
                    let _ = unpin(link.path());
                }
                return Err(error);
            }
        };
        self.interfaces.insert(ifindex, InterfaceAttachment { interface: interface.to_owned(), links, filter });
        Ok(mode)
    }

    fn attach_ingress(
        &mut self,
        interface: &str,
        ifindex: IfIndex,
        occupant: Option<XdpProgram>,
    ) -> Result<(XdpMode, Option<Link>), DataplaneError> {
        let pin = self.pins.as_ref().map(|pins| pins.link(INGRESS, ifindex));
        let program = ingress(&mut self.ebpf)?;
        if let Some(pin) = &pin
            && let Some(link) = adopt::<XdpLink>(pin)
            && let Ok(id) = program.attach_to_link(link)
        {
            let mode = occupant.map_or(XdpMode::Generic, |ours| ours.mode);
            drop(program.take_link(id)?);
            return Ok((mode, Some(Link::open(pin, false)?)));
        }
        let (mode, id) = attach::ingress(program, interface, ifindex, occupant)?;
        let Some(pin) = pin else { return Ok((mode, None)) };
        Ok((mode, Some(Link::pin(&pin, program.take_link(id)?.try_into()?)?)))
    }

    fn attach_egress(&mut self, interface: &str, ifindex: IfIndex) -> Result<Egress, DataplaneError> {
        let pin = self.pins.as_ref().map(|pins| pins.link(EGRESS, ifindex));
        let program = egress(&mut self.ebpf)?;
        if let Some(pin) = &pin
            && let Some(link) = adopt::<SchedClassifierLink>(pin)
            && let Ok(id) = program.attach_to_link(link)
        {
            drop(program.take_link(id)?);
            return Ok(Egress::Pinned(Link::open(pin, false)?));
        }
        // If only the XDP program was detached by hand, there still is a filter. aya refuses a second one with the same
        // number.
        if let Some(filter) = self.interfaces.get_mut(&ifindex).and_then(|attached| attached.filter.take()) {
            let _ = program.detach(filter);
        }
        let id = attach::egress(program, interface)?;
        match pin {
            Some(pin) if attach::has_tcx() => Ok(Egress::Pinned(Link::pin(&pin, program.take_link(id)?.try_into()?)?)),
            // A filter of a clsact qdisc outlives the process by itself.
            _ => Ok(Egress::Kept(id)),
        }
    }

    /// Returns the interfaces that have lost one of the programs, with their names. Somebody has detached the program
    /// by hand, or the interface is gone.
    pub fn detached(&self) -> Vec<(IfIndex, String)> {
        let lost = |attached: &&InterfaceAttachment| !attached.links.iter().all(Link::is_attached);
        let interfaces = self.interfaces.iter().filter(|(_, attached)| lost(attached));
        interfaces.map(|(ifindex, attached)| (*ifindex, attached.interface.clone())).collect()
    }

    /// Detaches a predecessor's programs from the interfaces that this agent does not use.
    pub fn detach_others(&self) {
        let Some(pins) = &self.pins else { return };
        for kind in [INGRESS, EGRESS] {
            for ifindex in pins.linked(kind).into_iter().filter(|ifindex| !self.interfaces.contains_key(ifindex)) {
                let _ = unpin(&pins.link(kind, ifindex));
            }
        }
    }

    /// Returns the fence for other interfaces, or `None` without pins. It has an owner of its own, because attaching it
    /// waits for the kernel, and nothing else may wait for that.
    ///
    /// # Errors
    /// The program cannot be pinned and opened again.
    pub fn open_fence(&mut self) -> Result<Option<Fence>, DataplaneError> {
        let Some(pins) = &self.pins else { return Ok(None) };
        Fence::new(fence(&mut self.ebpf)?, pins.clone()).map(Some)
    }

    /// Leaves everything attached, for a successor.
    pub fn leave(mut self) {
        // Somebody may have removed pins since the last check. The successor reports pins that it does not find.
        let _ = self.restore_pins();
        // Dropping it would detach whatever is not pinned. The process ends now.
        std::mem::forget(self);
    }

    /// Takes the log of the kernel half, which passes lines on to the agent's log while it is polled. It can be taken
    /// once.
    ///
    /// # Errors
    /// The log's map is missing or was taken before.
    pub fn forward_log(&mut self) -> Result<impl Future<Output = io::Result<()>> + Send + use<>, DataplaneError> {
        kernel_log::forward(&mut self.ebpf)
    }

    /// Takes the monitor of the frames that the kernel half sees. It can be taken once.
    ///
    /// # Errors
    /// The monitor's maps are missing or were taken before.
    pub fn take_monitor(&mut self) -> Result<Monitor, DataplaneError> {
        Monitor::take(&mut self.ebpf)
    }

    /// Returns a program by its name in [`program`], for test runs.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.ebpf.program(name)
    }
}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachments").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

fn ingress(ebpf: &mut Ebpf) -> Result<&mut Xdp, DataplaneError> {
    let program = ebpf.program_mut(program::INGRESS).ok_or(DataplaneError::Missing(program::INGRESS))?;
    Ok(program.try_into()?)
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    let program = ebpf.program_mut(program::EGRESS).ok_or(DataplaneError::Missing(program::EGRESS))?;
    Ok(program.try_into()?)
}

fn fence(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, DataplaneError> {
    let program = ebpf.program_mut(program::FENCE).ok_or(DataplaneError::Missing(program::FENCE))?;
    Ok(program.try_into()?)
}
