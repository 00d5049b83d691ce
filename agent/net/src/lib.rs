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
mod unicast;

pub use address::{InterfaceAddress, Placed};
pub use deletions::{Deletion, DeletionMonitor};
pub use echo::Echo;
pub use error::NetError;
pub use interface::{Interface, InterfaceKind, LinkChange};
pub use interface_flags::interface_is_running;
pub use link_monitor::{LinkMonitor, LinkNews};
pub use memberships::Memberships;
pub use netlink::{AddressOutcome, FoundAddress, MARKS_LAST, Netlink};
pub use packet::{InterfaceSender, PacketSocket};
pub use process_events::{ProcessEvent, ProcessEvents};
pub use unicast::UnicastSocket;
