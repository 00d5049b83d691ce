//! Handles virtual routers that change role together ([`follow`]): when they take over ([`joint_deadline`]), and what
//! follows for the partners of one that has changed.

use std::collections::BTreeSet;
use std::iter;

use xvrrp_common::units::Instant;
use xvrrp_vrrp::{Checks, Event, Follower, State, follow, joint_deadline, others};

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
        let all = || iter::once(index).chain(partners.iter().copied());
        self.hear_stamps(all(), now);
        if !self.may_take_over(index, now) {
            return self.time_out(index, now);
        }
        // Once the kernel half knows the role, it reports every advert. An advert that arrived between the first
        // reading of the stamps and that moment shows in the second reading, so none goes unnoticed. `set_router`
        // issues a full fence after each role, and the kernel half issues one after each stamp (`take` in
        // `ebpf/src/advert.rs`).
        for one in all() {
            if let Some(instance) = self.instances.get_mut(one) {
                instance.prepare_takeover(now, &mut self.tables)?;
            }
        }
        self.hear_stamps(all(), now);
        self.may_take_over(index, now);
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
        let Some(instance) = self.instances.get_mut(index) else { return Ok(()) };
        instance.handle_timeout(now);
        let partners = instance.partners();
        self.act(index)?;
        // What they have decided because of the adverts that the kernel half received.
        partners.iter().try_for_each(|partner| self.carry_out(*partner))
    }

    /// Lets virtual routers learn which adverts the kernel half has received for them.
    fn hear_stamps(&mut self, of: impl Iterator<Item = RouterIndex>, now: Instant) {
        for one in of {
            if let Some(instance) = self.instances.get_mut(one) {
                instance.hear_stamp(&self.tables, now);
            }
        }
    }

    /// Whether the Active_Down_Timer of a virtual router has expired, and those of its partners too. If only its own
    /// has, it is held until theirs have.
    fn may_take_over(&mut self, index: RouterIndex, now: Instant) -> bool {
        let Some(instance) = self.instances.get(index).filter(|instance| instance.takeover_is_due(now)) else {
            return false;
        };
        let partners = instance.partners();
        let all = iter::once(index).chain(partners.iter().copied());
        let machines = all.filter_map(|one| self.instances.get(one)).map(Instance::machine);
        let Some(until) = joint_deadline(machines).filter(|until| *until > now) else { return true };
        if let Some(instance) = self.instances.get_mut(index) {
            instance.handle(Event::Held { until }, now);
        }
        false
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

    /// Lets a virtual router learn what its interface, its checks and its host let it do now, and what its partners can
    /// do. [`Self::act`] carries out what follows.
    pub(super) fn refresh(&mut self, index: RouterIndex, now: Instant) {
        let Some(instance) = self.instances.get(index) else { return };
        let absent = instance.lacks_partner().then_some(Checks::Failed);
        let partners = instance.partners();
        let present = partners.iter().filter_map(|partner| Some(self.instances.get(*partner)?.ability()));
        let partners = others(present.chain(absent));
        if let Some(instance) = self.instances.get_mut(index) {
            instance.refresh(partners, now);
        }
    }

    /// As [`Self::refresh`], for these virtual routers and all their partners, and carries out what follows.
    pub(super) fn refresh_all(&mut self, changed: &[RouterIndex], now: Instant) -> Result<(), ElectionError> {
        let mut concerned: BTreeSet<RouterIndex> = changed.iter().copied().collect();
        for one in changed {
            concerned.extend(self.instances.get(*one).iter().flat_map(|instance| instance.partners().to_vec()));
        }
        for &one in &concerned {
            self.refresh(one, now);
        }
        concerned.into_iter().try_for_each(|one| self.act(one))
    }
}
