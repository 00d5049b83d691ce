//! Reads `vrrp_instance`.

use std::net::IpAddr;

use super::super::location::{Located, Location};
use super::super::names::TakenNames;
use super::super::report::ImportReport;
use super::super::time::seconds;
use super::address::{self, AddressLine};
use super::announce::AnnounceDirectives;
use super::election::ElectionRules;
use super::peer::{self, Peer};
use super::program::Programs;
use super::routing::Routing;
use super::table::{
    Directives,
    Handling::{Advise, Change, Note, Read},
};
use super::track::TrackReference;
use super::tree::Statement;

/// Default of keepalived and of xvrrp.
pub(super) const DEFAULT_PRIORITY: u32 = 100;
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
    /// Whether the adverts are over IPv6, as the first directive says that has a family.
    pub ipv6: Option<bool>,
    pub nopreempt: Option<Location>,
    pub preempt_delay: Option<Located<u64>>,
    /// Line of `dont_track_primary`.
    pub ignores_carrier: Option<Location>,
    pub election: ElectionRules,
    pub accept: Option<Located<bool>>,
    pub strict: Option<Located<bool>>,
    pub vmac: Option<Location>,
    pub password_type: Option<Located<String>>,
    pub password: Option<Located<String>>,
    pub announcements: AnnounceDirectives,
    pub peers: Vec<Peer>,
    /// Line of `unicast_fault_no_peer`.
    pub fault_without_peers: Option<Location>,
    /// Address that adverts come from, with the directive that sets it.
    pub source: Option<(String, Located<IpAddr>)>,
    pub tracked: Vec<TrackReference>,
    pub routing: Routing,
    pub programs: Programs,
    pub priority_changes: Option<Located<bool>>,
    pub alert: Option<Located<bool>>,
}

