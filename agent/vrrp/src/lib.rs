//! The protocol: the state machine of one virtual router, RFC 9568 section 6.4 (version 2: RFC 3768 section 6.4).
//!
//! [`VirtualRouter`] is told what happened and what time it is, and answers with what is to be done. It opens no
//! socket, reads no clock and starts no task, so tests drive it through hours of virtual time in an instant:
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
//! - The Active_Down_Timer counts from the moment at which an advert arrived, never from the moment at which the
//!   agent got round to it. The arrival times that the kernel half noted come in as [`Event::Restarted`]; give the
//!   latest one before every [`VirtualRouter::handle_timeout`], and a late agent never takes over from a living Active.
//!   A Backup gets the newest advert noted as well, as an [`Event::Advert`]: the kernel half tells of changes only, and
//!   who was Active before we were Backup is none.
//! - An Active router serves on a lease that only its adverts renew: tell of each by [`VirtualRouter::advert_sent`]. Where
//!   the lease has ended, whatever comes next makes it a Backup first ([`Config::lease`]).
//! - [`Action`]s are carried out in their order: what decides about traffic ([`Action::SetRole`]) comes first.
//!
//! The kernel half starts with its preempt flag as in [`Config::preempt`]; [`Action::SetPreempt`] tells of changes only.

#![no_std]

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
pub use config::Config;
pub use event::{Advert, Checks, Event};
pub use router::{Standing, VirtualRouter};
pub use router_state::RouterState;
pub use timers::lease;
pub use unison::{Follower, follow, others};
