//! `vrrp_instance`.

use super::super::names::Names;
use super::super::place::{Located, SourceLine};
use super::super::report::Report;
use super::super::time::seconds;
use super::address::{self, Address};
use super::announce::Announcements;
use super::peer;
use super::program::Programs;
use super::table::{Directives, Handling::*};
use super::track::Tracked;
use super::tree::Statement;

pub(super) const OWNER: u32 = 255;
pub(super) const SECOND: u64 = 1_000_000;
/// What version 3 counts intervals in.
pub(super) const CENTISECOND: u64 = 10_000;

/// What a block says, before defaults.
#[derive(Debug)]
pub(super) struct Instance {
    pub original_name: String,
    /// In the result.
    pub name: String,
    pub place: SourceLine,
    pub master: Option<SourceLine>,
    pub interface: Option<Located<String>>,
    pub vrid: Option<Located<u32>>,
    pub version: Option<Located<u8>>,
    pub priority: Option<Located<u32>>,
    /// Microseconds.
    pub advert_interval: Option<Located<u64>>,
    pub addresses: Vec<Address>,
    pub nopreempt: Option<SourceLine>,
    pub preempt_delay: Option<Located<u64>>,
    pub accept: Option<Located<bool>>,
    pub strict: Option<Located<bool>>,
    pub vmac: Option<SourceLine>,
    pub password_type: Option<Located<String>>,
    pub password: Option<Located<String>>,
    pub announcements: Announcements,
    /// Elements of `unicast_peers`.
    pub peers: Vec<Located<toml::Value>>,
    pub tracked: Vec<Tracked>,
    pub programs: Programs,
    pub alert: Option<Located<bool>>,
}

