//! Reads `global_defs`.

use std::path::Path;

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::names::sanitize;
use super::super::report::ImportReport;
use super::super::time::{duration, seconds};
use super::announce::{AnnounceDirectives, Gaps};
use super::command;
use super::election::ElectionRules;
use super::fifo::Fifo;
use super::routing::Statics;
use super::table::{
    Directives,
    Handling::{Advise, Change, Note, Read},
};
use super::tree::Statement;

/// Directives that apply to every virtual router.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub router_id: Option<Located<String>>,
    /// Network namespace, which stands outside `global_defs`.
    netns: Option<Located<String>>,
    /// Version of IPv4 virtual routers without a version of their own; keepalived's default is 2.
    pub version: Option<Located<u8>>,
    pub strict: Option<Located<bool>>,
    /// In microseconds.
    pub startup_delay: Option<Located<u64>>,
    /// In microseconds.
    boot_delay: Option<Located<u64>>,
    pub election: ElectionRules,
    pub announcements: AnnounceDirectives,
    pub gaps: Gaps,
    /// User of scripts without a user of their own.
    pub script_user: Option<Located<String>>,
    /// Line of `enable_script_security`.
    pub script_security: Option<Location>,
    /// Interface of static addresses that name none.
    pub default_interface: Option<String>,
    fifo: Fifo,
    vrrp_fifo: Fifo,
    /// Whether a reload writes all states to the FIFOs.
    states_on_reload: bool,
    /// Whether the FIFOs get changes of priority, of virtual routers and groups that do not say.
    priority_changes: Option<Located<bool>>,
    pub mail_server: Option<Located<String>>,
    pub mail_from: Option<Located<String>>,
    pub mail_to: Vec<Located<String>>,
    pub mail_helo: Option<Located<String>>,
    /// In seconds.
    pub mail_timeout: Option<Located<u32>>,
    /// Line of `no_email_faults`.
    pub no_faults: Option<Location>,
    /// Whether mail is sent for virtual routers and groups without an `smtp_alert` of their own.
    pub alert: Option<Located<bool>>,
}

