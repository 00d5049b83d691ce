//! Two virtual routers under one name, one of each family, that change role together.
//!
//! Each is a virtual router of the RFC, with adverts of its own (RFC 9568 1.7). What is heard in either family restarts
//! the timers of both ([`Instance::fire`](super::Instance)), so that they take over when nobody is heard in any; and what
//! makes one of them Active or Backup makes the other one the same.

use super::{Election, ElectionError};
use crate::clock;
use crate::vrrp::{Event, State};

impl Election {
    /// Carries out what a virtual router has decided, and what follows from it for its partner.
    pub(super) fn act(&mut self, index: usize) -> Result<(), ElectionError> {
        let instance = &mut self.instances[index];
        instance.act(&mut self.tables, &self.outlets)?;
        let entered = instance.take_entered();
        let (Some((from, to)), Some(partner)) = (entered, instance.partner()) else { return Ok(()) };
        let theirs = self.instances[partner].state();
        let (follower, event) = match (from, to, theirs) {
            (_, State::Active, State::Backup) => (partner, Event::PartnerActive),
            (State::Active, State::Backup, State::Active) => (partner, Event::PartnerBackup),
            // Later than the other, as after an agent that left only one of the roles.
            (State::Initialize, State::Backup, State::Active) => (index, Event::PartnerActive),
            _ => return Ok(()),
        };
        let instance = &mut self.instances[follower];
        instance.handle(event, clock::now());
        instance.act(&mut self.tables, &self.outlets)?;
        instance.take_entered();
        Ok(())
    }
}
