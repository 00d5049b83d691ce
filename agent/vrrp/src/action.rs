//! The actions that a virtual router asks for, and its states with their reasons.

use core::fmt;

use serde::{Deserialize, Serialize};
use xvrrp_common::units::{Instant, Priority};

/// Something to do. Actions are carried out in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write the role for the kernel half, which answers and forwards by it; the first action of every change.
    SetRole(State),
    /// Write for the kernel half whether an advert of a lower priority than ours leaves the Active_Down_Timer alone.
    SetPreempt(bool),
    /// Use this priority from now on, in the kernel half and in adverts.
    SetPriority(Priority),
    /// Write whether we stand by ([`Event::StandBy`](super::Event::StandBy)); the maps keep it for a successor of the
    /// agent.
    SetStandBy(bool),
    /// Send an advert with this priority (RFC 9568 7.2).
    SendAdvert {
        /// 0 gives up the role.
        priority: Priority,
    },
    /// Send a gratuitous ARP or unsolicited Neighbor Advertisement for every virtual address (RFC 9568 6.4.1, 6.4.2).
    Announce,
    /// Add the virtual addresses to the interface.
    InstallAddresses,
    /// Remove them.
    RemoveAddresses,
    /// Report the change, which is made. Also sent, with `to` equal to `from`, when a virtual router is started on an
    /// interface that is down.
    Transition {
        /// The state before.
        from: State,
        /// The state from now on.
        to: State,
        /// Reason for the change.
        reason: Reason,
        /// Time of the change.
        at: Instant,
    },
}

/// The state of a virtual router (RFC 9568 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// RFC 9568 6.4.1: waits for a Startup event.
    Initialize,
    /// RFC 9568 6.4.2: watches the Active router.
    Backup,
    /// RFC 9568 6.4.3: forwards packets and answers for the addresses.
    Active,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Initialize => "init",
            Self::Backup => "backup",
            Self::Active => "active",
        })
    }
}

/// Why a virtual router is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Initialize: not started yet.
    NotStarted,
    /// Initialize: left the election.
    Shutdown,
    /// Initialize: the interface is down.
    InterfaceDown,
    /// Initialize: a tracked check without a weight has no result yet.
    ChecksPending,
    /// Initialize: a tracked check says that this host cannot serve.
    CheckFailed,
    /// Initialize: a virtual address, or the virtual MAC in the card's filter, does not stay on this host.
    AddressesNotKept,
    /// Initialize: it is not known yet whether every partner can take part.
    PartnerPending,
    /// Initialize: the interface of a partner is down or absent.
    PartnerFault,
    /// Backup: entered the election.
    Startup,
    /// Backup: entered the election again because the interface is up.
    InterfaceUp,
    /// Backup: entered the election because the tracked checks succeed.
    ChecksPassed,
    /// Backup: entered the election again, to try again to keep the addresses on this host.
    Retry,
    /// Backup: entered the election because all partners can take part.
    PartnersReady,
    /// Backup: none of our adverts was sent for so long that another may be Active.
    LeaseExpired,
    /// Backup: handed the role over at an operator's request.
    HandedOver,
    /// Backup: another Active has a higher priority.
    HigherPriority,
    /// Backup: another Active has our priority and a higher address.
    HigherAddress,
    /// Active or Backup: followed a partner, of the other address family or of the sync group.
    Partner,
    /// Active: we own the virtual addresses.
    Owner,
    /// Active: the previous agent was Active, and its lease still runs.
    Resumed,
    /// Active: no Active router was heard for Active_Down_Interval.
    ActiveDown,
    /// Active: the last Active router gave up its role with priority 0.
    ActiveReleased,
    /// Active: the last Active router has a lower priority than ours.
    Preempted,
}

impl Reason {
    /// All reasons, in the order of their states.
    pub const ALL: [Self; 23] = [
        Self::NotStarted,
        Self::Shutdown,
        Self::InterfaceDown,
        Self::ChecksPending,
        Self::CheckFailed,
        Self::AddressesNotKept,
        Self::PartnerPending,
        Self::PartnerFault,
        Self::Startup,
        Self::InterfaceUp,
        Self::ChecksPassed,
        Self::Retry,
        Self::PartnersReady,
        Self::LeaseExpired,
        Self::HandedOver,
        Self::HigherPriority,
        Self::HigherAddress,
        Self::Partner,
        Self::Owner,
        Self::Resumed,
        Self::ActiveDown,
        Self::ActiveReleased,
        Self::Preempted,
    ];

    /// Returns whether a virtual router in Initialize has to stay there because something is broken.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::InterfaceDown | Self::CheckFailed | Self::AddressesNotKept | Self::PartnerFault)
    }

    /// Returns the word for logs, JSON and notify programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Shutdown => "shutdown",
            Self::InterfaceDown => "interface_down",
            Self::ChecksPending => "checks_pending",
            Self::CheckFailed => "check_failed",
            Self::AddressesNotKept => "addresses_not_kept",
            Self::PartnerPending => "partner_pending",
            Self::PartnerFault => "partner_fault",
            Self::Startup => "startup",
            Self::InterfaceUp => "interface_up",
            Self::ChecksPassed => "checks_passed",
            Self::Retry => "retry",
            Self::PartnersReady => "partners_ready",
            Self::LeaseExpired => "lease_expired",
            Self::HandedOver => "handed_over",
            Self::HigherPriority => "higher_priority",
            Self::HigherAddress => "higher_address",
            Self::Partner => "partner",
            Self::Owner => "owner",
            Self::Resumed => "resumed",
            Self::ActiveDown => "active_down",
            Self::ActiveReleased => "active_released",
            Self::Preempted => "preempted",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_reason_is_read_back_from_its_word() {
        assert_eq!(Reason::ALL.len(), Reason::Preempted as usize + 1, "a reason is missing from the list");
        for reason in Reason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.name());
            assert_eq!(reason.to_string(), reason.name());
            assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        }
    }
}
