//! What virtual routers do that change role together ([`follow`]): how each of them takes over, and what follows for the
//! others.

use std::iter;

use xvrrp_common::units::Instant;
use xvrrp_vrrp::{Checks, Event, Follower, follow, others};

use super::{Election, ElectionError};
use crate::process::clock;

#[expect(
    clippy::indexing_slicing,
    reason = "an index is a place among the instances, which neither come nor go while the election runs"
)]
impl Election {
    /// Lets a virtual router act on a deadline that has passed, unless the kernel half has heard better in the meantime, of
    /// it or of a partner. Without such a deadline, it only learns what the kernel half has heard.
    pub(super) fn fire(&mut self, index: usize, now: Instant) -> Result<(), ElectionError> {
        self.instances[index].answer_again(now);
        self.hear_stamps(index, now);
        if !self.instances[index].takeover_is_due(now) {
            self.instances[index].handle_timeout(now);
            return self.act(index);
        }
        let partners = self.instances[index].partners();
        let all = || iter::once(index).chain(partners.iter().copied());
        // From the moment that the kernel half knows the role it tells of every advert. One that came between the
        // stamps read above and that moment shows in the stamps read here; none goes unnoticed. `set_router` issues a full fence
        // after each role, and the kernel half one after each stamp (`take` in `ebpf/src/advert.rs`).
        all().try_for_each(|one| self.instances[one].prepare_takeover(now, &mut self.tables))?;
        self.hear_stamps(index, now);
        self.instances[index].handle_timeout(now);
        self.act(index)?;
        // Whoever is no Active router after all.
        Ok(all().try_for_each(|one| self.instances[one].put_off_takeover(&mut self.tables))?)
    }

    fn hear_stamps(&mut self, index: usize, now: Instant) {
        let partners = self.instances[index].partners();
        for partner in &*partners {
            let heard = self.tables.heard(self.instances[*partner].slot());
            self.instances[index].hear_restart(&heard, now);
        }
        self.instances[index].hear_stamp(&self.tables, now);
    }

    /// Carries out what a virtual router has decided, and what follows from it for its partners.
    pub(super) fn act(&mut self, index: usize) -> Result<(), ElectionError> {
        let partners = self.instances[index].partners();
        let all = || iter::once(index).chain(partners.iter().copied());
        self.carry_out(index)?;
        while let Some(changed) = all().find(|one| self.instances[*one].has_entered()) {
            let Some((from, to)) = self.instances[changed].take_entered() else { break };
            for partner in all().filter(|one| *one != changed) {
                let Some((follower, event)) = follow(from, to, self.instances[partner].state()) else { continue };
                let follower = match follower {
                    Follower::Changed => changed,
                    Follower::Partner => partner,
                };
                self.instances[follower].handle(event, clock::now());
                self.carry_out(follower)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize) -> Result<(), ElectionError> {
        let instance = &mut self.instances[index];
        instance.act(&mut self.tables, &self.outlets, &mut self.pace)?;
        self.pace.enqueue(index, instance.owed());
        Ok(())
    }

    /// Tells a virtual router what its partners can do, without anything being done about it yet.
    pub(super) fn tell_of_partners(&mut self, index: usize, now: Instant) {
        let instance = &self.instances[index];
        let absent = instance.lacks_partner().then_some(Checks::Failed);
        let partners = instance.partners();
        let partners = others(partners.iter().map(|partner| self.instances[*partner].ability()).chain(absent));
        self.instances[index].handle(Event::Partners(partners), now);
    }
}
