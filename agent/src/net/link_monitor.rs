//! Tells when an interface loses or gains its carrier, or is taken down or up.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;

use xvrrp_common::units::MacAddress;

use super::netlink::{NetError, is_running, mac};

/// An interface's state as the kernel just reported it; not necessarily another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkChange {
    pub ifindex: u32,
    /// Administratively up and with a carrier.
    pub running: bool,
    /// Its own address; `None` if it is gone.
    pub mac: Option<MacAddress>,
}

/// What the kernel tells of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNews {
    Change(LinkChange),
    /// There were more changes than we could take: all interfaces have to be looked at.
    Missed,
}

/// The kernel's link notifications in the namespace of the thread that opened this.
pub struct LinkMonitor(BoxStream<'static, LinkNews>);

impl LinkMonitor {
    /// Opens the subscription and drives it on the current tokio runtime.
    pub fn open() -> Result<Self, NetError> {
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(NetError::Open)?;
        tokio::spawn(connection);
        let changes = messages.filter_map(async |(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => link_change(&message).map(LinkNews::Change),
            NetlinkPayload::Overrun(_) => Some(LinkNews::Missed),
            _ => None,
        });
        Ok(Self(changes.boxed()))
    }

    /// The next notification; `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<LinkNews> {
        self.0.next().await
    }
}

impl fmt::Debug for LinkMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinkMonitor").finish_non_exhaustive()
    }
}

fn link_change(message: &RouteNetlinkMessage) -> Option<LinkChange> {
    match message {
        RouteNetlinkMessage::NewLink(link) => {
            Some(LinkChange { ifindex: link.header.index, running: is_running(link), mac: mac(link) })
        }
        // Of family AF_BRIDGE, it only says that the interface has left its bridge.
        RouteNetlinkMessage::DelLink(link) if link.header.interface_family != AddressFamily::Bridge => {
            Some(LinkChange { ifindex: link.header.index, running: false, mac: None })
        }
        _ => None,
    }
}
