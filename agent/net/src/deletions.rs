//! Reports that an address or an entry of a unicast filter was deleted, whoever deleted it.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::sys::AsyncSocket;
use xvrrp_common::units::{IfIndex, MacAddress};

use super::NetError;
use super::address::{Placed, placed};
use super::socket_filter::{self, ACCEPT, DROP, Step, byte_is, half_is, load_byte, load_half};

/// What was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// An address was deleted.
    Address(Placed),
    /// An entry of an interface's unicast filter was deleted.
    Filter {
        /// The interface.
        ifindex: IfIndex,
        /// The MAC address that the entry let through.
        mac: MacAddress,
    },
    /// The kernel dropped notifications, because the socket had no room for them.
    Missed,
}

/// Multicast groups in which the kernel reports deleted addresses and filter entries.
const GROUPS: &[MulticastGroup] = &[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr, MulticastGroup::Neigh];

/// Subscription to deletions in the network namespace of the thread that opened it.
pub struct DeletionMonitor(BoxStream<'static, Deletion>);

impl DeletionMonitor {
    /// Subscribes. A task of the current tokio runtime reads from the kernel.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn open() -> Result<Self, NetError> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(GROUPS).map_err(NetError::Open)?;
        socket_filter::attach(connection.socket_mut().socket_ref(), &mut deletions_only()).map_err(NetError::Open)?;
        tokio::spawn(connection);
        let deletions = messages.filter_map(async |(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => deletion(&message),
            NetlinkPayload::Overrun(_) => Some(Deletion::Missed),
            _ => None,
        });
        Ok(Self(deletions.boxed()))
    }

    /// Waits for the next deletion. Returns `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<Deletion> {
        self.0.next().await
    }
}

impl fmt::Debug for DeletionMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeletionMonitor").finish_non_exhaustive()
    }
}

fn deletion(message: &RouteNetlinkMessage) -> Option<Deletion> {
    match message {
        RouteNetlinkMessage::DelAddress(address) => placed(address).map(Deletion::Address),
        RouteNetlinkMessage::DelNeighbour(entry) if entry.header.family == AddressFamily::Bridge => {
            Some(Deletion::Filter { ifindex: IfIndex::new(entry.header.ifindex), mac: mac(entry)? })
        }
        _ => None,
    }
}

fn mac(entry: &NeighbourMessage) -> Option<MacAddress> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok().map(MacAddress),
        _ => None,
    })
}

/// Makes the kernel queue only deletions. The group of filter entries also carries every change of the neighbor tables,
/// and a busy gateway has thousands of them in a second.
fn deletions_only() -> [Step; 7] {
    /// Offsets of a message's type, and of the family that follows its header.
    const TYPE: u32 = 4;
    const FAMILY: u32 = 16;
    #[expect(clippy::cast_possible_truncation, reason = "the family is a byte in the header")]
    const BRIDGE: u8 = libc::AF_BRIDGE as u8;
    [
        load_half(TYPE),
        half_is(libc::RTM_DELADDR, 4, 0),
        half_is(libc::RTM_DELNEIGH, 0, 2),
        load_byte(FAMILY),
        byte_is(BRIDGE, 1, 0),
        DROP,
        ACCEPT,
    ]
}
