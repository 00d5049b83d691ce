//! Reads `vrrp_instance`.

use super::super::location::{Located, Location};
use super::super::names::TakenNames;
use super::super::report::ImportReport;
use super::super::time::seconds;
use super::address::{self, AddressLine};
use super::announce::AnnounceDirectives;
use super::peer;
use super::program::Programs;
use super::table::{
    Directives,
    Handling::{Advise, Ignore, Read},
};
use super::track::TrackReference;
use super::tree::Statement;

/// Priority of the owner of the addresses.
pub(super) const OWNER: u32 = 255;
/// A second in microseconds.
pub(super) const SECOND: u64 = 1_000_000;
/// Unit of intervals in adverts of version 3, in microseconds.
pub(super) const CENTISECOND: u64 = 10_000;

/// Directives of a block, without defaults.
#[derive(Debug)]
pub(super) struct InstanceDirectives {
    pub original_name: String,
    /// Name in the result.
    pub name: String,
    pub location: Location,
    pub master: Option<Location>,
    pub interface: Option<Located<String>>,
    pub vrid: Option<Located<u32>>,
    pub version: Option<Located<u8>>,
    pub priority: Option<Located<u32>>,
    /// In microseconds.
    pub advert_interval: Option<Located<u64>>,
    pub addresses: Vec<AddressLine>,
    pub nopreempt: Option<Location>,
    pub preempt_delay: Option<Located<u64>>,
    pub accept: Option<Located<bool>>,
    pub strict: Option<Located<bool>>,
    pub vmac: Option<Location>,
    pub password_type: Option<Located<String>>,
    pub password: Option<Located<String>>,
    pub announcements: AnnounceDirectives,
    /// Elements of `unicast_peers` in the result.
    pub peers: Vec<Located<toml::Value>>,
    pub tracked: Vec<TrackReference>,
    pub programs: Programs,
    pub alert: Option<Located<bool>>,
}

