//! What a client sees: who answers at the virtual address, when, and with which MAC.

mod arp;
mod echo;
mod tcp;
mod udp;

pub use arp::{ArpFrame, ArpWatch, ask_for};
pub use echo::{TcpEcho, UdpEcho};
pub use tcp::TcpConnection;
pub use udp::{Timeline, UdpProbe};