pub(super) const DIRECTIVES: Directives<Instance> = &[
    (
        "state",
        Take(|instance, it, report| match it.value(report) {
            Some("MASTER") => instance.master = Some(it.place.clone()),
            // Without a state keepalived starts as Backup too, unless the priority is 255.
            Some("BACKUP") | None => {}
            Some(other) => {
                report.left(
                    &it.place,
                    "state",
                    format!("{other:?} is neither MASTER nor BACKUP; the priority decides"),
                );
            }
        }),
    ),
    (
        "interface",
        Take(|instance, it, report| {
            instance.interface = it.value(report).map(|name| Located::new(name.to_owned(), &it.place));
        }),
    ),
    (
        "virtual_router_id",
        Take(|instance, it, report| {
            instance.vrid = it.number(1..=255, report).map(|vrid| Located::new(vrid, &it.place));
        }),
    ),
    (
        "version",
        Take(|instance, it, report| {
            let version = it.number(2..=3, report);
            instance.version = version.map(|version| Located::new(if version == 2 { 2 } else { 3 }, &it.place));
        }),
    ),
    (
        "priority",
        Take(|instance, it, report| {
            instance.priority = it.number(1..=OWNER, report).map(|priority| Located::new(priority, &it.place));
        }),
    ),
    (
        "advert_int",
        Take(|instance, it, report| {
            let interval =
                it.value(report).and_then(seconds).filter(|micros| (CENTISECOND..=255 * SECOND).contains(micros));
            match interval {
                Some(micros) => instance.advert_interval = Some(Located::new(micros, &it.place)),
                None => report.left(
                    &it.place,
                    "advert_int",
                    "is no time from 0.01 to 255 seconds, and keepalived ignores it; correct it",
                ),
            }
        }),
    ),
    ("virtual_ipaddress", Take(|instance, it, _| instance.addresses.extend(address::read(it, false)))),
    ("virtual_ipaddress_excluded", Take(|instance, it, _| instance.addresses.extend(address::read(it, true)))),
    ("nopreempt", Take(|instance, it, _| instance.nopreempt = Some(it.place.clone()))),
    ("preempt", Take(|instance, _, _| instance.nopreempt = None)),
    (
        "preempt_delay",
        Take(|instance, it, report| match it.value(report).and_then(seconds) {
            Some(micros) if micros <= 1_000 * SECOND => {
                instance.preempt_delay = Some(Located::new(micros, &it.place)).filter(|delay| delay.value > 0);
            }
            _ => report.left(
                &it.place,
                "preempt_delay",
                "is no time from 0 to 1000 seconds, and keepalived ignores it; correct it",
            ),
        }),
    ),
    ("accept", Take(|instance, it, _| instance.accept = Some(Located::new(true, &it.place)))),
    ("no_accept", Take(|instance, it, _| instance.accept = Some(Located::new(false, &it.place)))),
    (
        "strict_mode",
        Take(|instance, it, report| {
            instance.strict = it.switch(report).map(|strict| Located::new(strict, &it.place));
        }),
    ),
    (
        "use_vmac",
        Take(|instance, it, report| {
            instance.vmac = Some(it.place.clone());
            if it.words.iter().any(|word| word.contains(':')) {
                report.left(
                    &it.place,
                    "use_vmac",
                    "the virtual MAC address is that of the VRID (RFC 9568 7.3), on all routers",
                );
            }
        }),
    ),
    // There is no interface of its own: adverts come from the virtual MAC address on the interface itself.
    ("vmac_xmit_base", Nothing),
    ("use_vmac_addr", Nothing),
    ("authentication", Take(|instance, it, report| super::table::apply(AUTHENTICATION, instance, it, report))),
    ("auth_type", Take(set_password_type)),
    ("auth_pass", Take(set_password)),
    (
        "auth_hmac",
        Left("there is no HMAC, and a router with it does not hear one without; use allowed_sources on all of them"),
    ),
    ("garp_master_repeat", Take(|instance, it, report| instance.announcements.set_repeat(it, report))),
    ("garp_master_delay", Take(|instance, it, report| instance.announcements.set_delay(it, report))),
    ("garp_master_refresh", Take(|instance, it, report| instance.announcements.set_refresh(it, report))),
    // A rival is answered at once, and its claim of an address too.
    ("garp_master_refresh_repeat", Nothing),
    ("garp_lower_prio_delay", Nothing),
    ("garp_lower_prio_repeat", Nothing),
    (
        "unicast_peer",
        Take(|instance, it, report| {
            instance.peers.extend(it.statements().iter().map(|peer| peer::read(peer, report)));
        }),
    ),
    (
        "unicast_src_ip",
        Left("adverts leave from the interface's first address that is not virtual; put this one first"),
    ),
    ("mcast_src_ip", Left("adverts leave from the interface's first address that is not virtual; put this one first")),
    (
        "unicast_ttl",
        Take(|_, it, report| {
            if it.value(report).is_some_and(|ttl| ttl != "255") {
                let advice =
                    "adverts are sent with TTL 255; as long as the other routers have this, they need a min_ttl";
                report.left(&it.place, "unicast_ttl", advice);
            }
        }),
    ),
    ("unicast_fault_no_peer", Nothing),
    ("check_unicast_src", Nothing),
    ("old_unicast_checksum", Nothing),
    ("track_interface", Take(|instance, it, _| instance.tracked.extend(Tracked::read(it)))),
    ("track_script", Take(|instance, it, _| instance.tracked.extend(Tracked::read(it)))),
    ("track_process", Take(|instance, it, _| instance.tracked.extend(Tracked::read(it)))),
    ("track_file", Take(|instance, it, _| instance.tracked.extend(Tracked::read(it)))),
    ("track_bfd", Left(super::advice::BFD)),
    ("notify", Take(|instance, it, report| instance.programs.add(it, report))),
    ("notify_master", Take(|instance, it, report| instance.programs.add(it, report))),
    ("notify_backup", Take(|instance, it, report| instance.programs.add(it, report))),
    ("notify_fault", Take(|instance, it, report| instance.programs.add(it, report))),
    ("notify_stop", Take(|instance, it, report| instance.programs.add(it, report))),
    (
        "notify_deleted",
        Left("a virtual router that a configuration no longer has is stopped: see STOP in docs/configuration.md"),
    ),
    ("notify_master_rx_lower_pri", Left("nothing is run on a rival's advert; the log and the counters tell of it")),
    ("notify_priority_changes", Left("there is no FIFO; `xvrrp status` shows the priority")),
    (
        "smtp_alert",
        Take(|instance, it, report| {
            instance.alert = it.switch(report).map(|alert| Located::new(alert, &it.place));
        }),
    ),
    ("skip_check_adv_addr", Nothing),
    ("native_ipv6", Nothing),
    // The agent keeps the other addresses of a network when one of its own goes.
    ("promote_secondaries", Nothing),
    ("linkbeat_use_polling", Nothing),
    // Either form is taken, and sent as the peer sends.
    ("v3_checksum_as_v2", Nothing),
    // A Backup that was late looks first whether an advert came meanwhile.
    ("thread_timer_expired", Nothing),
    ("timer_expired_backup", Nothing),
    ("owner_ignore_adverts", Left("give the owner's addresses to no other router instead")),
    ("no_virtual_ipaddress", Left("a virtual router has an address; give it one")),
    ("debug", Nothing),
    ("kernel_rx_buf_size", Left("adverts are heard without a socket; remove it")),
    ("dont_track_primary", Left("an interface without a carrier is a fault always; remove it")),
    ("track_src_ip", Left("an interface must have an address of its own when xvrrp starts; remove it")),
    ("mcast_dst_ip", Left("adverts go to 224.0.0.18 and ff02::12; let those pass instead")),
    (
        "down_timer_adverts",
        Left("Active_Down_Interval is three intervals and a skew (RFC 9568 6.1); set advert_interval so that it fits"),
    ),
    ("lower_prio_no_advert", Left("xvrrp answers a lower priority with an advert at once; remove it")),
    ("higher_prio_send_advert", Left("xvrrp never does it; remove it")),
    ("garp_extra_if", Left("addresses are on the interface of their virtual router only; remove it")),
    ("vmac_garp_intvl", Left("addresses are on the interface of their virtual router only; remove it")),
    ("virtual_routes", Left("let a notify program set routes on MASTER, and remove them on every other state")),
    ("virtual_rules", Left("let a notify program set rules on MASTER, and remove them on every other state")),
    ("use_ipvlan", Left("addresses are on the interface itself; choose virtual_mac instead")),
    ("vrf", Left("name an interface: each virtual router has one")),
    (
        "lvs_sync_daemon_interface",
        Left("let a notify program start and stop it: ipvsadm --start-daemon master --mcast-interface IF"),
    ),
];

const AUTHENTICATION: Directives<Instance> =
    &[("auth_type", Take(set_password_type)), ("auth_pass", Take(set_password))];

fn set_password_type(instance: &mut Instance, it: &Statement, report: &mut Report) {
    instance.password_type = it.value(report).map(|kind| Located::new(kind.to_owned(), &it.place));
}

fn set_password(instance: &mut Instance, it: &Statement, report: &mut Report) {
    instance.password = it.value(report).map(|password| Located::new(password.to_owned(), &it.place));
}

impl Instance {
    pub fn new(statement: &Statement, names: &mut Names, report: &mut Report) -> Self {
        let original_name = statement.value(report).unwrap_or_default().to_owned();
        let name = names.claim(&original_name);
        if name != original_name {
            let advice = format!("{original_name:?} is called {name:?}: names are unique, of A-Z a-z 0-9 . _ -");
            report.left(&statement.place, "vrrp_instance", advice);
        }
        Self {
            original_name,
            name,
            place: statement.place.clone(),
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
            announcements: Announcements::default(),
            peers: Vec::new(),
            tracked: Vec::new(),
            programs: Programs::default(),
            alert: None,
        }
    }
}
