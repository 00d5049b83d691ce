//! Routers of the lab: xvrrp, and the programs that it must interoperate with.

mod daemon;
mod frr;
mod group;
mod imported;
mod keepalived;
mod pair;
mod served_pair;
mod side;
mod virtual_router;
mod xvrrp;

pub use daemon::Daemon;
pub use frr::{Frr, FrrConfig};
pub use group::{Group, Implementation};
pub use imported::Imported;
pub use keepalived::{Keepalived, KeepalivedConfig};
pub use pair::Pair;
pub use served_pair::ServedPair;
pub use side::Side;
pub use virtual_router::VirtualRouter;
pub use xvrrp::{Xvrrp, agent_binary};
