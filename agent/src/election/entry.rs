//! The entry of a virtual router in the maps of the kernel half: role, flags and lease, as the agent last wrote them.

use xvrrp_common::abi::{Lease, Router, RouterKey};
use xvrrp_common::units::{Instant, MacAddress, Priority};
use xvrrp_dataplane::{DataplaneError, Slot, Tables};
use xvrrp_vrrp::State;

/// Copy of a virtual router's entry in the maps, as the agent last wrote it. Every write replaces the whole entry, so
/// the copy also has the priority, the version and other values that are only read from the state machine.
#[derive(Debug)]
pub struct MapEntry {
    key: RouterKey,
    router: Router,
    /// The lease when the agent last wrote or read it.
    lease: u64,
}

impl MapEntry {
    /// Describes the entry that the maps have at the start: in the role [`Router::ROLE_INITIALIZE`], or in
    /// [`Router::ROLE_ACTIVE`] if the role is resumed. `resume` is the end of the lease then.
    pub fn new(key: RouterKey, router: Router, resume: Option<Instant>) -> Self {
        Self { key, router, lease: resume.map_or(Lease::ENDED, Instant::as_nanos) }
    }

    pub(super) fn key(&self) -> RouterKey {
        self.key
    }

    /// Returns the end of the lease, unless that has ended.
    pub(super) fn resumed_lease(&self) -> Option<Instant> {
        (self.lease != Lease::ENDED).then(|| Instant::from_nanos(self.lease))
    }

    pub(super) fn slot(&self) -> Slot {
        Slot::new(self.router.slot)
    }

    /// Returns whether one of [`Router::flags`] is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.router.flags & flag != 0
    }

    /// Returns the MAC that the virtual addresses are at: the virtual MAC, or the interface's own.
    pub(super) fn mac(&self) -> MacAddress {
        MacAddress(self.router.answer_mac)
    }

    /// Returns one of the `CHECKSUM_` constants of [`Router`].
    pub(super) fn checksum(&self) -> u8 {
        self.router.checksum
    }

    /// Returns the simple password of version 2 (RFC 2338 5.3.10).
    pub(super) fn password(&self) -> Option<[u8; 8]> {
        (self.router.auth_type != 0).then_some(self.router.auth_data)
    }

    /// Whether its addresses may be on this host: it is Active in the maps, or has just given up the role.
    pub(super) fn may_hold_addresses(&self) -> bool {
        self.router.role == Router::ROLE_ACTIVE || self.has(Router::RETIRES)
    }

    /// Writes role and lease at a change of state. With `leased`, an Active router serves only after its first advert.
    pub(super) fn take_role(&mut self, state: State, leased: bool, tables: &mut Tables) -> Result<(), DataplaneError> {
        match state {
            State::Active if self.lease == Lease::ENDED => {
                self.set_lease(crate::process::clock::now().as_nanos(), tables);
            }
            State::Active => {}
            State::Initialize | State::Backup => self.set_lease(Lease::ENDED, tables),
        }
        // `RETIRES` goes into the same write as the role, and stays until the addresses are off.
        let retires = self.has(Router::RETIRES) || self.router.role == Router::ROLE_ACTIVE;
        // Neither the term of the latest advert nor that of an advert that the kernel half is recording now.
        let term = free_term([tables.heard(self.slot()).latest.term, self.router.term]);
        self.write_role(state, retires && state != State::Active, term, tables)?;
        if state == State::Active && !leased {
            self.set_lease(Lease::UNLIMITED, tables);
        }
        Ok(())
    }

    pub(super) fn set_role(&mut self, state: State, tables: &mut Tables) -> Result<(), DataplaneError> {
        self.write_role(state, self.has(Router::RETIRES), self.router.term, tables)
    }

    fn write_role(&mut self, state: State, retires: bool, term: u8, tables: &mut Tables) -> Result<(), DataplaneError> {
        let role = match state {
            State::Initialize => Router::ROLE_INITIALIZE,
            State::Backup => Router::ROLE_BACKUP,
            State::Active => Router::ROLE_ACTIVE,
        };
        let others = self.router.flags & !Router::RETIRES;
        let flags = if retires { others | Router::RETIRES } else { others };
        self.write(Router { role, flags, term, ..self.router }, tables)
    }

    /// Sets or clears one of [`Router::flags`].
    pub(super) fn set_flag(&mut self, flag: u8, set: bool, tables: &mut Tables) -> Result<(), DataplaneError> {
        let others = self.router.flags & !flag;
        let flags = if set { others | flag } else { others };
        self.write(Router { flags, ..self.router }, tables)
    }

    pub(super) fn set_priority(&mut self, priority: Priority, tables: &mut Tables) -> Result<(), DataplaneError> {
        self.write(Router { priority: priority.get(), ..self.router }, tables)
    }

    /// Writes the MAC address of the interface, and returns whether it differs from before. With `answers`, requests
    /// for the virtual addresses are answered with it too.
    pub(super) fn set_interface_mac(
        &mut self,
        mac: MacAddress,
        answers: bool,
        tables: &mut Tables,
    ) -> Result<bool, DataplaneError> {
        if mac.0 == self.router.interface_mac {
            return Ok(false);
        }
        let answer_mac = if answers { mac.0 } else { self.router.answer_mac };
        self.write(Router { interface_mac: mac.0, answer_mac, ..self.router }, tables)?;
        Ok(true)
    }

    fn write(&mut self, router: Router, tables: &mut Tables) -> Result<(), DataplaneError> {
        if self.router != router {
            tables.set_router(self.key, &router)?;
            self.router = router;
        }
        Ok(())
    }

    pub(super) fn set_lease(&mut self, until: u64, tables: &Tables) {
        self.lease = until;
        tables.set_lease(self.slot(), until);
    }

    /// Renews the lease. Returns false if the kernel half has ended it, because it has heard an advert that wins.
    pub(super) fn renew_lease(&mut self, until: Instant, tables: &Tables) -> bool {
        let until = until.as_nanos();
        match tables.renew_lease(self.slot(), self.lease, until) {
            Ok(()) => {
                self.lease = until;
                true
            }
            Err(ended) => {
                self.lease = ended;
                false
            }
        }
    }

    pub(super) fn lease_runs(&self, now: Instant, tables: &Tables) -> bool {
        tables.lease(self.slot()) > now.as_nanos()
    }
}

/// Returns a number of a term that is not in use. Two are, so one of three is free.
fn free_term(used: [u8; 2]) -> u8 {
    [0, 1, 2].into_iter().find(|term| !used.contains(term)).unwrap_or_default()
}
