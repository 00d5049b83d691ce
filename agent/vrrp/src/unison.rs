//! Virtual routers that change role together: the two families of one name (RFC 9568 1.7 makes them two), and the members of a
//! sync group. Each is a virtual router of the RFC, with adverts of its own.
//!
//! - What restarts the timer of one restarts those of all: give every one of them each [`Event::Restarted`] of the others. So
//!   none takes over while anybody is heard on one of them.
//! - What one becomes the others become too: [`follow`].
//! - Who has no interface to work on keeps the others from it: [`others`].

use super::action::State;
use super::event::{Checks, Event};

/// One of them has gone `from` a state `to` another; now `theirs` is the state of a partner. What to tell whom: the partner,
/// or the one that has changed.
pub fn follow(from: State, to: State, theirs: State) -> Option<(Follower, Event)> {
    match (from, to, theirs) {
        (_, State::Active, State::Backup) => Some((Follower::Partner, Event::PartnerActive)),
        (State::Active, State::Backup, State::Active) => Some((Follower::Partner, Event::PartnerBackup)),
        // Later than the other, as after an agent that left only some of the roles.
        (State::Initialize, State::Backup, State::Active) => Some((Follower::Changed, Event::PartnerActive)),
        _ => None,
    }
}

/// Who is told, see [`follow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follower {
    Changed,
    Partner,
}

/// What [`Event::Partners`] tells one of them: what the others' interfaces let them do, all together.
pub fn others(abilities: impl Iterator<Item = Checks>) -> Checks {
    abilities.fold(Checks::Passed, |all, one| match (all, one) {
        (Checks::Failed, _) | (_, Checks::Failed) => Checks::Failed,
        (Checks::Pending, _) | (_, Checks::Pending) => Checks::Pending,
        (Checks::Passed, Checks::Passed) => Checks::Passed,
    })
}
