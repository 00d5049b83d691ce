//! Routes, rules, and addresses of the host itself: adding, removing and listing them in batches, and noticing when
//! they may be gone.

mod address;
mod entry;
mod monitor;
mod numbers;
mod route;
mod rule;
mod socket;

pub use self::address::HostAddress;
pub use self::entry::{HostEntry, Insertion, LinkFacts, Listing};
pub use self::monitor::{RoutingMonitor, RoutingNews};
pub use self::numbers::Prefix;
pub use self::route::{Hop, Route, RouteKey};
pub use self::rule::Rule;
pub use self::socket::{BATCH, Change, Outcome, Refusal, RoutingSocket};