pub(super) const DIRECTIVES: Directives<InstanceDirectives> = &[
    (
        "state",
        Read(|instance, it, report| match it.value(report) {
            Some("MASTER") => instance.master = Some(it.location.clone()),
            // Without a state, keepalived starts as Backup too, unless the priority is 255. A BACKUP after MASTER does
            // not count.
            Some("BACKUP") | None => {}
            Some(other) => {
                instance.master = None;
                let advice = format!("{other:?} is neither MASTER nor BACKUP, so keepalived takes it for BACKUP");
                report.note(&it.location, "state", advice);
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
            let vrid = it.exact_number(1..=255, report);
            instance.vrid = vrid.map(|vrid| Located::new(vrid, &it.location)).or(instance.vrid.take());
        }),
    ),
    (
        "version",
        Read(|instance, it, report| {
            let Some(version) = it.number(2..=3, report) else { return };
            let version = if version == 2 { 2 } else { 3 };
            if version == 2 && instance.ipv6 == Some(true) {
                let advice = "keepalived ignores version 2 once an earlier line says that the adverts are over IPv6";
                return report.note(&it.location, "version", advice);
            }
            let first = instance.version.get_or_insert_with(|| Located::new(version, &it.location));
            if first.value != version {
                let advice = format!("keepalived uses the first version, {}, and ignores this one", first.value);
                report.note(&it.location, "version", advice);
            }
        }),
    ),
    (
        "priority",
        Read(|instance, it, report| {
            // With an invalid one, keepalived uses its default.
            let priority = it.exact_number(1..=OWNER, report).unwrap_or(DEFAULT_PRIORITY);
            instance.priority = Some(Located::new(priority, &it.location));
        }),
    ),
    (
        "advert_int",
        Read(|instance, it, report| {
            let interval =
                it.value(report).and_then(seconds).filter(|micros| (CENTISECOND..=255 * SECOND).contains(micros));
            match interval {
                Some(micros) => instance.advert_interval = Some(Located::new(micros, &it.location)),
                None => report.note(
                    &it.location,
                    "advert_int",
                    "is not a time from 0.01 to 255 seconds, so keepalived ignores it; correct it",
                ),
            }
        }),
    ),
    (
        "virtual_ipaddress",
        Read(|instance, it, _| {
            let first = instance.addresses.len();
            instance.addresses.extend(address::read(it, false));
            let added = instance.addresses.iter().skip(first);
            instance.ipv6 = instance.ipv6.or(added.filter_map(AddressLine::parsed).map(|it| it.is_ipv6()).next());
        }),
    ),
    ("virtual_ipaddress_excluded", Read(|instance, it, _| instance.addresses.extend(address::read(it, true)))),
    ("nopreempt", Read(|instance, it, _| instance.nopreempt = Some(it.location.clone()))),
    ("preempt", Read(|instance, _, _| instance.nopreempt = None)),
    (
        "preempt_delay",
        Read(|instance, it, report| match it.value(report).and_then(seconds) {
            Some(micros) if micros <= 1_000 * SECOND => {
                instance.preempt_delay = Some(Located::new(micros, &it.location)).filter(|delay| delay.value > 0);
            }
            _ => {
                instance.preempt_delay = None;
                let advice = "is not a time from 0 to 1000 seconds, so keepalived ignores it; correct it";
                report.note(&it.location, "preempt_delay", advice);
            }
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
                report.changed(
                    &it.location,
                    "use_vmac",
                    "the virtual MAC address follows from the VRID (RFC 9568 7.3), on all routers; remove this one",
                );
            }
        }),
    ),
    ("vmac_xmit_base", Note("the virtual MAC has no interface of its own: adverts are sent on the interface itself")),
    ("use_vmac_addr", Note("the virtual MAC has no interface of its own: it is used for every address")),
    ("authentication", Read(|instance, it, report| super::table::apply(AUTHENTICATION, instance, it, report))),
    (
        "auth_hmac",
        Advise(
            "there is no HMAC, and a router with HMAC ignores one without; use allowed_sources on all of them instead",
        ),
    ),
    ("garp_master_repeat", Read(|instance, it, report| instance.announcements.set_repeat(it, report))),
    ("garp_master_delay", Read(|instance, it, report| instance.announcements.set_delay(it, report))),
    ("garp_master_refresh", Read(|instance, it, report| instance.announcements.set_refresh(it, report))),
    ("garp_master_refresh_repeat", Read(|instance, it, report| instance.announcements.set_refresh_repeat(it, report))),
    ("garp_lower_prio_delay", Read(|instance, it, report| instance.announcements.set_lower_priority(it, report))),
    ("garp_lower_prio_repeat", Read(|instance, it, report| instance.announcements.set_lower_priority(it, report))),
    (
        "unicast_peer",
        Read(|instance, it, report| {
            for line in it.statements() {
                peer::read(line, &mut instance.ipv6, &mut instance.peers, report);
            }
        }),
    ),
    ("unicast_src_ip", Read(set_source)),
    ("mcast_src_ip", Read(set_source)),
    (
        "unicast_ttl",
        Read(|_, it, report| {
            if it.value(report).is_some_and(|ttl| ttl != "255") {
                let advice = "adverts are sent with TTL 255; while the other routers send with this one, they need a \
                              min_ttl in unicast_peers";
                report.changed(&it.location, "unicast_ttl", advice);
            }
        }),
    ),
    ("unicast_fault_no_peer", Read(|instance, it, _| instance.fault_without_peers = Some(it.location.clone()))),
    ("check_unicast_src", Note("adverts from addresses that are not in unicast_peers are always discarded")),
    ("old_unicast_checksum", Note("both forms of the checksum are accepted, and the one that the peer uses is sent")),
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
    ("notify_deleted", Read(|instance, it, report| instance.programs.add(it, report))),
    ("notify_master_rx_lower_pri", Read(|instance, it, report| instance.programs.add(it, report))),
    (
        "notify_priority_changes",
        Read(|instance, it, report| {
            instance.priority_changes = it.switch(report).map(|on| Located::new(on, &it.location));
        }),
    ),
    (
        "smtp_alert",
        Read(|instance, it, report| {
            instance.alert = it.switch(report).map(|alert| Located::new(alert, &it.location));
        }),
    ),
    ("skip_check_adv_addr", Note("comparing the addresses of an advert costs next to nothing in the kernel half")),
    (
        "native_ipv6",
        Read(|instance, it, report| {
            let ipv6 = *instance.ipv6.get_or_insert(true);
            if !ipv6 {
                let advice = "an earlier line says that the adverts are over IPv4, so keepalived ignores it; remove it";
                report.note(&it.location, "native_ipv6", advice);
            }
        }),
    ),
    ("promote_secondaries", Note("when an address is removed, the other addresses of its network always stay")),
    ("linkbeat_use_polling", Note(super::advice::CARRIER)),
    ("v3_checksum_as_v2", Note("both forms of the checksum are accepted, and the one that the peer uses is sent")),
    ("thread_timer_expired", Note(LATE_TIMER)),
    ("timer_expired_backup", Note(LATE_TIMER)),
    ("owner_ignore_adverts", Note(super::advice::OWNER)),
    ("no_virtual_ipaddress", Note("a virtual router needs no address")),
    ("debug", Note("it changes only what keepalived logs")),
    ("kernel_rx_buf_size", Note("adverts are received without a socket")),
    ("dont_track_primary", Read(|instance, it, _| instance.ignores_carrier = Some(it.location.clone()))),
    ("track_src_ip", Note("a virtual router always waits while its interface lacks the address of its adverts")),
    (
        "mcast_dst_ip",
        Read(|_, it, report| match it.value(report) {
            Some("224.0.0.18" | "ff02::12") => report.note(&it.location, "mcast_dst_ip", "it is the default"),
            Some(_) => {
                let advice = "adverts are sent to 224.0.0.18 and ff02::12; use those groups on all routers";
                report.add(&it.location, "mcast_dst_ip", advice);
            }
            None => {}
        }),
    ),
    ("down_timer_adverts", Read(|instance, it, report| instance.election.set_down_timer_adverts(it, report))),
    ("lower_prio_no_advert", Read(|instance, it, report| instance.election.set_lower_no_advert(it, report))),
    ("higher_prio_send_advert", Read(|instance, it, report| instance.election.set_higher_send_advert(it, report))),
    ("garp_extra_if", Read(|instance, it, report| instance.announcements.set_elsewhere(it, report))),
    ("vmac_garp_intvl", Read(|instance, it, report| instance.announcements.set_elsewhere(it, report))),
    ("virtual_routes", Read(|instance, it, report| instance.routing.add_routes(it, report))),
    ("virtual_rules", Read(|instance, it, report| instance.routing.add_rules(it, report))),
    (
        "use_ipvlan",
        Read(|_, it, report| {
            let advice = "addresses are on the interface itself, which has the MAC address that an ipvlan would have";
            report.changed(&it.location, "use_ipvlan", advice);
        }),
    ),
    (
        "vrf",
        Read(|_, it, report| {
            let advice = "addresses are on the interface itself, so they are in its VRF; add the interface to this VRF";
            report.changed(&it.location, "vrf", advice);
        }),
    ),
    ("lvs_sync_daemon_interface", Change(super::advice::SYNC_DAEMON)),
];

