//! Reads `global_defs`.

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::names::sanitize;
use super::super::report::ImportReport;
use super::announce::AnnounceDirectives;
use super::table::{
    Directives,
    Handling::{Advise, Ignore, Read},
};
use super::tree::Statement;

/// Directives that apply to every virtual router.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub router_id: Option<Located<String>>,
    /// Version of IPv4 virtual routers without a version of their own; keepalived's default is 2.
    pub version: Option<Located<u8>>,
    pub strict: Option<Located<bool>>,
    pub announcements: AnnounceDirectives,
    /// User of scripts without a user of their own.
    pub script_user: Option<Located<String>>,
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
            global.script_user = it.value(report).map(|user| Located::new(user.to_owned(), &it.location));
        }),
    ),
    (
        "smtp_server",
        Read(|global, it, report| {
            let server = it.value(report).map(|server| match it.word(1) {
                Some(port) if server.contains(':') => format!("[{server}]:{port}"),
                Some(port) => format!("{server}:{port}"),
                None => server.to_owned(),
            });
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
    // xvrrp announces at a takeover before it does anything else, and an Active router answers each conflicting claim
    // at once.
    ("vrrp_garp_master_refresh_repeat", Ignore),
    ("vrrp_garp_lower_prio_delay", Ignore),
    ("vrrp_garp_lower_prio_repeat", Ignore),
    ("vrrp_garp_extra_if", Advise("addresses are only on the interface of their virtual router; remove it")),
    ("vrrp_vmac_garp_intvl", Advise("addresses are only on the interface of their virtual router; remove it")),
    (
        "vrrp_garp_interval",
        Advise("announce_interval of each virtual router is the time between announcements; set that instead"),
    ),
    (
        "vrrp_gna_interval",
        Advise("announce_interval of each virtual router is the time between announcements; set that instead"),
    ),
    ("vrrp_skip_check_adv_addr", Ignore),
    ("vrrp_check_unicast_src", Ignore),
    ("vrrp_iptables", Ignore),
    ("vrrp_ipsets", Ignore),
    ("nftables", Ignore),
    ("nftables_priority", Ignore),
    ("nftables_counters", Ignore),
    ("nftables_ifindex", Ignore),
    ("vmac_prefix", Ignore),
    ("vmac_addr_prefix", Ignore),
    ("process_names", Ignore),
    ("process_name", Ignore),
    ("vrrp_process_name", Ignore),
    ("bfd_process_name", Ignore),
    ("include_check", Ignore),
    ("tmp_config_directory", Ignore),
    ("config_save_dir", Ignore),
    ("reload_check_config", Ignore),
    ("data_use_instance", Ignore),
    ("random_seed", Ignore),
    ("disable_local_igmp", Ignore),
    ("no_checker_emails", Ignore),
    ("vrrp_higher_prio_send_advert", Advise("xvrrp never does this; remove it")),
    ("vrrp_lower_prio_no_advert", Advise("xvrrp always answers a lower priority with an advert at once; remove it")),
    ("vrrp_mcast_group4", Advise("adverts are sent to 224.0.0.18 (RFC 9568 5.1.1.2); allow that group instead")),
    ("vrrp_mcast_group6", Advise("adverts are sent to ff02::12 (RFC 9568 5.1.2.2); allow that group instead")),
    (
        "vrrp_down_timer_adverts",
        Advise(
            "Active_Down_Interval is three intervals and Skew_Time (RFC 9568 6.1); choose advert_interval accordingly",
        ),
    ),
    (
        "vrrp_startup_delay",
        Advise(
            "xvrrp waits for Active_Down_Interval before it takes over; to start the service later, use \
             ExecStartPre=/bin/sleep N",
        ),
    ),
    (
        "enable_script_security",
        Advise("xvrrp does not check who may write to a script; make root its owner, and run chmod go-w"),
    ),
    ("dynamic_interfaces", Advise("a virtual router always waits for an interface that is missing; remove it")),
    ("default_interface", Advise("each virtual router names its interface; set that instead")),
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
    ("startup_script_timeout", Advise("run the script with ExecStartPre= of the service")),
    ("shutdown_script", Advise("run it with ExecStopPost= of the service")),
    ("shutdown_script_timeout", Advise("run the script with ExecStopPost= of the service")),
    ("notify_fifo", Advise(FIFO)),
    ("notify_fifo_script", Advise(FIFO)),
    ("vrrp_notify_fifo", Advise(FIFO)),
    ("vrrp_notify_fifo_script", Advise(FIFO)),
    ("vrrp_notify_priority_changes", Advise(FIFO)),
    ("fifo_write_vrrp_states_on_reload", Advise(FIFO)),
    ("vrrp_priority", Advise(SCHEDULING)),
    ("vrrp_rt_priority", Advise(SCHEDULING)),
    ("vrrp_no_swap", Advise(SCHEDULING)),
    ("vrrp_rlimit_rttime", Advise(SCHEDULING)),
    ("vrrp_rlimit_rtime", Advise(SCHEDULING)),
    ("max_auto_priority", Advise(SCHEDULING)),
    ("min_auto_priority_delay", Advise(SCHEDULING)),
    ("vrrp_cpu_affinity", Advise("set CPUAffinity= of the service")),
    ("vrrp_netlink_cmd_rcv_bufs", Advise(BUFFERS)),
    ("vrrp_netlink_cmd_rcv_bufs_force", Advise(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs", Advise(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs_force", Advise(BUFFERS)),
    ("process_monitor_rcv_bufs", Advise(BUFFERS)),
    ("process_monitor_rcv_bufs_force", Advise(BUFFERS)),
    ("vrrp_rx_bufs_policy", Advise(BUFFERS)),
    ("vrrp_rx_bufs_multiplier", Advise(BUFFERS)),
    ("snmp_socket", Advise(SNMP)),
    ("enable_traps", Advise(SNMP)),
    ("enable_snmp_vrrp", Advise(SNMP)),
    ("enable_snmp_keepalived", Advise(SNMP)),
    ("enable_snmp_checker", Advise(SNMP)),
    ("enable_snmp_rfc", Advise(SNMP)),
    ("enable_snmp_rfcv2", Advise(SNMP)),
    ("enable_snmp_rfcv3", Advise(SNMP)),
    ("enable_dbus", Advise(SNMP)),
    ("dbus_service_name", Advise(SNMP)),
    (
        "log_unknown_vrids",
        Advise("`xvrrp status` counts adverts that belong to no virtual router of this host; remove it"),
    ),
    ("v3_checksum_as_v2", Ignore),
    ("use_symlink_paths", Ignore),
    ("iproute_etc_dir", Ignore),
    ("iproute_usr_dir", Ignore),
    ("vrrp_owner_ignore_adverts", Advise("instead, give the owner's addresses to no other router")),
    ("vrrp_delay_after_boot", Advise("to start the service later, use ExecStartPre=/bin/sleep N")),
    ("json_version", Advise(SNMP)),
    ("json_dump_file", Advise(SNMP)),
    ("state_dump_file", Advise(SNMP)),
    ("stats_dump_file", Advise(SNMP)),
    ("dbus_no_interface_name", Advise(SNMP)),
    ("snmp_rs_stats_update_interval", Advise(SNMP)),
    ("snmp_vs_stats_update_interval", Advise(SNMP)),
    ("umask", Advise("set UMask= of the service")),
    ("reload_time_file", Advise("use a systemd timer, or at(1)")),
    ("reload_repeat", Advise("use a systemd timer")),
    ("reload_file", Advise("write a new file beside the old one, and rename it")),
    ("smtp_alert_checker", Advise(LVS)),
    ("checker_log_all_failures", Advise(LVS)),
    ("checker_process_name", Advise(LVS)),
    ("lvs_process_name", Advise(LVS)),
    ("lvs_timeouts", Advise(LVS)),
    ("lvs_flush", Advise(LVS)),
    ("lvs_flush_on_stop", Advise(LVS)),
    ("lvs_flush_onstop", Advise(LVS)),
    (
        "lvs_sync_daemon",
        Advise("start and stop it by a notify program: ipvsadm --start-daemon master --mcast-interface IF"),
    ),
    ("lvs_notify_fifo", Advise(LVS)),
    ("lvs_notify_fifo_script", Advise(LVS)),
    ("lvs_netlink_cmd_rcv_bufs", Advise(LVS)),
    ("lvs_netlink_cmd_rcv_bufs_force", Advise(LVS)),
    ("lvs_netlink_monitor_rcv_bufs", Advise(LVS)),
    ("lvs_netlink_monitor_rcv_bufs_force", Advise(LVS)),
    ("rs_init_notifies", Advise(LVS)),
    ("checker_priority", Advise(LVS)),
    ("checker_no_swap", Advise(LVS)),
    ("checker_rt_priority", Advise(LVS)),
    ("checker_cpu_affinity", Advise(LVS)),
    ("checker_rlimit_rttime", Advise(LVS)),
    ("checker_rlimit_rtime", Advise(LVS)),
    ("nftables_ipvs", Advise(LVS)),
    ("nftables_ipvs_priority", Advise(LVS)),
    ("nftables_ipvs_start_fwmark", Advise(LVS)),
    ("bfd_priority", Advise(super::advice::BFD)),
    ("bfd_no_swap", Advise(super::advice::BFD)),
    ("bfd_rt_priority", Advise(super::advice::BFD)),
    ("bfd_cpu_affinity", Advise(super::advice::BFD)),
    ("bfd_rlimit_rttime", Advise(super::advice::BFD)),
    ("bfd_rlimit_rtime", Advise(super::advice::BFD)),
];

const FIFO: &str = "there is no FIFO; use a notify program, which gets the same words";
const SCHEDULING: &str =
    "the election runs on a real-time thread in locked memory anyway; realtime_priority in [agent] sets its priority";
const BUFFERS: &str = "adverts and changes of interfaces are received without such buffers; remove it";
const SNMP: &str = "there is no SNMP, D-Bus or dump; `xvrrp status --json` shows the states";
const LVS: &str = super::advice::LVS;

fn set_alert(global: &mut Global, it: &Statement, report: &mut ImportReport) {
    global.alert = it.switch(report).map(|alert| Located::new(alert, &it.location));
}

impl Global {
    /// Makes the table `[agent]`, unless it would be empty.
    pub fn agent(&self, report: &mut ImportReport) -> Option<Table> {
        let Located { value: id, location } = self.router_id.as_ref()?;
        let valid = sanitize(id);
        if valid != *id {
            let advice = format!("{id:?} becomes {valid:?}: only A-Z a-z 0-9 . _ - are allowed");
            report.add(location, "router_id", advice);
        }
        let mut table = Table::new("[agent]", location);
        table.set("router_id", valid, location);
        Some(table)
    }
}
