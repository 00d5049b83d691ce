//! Reports that an address or an entry of a unicast filter was deleted, whoever deleted it.

use std::fmt;
use std::os::fd::AsRawFd;

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
        let_deletions_in_only(connection.socket_mut().socket_ref()).map_err(NetError::Open)?;
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
fn let_deletions_in_only(socket: &impl AsRawFd) -> std::io::Result<()> {
    /// Offsets of a message's type, and of the family that follows its header.
    const TYPE: u32 = 4;
    const FAMILY: u32 = 16;
    const BRIDGE: u32 = libc::AF_BRIDGE.cast_unsigned();
    // The filter loads numbers in network byte order, but netlink's are in host byte order.
    let is_type = |number: u16| u32::from(number.to_be());
    let step = |code: u32, jt, jf, k| {
        #[expect(clippy::cast_possible_truncation, reason = "the codes of classic BPF have 8 bits")]
        let code = code as u16;
        libc::sock_filter { code, jt, jf, k }
    };
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let returns = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, TYPE),
        step(equals, 4, 0, is_type(libc::RTM_DELADDR)),
        step(equals, 0, 2, is_type(libc::RTM_DELNEIGH)),
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FAMILY),
        step(equals, 1, 0, BRIDGE),
        step(returns, 0, 0, 0),
        step(returns, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: 7, filter: program.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of_val(&program)).map_err(std::io::Error::other)?;
    // SAFETY: pointer and length describe `program`, whose pointer and length describe an array that outlives the call.
    let result = unsafe {
        let option = (&raw const program).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, option, length)
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
