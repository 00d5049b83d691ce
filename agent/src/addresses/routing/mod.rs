//! Routes, rules and static addresses, as one set for the whole host: each is there while somebody wants it.

mod keeper;
mod leftovers;
mod render;
mod set;
mod wish;

pub(super) use keeper::{RoutingKeeper, Turn};
pub use leftovers::{Leftovers, LeftoversError, add_static_addresses, remove_leftovers};
pub use render::host_address;
