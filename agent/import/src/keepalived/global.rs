//! `global_defs`.

use super::super::document::Table;
use super::super::names::valid;
use super::super::place::{Located, SourceLine};
use super::super::report::Report;
use super::announce::Announcements;
use super::table::{Directives, Handling::*};
use super::tree::Statement;

/// What holds for every virtual router.
#[derive(Debug, Default)]
pub(super) struct Global {
    pub router_id: Option<Located<String>>,
    /// Version of virtual routers for IPv4 that do not give one; keepalived's default is 2.
    pub version: Option<Located<u8>>,
    pub strict: Option<Located<bool>>,
    pub announcements: Announcements,
    /// The user of scripts that do not name one.
    pub script_user: Option<Located<String>>,
    pub mail_server: Option<Located<String>>,
    pub mail_from: Option<Located<String>>,
    pub mail_to: Vec<Located<String>>,
    pub mail_helo: Option<Located<String>>,
    /// Seconds.
    pub mail_timeout: Option<Located<u32>>,
    /// No mail of faults.
    pub no_faults: Option<SourceLine>,
    /// Whether virtual routers and groups send mail that do not say it themselves.
    pub alert: Option<Located<bool>>,
}

pub(super) const DIRECTIVES: Directives<Global> = &[
    (
        "router_id",
        Take(|global, it, report| {
            global.router_id = it.value(report).map(|id| Located::new(id.to_owned(), &it.place));
        }),
    ),
    (
        "vrrp_version",
        Take(|global, it, report| {
            let version = it.number(2..=3, report);
            global.version = version.map(|version| Located::new(if version == 2 { 2 } else { 3 }, &it.place));
        }),
    ),
    ("vrrp_strict", Take(|global, it, _| global.strict = Some(Located::new(true, &it.place)))),
    ("vrrp_garp_master_repeat", Take(|global, it, report| global.announcements.set_repeat(it, report))),
    ("vrrp_garp_master_delay", Take(|global, it, report| global.announcements.set_delay(it, report))),
    ("vrrp_garp_master_refresh", Take(|global, it, report| global.announcements.set_refresh(it, report))),
    ("vrrp_min_garp", Take(|global, it, report| global.announcements.set_minimum(it, report))),
    (
        "script_user",
        Take(|global, it, report| {
            global.script_user = it.value(report).map(|user| Located::new(user.to_owned(), &it.place));
        }),
    ),
    (
        "smtp_server",
        Take(|global, it, report| {
            let server = it.value(report).map(|server| match it.word(1) {
                Some(port) if server.contains(':') => format!("[{server}]:{port}"),
                Some(port) => format!("{server}:{port}"),
                None => server.to_owned(),
            });
            global.mail_server = server.map(|server| Located::new(server, &it.place));
        }),
    ),
    (
        "notification_email_from",
        Take(|global, it, report| {
            global.mail_from = it.value(report).map(|from| Located::new(from.to_owned(), &it.place));
        }),
    ),
    (
        "notification_email",
        Take(|global, it, _| {
            global.mail_to.extend(it.listed().map(|(to, place)| Located::new(to.to_owned(), place)));
        }),
    ),
    ("smtp_alert", Take(set_alert)),
    ("smtp_alert_vrrp", Take(set_alert)),
    // A takeover announces before anything else, an Active router answers each claim of a rival at once.
    ("vrrp_garp_master_refresh_repeat", Nothing),
    ("vrrp_garp_lower_prio_delay", Nothing),
    ("vrrp_garp_lower_prio_repeat", Nothing),
    ("vrrp_garp_extra_if", Left("addresses are on the interface of their virtual router only; remove it")),
    ("vrrp_vmac_garp_intvl", Left("addresses are on the interface of their virtual router only; remove it")),
    ("vrrp_garp_interval", Left("the time between announcements is announce_interval, of each virtual router")),
    ("vrrp_gna_interval", Left("the time between announcements is announce_interval, of each virtual router")),
    ("vrrp_skip_check_adv_addr", Nothing),
    ("vrrp_check_unicast_src", Nothing),
    ("vrrp_iptables", Nothing),
    ("vrrp_ipsets", Nothing),
    ("nftables", Nothing),
    ("nftables_priority", Nothing),
    ("nftables_counters", Nothing),
    ("nftables_ifindex", Nothing),
    ("vmac_prefix", Nothing),
    ("vmac_addr_prefix", Nothing),
    ("process_names", Nothing),
    ("process_name", Nothing),
    ("vrrp_process_name", Nothing),
    ("bfd_process_name", Nothing),
    ("include_check", Nothing),
    ("tmp_config_directory", Nothing),
    ("config_save_dir", Nothing),
    ("reload_check_config", Nothing),
    ("data_use_instance", Nothing),
    ("random_seed", Nothing),
    ("disable_local_igmp", Nothing),
    ("no_checker_emails", Nothing),
    ("vrrp_higher_prio_send_advert", Left("xvrrp never does it; remove it")),
    ("vrrp_lower_prio_no_advert", Left("xvrrp answers a lower priority with an advert at once; remove it")),
    ("vrrp_mcast_group4", Left("adverts go to 224.0.0.18 (RFC 9568 5.1.1.2); let that pass instead")),
    ("vrrp_mcast_group6", Left("adverts go to ff02::12 (RFC 9568 5.1.2.2); let that pass instead")),
    (
        "vrrp_down_timer_adverts",
        Left("Active_Down_Interval is three intervals and a skew (RFC 9568 6.1); set advert_interval so that it fits"),
    ),
    (
        "vrrp_startup_delay",
        Left(
            "a start waits for Active_Down_Interval before it takes over; let the service start later, by \
             ExecStartPre=/bin/sleep N",
        ),
    ),
    ("enable_script_security", Left("xvrrp does not look who may write a script; give it to root, chmod go-w")),
    (
        "dynamic_interfaces",
        Left("interfaces must be there when xvrrp starts; order the service behind what makes them"),
    ),
    ("default_interface", Left("each virtual router names its interface")),
    ("no_email_faults", Take(|global, it, _| global.no_faults = Some(it.place.clone()))),
    (
        "smtp_helo_name",
        Take(|global, it, report| {
            global.mail_helo = it.value(report).map(|name| Located::new(name.to_owned(), &it.place));
        }),
    ),
    (
        "smtp_connect_timeout",
        Take(|global, it, report| {
            global.mail_timeout =
                it.number(1..=86_400, report).map(|seconds| Located::new(seconds.min(255), &it.place));
        }),
    ),
    ("startup_script", Left("run it by ExecStartPre= of the service")),
    ("startup_script_timeout", Left("run the script by ExecStartPre= of the service")),
    ("shutdown_script", Left("run it by ExecStopPost= of the service")),
    ("shutdown_script_timeout", Left("run the script by ExecStopPost= of the service")),
    ("notify_fifo", Left(FIFO)),
    ("notify_fifo_script", Left(FIFO)),
    ("vrrp_notify_fifo", Left(FIFO)),
    ("vrrp_notify_fifo_script", Left(FIFO)),
    ("vrrp_notify_priority_changes", Left(FIFO)),
    ("fifo_write_vrrp_states_on_reload", Left(FIFO)),
    ("vrrp_priority", Left(SCHEDULING)),
    ("vrrp_rt_priority", Left(SCHEDULING)),
    ("vrrp_no_swap", Left(SCHEDULING)),
    ("vrrp_rlimit_rttime", Left(SCHEDULING)),
    ("vrrp_rlimit_rtime", Left(SCHEDULING)),
    ("max_auto_priority", Left(SCHEDULING)),
    ("min_auto_priority_delay", Left(SCHEDULING)),
    ("vrrp_cpu_affinity", Left("set CPUAffinity= of the service")),
    ("vrrp_netlink_cmd_rcv_bufs", Left(BUFFERS)),
    ("vrrp_netlink_cmd_rcv_bufs_force", Left(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs", Left(BUFFERS)),
    ("vrrp_netlink_monitor_rcv_bufs_force", Left(BUFFERS)),
    ("process_monitor_rcv_bufs", Left(BUFFERS)),
    ("process_monitor_rcv_bufs_force", Left(BUFFERS)),
    ("vrrp_rx_bufs_policy", Left(BUFFERS)),
    ("vrrp_rx_bufs_multiplier", Left(BUFFERS)),
    ("snmp_socket", Left(SNMP)),
    ("enable_traps", Left(SNMP)),
    ("enable_snmp_vrrp", Left(SNMP)),
    ("enable_snmp_keepalived", Left(SNMP)),
    ("enable_snmp_checker", Left(SNMP)),
    ("enable_snmp_rfc", Left(SNMP)),
    ("enable_snmp_rfcv2", Left(SNMP)),
    ("enable_snmp_rfcv3", Left(SNMP)),
    ("enable_dbus", Left(SNMP)),
    ("dbus_service_name", Left(SNMP)),
    ("log_unknown_vrids", Left("`xvrrp status` counts adverts of no virtual router of ours")),
    ("v3_checksum_as_v2", Nothing),
    ("use_symlink_paths", Nothing),
    ("iproute_etc_dir", Nothing),
    ("iproute_usr_dir", Nothing),
    ("vrrp_owner_ignore_adverts", Left("give the owner's addresses to no other router instead")),
    ("vrrp_delay_after_boot", Left("let the service start later, by ExecStartPre=/bin/sleep N")),
    ("json_version", Left(SNMP)),
    ("json_dump_file", Left(SNMP)),
    ("state_dump_file", Left(SNMP)),
    ("stats_dump_file", Left(SNMP)),
    ("dbus_no_interface_name", Left(SNMP)),
    ("snmp_rs_stats_update_interval", Left(SNMP)),
    ("snmp_vs_stats_update_interval", Left(SNMP)),
    ("umask", Left("set UMask= of the service")),
    ("reload_time_file", Left("use a timer of systemd, or at(1)")),
    ("reload_repeat", Left("use a timer of systemd")),
    ("reload_file", Left("write a new file beside the old one and rename it")),
    ("smtp_alert_checker", Left(LVS)),
    ("checker_log_all_failures", Left(LVS)),
    ("checker_process_name", Left(LVS)),
    ("lvs_process_name", Left(LVS)),
    ("lvs_timeouts", Left(LVS)),
    ("lvs_flush", Left(LVS)),
    ("lvs_flush_on_stop", Left(LVS)),
    ("lvs_flush_onstop", Left(LVS)),
    (
        "lvs_sync_daemon",
        Left("let a notify program start and stop it: ipvsadm --start-daemon master --mcast-interface IF"),
    ),
    ("lvs_notify_fifo", Left(LVS)),
    ("lvs_notify_fifo_script", Left(LVS)),
    ("lvs_netlink_cmd_rcv_bufs", Left(LVS)),
    ("lvs_netlink_cmd_rcv_bufs_force", Left(LVS)),
    ("lvs_netlink_monitor_rcv_bufs", Left(LVS)),
    ("lvs_netlink_monitor_rcv_bufs_force", Left(LVS)),
    ("rs_init_notifies", Left(LVS)),
    ("checker_priority", Left(LVS)),
    ("checker_no_swap", Left(LVS)),
    ("checker_rt_priority", Left(LVS)),
    ("checker_cpu_affinity", Left(LVS)),
    ("checker_rlimit_rttime", Left(LVS)),
    ("checker_rlimit_rtime", Left(LVS)),
    ("nftables_ipvs", Left(LVS)),
    ("nftables_ipvs_priority", Left(LVS)),
    ("nftables_ipvs_start_fwmark", Left(LVS)),
    ("bfd_priority", Left(super::advice::BFD)),
    ("bfd_no_swap", Left(super::advice::BFD)),
    ("bfd_rt_priority", Left(super::advice::BFD)),
    ("bfd_cpu_affinity", Left(super::advice::BFD)),
    ("bfd_rlimit_rttime", Left(super::advice::BFD)),
    ("bfd_rlimit_rtime", Left(super::advice::BFD)),
];

const FIFO: &str = "there is no FIFO; a notify program gets the same words";
const SCHEDULING: &str =
    "the election has a real-time thread in locked memory anyway; its priority is realtime_priority in [agent]";
const BUFFERS: &str = "adverts and interfaces are heard without such buffers; remove it";
const SNMP: &str = "there is neither SNMP nor D-Bus nor a dump; `xvrrp status --json` tells the states";
const LVS: &str = super::advice::LVS;

fn set_alert(global: &mut Global, it: &Statement, report: &mut Report) {
    global.alert = it.switch(report).map(|alert| Located::new(alert, &it.place));
}

impl Global {
    /// `[agent]`, if it says anything.
    pub fn agent(&self, report: &mut Report) -> Option<Table> {
        let Located { value: id, place } = self.router_id.as_ref()?;
        let valid = valid(id);
        if valid != *id {
            report.left(place, "router_id", format!("{id:?} is called {valid:?}: names are of A-Z a-z 0-9 . _ -"));
        }
        let mut table = Table::new("[agent]", place);
        table.set("router_id", valid, place);
        Some(table)
    }
}