pub(super) const DIRECTIVES: Directives<InstanceDirectives> = &[
    (
        "state",
        Read(|instance, it, report| match it.value(report) {
            Some("MASTER") => instance.master = Some(it.location.clone()),
            // Without a state, keepalived starts as Backup too, unless the priority is 255.
            Some("BACKUP") | None => {}
            Some(other) => {
                report.add(
                    &it.location,
                    "state",
                    format!("{other:?} is neither MASTER nor BACKUP; the priority decides"),
                );
            }
        }),
    ),
    (
        "interface",
        Read(|instance, it, report| {
            instance.interface = it.value(report).map(|name| Located::new(name.to_owned(), &it.location));
        }),
    ),
    (
        "virtual_router_id",
        Read(|instance, it, report| {
            instance.vrid = it.number(1..=255, report).map(|vrid| Located::new(vrid, &it.location));
        }),
    ),
    (
        "version",
        Read(|instance, it, report| {
            let version = it.number(2..=3, report);
            instance.version = version.map(|version| Located::new(if version == 2 { 2 } else { 3 }, &it.location));
        }),
    ),
    (
        "priority",
        Read(|instance, it, report| {
            instance.priority = it.number(1..=OWNER, report).map(|priority| Located::new(priority, &it.location));
        }),
    ),
    (
        "advert_int",
        Read(|instance, it, report| {
            let interval =
                it.value(report).and_then(seconds).filter(|micros| (CENTISECOND..=255 * SECOND).contains(micros));
            match interval {
                Some(micros) => instance.advert_interval = Some(Located::new(micros, &it.location)),
                None => report.add(
                    &it.location,
                    "advert_int",
                    "is not a time from 0.01 to 255 seconds, so keepalived ignores it; correct it",
                ),
            }
        }),
    ),
    ("virtual_ipaddress", Read(|instance, it, _| instance.addresses.extend(address::read(it, false)))),
    ("virtual_ipaddress_excluded", Read(|instance, it, _| instance.addresses.extend(address::read(it, true)))),
    ("nopreempt", Read(|instance, it, _| instance.nopreempt = Some(it.location.clone()))),
    ("preempt", Read(|instance, _, _| instance.nopreempt = None)),
    (
        "preempt_delay",
        Read(|instance, it, report| match it.value(report).and_then(seconds) {
            Some(micros) if micros <= 1_000 * SECOND => {
                instance.preempt_delay = Some(Located::new(micros, &it.location)).filter(|delay| delay.value > 0);
            }
            _ => report.add(
                &it.location,
                "preempt_delay",
                "is not a time from 0 to 1000 seconds, so keepalived ignores it; correct it",
            ),
        }),
    ),
    ("accept", Read(|instance, it, _| instance.accept = Some(Located::new(true, &it.location)))),
    ("no_accept", Read(|instance, it, _| instance.accept = Some(Located::new(false, &it.location)))),
    (
        "strict_mode",
        Read(|instance, it, report| {
            instance.strict = it.switch(report).map(|strict| Located::new(strict, &it.location));
        }),
    ),
    (
        "use_vmac",
        Read(|instance, it, report| {
            instance.vmac = Some(it.location.clone());
            if it.words.iter().any(|word| word.contains(':')) {
                report.add(
                    &it.location,
                    "use_vmac",
                    "the virtual MAC address follows from the VRID (RFC 9568 7.3), on all routers; remove this one",
                );
            }
        }),
    ),
    // The virtual MAC has no interface of its own: adverts are sent from it on the interface itself.
    ("vmac_xmit_base", Ignore),
    ("use_vmac_addr", Ignore),
    ("authentication", Read(|instance, it, report| super::table::apply(AUTHENTICATION, instance, it, report))),
    ("auth_type", Read(set_password_type)),
    ("auth_pass", Read(set_password)),
    (
        "auth_hmac",
        Advise(
            "there is no HMAC, and a router with HMAC ignores one without; use allowed_sources on all of them instead",
        ),
    ),
    ("garp_master_repeat", Read(|instance, it, report| instance.announcements.set_repeat(it, report))),
    ("garp_master_delay", Read(|instance, it, report| instance.announcements.set_delay(it, report))),
    ("garp_master_refresh", Read(|instance, it, report| instance.announcements.set_refresh(it, report))),
    // An advert of another router is answered at once, and so is a conflicting claim.
    ("garp_master_refresh_repeat", Ignore),
    ("garp_lower_prio_delay", Ignore),
    ("garp_lower_prio_repeat", Ignore),
    (
        "unicast_peer",
        Read(|instance, it, report| {
            instance.peers.extend(it.statements().iter().map(|peer| peer::read(peer, report)));
        }),
    ),
    (
        "unicast_src_ip",
        Advise("adverts are sent from the interface's first address that is not virtual; make this one the first"),
    ),
    (
        "mcast_src_ip",
        Advise("adverts are sent from the interface's first address that is not virtual; make this one the first"),
    ),
    (
        "unicast_ttl",
        Read(|_, it, report| {
            if it.value(report).is_some_and(|ttl| ttl != "255") {
                let advice = "adverts are sent with TTL 255; while the other routers send with this one, they need a \
                              min_ttl in unicast_peers";
                report.add(&it.location, "unicast_ttl", advice);
            }
        }),
    ),
    ("unicast_fault_no_peer", Ignore),
    ("check_unicast_src", Ignore),
    ("old_unicast_checksum", Ignore),
    ("track_interface", Read(|instance, it, _| instance.tracked.extend(TrackReference::read(it)))),
    ("track_script", Read(|instance, it, _| instance.tracked.extend(TrackReference::read(it)))),
    ("track_process", Read(|instance, it, _| instance.tracked.extend(TrackReference::read(it)))),
    ("track_file", Read(|instance, it, _| instance.tracked.extend(TrackReference::read(it)))),
    ("track_bfd", Advise(super::advice::BFD)),
    ("notify", Read(|instance, it, report| instance.programs.add(it, report))),
    ("notify_master", Read(|instance, it, report| instance.programs.add(it, report))),
    ("notify_backup", Read(|instance, it, report| instance.programs.add(it, report))),
    ("notify_fault", Read(|instance, it, report| instance.programs.add(it, report))),
    ("notify_stop", Read(|instance, it, report| instance.programs.add(it, report))),
    (
        "notify_deleted",
        Advise("a virtual router that is removed from the configuration is stopped: see STOP in docs/configuration.md"),
    ),
    (
        "notify_master_rx_lower_pri",
        Advise("no program is run for an advert of a lower priority; the log and the counters report it"),
    ),
    ("notify_priority_changes", Advise("there is no FIFO; `xvrrp status` shows the priority")),
    (
        "smtp_alert",
        Read(|instance, it, report| {
            instance.alert = it.switch(report).map(|alert| Located::new(alert, &it.location));
        }),
    ),
    ("skip_check_adv_addr", Ignore),
    ("native_ipv6", Ignore),
    // When an address is removed, the agent keeps the other addresses of the network.
    ("promote_secondaries", Ignore),
    ("linkbeat_use_polling", Ignore),
    // Both forms are accepted, and the form that the peer uses is sent.
    ("v3_checksum_as_v2", Ignore),
    // A Backup whose timer expires late first checks whether an advert has arrived in the meantime.
    ("thread_timer_expired", Ignore),
    ("timer_expired_backup", Ignore),
    ("owner_ignore_adverts", Advise("instead, give the owner's addresses to no other router")),
    ("no_virtual_ipaddress", Advise("a virtual router must have an address; add one")),
    ("debug", Ignore),
    ("kernel_rx_buf_size", Advise("adverts are received without a socket; remove it")),
    ("dont_track_primary", Advise("an interface without a carrier is always a fault; remove it")),
    ("track_src_ip", Advise("a virtual router always waits while its interface has no address of its own; remove it")),
    ("mcast_dst_ip", Advise("adverts are sent to 224.0.0.18 and ff02::12; allow those groups instead")),
    (
        "down_timer_adverts",
        Advise(
            "Active_Down_Interval is three intervals and Skew_Time (RFC 9568 6.1); choose advert_interval accordingly",
        ),
    ),
    ("lower_prio_no_advert", Advise("xvrrp always answers a lower priority with an advert at once; remove it")),
    ("higher_prio_send_advert", Advise("xvrrp never does this; remove it")),
    ("garp_extra_if", Advise("addresses are only on the interface of their virtual router; remove it")),
    ("vmac_garp_intvl", Advise("addresses are only on the interface of their virtual router; remove it")),
    (
        "virtual_routes",
        Advise("use a notify program that adds the routes on MASTER and removes them on every other state"),
    ),
    (
        "virtual_rules",
        Advise("use a notify program that adds the rules on MASTER and removes them on every other state"),
    ),
    ("use_ipvlan", Advise("addresses are on the interface itself; set virtual_mac instead")),
    ("vrf", Advise("each virtual router has an interface; name that one instead")),
    (
        "lvs_sync_daemon_interface",
        Advise("start and stop it by a notify program: ipvsadm --start-daemon master --mcast-interface IF"),
    ),
];

