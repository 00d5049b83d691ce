//! The names of states and reasons in logs, the status and notify programs.

use xvrrp_vrrp::{Reason, State};

#[test]
fn states_have_short_names() {
    let names = [State::Initialize, State::Backup, State::Active].map(|state| state.to_string());
    assert_eq!(names, ["init", "backup", "active"]);
}

#[test]
fn reasons_have_names_without_spaces() {
    let names = [
        (Reason::NotStarted, "not_started"),
        (Reason::Shutdown, "shutdown"),
        (Reason::InterfaceDown, "interface_down"),
        (Reason::ChecksPending, "checks_pending"),
        (Reason::CheckFailed, "check_failed"),
        (Reason::AddressesNotKept, "addresses_not_kept"),
        (Reason::PartnerPending, "partner_pending"),
        (Reason::PartnerFault, "partner_fault"),
        (Reason::Startup, "startup"),
        (Reason::InterfaceUp, "interface_up"),
        (Reason::ChecksPassed, "checks_passed"),
        (Reason::Retry, "retry"),
        (Reason::HandedOver, "handed_over"),
        (Reason::PartnersReady, "partners_ready"),
        (Reason::Partner, "partner"),
        (Reason::HigherPriority, "higher_priority"),
        (Reason::HigherAddress, "higher_address"),
        (Reason::Owner, "owner"),
        (Reason::ActiveDown, "active_down"),
        (Reason::ActiveReleased, "active_released"),
        (Reason::Preempted, "preempted"),
    ];
    for (reason, name) in names {
        assert_eq!(reason.to_string(), name);
    }
}
