//! Reports interfaces that appear, disappear, gain or lose their carrier, are set up or down, or whose addresses
//! change.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::task::JoinHandle;
use xvrrp_common::units::IfIndex;

use super::NetError;
use super::address::is_ours;
use super::interface::{LinkChange, LinkState, link_state, mac};

/// What the kernel has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// An interface has appeared, disappeared or changed.
    Change(LinkChange),
    /// An interface has gained or lost an address that no agent added.
    Addresses,
    /// The kernel dropped notifications, because the socket had no room for them: all interfaces have to be listed.
    Missed,
}

const GROUPS: &[MulticastGroup] = &[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

/// Subscription to links and their addresses in the network namespace of the thread that opened it.
pub struct LinkMonitor {
    news: BoxStream<'static, LinkNews>,
    connection: JoinHandle<()>,
}

impl LinkMonitor {
    /// Subscribes. A task of the current tokio runtime reads from the kernel.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn open() -> Result<Self, NetError> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(GROUPS).map_err(NetError::Open)?;
        let connection = tokio::spawn(connection);
        let changes = messages.filter_map(async |(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => news(&message),
            NetlinkPayload::Overrun(_) => Some(LinkNews::Missed),
            _ => None,
        });
        Ok(Self { news: changes.boxed(), connection })
    }

    /// Waits for the next notification. Returns `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<LinkNews> {
        self.news.next().await
    }
}

impl Drop for LinkMonitor {
    fn drop(&mut self) {
        // Otherwise the task would continue, and log every message that nobody reads.
        self.connection.abort();
    }
}

impl fmt::Debug for LinkMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinkMonitor").finish_non_exhaustive()
    }
}

fn news(message: &RouteNetlinkMessage) -> Option<LinkNews> {
    match message {
        RouteNetlinkMessage::NewLink(link) => {
            // An event of a wireless card has no MAC address, and says nothing about the state of the link.
            let mac = Some(mac(link)?);
            let ifindex = IfIndex::new(link.header.index);
            Some(LinkNews::Change(LinkChange { ifindex, link: link_state(link), mac }))
        }
        // In the family AF_BRIDGE, the message only reports that the interface has left its bridge.
        RouteNetlinkMessage::DelLink(link) if link.header.interface_family != AddressFamily::Bridge => {
            let ifindex = IfIndex::new(link.header.index);
            Some(LinkNews::Change(LinkChange { ifindex, link: LinkState::Down, mac: None }))
        }
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            (!is_ours(address)).then_some(LinkNews::Addresses)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use xvrrp_common::units::MacAddress;

    use super::*;

    #[test]
    fn an_event_of_a_wireless_card_is_not_taken_for_the_end_of_the_interface() {
        let mut link = LinkMessage::default();
        link.header.index = 3;
        assert_eq!(news(&RouteNetlinkMessage::NewLink(link.clone())), None);
        link.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
        let mac = Some(MacAddress([2, 0, 0, 0, 0, 1]));
        let change = LinkChange { ifindex: IfIndex::new(3), link: LinkState::Down, mac };
        assert_eq!(news(&RouteNetlinkMessage::NewLink(link.clone())), Some(LinkNews::Change(change)));
        let gone = LinkChange { mac: None, ..change };
        assert_eq!(news(&RouteNetlinkMessage::DelLink(link)), Some(LinkNews::Change(gone)));
    }
}