/// Words in the block `authentication`.
pub(super) const AUTHENTICATION: Directives<InstanceDirectives> =
    &[("auth_type", Read(set_password_type)), ("auth_pass", Read(set_password))];

const LATE_TIMER: &str =
    "a Backup whose timer expires late always looks first whether an advert has arrived in the meantime";

fn set_source(instance: &mut InstanceDirectives, it: &Statement, report: &mut ImportReport) {
    if let Some(address) = it.value(report) {
        let address = address.split(['-', '/']).next().unwrap_or_default();
        match address.parse() {
            Ok(address) if *instance.ipv6.get_or_insert(IpAddr::is_ipv6(&address)) != address.is_ipv6() => {
                let advice =
                    format!("{address} is not of the family of the adverts, so keepalived ignores it; remove it");
                report.note(&it.location, &it.keyword, advice);
            }
            Ok(address) => instance.source = Some((it.keyword.clone(), Located::new(address, &it.location))),
            Err(_) => {
                let advice = format!("{address:?} is not an IP address, so keepalived ignores it; correct it");
                report.note(&it.location, &it.keyword, advice);
            }
        }
    }
}

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
            report.changed(&statement.location, "vrrp_instance", advice);
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
            ipv6: None,
            nopreempt: None,
            preempt_delay: None,
            ignores_carrier: None,
            election: ElectionRules::default(),
            accept: None,
            strict: None,
            vmac: None,
            password_type: None,
            password: None,
            announcements: AnnounceDirectives::default(),
            peers: Vec::new(),
            fault_without_peers: None,
            source: None,
            tracked: Vec::new(),
            routing: Routing::default(),
            programs: Programs::default(),
            priority_changes: None,
            alert: None,
        }
    }
}
