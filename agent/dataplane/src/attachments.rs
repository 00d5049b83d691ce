//! The programs, and where they are attached. With pins, they stay there when the agent dies.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fmt, io};

use aya::Ebpf;
use aya::programs::tc::{SchedClassifierLink, SchedClassifierLinkId};
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, SchedClassifier, Xdp};
use xvrrp_common::abi::{map, program};
use xvrrp_common::units::IfIndex;
use xvrrp_common::xdp::{XdpMode, XdpProgram};

use super::attach;
use super::fence::Fence;
use super::link::{Link, adopt};
use super::link_probe;
use super::pins::{EGRESS, FENCE, INGRESS, Pins, unpin};
use super::{DataplaneError, Monitor, kernel_log};

/// The programs, and where they are attached. The management side owns them.
pub struct Attachments {
    ebpf: Ebpf,
    pins: Option<Pins>,
    /// The pinned maps, by the names of their pins. None without pins.
    maps: Vec<(&'static str, OwnedFd)>,
    interfaces: BTreeMap<IfIndex, InterfaceAttachment>,
    /// The pins that were there when they were looked at last.
    seen: BTreeSet<OsString>,
}

/// What [`Attachments::restore_pins`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredPins {
    /// How many were missing, and are back.
    pub count: usize,
    /// Whether the fence may have lost pins. Its links go with them, so it may have to be attached again.
    pub fence: bool,
}

/// An interface that both programs are attached to.
#[derive(Debug)]
struct InterfaceAttachment {
    interface: String,
    /// None of them without pins, or where the kernel knows no links: then aya keeps what there is.
    links: Vec<Link>,
    /// The TC program's, which aya keeps.
    filter: Option<SchedClassifierLinkId>,
}

/// What holds the TC program to its interface.
enum Egress {
    Pinned(Link),
    /// By aya: without pins, or where the kernel knows no links of TC programs.
    Kept(SchedClassifierLinkId),
}

impl Attachments {
    pub(super) fn new(mut ebpf: Ebpf, pins: Option<Pins>) -> Result<Self, DataplaneError> {
        ingress(&mut ebpf)?.load()?;
        egress(&mut ebpf)?.load()?;
        fence(&mut ebpf)?.load()?;
        let open = |(pins, name): (&Pins, &'static str)| {
            let path = pins.map(name);
            let opened = link_probe::get(&path).map_err(|source| DataplaneError::Pins { path, source });
            Ok((name, opened?))
        };
        let names = pins.iter().flat_map(|pins| map::PINNED.iter().map(move |name| (pins, *name)));
        let maps = names.map(open).collect::<Result<_, DataplaneError>>()?;
        Ok(Self { ebpf, pins, maps, interfaces: BTreeMap::new(), seen: BTreeSet::new() })
    }

    /// Puts back the pins that something else has removed. The kernel half works without them, but ends with this
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
        // The stamp is the last one, without which a successor takes the maps for incomplete.
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

    /// Attaches both programs to an interface, once; in place of a predecessor's, without a gap. Driver mode where it
    /// works, else generic mode. Another's program, the `occupant` of the hook, is an error that names it.
    ///
    /// # Errors
    /// Another program holds the hook, or the kernel refuses to attach or to pin one of ours.
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
                // What was attached just now goes again; a predecessor's stays where it was.
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
        // Where only the XDP program was detached by hand. aya takes no second filter of the same place and number.
        if let Some(filter) = self.interfaces.get_mut(&ifindex).and_then(|attached| attached.filter.take()) {
            let _ = program.detach(filter);
        }
        let id = attach::egress(program, interface)?;
        match pin {
            Some(pin) if attach::has_tcx() => Ok(Egress::Pinned(Link::pin(&pin, program.take_link(id)?.try_into()?)?)),
            // A filter of the older kind outlives the process by itself.
            _ => Ok(Egress::Kept(id)),
        }
    }

    /// The interfaces where one of the programs is no longer attached, with their names. Somebody has detached it by
    /// hand, or the interface is gone.
    pub fn detached(&self) -> Vec<(IfIndex, String)> {
        let lost = |attached: &&InterfaceAttachment| !attached.links.iter().all(Link::is_attached);
        let interfaces = self.interfaces.iter().filter(|(_, attached)| lost(attached));
        interfaces.map(|(ifindex, attached)| (*ifindex, attached.interface.clone())).collect()
    }

    /// Detaches from interfaces that a predecessor was on, and we are not.
    pub fn detach_others(&self) {
        let Some(pins) = &self.pins else { return };
        for kind in [INGRESS, EGRESS] {
            for ifindex in pins.linked(kind).into_iter().filter(|ifindex| !self.interfaces.contains_key(ifindex)) {
                let _ = unpin(&pins.link(kind, ifindex));
            }
        }
    }

    /// The fence for other interfaces, with an owner of its own: attaching it waits for the kernel, which nothing else
    /// may. None without pins.
    ///
    /// # Errors
    /// The program cannot be pinned and opened again.
    pub fn open_fence(&mut self) -> Result<Option<Fence>, DataplaneError> {
        let Some(pins) = &self.pins else { return Ok(None) };
        Fence::new(fence(&mut self.ebpf)?, pins.clone()).map(Some)
    }

    /// Leaves everything attached, for a successor.
    pub fn leave(mut self) {
        // Somebody may have removed them since they were looked at last. The successor says what it does not find.
        let _ = self.restore_pins();
        // What is not pinned would be detached with it. The process ends now.
        std::mem::forget(self);
    }

    /// Passes what the kernel half logs on to our own log, as long as it is polled; can be taken once.
    ///
    /// # Errors
    /// The log's map is missing or was taken before.
    pub fn forward_log(&mut self) -> Result<impl Future<Output = io::Result<()>> + Send + use<>, DataplaneError> {
        kernel_log::forward(&mut self.ebpf)
    }

    /// The frames that the kernel half sees; can be taken once.
    ///
    /// # Errors
    /// The monitor's maps are missing or were taken before.
    pub fn take_monitor(&mut self) -> Result<Monitor, DataplaneError> {
        Monitor::take(&mut self.ebpf)
    }

    /// A program by its name in [`program`], for test runs.
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
