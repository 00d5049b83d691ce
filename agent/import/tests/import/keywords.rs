//! The import knows every directive of keepalived 2.2.7, and those that 2.4.3 has added.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xvrrp_import::{Kind, Notice, Options};

/// Keywords of keepalived/core/global_parser.c.
const GLOBAL: &str = "process_names process_name vrrp_process_name checker_process_name lvs_process_name bfd_process_name \
    router_id notification_email_from smtp_server smtp_helo_name smtp_connect_timeout notification_email \
    smtp_alert startup_script startup_script_timeout shutdown_script shutdown_script_timeout \
    max_auto_priority min_auto_priority_delay smtp_alert_vrrp smtp_alert_checker \
    checker_log_all_failures dynamic_interfaces no_email_faults default_interface disable_local_igmp \
    lvs_timeouts lvs_flush lvs_flush_on_stop lvs_flush_onstop lvs_sync_daemon vrrp_mcast_group4 \
    vrrp_mcast_group6 vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh \
    vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat \
    vrrp_down_timer_adverts vrrp_garp_interval vrrp_gna_interval vrrp_min_garp vrrp_garp_extra_if \
    vrrp_vmac_garp_intvl vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert vrrp_version \
    vrrp_iptables vrrp_ipsets nftables nftables_priority nftables_ifindex nftables_ipvs \
    nftables_ipvs_priority nftables_ipvs_start_fwmark nftables_counters vrrp_check_unicast_src \
    vrrp_skip_check_adv_addr vrrp_strict vrrp_priority vrrp_no_swap vrrp_rt_priority vrrp_cpu_affinity \
    vrrp_rlimit_rttime vrrp_rlimit_rtime notify_fifo notify_fifo_script vrrp_notify_fifo \
    vrrp_notify_fifo_script vrrp_notify_priority_changes fifo_write_vrrp_states_on_reload \
    lvs_notify_fifo lvs_notify_fifo_script checker_priority checker_no_swap checker_rt_priority \
    checker_cpu_affinity checker_rlimit_rttime checker_rlimit_rtime bfd_priority bfd_no_swap \
    bfd_rt_priority bfd_cpu_affinity bfd_rlimit_rttime bfd_rlimit_rtime snmp_socket enable_traps \
    enable_snmp_vrrp enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 \
    enable_snmp_checker enable_dbus dbus_service_name script_user enable_script_security \
    vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs \
    vrrp_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs process_monitor_rcv_bufs_force \
    lvs_netlink_cmd_rcv_bufs lvs_netlink_cmd_rcv_bufs_force lvs_netlink_monitor_rcv_bufs \
    lvs_netlink_monitor_rcv_bufs_force rs_init_notifies no_checker_emails vrrp_rx_bufs_policy \
    vrrp_rx_bufs_multiplier vrrp_startup_delay log_unknown_vrids vmac_prefix vmac_addr_prefix umask \
    random_seed reload_check_config reload_time_file reload_repeat reload_file include_check \
    config_save_dir tmp_config_directory data_use_instance";

/// Keywords of keepalived/vrrp/vrrp_parser.c.
const INSTANCE: &str = "use_vmac use_vmac_addr vmac_xmit_base use_ipvlan unicast_peer unicast_fault_no_peer \
    check_unicast_src old_unicast_checksum native_ipv6 state interface vrf dont_track_primary \
    track_interface track_script track_file track_process track_bfd mcast_src_ip unicast_src_ip \
    mcast_dst_ip track_src_ip virtual_router_id unicast_ttl version priority advert_int \
    virtual_ipaddress virtual_ipaddress_excluded promote_secondaries linkbeat_use_polling virtual_routes \
    virtual_rules accept no_accept skip_check_adv_addr strict_mode preempt nopreempt preempt_delay debug \
    notify_backup notify_master notify_fault notify_stop notify_deleted notify \
    notify_master_rx_lower_pri smtp_alert notify_priority_changes lvs_sync_daemon_interface \
    garp_master_delay garp_master_refresh garp_master_repeat garp_master_refresh_repeat \
    garp_lower_prio_delay garp_lower_prio_repeat down_timer_adverts garp_extra_if vmac_garp_intvl \
    lower_prio_no_advert higher_prio_send_advert kernel_rx_buf_size authentication";
