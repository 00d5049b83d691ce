//! The network as the agent touches it: netlink for what is configured, a packet socket for what is sent.

mod link_monitor;
mod memberships;
mod netlink;
mod packet;
mod promote;

pub use link_monitor::{LinkChange, LinkMonitor, LinkNews};
pub use memberships::Memberships;
pub use netlink::{AddressOutcome, Interface, InterfaceAddress, MARKS_LAST, NetError, Netlink};
pub use packet::PacketSocket;
