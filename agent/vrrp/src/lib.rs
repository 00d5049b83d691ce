//! The protocol: the state machine of one virtual router, RFC 9568 section 6.4 (version 2: RFC 3768 section 6.4).
//!
//! [`VirtualRouter`] takes events with the time at which they happened, and returns actions. It opens no socket, reads
//! no clock and starts no task, so tests drive it through hours of virtual time in an instant:
//!
//! ```text
//! loop {
//!     while let Some(action) = router.poll_action() { carry it out }
//!     wait until router.poll_timeout(), or for an event
//!     router.handle_event(event, now)  or  router.handle_timeout(now)
//! }
//! ```
//!
//! Two rules make it fit for a kernel half that hears the adverts:
//!
//! - The Active_Down_Timer counts from the arrival of an advert, never from the moment at which the agent handles it.
//!   The kernel half stamps arrivals, which come in as [`Event::Restarted`]. Pass the latest one before every
//!   [`VirtualRouter::handle_timeout`]: then a late agent never takes over from a living Active. Pass a Backup the
//!   newest advert too, as an [`Event::Advert`]: the kernel half reports changes only, and the router that was Active
//!   before this one became Backup is no change.
//! - An Active router serves on a lease that only its adverts renew: call [`VirtualRouter::advert_sent`] after each.
//!   Once the lease has ended, the next call makes the router a Backup before anything else ([`RouterConfig::lease`]).
//! - [`Action`]s are carried out in their order: what decides about traffic ([`Action::SetRole`]) comes first.
//!
//! The kernel half starts with its preempt flag as in [`RouterConfig::preempt`]; [`Action::SetPreempt`] reports changes
//! only.

#![no_std]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod config;
mod event;
mod phase;
mod preempt;
mod router;
mod router_state;
mod timers;
mod unison;

pub use action::{Action, Reason, State};
pub use config::RouterConfig;
pub use event::{Checks, Event, ReceivedAdvert};
pub use router::{Standing, VirtualRouter};
pub use router_state::RouterState;
pub use timers::lease;
pub use unison::{Follower, follow, joint_deadline, others};
