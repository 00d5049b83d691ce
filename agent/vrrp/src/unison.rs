//! Virtual routers that change role together: the two families of one name (RFC 9568 1.7 makes them two), and the
//! members of a sync group. Each is a virtual router of the RFC, with adverts of its own.
//!
//! They may differ in priority, interval and preemption.
//!
//! - None takes over before the timers of all have expired: [`joint_deadline`]. So an Active router that is heard on
//!   one of them, and that one does not preempt, keeps all of them Backup.
//! - If one becomes Active or Backup, the others do too: [`follow`].
//! - One that has no usable interface, or a failed check, keeps the others from taking part: [`others`].

use xvrrp_common::units::Instant;

use super::action::State;
use super::event::{Checks, Event};
use super::router::VirtualRouter;

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

/// Returns when these virtual routers may take over together: once the Active_Down_Timer of each Backup among them has
/// expired. A role that was given up on one of them is given up on all, so that each waits for its Skew_Time from then
/// on, unless it has heard an Active router since. `None` if none of them is Backup. Pass an [`Event::Held`] with this
/// moment to one whose own timer expires before.
pub fn joint_deadline<'a>(members: impl Iterator<Item = &'a VirtualRouter> + Clone) -> Option<Instant> {
    let released = members.clone().filter_map(VirtualRouter::released_at).max();
    members.filter_map(|member| member.deadline_after_release(released)).max()
}

/// Combines what the interfaces and checks of all partners let them do, for [`Event::Partners`].
pub fn others(abilities: impl Iterator<Item = Checks>) -> Checks {
    abilities.fold(Checks::Passed, |all, one| match (all, one) {
        (Checks::Failed, _) | (_, Checks::Failed) => Checks::Failed,
        (Checks::Pending, _) | (_, Checks::Pending) => Checks::Pending,
        (Checks::Passed, Checks::Passed) => Checks::Passed,
    })
}
