//! Notifies when routes, rules or addresses that are ours may be gone, or may be possible again.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::sys::AsyncSocket;
use tokio::task::JoinHandle;

use super::numbers::PROTOCOL;
use super::route::{RouteKey, key};
use super::rule::is_ours;
use crate::NetError;
use crate::socket_filter::{
    self, ACCEPT, DROP, Step, byte_is, half_has, half_is, load_byte, load_half, load_word, word_is,
};

/// What the kernel notifies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingNews {
    /// A route or rule that is ours was removed.
    Removed,
    /// A route with this key was replaced by another one.
    Replaced(RouteKey),
    /// An interface has changed, or an address was added or removed. The kernel drops routes with them without a
    /// notification, and other routes become possible.
    Surroundings,
    /// There were more notifications than the socket had room for.
    Missed,
}

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// The kernel's notifications in the namespace of the thread that opened this.
pub struct RoutingMonitor {
    news: BoxStream<'static, RoutingNews>,
    connection: JoinHandle<()>,
}

impl RoutingMonitor {
    /// Opens the subscription and drives it on the current tokio runtime. There is no news of what is requested by the
    /// socket with the address `port`.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open(port: u32) -> Result<Self, NetError> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(GROUPS).map_err(NetError::Open)?;
        socket_filter::attach(connection.socket_mut().socket_ref(), &mut of_interest(port)).map_err(NetError::Open)?;
        let connection = tokio::spawn(connection);
        let news = messages.filter_map(async |(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(message) => news(&message),
            NetlinkPayload::Overrun(_) => Some(RoutingNews::Missed),
            _ => None,
        });
        Ok(Self { news: news.boxed(), connection })
    }

    /// Waits for the next notification; returns `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<RoutingNews> {
        self.news.next().await
    }
}

impl Drop for RoutingMonitor {
    fn drop(&mut self) {
        // Otherwise it would go on, and log every message that nobody takes.
        self.connection.abort();
    }
}

impl fmt::Debug for RoutingMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoutingMonitor").finish_non_exhaustive()
    }
}

fn news(message: &RouteNetlinkMessage) -> Option<RoutingNews> {
    match message {
        RouteNetlinkMessage::DelRoute(_) => Some(RoutingNews::Removed),
        RouteNetlinkMessage::NewRoute(route) => key(route).map(RoutingNews::Replaced),
        RouteNetlinkMessage::DelRule(rule) => is_ours(rule).then_some(RoutingNews::Removed),
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_) => Some(RoutingNews::Surroundings),
        _ => None,
    }
}

/// Has the kernel queue only what is of interest. A router that learns its routes from others has thousands of
/// notifications a second.
fn of_interest(port: u32) -> [Step; 12] {
    /// Where a message has its type, its flags, and the address of the socket by which the change was requested.
    const TYPE: u32 = 4;
    const FLAGS: u32 = 6;
    const PORT: u32 = 12;
    /// Where a route has its protocol, behind the header of the message.
    const ROUTE_PROTOCOL: u32 = 16 + 5;
    #[expect(clippy::cast_possible_truncation, reason = "the flags of netlink have 16 bits")]
    const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
    [
        load_word(PORT),
        word_is(port, 8, 0),
        load_half(TYPE),
        half_is(libc::RTM_DELROUTE, 0, 2),
        load_byte(ROUTE_PROTOCOL),
        byte_is(PROTOCOL, 5, 4),
        half_is(libc::RTM_NEWROUTE, 0, 2),
        load_half(FLAGS),
        half_has(REPLACE, 2, 1),
        half_is(libc::RTM_NEWRULE, 0, 1),
        DROP,
        ACCEPT,
    ]
}