const AUTHENTICATION: &str = "auth_type auth_pass";
const GROUP: &str = "group track_interface track_script track_file track_process track_bfd notify_backup notify_master \
    notify_fault notify_stop notify smtp_alert global_tracking sync_group_tracking_weight \
    notify_priority_changes";
const FILE: &str = "file weight init_file";
const SCRIPT: &str = "script interval timeout weight rise fall user init_fail";
const PROCESS: &str = "process param_match weight quorum quorum_max delay terminate_delay fork_delay full_command";
const LATER_GLOBAL: &str = "dbus_no_interface_name iproute_etc_dir iproute_usr_dir json_dump_file json_version \
    set_supplementary_groups snmp_rs_stats_update_interval snmp_vs_stats_update_interval state_dump_file stats_dump_file use_symlink_paths \
    v3_checksum_as_v2 vrrp_delay_after_boot vrrp_owner_ignore_adverts";
const LATER_INSTANCE: &str =
    "auth_hmac no_virtual_ipaddress owner_ignore_adverts thread_timer_expired timer_expired_backup v3_checksum_as_v2";
const TOP_LEVEL: &str = "global_defs track_group static_ipaddress static_routes static_rules vrrp_sync_group garp_group \
                         linkbeat_interfaces vrrp_instance vrrp_script vrrp_track_process interface_up_down_delays \
                         track_file vrrp_track_file bfd_instance virtual_server virtual_server_group SSL net_namespace \
                         net_namespace_ipvs namespace_with_ipsets instance use_pid_dir child_wait_time \
                         linkbeat_use_polling";

/// Keywords of keepalived/vrrp/vrrp_parser.c and keepalived/bfd/bfd_parser.c in blocks that the import does not read.
const HMAC: &str = "key active_key time_window anti_replay mode";
const TRACK_GROUP: &str = "group";
const GARP_GROUP: &str = "garp_interval gna_interval interface interfaces";
const BFD: &str = "source_ip neighbor_ip neighbour_ip min_rx min_tx idle_tx multiplier passive ttl hoplimit max_hops \
    multihop weight vrrp checker";
/// Options of keepalived/vrrp/vrrp_ipaddress.c.
const ADDRESS: &str = "dev scope brd broadcast label peer home -nodad mngtmpaddr noprefixroute autojoin no_track preferred_lft \
    track_group use_vmac";
/// Words of keepalived/vrrp/vrrp_iproute.c and the types of routes in lib/rttables.c.
const ROUTE: &str = "inet inet6 src as via gw from tos dsfield table protocol scope metric priority preference dev oif \
    onlink encap expires mtu hoplimit advmss rtt rttvar reordering window cwnd ssthresh realms rto_min initcwnd initrwnd \
    features quickack congctl pref ttl-propagate fastopen_no_cookie add prepend append or nexthop weight no_track \
    track_group vrf to unicast local broadcast multicast throw unreachable prohibit blackhole";
/// Words of keepalived/vrrp/vrrp_iprule.c.
const RULE: &str = "inet inet6 from to table lookup not preference order priority tos dsfield fwmark realms \
    suppress_prefixlength sup_pl suppress_ifgroup sup_group iif oif tunnel-id uidrange l3mdev protocol ipproto sport dport \
    no_track track_group type goto nop";

/// Returns the words of keepalived with the blocks that they stand in, as docs/keepalived-parity names them.
fn of_keepalived() -> BTreeSet<(String, String)> {
    let all = [
        ("-", TOP_LEVEL),
        ("global_defs", GLOBAL),
        ("global_defs", LATER_GLOBAL),
        ("vrrp_instance", INSTANCE),
        ("vrrp_instance", LATER_INSTANCE),
        ("authentication", AUTHENTICATION),
        ("auth_hmac", HMAC),
        ("vrrp_sync_group", GROUP),
        ("vrrp_script", SCRIPT),
        ("vrrp_track_process", PROCESS),
        ("track_file", FILE),
        ("track_group", TRACK_GROUP),
        ("garp_group", GARP_GROUP),
        ("bfd_instance", BFD),
        ("virtual_ipaddress", ADDRESS),
        ("virtual_routes", ROUTE),
        ("virtual_rules", RULE),
    ];
    let pairs = all.iter().flat_map(|(block, words)| words.split_whitespace().map(|word| (*block, word)));
    pairs.map(|(block, word)| (block.to_owned(), word.to_owned())).collect()
}

