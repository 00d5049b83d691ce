//! Interfaces as the kernel describes them in a message.

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    LinkXdp, MacVlanMode,
};
use xvrrp_common::units::{IfIndex, MacAddress};
use xvrrp_common::xdp::{XdpMode, XdpProgram};

use super::address::InterfaceAddress;

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name at the moment.
    pub name: String,
    /// Its number in this network namespace.
    pub ifindex: IfIndex,
    /// Its own address; zeros if it has none.
    pub mac: MacAddress,
    /// Has Ethernet framing.
    pub ethernet: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it takes frames to another unicast address than its own.
    pub kind: InterfaceKind,
    /// Its frames are delivered to another interface: it is a port of a bridge, a bond or a team.
    pub port: bool,
    /// The interface that it is a VLAN of, by index.
    pub vlan_of: Option<IfIndex>,
    /// Administratively up and with a carrier.
    pub running: bool,
    /// Addresses, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
    /// The XDP program that is attached.
    pub xdp: Option<XdpProgram>,
}

/// What decides whether an interface takes frames to another unicast address than its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceKind {
    /// It has a unicast filter, or needs none.
    #[default]
    Ordinary,
    /// It learns on which of its ports an address is, and takes only its own.
    Bridge,
    /// In any mode but `passthru`: it shares its parent with others, by their own addresses.
    Macvlan,
}

impl Interface {
    /// Returns the state in the form of a notification.
    pub fn link(&self) -> LinkChange {
        LinkChange { ifindex: self.ifindex, running: self.running, mac: Some(self.mac) }
    }
}

/// An interface's state as the kernel just reported it; not necessarily another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The interface's number.
    pub ifindex: IfIndex,
    /// Administratively up and with a carrier.
    pub running: bool,
    /// Its own address; `None` if it is gone.
    pub mac: Option<MacAddress>,
}

/// Returns whether the interface can carry frames: administratively up and with a carrier.
pub(super) fn is_running(message: &LinkMessage) -> bool {
    message.header.flags.contains(LinkFlags::Up | LinkFlags::Running)
}

pub(super) fn mac(message: &LinkMessage) -> Option<MacAddress> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => address.as_slice().try_into().ok().map(MacAddress),
        _ => None,
    })
}

pub(super) fn interface(message: &LinkMessage) -> Option<Interface> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let mac = mac(message);
    Some(Interface {
        name,
        ifindex: IfIndex::new(message.header.index),
        mac: mac.unwrap_or_default(),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether && mac.is_some(),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        kind: kind(message),
        port: is_port(message),
        vlan_of: vlan_of(message),
        running: is_running(message),
        addresses: Vec::new(),
        xdp: message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => xdp_program(xdp),
            _ => None,
        }),
    })
}

fn information(message: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    message.attributes.iter().flat_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(information) => information.as_slice(),
        _ => &[],
    })
}

fn is(message: &LinkMessage, kind: &InfoKind) -> bool {
    information(message).any(|it| matches!(it, LinkInfo::Kind(found) if found == kind))
}

/// Members of a VRF have a master too, and take what arrives themselves.
fn is_port(message: &LinkMessage) -> bool {
    let has_master =
        message.attributes.iter().any(|it| matches!(it, LinkAttribute::Controller(master) if *master != 0));
    has_master && !information(message).any(|it| matches!(it, LinkInfo::PortKind(InfoPortKind::Vrf)))
}

fn vlan_of(message: &LinkMessage) -> Option<IfIndex> {
    let parent = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(IfIndex::new(*parent)),
        _ => None,
    });
    parent.filter(|_| is(message, &InfoKind::Vlan))
}

fn kind(message: &LinkMessage) -> InterfaceKind {
    let passes_through = || {
        information(message).any(|it| match it {
            LinkInfo::Data(InfoData::MacVlan(data)) => data.contains(&InfoMacVlan::Mode(MacVlanMode::Passthrough)),
            _ => false,
        })
    };
    if is(message, &InfoKind::Bridge) {
        InterfaceKind::Bridge
    } else if is(message, &InfoKind::MacVlan) && !passes_through() {
        InterfaceKind::Macvlan
    } else {
        InterfaceKind::Ordinary
    }
}

fn xdp_program(attributes: &[LinkXdp]) -> Option<XdpProgram> {
    attributes.iter().find_map(|attribute| match *attribute {
        LinkXdp::DrvProgId(id) => Some(XdpProgram { id, mode: XdpMode::Driver }),
        LinkXdp::SkbProgId(id) => Some(XdpProgram { id, mode: XdpMode::Generic }),
        LinkXdp::HwProgId(id) => Some(XdpProgram { id, mode: XdpMode::Hardware }),
        _ => None,
    })
}