const AUTHENTICATION: Directives<InstanceDirectives> =
    &[("auth_type", Read(set_password_type)), ("auth_pass", Read(set_password))];

fn set_password_type(instance: &mut InstanceDirectives, it: &Statement, report: &mut ImportReport) {
    instance.password_type = it.value(report).map(|kind| Located::new(kind.to_owned(), &it.location));
}

fn set_password(instance: &mut InstanceDirectives, it: &Statement, report: &mut ImportReport) {
    instance.password = it.value(report).map(|password| Located::new(password.to_owned(), &it.location));
}

impl InstanceDirectives {
    /// Returns an instance without directives, with a name that xvrrp accepts.
    pub fn new(statement: &Statement, names: &mut TakenNames, report: &mut ImportReport) -> Self {
        let original_name = statement.value(report).unwrap_or_default().to_owned();
        let name = names.claim(&original_name);
        if name != original_name {
            let advice = format!(
                "{original_name:?} becomes {name:?}: names must be unique, and only A-Z a-z 0-9 . _ - are allowed"
            );
            report.add(&statement.location, "vrrp_instance", advice);
        }
        Self {
            original_name,
            name,
            location: statement.location.clone(),
            master: None,
            interface: None,
            vrid: None,
            version: None,
            priority: None,
            advert_interval: None,
            addresses: Vec::new(),
            nopreempt: None,
            preempt_delay: None,
            accept: None,
            strict: None,
            vmac: None,
            password_type: None,
            password: None,
            announcements: AnnounceDirectives::default(),
            peers: Vec::new(),
            tracked: Vec::new(),
            programs: Programs::default(),
            alert: None,
        }
    }
}