fn documented(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/keepalived-parity").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the entries of the import's own list: block, keyword, what becomes of it, and the reason.
fn entries(list: &str) -> Vec<(&str, &str, &str, &str)> {
    list.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default();
            (word(), word(), word(), word())
        })
        .collect()
}

/// Returns the notices about a file.
fn import(text: &str) -> Vec<Notice> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keepalived.conf");
    fs::write(&file, text).unwrap();
    xvrrp_import::import(&file, &Options::default()).unwrap().notices
}

/// Returns the messages about a file.
fn notices(text: &str) -> Vec<String> {
    import(text).iter().map(ToString::to_string).collect()
}

#[test]
fn the_documentation_has_every_word_of_keepalived_and_no_other() {
    let list = documented("directives.txt");
    let pair = |block: &str, word: &str| (block.to_owned(), word.to_owned());
    let mut documented_words: BTreeSet<_> =
        entries(&list).into_iter().map(|(block, word, ..)| pair(block, word)).collect();
    let rows: toml::Table = documented("rows.toml").parse().unwrap();
    for part in rows["part"].as_array().unwrap() {
        let block = part["block"].as_str().unwrap();
        let directives = part["row"].as_array().unwrap().iter().flat_map(|row| row["directives"].as_array().unwrap());
        documented_words.extend(directives.map(|word| pair(block, word.as_str().unwrap())));
    }
    documented_words.retain(|(block, _)| block != "track_*");
    let missing: Vec<_> = of_keepalived().difference(&documented_words).cloned().collect();
    let unknown: Vec<_> = documented_words.difference(&of_keepalived()).cloned().collect();
    assert_eq!((missing, unknown), (Vec::new(), Vec::new()));
}

#[test]
fn each_directive_has_the_kind_of_line_that_the_documentation_says() {
    let list = documented("directives.txt");
    let entries = entries(&list);
    for (block, keyword, answer, reason) in &entries {
        let kind = match *answer {
            "note" => Kind::Note,
            "change" => Kind::Changed,
            "advise" => Kind::LeftOut,
            _ => continue,
        };
        let inner = entries.iter().find(|(block, ..)| block == keyword).map_or("y", |(_, inner, ..)| inner);
        let text = match *block {
            "-" => format!("{keyword} x {{\n {inner}\n}}\n"),
            _ => format!("{block} x {{\n {keyword} 1 {{\n {inner}\n }}\n}}\n"),
        };
        let notices = import(&text);
        let found = notices.iter().find(|notice| notice.directive == *keyword && notice.advice == *reason);
        assert_eq!(found.map(|notice| notice.kind), Some(kind), "{block} {keyword}: {notices:#?}");
    }
}

#[test]
fn directives_of_keepalived_are_known() {
    for (block, keywords) in [
        ("global_defs", GLOBAL),
        ("vrrp_instance x", INSTANCE),
        ("global_defs", LATER_GLOBAL),
        ("vrrp_instance x", LATER_INSTANCE),
        ("vrrp_instance x {\n authentication", AUTHENTICATION),
        ("vrrp_sync_group x", GROUP),
        ("vrrp_script x", SCRIPT),
        ("vrrp_track_process x", PROCESS),
        ("track_file x", FILE),
    ] {
        for keyword in keywords.split_whitespace() {
            let unknown = notices(&format!("{block} {{\n  {keyword} 1\n}}\n"));
            let unknown = unknown.iter().find(|line| line.contains("keepalived has no such"));
            assert_eq!(unknown, None, "{block}");
        }
    }
    for keyword in TOP_LEVEL.split_whitespace() {
        let unknown = notices(&format!("{keyword} x {{\n}}\n"));
        let of_keyword = |line: &&String| line.contains(&format!(": {keyword}: keepalived has no such"));
        assert_eq!(unknown.iter().find(of_keyword), None);
    }
}

#[test]
fn a_directive_that_keepalived_does_not_know_is_reported() {
    let notices = notices("global_defs {\n  router_ids x\n}\nvrrp_instances x {\n}\n");
    for expected in [
        "keepalived.conf:2: note: router_ids: keepalived has no such directive in global_defs, and ignores it; correct the \
         keyword, or remove it",
        "keepalived.conf:5; correct the keyword, or remove the block",
    ] {
        assert!(notices.iter().any(|notice| notice.ends_with(expected)), "{notices:#?}");
    }
}
