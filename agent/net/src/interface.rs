//! Reads an interface from a message of the kernel.

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
    /// Its name when it was read. Names can change.
    pub name: String,
    /// Its index in this network namespace.
    pub ifindex: IfIndex,
    /// Its own MAC address, or zeros if it has none.
    pub mac: MacAddress,
    /// Whether its frames have Ethernet headers.
    pub ethernet: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it accepts frames for unicast MAC addresses other than its own.
    pub kind: InterfaceKind,
    /// Whether it is a port of a bridge, a bond or a team. The frames that it receives are delivered to that interface.
    pub port: bool,
    /// If it is a VLAN, the index of the interface that carries the VLAN.
    pub vlan_of: Option<IfIndex>,
    /// Whether it can carry frames.
    pub link: LinkState,
    /// Its IP addresses, in the kernel's order.
    pub addresses: Vec<InterfaceAddress>,
    /// The XDP program that is attached to it.
    pub xdp: Option<XdpProgram>,
}

/// How an interface treats frames for unicast MAC addresses other than its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterfaceKind {
    /// It accepts those that its unicast filter lets through, or all of them.
    #[default]
    Ordinary,
    /// It learns behind which of its ports each address is, and accepts only its own.
    Bridge,
    /// It shares its parent with other interfaces, each of which accepts only its own address: a macvlan in any mode
    /// but `passthru`.
    Macvlan,
}

/// Whether an interface can carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No: it is administratively down, or gone.
    Down,
    /// It is up, but its cable leads nowhere.
    NoCarrier,
    /// Yes.
    Running,
}

impl LinkState {
    /// Returns whether a virtual router can use the interface, which may do without a carrier.
    pub fn is_usable(self, needs_carrier: bool) -> bool {
        match self {
            Self::Down => false,
            Self::NoCarrier => !needs_carrier,
            Self::Running => true,
        }
    }
}

impl Interface {
    /// Returns the state of this interface as a notification would report it.
    pub fn change(&self) -> LinkChange {
        LinkChange { ifindex: self.ifindex, link: self.link, mac: Some(self.mac) }
    }
}

/// State of an interface that the kernel has just reported. It may be the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The interface's index.
    pub ifindex: IfIndex,
    /// Whether it can carry frames.
    pub link: LinkState,
    /// Its own MAC address, or `None` if the interface is gone.
    pub mac: Option<MacAddress>,
}

/// Returns whether the interface can carry frames.
pub(super) fn link_state(message: &LinkMessage) -> LinkState {
    let flags = message.header.flags;
    match (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::Running)) {
        (false, _) => LinkState::Down,
        (true, false) => LinkState::NoCarrier,
        (true, true) => LinkState::Running,
    }
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
        link: link_state(message),
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

/// Returns whether frames that the interface receives are delivered to its master. Members of a VRF have a master too,
/// but keep their frames.
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