pub(super) const DIRECTIVES: Directives<Global> = &[
    (
        "router_id",
        Read(|global, it, report| {
            global.router_id = it.value(report).map(|id| Located::new(id.to_owned(), &it.location));
        }),
    ),
    (
        "vrrp_version",
        Read(|global, it, report| {
            let version = it.number(2..=3, report);
            global.version = version.map(|version| Located::new(if version == 2 { 2 } else { 3 }, &it.location));
        }),
    ),
    ("vrrp_strict", Read(|global, it, _| global.strict = Some(Located::new(true, &it.location)))),
    ("vrrp_garp_master_repeat", Read(|global, it, report| global.announcements.set_repeat(it, report))),
    ("vrrp_garp_master_delay", Read(|global, it, report| global.announcements.set_delay(it, report))),
    ("vrrp_garp_master_refresh", Read(|global, it, report| global.announcements.set_refresh(it, report))),
    ("vrrp_min_garp", Read(|global, it, report| global.announcements.set_minimum(it, report))),
    (
        "script_user",
        Read(|global, it, report| {
            if it.value(report).is_some() {
                global.script_user = command::user(&it.words).map(|user| Located::new(user, &it.location));
            }
        }),
    ),
    (
        "smtp_server",
        Read(|global, it, report| {
            let server = match (it.value(report), it.word(1)) {
                (Some(_), Some(port)) if port.parse::<u16>().is_err() => {
                    let advice = format!("{port:?} is not a port, so keepalived ignores the line; correct it");
                    return report.note(&it.location, &it.keyword, advice);
                }
                (Some(server), Some(port)) if server.contains(':') => Some(format!("[{server}]:{port}")),
                (Some(server), Some(port)) => Some(format!("{server}:{port}")),
                (server, None) | (server @ None, _) => server.map(str::to_owned),
            };
            global.mail_server = server.map(|server| Located::new(server, &it.location));
        }),
    ),
    (
        "notification_email_from",
        Read(|global, it, report| {
            global.mail_from = it.value(report).map(|from| Located::new(from.to_owned(), &it.location));
        }),
    ),
    (
        "notification_email",
        Read(|global, it, _| {
            global.mail_to.extend(it.listed().map(|(to, location)| Located::new(to.to_owned(), location)));
        }),
    ),
    ("smtp_alert", Read(set_alert)),
    ("smtp_alert_vrrp", Read(set_alert)),
    ("vrrp_garp_master_refresh_repeat", Read(|global, it, report| global.announcements.set_refresh_repeat(it, report))),
    ("vrrp_garp_lower_prio_delay", Read(|global, it, report| global.announcements.set_lower_priority(it, report))),
    ("vrrp_garp_lower_prio_repeat", Read(|global, it, report| global.announcements.set_lower_priority(it, report))),
    ("vrrp_garp_extra_if", Read(|global, it, report| global.announcements.set_elsewhere(it, report))),
    ("vrrp_vmac_garp_intvl", Read(|global, it, report| global.announcements.set_elsewhere(it, report))),
    ("vrrp_garp_interval", Read(|global, it, report| global.gaps.set_arp(it, report))),
    ("vrrp_gna_interval", Read(|global, it, report| global.gaps.set_neighbor(it, report))),
    ("vrrp_skip_check_adv_addr", Note("comparing the addresses of an advert costs next to nothing in the kernel half")),
    ("vrrp_check_unicast_src", Note("adverts from addresses that are not in unicast_peers are always discarded")),
    ("vrrp_iptables", Note(FIREWALL)),
    ("vrrp_ipsets", Note(FIREWALL)),
    ("nftables", Note(FIREWALL)),
    ("nftables_priority", Note(FIREWALL)),
    ("nftables_counters", Note(FIREWALL)),
    ("nftables_ifindex", Note(FIREWALL)),
    ("vmac_prefix", Note("the virtual MAC has no interface of its own that would need a name")),
    ("vmac_addr_prefix", Note("the virtual MAC has no interface of its own that would need a name")),
    ("process_names", Note(OWN)),
    ("process_name", Note(OWN)),
    ("vrrp_process_name", Note(OWN)),
    ("bfd_process_name", Note(OWN)),
    ("include_check", Note(OWN)),
    ("tmp_config_directory", Note(OWN)),
    ("config_save_dir", Note(OWN)),
    ("reload_check_config", Note(OWN)),
    ("data_use_instance", Note(OWN)),
    ("random_seed", Note("the import chooses each random number once")),
    ("disable_local_igmp", Note("there is no macvlan interface that would send IGMP reports")),
    ("no_checker_emails", Note(VIRTUAL_SERVERS)),
    ("set_supplementary_groups", Note("scripts always have the supplementary groups of their user")),
    ("vrrp_higher_prio_send_advert", Read(|global, it, report| global.election.set_higher_send_advert(it, report))),
    ("vrrp_lower_prio_no_advert", Read(|global, it, report| global.election.set_lower_no_advert(it, report))),
    (
        "vrrp_mcast_group4",
        Read(|_, it, report| match it.value(report) {
            Some("224.0.0.18") => report.note(&it.location, &it.keyword, "it is the default"),
            Some(_) => {
                let advice = "adverts are sent to 224.0.0.18 (RFC 9568 5.1.1.2); use that group on all routers";
                report.add(&it.location, &it.keyword, advice);
            }
            None => {}
        }),
    ),
    (
        "vrrp_mcast_group6",
        Read(|_, it, report| match it.value(report) {
            Some("ff02::12") => report.note(&it.location, &it.keyword, "it is the default"),
            Some(_) => {
                let advice = "adverts are sent to ff02::12 (RFC 9568 5.1.2.2); use that group on all routers";
                report.add(&it.location, &it.keyword, advice);
            }
            None => {}
        }),
    ),
    ("vrrp_down_timer_adverts", Read(|global, it, report| global.election.set_down_timer_adverts(it, report))),
    ("vrrp_startup_delay", Read(|global, it, report| global.startup_delay = delay(it, report))),
    ("enable_script_security", Read(|global, it, _| global.script_security = Some(it.location.clone()))),
    ("dynamic_interfaces", Note("a virtual router always waits for an interface that is missing")),
    ("default_interface", Read(|global, it, report| global.default_interface = it.value(report).map(str::to_owned))),
    ("no_email_faults", Read(|global, it, _| global.no_faults = Some(it.location.clone()))),
    (
        "smtp_helo_name",
        Read(|global, it, report| {
            global.mail_helo = it.value(report).map(|name| Located::new(name.to_owned(), &it.location));
        }),
    ),
    (
        "smtp_connect_timeout",
        Read(|global, it, report| {
            global.mail_timeout =
                it.number(1..=86_400, report).map(|seconds| Located::new(seconds.min(255), &it.location));
        }),
    ),
    ("startup_script", Advise("run it with ExecStartPre= of the service")),
    ("startup_script_timeout", Note("it counts only with startup_script")),
    ("shutdown_script", Advise("run it with ExecStopPost= of the service")),
    ("shutdown_script_timeout", Note("it counts only with shutdown_script")),
    ("notify_fifo", Read(|global, it, report| global.fifo.set_path(it, report))),
    ("notify_fifo_script", Read(|global, it, report| global.fifo.set_script(it, report))),
    ("vrrp_notify_fifo", Read(|global, it, report| global.vrrp_fifo.set_path(it, report))),
    ("vrrp_notify_fifo_script", Read(|global, it, report| global.vrrp_fifo.set_script(it, report))),
    (
        "vrrp_notify_priority_changes",
        Read(|global, it, report| {
            global.priority_changes = it.switch(report).map(|on| Located::new(on, &it.location));
        }),
    ),
    ("fifo_write_vrrp_states_on_reload", Read(|global, _, _| global.states_on_reload = true)),
    ("vrrp_priority", Note(SCHEDULING)),
    ("vrrp_rt_priority", Note(SCHEDULING)),
    ("vrrp_no_swap", Note(SCHEDULING)),
    ("vrrp_rlimit_rttime", Note(SCHEDULING)),
    ("vrrp_rlimit_rtime", Note(SCHEDULING)),
    ("max_auto_priority", Note(SCHEDULING)),
    ("min_auto_priority_delay", Note(SCHEDULING)),
    ("vrrp_cpu_affinity", Note("the election runs on a real-time thread anyway; CPUAffinity= of the service binds it")),
    ("vrrp_netlink_cmd_rcv_bufs", Note(BUFFERS)),
    ("vrrp_netlink_cmd_rcv_bufs_force", Note(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs", Note(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs_force", Note(BUFFERS)),
    ("process_monitor_rcv_bufs", Note(PROCESS_EVENTS)),
    ("process_monitor_rcv_bufs_force", Note(PROCESS_EVENTS)),
    ("vrrp_rx_bufs_policy", Note(BUFFERS)),
    ("vrrp_rx_bufs_multiplier", Note(BUFFERS)),
    ("snmp_socket", Note("it counts only with enable_snmp_vrrp")),
    ("enable_traps", Note("it counts only with enable_snmp_vrrp")),
    ("enable_snmp_vrrp", Change(MONITORING)),
    ("enable_snmp_keepalived", Change(MONITORING)),
    ("enable_snmp_checker", Note(VIRTUAL_SERVERS)),
    ("enable_snmp_rfc", Change(MONITORING)),
    ("enable_snmp_rfcv2", Change(MONITORING)),
    ("enable_snmp_rfcv3", Change(MONITORING)),
    ("enable_dbus", Change(MONITORING)),
    ("dbus_service_name", Note("it counts only with enable_dbus")),
    ("log_unknown_vrids", Note("`xvrrp status` counts adverts that belong to no virtual router of this host")),
    ("v3_checksum_as_v2", Note("both forms of the checksum are accepted, and the one that the peer uses is sent")),
    ("use_symlink_paths", Note("the path of a script is used as it is written")),
    ("iproute_etc_dir", Note("it counts only for names in routes and rules")),
    ("iproute_usr_dir", Note("it counts only for names in routes and rules")),
    ("vrrp_owner_ignore_adverts", Note(super::advice::OWNER)),
    ("vrrp_delay_after_boot", Read(|global, it, report| global.boot_delay = delay(it, report))),
    ("json_version", Note("it counts only for a dump of keepalived's own data")),
    ("json_dump_file", Note("`xvrrp status --json` shows the states")),
    ("state_dump_file", Note("`xvrrp status --json` shows the states")),
    ("stats_dump_file", Note("`xvrrp status --json` shows the states")),
    ("dbus_no_interface_name", Note("it counts only with enable_dbus")),
    ("snmp_rs_stats_update_interval", Note(VIRTUAL_SERVERS)),
    ("snmp_vs_stats_update_interval", Note(VIRTUAL_SERVERS)),
    ("umask", Change("files that xvrrp makes have the permissions that its documentation states")),
    ("reload_time_file", Advise("use a systemd timer, or at(1)")),
    ("reload_repeat", Note("it counts only with reload_time_file")),
    ("reload_file", Advise("write a new file beside the old one, and rename it")),
    ("smtp_alert_checker", Note(VIRTUAL_SERVERS)),
    ("checker_log_all_failures", Note(VIRTUAL_SERVERS)),
    ("checker_process_name", Note(VIRTUAL_SERVERS)),
    ("lvs_process_name", Note(VIRTUAL_SERVERS)),
    ("lvs_timeouts", Note(VIRTUAL_SERVERS)),
    ("lvs_flush", Note(VIRTUAL_SERVERS)),
    ("lvs_flush_on_stop", Note(VIRTUAL_SERVERS)),
    ("lvs_flush_onstop", Note(VIRTUAL_SERVERS)),
    ("lvs_sync_daemon", Change(super::advice::SYNC_DAEMON)),
    ("lvs_notify_fifo", Note(VIRTUAL_SERVERS)),
    ("lvs_notify_fifo_script", Note(VIRTUAL_SERVERS)),
    ("lvs_netlink_cmd_rcv_bufs", Note(VIRTUAL_SERVERS)),
    ("lvs_netlink_cmd_rcv_bufs_force", Note(VIRTUAL_SERVERS)),
    ("lvs_netlink_monitor_rcv_bufs", Note(VIRTUAL_SERVERS)),
    ("lvs_netlink_monitor_rcv_bufs_force", Note(VIRTUAL_SERVERS)),
    ("rs_init_notifies", Note(VIRTUAL_SERVERS)),
    ("checker_priority", Note(VIRTUAL_SERVERS)),
    ("checker_no_swap", Note(VIRTUAL_SERVERS)),
    ("checker_rt_priority", Note(VIRTUAL_SERVERS)),
    ("checker_cpu_affinity", Note(VIRTUAL_SERVERS)),
    ("checker_rlimit_rttime", Note(VIRTUAL_SERVERS)),
    ("checker_rlimit_rtime", Note(VIRTUAL_SERVERS)),
    ("nftables_ipvs", Note(VIRTUAL_SERVERS)),
    ("nftables_ipvs_priority", Note(VIRTUAL_SERVERS)),
    ("nftables_ipvs_start_fwmark", Note(VIRTUAL_SERVERS)),
    ("bfd_priority", Note("it counts only for a bfd_instance")),
    ("bfd_no_swap", Note("it counts only for a bfd_instance")),
    ("bfd_rt_priority", Note("it counts only for a bfd_instance")),
    ("bfd_cpu_affinity", Note("it counts only for a bfd_instance")),
    ("bfd_rlimit_rttime", Note("it counts only for a bfd_instance")),
    ("bfd_rlimit_rtime", Note("it counts only for a bfd_instance")),
];

const SCHEDULING: &str =
    "the election runs on a real-time thread in locked memory anyway; realtime_priority in [agent] sets its priority";
const BUFFERS: &str = "adverts are received without sockets, and a lost message about an interface is noticed";
const PROCESS_EVENTS: &str = "if events of processes are missed, the agent reads all of /proc again";
const FIREWALL: &str = "xvrrp needs no firewall: the kernel half admits and drops frames by itself";
const OWN: &str = "it concerns only the processes and files of keepalived";
const VIRTUAL_SERVERS: &str = "it counts only for a virtual_server";
const MONITORING: &str = "there is no SNMP and no D-Bus; monitor the states with `metrics` of [agent] (Prometheus), with \
                          `xvrrp status --json`, or with notify programs";

/// The user of scripts in keepalived, if there is such a user.
const DEFAULT_USER: &str = "keepalived_script";

fn set_alert(global: &mut Global, it: &Statement, report: &mut ImportReport) {
    global.alert = it.switch(report).map(|alert| Located::new(alert, &it.location));
}

/// Reads seconds. Returns microseconds.
fn delay(it: &Statement, report: &mut ImportReport) -> Option<Located<u64>> {
    let text = it.value(report)?;
    let micros = seconds(text);
    if micros.is_none() {
        let advice = format!("{text:?} is not a number of seconds, so keepalived ignores it; correct it");
        report.note(&it.location, &it.keyword, advice);
    }
    micros.map(|micros| Located::new(micros, &it.location))
}

impl Global {
    /// Reads `net_namespace`.
    pub fn set_netns(&mut self, it: &Statement, report: &mut ImportReport) {
        match (it.word(0), &self.netns) {
            (Some(name), None) => self.netns = Some(Located::new(name.to_owned(), &it.location)),
            (None, _) => report.note(&it.location, "net_namespace", "has no name, so keepalived ignores it; add one"),
            (Some(_), Some(first)) => {
                let advice = format!("keepalived uses the first one, {:?}, and ignores this; remove it", first.value);
                report.note(&it.location, "net_namespace", advice);
            }
        }
    }

    /// Returns whether keepalived writes to FIFOs.
    pub fn has_fifos(&self) -> bool {
        self.fifo.is_used() || self.vrrp_fifo.is_used()
    }

    /// Adds `notify_priority_changes` of a virtual router, which keepalived ignores without a FIFO.
    pub fn write_priority_changes(&self, own: Option<&Located<bool>>, table: &mut Table, report: &mut ImportReport) {
        match own.or(self.priority_changes.as_ref()).filter(|on| on.value) {
            Some(Located { location, .. }) if self.has_fifos() => {
                table.set("notify_priority_changes", true, location);
            }
            Some(Located { location, .. }) => {
                let advice = "there is no FIFO, so keepalived writes nothing either";
                report.note(location, "notify_priority_changes", advice);
            }
            None => {}
        }
    }

    /// Makes the table `[agent]`, unless it would be empty. `has_scripts` says whether the configuration has any
    /// script, and `statics` is what is on the host whatever the roles are.
    pub fn agent(&self, path: &Path, has_scripts: bool, statics: Statics, report: &mut ImportReport) -> Option<Table> {
        let Self { router_id, netns, startup_delay, boot_delay, script_user, script_security, .. } = self;
        let fifos = [&self.fifo, &self.vrrp_fifo].map(|fifo| fifo.element(self.states_on_reload, report));
        let default_user = has_scripts && script_user.is_none() && command::host_has_user(DEFAULT_USER);
        let first = router_id.as_ref().map(|id| &id.location);
        let first = first.or(netns.as_ref().map(|netns| &netns.location));
        let first = first.or(startup_delay.as_ref().or(boot_delay.as_ref()).map(|delay| &delay.location));
        let first = first.or(script_user.as_ref().map(|user| &user.location)).or(script_security.as_ref());
        let first = first.or(self.fifo.location()).or(self.vrrp_fifo.location()).or(statics.locations().next());
        let beginning = Location::new(path, 0);
        let mut table = Table::new("[agent]", first.or(default_user.then_some(&beginning))?);
        if let Some(Located { value: id, location }) = router_id {
            let valid = sanitize(id);
            if valid != *id {
                let advice = format!("{id:?} becomes {valid:?}: only A-Z a-z 0-9 . _ - are allowed");
                report.changed(location, "router_id", advice);
            }
            table.set("router_id", valid, location);
        }
        if let Some(Located { value, location }) = netns {
            table.set("netns", value.as_str(), location);
        }
        if let Some(Located { value, location }) = startup_delay {
            table.set("startup_delay", duration(*value), location);
        }
        if let Some(Located { value, location }) = boot_delay {
            table.set("boot_delay", duration(*value), location);
        }
        match (script_user, script_security) {
            (Some(user), _) => table.set("script_user", user.value.as_str(), &user.location),
            (None, _) if default_user => table.choose("script_user", DEFAULT_USER, "keepalived: its default"),
            (None, Some(location)) if has_scripts => {
                let advice = "without script_user and a user keepalived_script, keepalived ignores all scripts that have \
                              no user; here the agent's user runs them: add script_user";
                report.changed(location, "enable_script_security", advice);
            }
            (None, _) => {}
        }
        if let Some(location) = script_security {
            table.set("script_security", true, location);
        }
        table.set_list("notify_fifo", fifos.into_iter().flatten().collect());
        statics.write(&mut table);
        Some(table)
    }
}
