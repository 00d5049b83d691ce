//! Virtual routers that change role together: the two families of one name (RFC 9568 1.7 makes them two), and the
//! members of a sync group. Each is a virtual router of the RFC, with adverts of its own.
//!
//! - What restarts the timer of one restarts those of all: pass each [`Event::Restarted`] to all of them. So none takes
//!   over while an Active router is heard on one of them.
//! - If one becomes Active or Backup, the others do too: [`follow`].
//! - One that has no usable interface keeps the others from taking part: [`others`].

use super::action::State;
use super::event::{Checks, Event};

/// Returns the event that follows for a partner, or for the router itself, when a router has gone `from` a state `to`
/// another and a partner is in the state `theirs`.
pub fn follow(from: State, to: State, theirs: State) -> Option<(Follower, Event)> {
    match (from, to, theirs) {
        (_, State::Active, State::Backup) => Some((Follower::Partner, Event::PartnerActive)),
        (State::Active, State::Backup, State::Active) => Some((Follower::Partner, Event::PartnerBackup)),
        // Later than the other, as after an agent that left only some of the roles.
        (State::Initialize, State::Backup, State::Active) => Some((Follower::Changed, Event::PartnerActive)),
        _ => None,
    }
}

/// The router that an event of [`follow`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    /// The virtual router that has changed its state.
    Changed,
    /// The one that changes role together with it.
    Partner,
}

/// Combines what the interfaces of all partners let them do, for [`Event::Partners`].
pub fn others(abilities: impl Iterator<Item = Checks>) -> Checks {
    abilities.fold(Checks::Passed, |all, one| match (all, one) {
        (Checks::Failed, _) | (_, Checks::Failed) => Checks::Failed,
        (Checks::Pending, _) | (_, Checks::Pending) => Checks::Pending,
        (Checks::Passed, Checks::Passed) => Checks::Passed,
    })
}
