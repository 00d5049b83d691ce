//! What a virtual router wants done, and the words for its states.

use core::fmt;

use xvrrp_common::units::{Instant, Priority};

/// To be carried out in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// For the kernel half, which decides by it what is answered and forwarded; the first action of every change.
    SetRole(State),
    /// For the kernel half: whether an advert of a lower priority than ours leaves the Active_Down_Timer alone.
    SetPreempt(bool),
    /// For the kernel half and the adverts: the priority that we have from now on.
    SetPriority(Priority),
    /// For the kernel half, which keeps it for a successor of the agent: whether we stand by ([`Event::StandBy`](super::Event::StandBy)).
    SetStandBy(bool),
    /// Send an advert with this priority (RFC 9568 7.2).
    SendAdvert { priority: Priority },
    /// Send a gratuitous ARP or unsolicited Neighbor Advertisement for every virtual address (RFC 9568 6.4.1, 6.4.2).
    Announce,
    /// Put the virtual addresses on the interface.
    InstallAddresses,
    /// Take them off.
    RemoveAddresses,
    /// The change is made: tell those who want to know. Also sent, with `to` equal to `from`, when a virtual router
    /// is started on an interface that is down.
    Transition { from: State, to: State, reason: Reason, at: Instant },
}

/// RFC 9568 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Initialize,
    Backup,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Initialize: of one that changes role together with us it is not known yet whether it can take part.
    PartnerPending,
    /// Initialize: the interface of one that changes role together with us is down or not there.
    PartnerFault,
    /// Backup: entered the election.
    Startup,
    /// Backup: entered the election again, the interface is up.
    InterfaceUp,
    /// Backup: entered the election again, or for the first time, the tracked checks are good.
    ChecksPassed,
    /// Backup: entered the election again, to try once more to keep the addresses on this host.
    Retry,
    /// Backup: entered the election again, or for the first time, all that change role together can take part.
    PartnersReady,
    /// Backup: none of our adverts was sent for so long that another may be Active.
    LeaseExpired,
    /// Backup: has handed the role over, as an operator wanted.
    HandedOver,
    /// Backup: another Active has a higher priority.
    HigherPriority,
    /// Backup: another Active has our priority and a higher address.
    HigherAddress,
    /// Active or Backup: so is one that changes role together with us, of the other address family or of the sync group.
    Partner,
    /// Active: we own the virtual addresses.
    Owner,
    /// Active: so was the agent before us, and its lease still runs.
    Resumed,
    /// Active: none was heard for Active_Down_Interval.
    ActiveDown,
    /// Active: the last one gave up its role with priority 0.
    ActiveReleased,
    /// Active: the last one has a lower priority than ours.
    Preempted,
}

impl Reason {
    /// Whether a virtual router in Initialize has to stay there because something is broken.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::InterfaceDown | Self::CheckFailed | Self::AddressesNotKept | Self::PartnerFault)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
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
        })
    }
}
