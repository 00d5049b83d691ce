//! The agent's access to the network: netlink for interfaces, addresses and filters, and sockets that send packets.

#![warn(missing_docs)]

mod address;
mod deletions;
mod echo;
mod error;
mod interface;
mod interface_flags;
mod link_monitor;
mod memberships;
mod netlink;
mod packet;
mod process_events;
mod promote;
mod routing;
mod socket_filter;
mod unicast;

pub use address::{InterfaceAddress, Placed};
pub use deletions::{Deletion, DeletionMonitor};
pub use echo::Echo;
pub use error::NetError;
pub use interface::{Interface, InterfaceKind, LinkChange, LinkState};
pub use interface_flags::interface_link;
pub use link_monitor::{LinkMonitor, LinkNews};
pub use memberships::Memberships;
pub use netlink::{Addition, AddressOutcome, FoundAddress, MARKS_LAST, Netlink};
pub use packet::{InterfaceSender, PacketSocket};
pub use process_events::{ProcessEvent, ProcessEvents};
pub use routing::{
    BATCH, Change, Hop, HostAddress, HostEntry, Insertion, LinkFacts, Listing, Outcome, Prefix, Refusal, Route,
    RouteKey, RoutingMonitor, RoutingNews, RoutingSocket, Rule,
};
pub use unicast::UnicastSocket;
