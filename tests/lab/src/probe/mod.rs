//! What a client sees of the virtual address: which host answers, when, and with which MAC.

mod arp;
mod echo;
pub mod port;
mod route;
mod service;
mod serving;
mod tcp;
mod udp;

pub use arp::{ArpFrame, ArpWatch, ask_for};
pub use echo::{TcpEcho, UdpEcho};
pub use route::RouteProbe;
pub use service::Service;
pub use serving::{Destination, Gap, Hosts, Kind, Reign, Sample, Serving, ServingTimeline};
pub use tcp::TcpConnection;
pub use udp::{Timeline, UdpProbe};
