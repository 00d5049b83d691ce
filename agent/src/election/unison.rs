//! Handles virtual routers that change role together ([`follow`]): how each of them takes over, and what follows for
//! its partners.

use std::iter;

use xvrrp_common::units::Instant;
use xvrrp_vrrp::{Checks, Event, Follower, State, follow, others};

use super::{Election, ElectionError, Instance};
use crate::identity::RouterIndex;
use crate::process::clock;

impl Election {
    /// Lets a virtual router act on a deadline that has passed, unless the kernel half has since received an advert,
    /// for it or for a partner, that moves the deadline. If no deadline has passed, it only learns what the kernel half
    /// received.
    pub(super) fn fire(&mut self, index: RouterIndex, now: Instant) -> Result<(), ElectionError> {
        let Some(instance) = self.instances.get_mut(index) else { return Ok(()) };
        instance.answer_again(now);
        let partners = instance.partners();
        self.hear_stamps(index, now);
        if !self.instances.get(index).is_some_and(|instance| instance.takeover_is_due(now)) {
            return self.time_out(index, now);
        }
        let all = || iter::once(index).chain(partners.iter().copied());
        // Once the kernel half knows the role, it reports every advert. An advert that arrived between the first
        // reading of the stamps and that moment shows in the second reading, so none goes unnoticed. `set_router`
        // issues a full fence after each role, and the kernel half issues one after each stamp (`take` in
        // `ebpf/src/advert.rs`).
        for one in all() {
            if let Some(instance) = self.instances.get_mut(one) {
                instance.prepare_takeover(now, &mut self.tables)?;
            }
        }
        self.hear_stamps(index, now);
        self.time_out(index, now)?;
        // Those that have not become Active after all.
        for one in all() {
            if let Some(instance) = self.instances.get_mut(one) {
                instance.put_off_takeover(&mut self.tables)?;
            }
        }
        Ok(())
    }

    /// Lets the timers of a virtual router expire, and carries out what follows.
    fn time_out(&mut self, index: RouterIndex, now: Instant) -> Result<(), ElectionError> {
        if let Some(instance) = self.instances.get_mut(index) {
            instance.handle_timeout(now);
        }
        self.act(index)
    }

    /// Lets a virtual router learn which adverts the kernel half has received for it and for its partners.
    fn hear_stamps(&mut self, index: RouterIndex, now: Instant) {
        let Some(instance) = self.instances.get(index) else { return };
        for partner in &*instance.partners() {
            let Some(slot) = self.instances.get(*partner).map(Instance::slot) else { continue };
            let heard = self.tables.heard(slot);
            if let Some(instance) = self.instances.get_mut(index) {
                instance.hear_restart(&heard, now);
            }
        }
        if let Some(instance) = self.instances.get_mut(index) {
            instance.hear_stamp(&self.tables, now);
        }
    }

    /// Carries out what a virtual router has decided, and what follows for its partners.
    pub(super) fn act(&mut self, index: RouterIndex) -> Result<(), ElectionError> {
        self.carry_out(index)?;
        let Some(instance) = self.instances.get(index) else { return Ok(()) };
        let partners = instance.partners();
        let all = || iter::once(index).chain(partners.iter().copied());
        while let Some((changed, (from, to))) = self.take_entered(all()) {
            for partner in all().filter(|one| *one != changed) {
                let Some(instance) = self.instances.get(partner) else { continue };
                let Some((follower, event)) = follow(from, to, instance.state()) else { continue };
                let follower = match follower {
                    Follower::Changed => changed,
                    Follower::Partner => partner,
                };
                if let Some(instance) = self.instances.get_mut(follower) {
                    instance.handle(event, clock::now());
                }
                self.carry_out(follower)?;
            }
        }
        Ok(())
    }

    /// Takes the change of state of the first of these virtual routers that has one.
    fn take_entered(&mut self, mut of: impl Iterator<Item = RouterIndex>) -> Option<(RouterIndex, (State, State))> {
        of.find_map(|one| Some((one, self.instances.get_mut(one)?.take_entered()?)))
    }

    fn carry_out(&mut self, index: RouterIndex) -> Result<(), ElectionError> {
        let Some(instance) = self.instances.get_mut(index) else { return Ok(()) };
        instance.act(&mut self.tables, &self.outlets, &mut self.pace)?;
        self.pace.enqueue(index, instance.owed());
        Ok(())
    }

    /// Informs every virtual router of what its partners can do. [`Self::act`] carries out what follows.
    pub(super) fn inform_all_of_partners(&mut self, now: Instant) {
        for index in self.instances.indices() {
            self.inform_of_partners(index, now);
        }
    }

    /// Informs a virtual router of what its partners can do. [`Self::act`] carries out what follows.
    pub(super) fn inform_of_partners(&mut self, index: RouterIndex, now: Instant) {
        let Some(instance) = self.instances.get(index) else { return };
        let absent = instance.lacks_partner().then_some(Checks::Failed);
        let partners = instance.partners();
        let present = partners.iter().filter_map(|partner| Some(self.instances.get(*partner)?.ability()));
        let partners = others(present.chain(absent));
        if let Some(instance) = self.instances.get_mut(index) {
            instance.handle(Event::Partners(partners), now);
        }
    }
}
