//! Succession of agents: reload, succession by another process, and the last adverts of removed virtual routers.

pub mod departure;
pub mod farewell;
mod files;
mod inherited_state;
pub mod reload;
pub mod take_over;

pub use self::files::Files;
pub use self::inherited_state::{InheritedState, Rests};
