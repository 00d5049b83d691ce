//! Each notice has the kind that says what it means, and each cause has one notice.

use std::fs;

use xvrrp_import::{Counts, Format, Import, Kind, Options};

fn import(text: &str) -> Import {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("k.conf");
    fs::write(&file, text).unwrap();
    let options = Options { format: Some(Format::Keepalived), node: Some("alpha".to_owned()) };
    xvrrp_import::import(&file, &options).unwrap()
}

/// Returns a virtual router with more lines in its block.
fn router(more: &str) -> String {
    format!(
        "vrrp_instance lan {{\n interface eth0\n virtual_router_id 5\n virtual_ipaddress {{\n 192.0.2.1/24\n }}\n{more}\n}}\n"
    )
}

// parity 20, 28, 47, 49, 50, 65, 96, 101, 105, 106, 107
#[test]
fn what_asks_for_nothing_is_a_note_and_the_import_is_complete() {
    let global = |line: &str| format!("global_defs {{\n{line}\n}}\n{}", router(""));
    for (directive, text) in [
        // keepalived ignores it too.
        ("no_such_directive", router("no_such_directive")),
        ("priority", router("priority 12x")),
        ("nopreempt", router("state MASTER\npriority 9\nnopreempt")),
        ("auth_type", router("version 3\nauthentication {\n auth_type PASS\n auth_pass x\n}")),
        ("notification_email", global("notification_email {\n a@example.org\n}")),
        ("track_script", format!("vrrp_script s {{\n script /bin/true\n}}\n{}", router(""))),
        ("virtual_routes", router("virtual_routes {\n}")),
        ("track_bfd", router("track_bfd {\n}")),
        ("virtual_rules", router("virtual_rules {\n to 192.0.2./24 table 1\n}")),
        ("virtual_rules", router("virtual_rules {\n to 192.0.2.0/24 table 1\n}")),
        ("protocol", router("virtual_routes {\n 198.51.100.0/24 dev eth0 protocol 4\n}")),
        ("static_ipaddress", format!("static_ipaddress {{\n 192.0.2.9/24\n}}\n{}", router(""))),
        // xvrrp does it anyway.
        ("dynamic_interfaces", global("dynamic_interfaces")),
        ("vrrp_rt_priority", global("vrrp_rt_priority 50")),
        ("thread_timer_expired", router("thread_timer_expired")),
        ("timer_expired_backup", router("timer_expired_backup")),
        ("unicast_src_ip", router("unicast_src_ip 192.0.2.77\nunicast_peer {\n 192.0.2.3\n}")),
        ("vrrp_garp_interval", global("vrrp_garp_interval 0.001")),
        ("vrrp_garp_interval", global("vrrp_garp_interval 0")),
        ("smtp_server", global("smtp_server 192.0.2.25 // of the provider")),
        ("scope", router("").replace("192.0.2.1/24", "fe80::5/64 scope link")),
        ("garp_extra_if", router("garp_extra_if all 10")),
        // It is a default, or it concerns only something that is not there.
        ("vrrp_mcast_group4", global("vrrp_mcast_group4 224.0.0.18")),
        ("mcast_dst_ip", router("mcast_dst_ip 224.0.0.18")),
        ("unicast_fault_no_peer", router("unicast_fault_no_peer\nunicast_peer {\n 192.0.2.3\n}")),
        ("lower_prio_no_advert", router("strict_mode on\nlower_prio_no_advert off")),
        ("higher_prio_send_advert", router("strict_mode on\nhigher_prio_send_advert")),
        ("down_timer_adverts", router("strict_mode on\ndown_timer_adverts 4")),
        ("down_timer_adverts", router("down_timer_adverts 101")),
        ("lvs_timeouts", global("lvs_timeouts tcp 3600")),
        ("vrrp_garp_interval", global("vrrp_garp_interval 0")),
        ("garp_extra_if", router("garp_extra_if all 60")),
        ("garp_extra_if", router("garp_extra_if 60").replace("192.0.2.1/24", "192.0.2.1/24 dev eth1")),
        ("vmac_garp_intvl", router("vmac_garp_intvl all")),
        ("scope", router("").replace("192.0.2.1/24", "fe80::5/64 scope link")),
    ] {
        let import = import(&text);
        let notes: Vec<_> = import.notices.iter().map(|notice| (notice.kind, notice.directive.as_str())).collect();
        assert_eq!(notes, [(Kind::Note, directive)], "{text}");
        assert!(import.is_complete());
    }
}

// parity 9, 14, 15, 32, 40, 41, 45, 47, 48, 61, 89, 90, 96
#[test]
fn a_stated_difference_is_a_change_and_the_import_is_complete() {
    for (directive, text) in [
        ("priority", router("priority 255")),
        ("unicast_ttl", router("unicast_peer {\n 192.0.2.3\n}\nunicast_ttl 64")),
        ("unicast_peer", router("unicast_peer {\n gateway\n}")),
        ("virtual_ipaddress", router("virtual_ipaddress {\n 192.0.2.1\n}")),
        ("virtual_ipaddress", router("virtual_ipaddress {\n 192.0.2.7/33\n}")),
        ("virtual_ipaddress", router("virtual_ipaddress {\n 2001:db8::1\n}")),
        ("mcast_src_ip", router("mcast_src_ip 192.0.2.77")),
        ("mcast_src_ip", router("mcast_src_ip 192.0.2.1")),
        ("mcast_src_ip", router("mcast_src_ip 127.0.0.1")),
        ("unicast_src_ip", router("unicast_src_ip 2001:db8::9").replace("192.0.2.1/24", "fe80::5/64")),
        ("enable_snmp_keepalived", format!("global_defs {{\n enable_snmp_keepalived\n}}\n{}", router(""))),
        ("lvs_sync_daemon_interface", router("lvs_sync_daemon_interface eth0")),
        ("router_id", format!("global_defs {{\n router_id \"a b\"\n}}\n{}", router(""))),
        ("down_timer_adverts", router("down_timer_adverts 1")),
        ("protocol", router("virtual_routes {\n 198.51.100.0/24 dev eth0 protocol 4 no_track\n}")),
        ("garp_lower_prio_delay", router("garp_lower_prio_delay 5")),
        ("garp_lower_prio_repeat", router("garp_lower_prio_repeat 2")),
        ("garp_master_refresh_repeat", router("garp_master_refresh_repeat 2")),
        ("-nodad", router("").replace("192.0.2.1/24", "fe80::5/64 -nodad")),
        ("use_vmac", router("").replace("192.0.2.1/24", "192.0.2.1/24 use_vmac")),
        ("virtual_ipaddress", router("").replace("192.0.2.1/24", "192.0.2.1/24 // the gateway")),
        ("use_ipvlan", router("use_ipvlan")),
        ("script", format!("vrrp_script s {{\n script \"\"\n}}\n{}", router("track_script {\n s\n}"))),
        ("script", format!("vrrp_script s {{\n script \"a\" b\"\n}}\n{}", router("track_script {\n s\n}"))),
        ("notify_master", router("notify_master \"/bin/true x")),
        ("vrf", router("vrf blue")),
        ("unicast_peer", router("unicast_peer {\n 192.0.2.3 max_ttl 254\n}")),
        ("include", format!("include none*.conf\n{}", router(""))),
    ] {
        let import = import(&text);
        let changes: Vec<_> = import.notices.iter().map(|notice| (notice.kind, notice.directive.as_str())).collect();
        assert_eq!(changes, [(Kind::Changed, directive)], "{text}");
        assert!(import.is_complete());
    }
}

// parity 20, 49, 50, 65, 98
#[test]
fn what_keepalived_would_do_and_xvrrp_does_not_is_left_out() {
    for (directive, text) in [
        ("virtual_server", format!("virtual_server 192.0.2.1 80 {{\n lb_algo rr\n}}\n{}", router(""))),
        ("auth_type", router("authentication {\n auth_type AH\n auth_pass x\n}")),
        ("include", format!("include none.conf\n{}", router(""))),
        ("vrrp_mcast_group4", format!("global_defs {{\nvrrp_mcast_group4 224.0.0.19\n}}\n{}", router(""))),
        ("mcast_dst_ip", router("mcast_dst_ip 224.0.0.19")),
        ("unicast_fault_no_peer", router("unicast_fault_no_peer")),
        ("virtual_routes", router("virtual_routes {\n 2001:db8::/32 via fe80::1 dev eth0 expires 5\n}")),
        ("include", format!("include none.d/*.conf\n{}", router(""))),
    ] {
        let import = import(&text);
        let left_out: Vec<_> = import.notices.iter().map(|notice| (notice.kind, notice.directive.as_str())).collect();
        assert_eq!(left_out, [(Kind::LeftOut, directive)], "{text}");
        assert_eq!(import.counts(), Counts { left_out: 1, ..Counts::default() });
        assert!(!import.is_complete());
    }
}

// parity 106
#[test]
fn addresses_on_other_interfaces_are_announced_as_often_as_all_addresses() {
    let elsewhere = |more: &str| router(more).replace("192.0.2.1/24", "192.0.2.1/24 dev eth1");
    let global = |line: &str| format!("global_defs {{\n{line}\n}}\n{}", elsewhere(""));
    for (expected, text) in [
        (Some("60s"), elsewhere("garp_extra_if all 60")),
        (Some("60s"), elsewhere("vmac_garp_intvl 60").replace("dev eth1", "dev eth1 use_vmac")),
        (Some("30s"), elsewhere("garp_master_refresh 30\ngarp_extra_if all 60")),
        (Some("60s"), global("vrrp_garp_extra_if all 60")),
        (None, global("vrrp_garp_extra_if 60")),
        (None, elsewhere("garp_extra_if all 0")),
    ] {
        let import = import(&text);
        let toml = import.toml().unwrap();
        let refresh = toml.lines().find_map(|line| line.strip_prefix("announce_refresh = \""));
        assert_eq!(refresh.and_then(|line| line.split('"').next()), expected, "{text}");
        assert!(import.is_complete());
    }
}

#[test]
fn a_check_that_is_refused_is_reported_once_with_what_goes_with_it() {
    let text = format!(
        "vrrp_script bad {{\n script \"relative/path\"\n user \"no such user\"\n}}\n{}{}",
        router("track_script {\n bad\n}"),
        router("track_script {\n bad weight 5\n}")
            .replace("lan", "wan")
            .replace("id 5", "id 6")
            .replace("2.1/", "2.2/")
    );
    let import = import(&text);
    assert_eq!(import.notices.len(), 1, "{:#?}", import.notices);
    let notice = &import.notices[0];
    assert_eq!(notice.kind, Kind::LeftOut);
    assert!(notice.advice.contains("; with it goes vrrp_script ("), "{notice}");
    assert!(notice.advice.ends_with("k.conf:22)"), "{notice}");
    let toml = import.toml().unwrap().to_owned();
    assert!(!toml.contains("track"), "{toml}");
}

#[test]
fn mail_without_a_recipient_is_reported_once() {
    let global = "global_defs {\n notification_email {\n nobody@\n }\n smtp_alert\n}\n";
    let second = router("").replace("lan", "wan").replace("id 5", "id 6").replace("2.1/", "2.2/");
    let import = import(&format!("{global}{}{second}", router("")));
    let of_kind = |kind| import.notices.iter().filter(|notice| notice.kind == kind).collect::<Vec<_>>();
    let [left_out] = of_kind(Kind::LeftOut)[..] else { panic!("{:#?}", import.notices) };
    assert!(
        left_out.advice.contains("; with it goes [mail] (") && left_out.advice.contains("smtp_alert (/"),
        "{left_out}"
    );
    assert!(!import.toml().unwrap().contains("mail = "));
}

#[test]
fn a_check_or_a_group_that_keepalived_removes_is_reported_once() {
    let text = "vrrp_script s {\n interval 2\n}\nvrrp_sync_group g {\n group {\n }\n notify /bin/true\n}\n";
    let import = import(&format!("{text}{}", router("track_script {\n s\n}")));
    let changes: Vec<_> = import.notices.iter().map(|notice| (notice.kind, notice.directive.as_str())).collect();
    assert_eq!(changes, [(Kind::Changed, "track_script"), (Kind::Changed, "vrrp_sync_group")]);
    let toml = import.toml().unwrap();
    assert!(!toml.contains("track") && !toml.contains("sync_group"), "{toml}");
}

#[test]
fn a_message_about_a_duplicate_names_the_line_of_the_original() {
    let second = router("").replace("lan", "wan").replace("2.1/", "2.2/");
    let import = import(&format!("{}{second}", router("")));
    let notices: Vec<String> = import.notices.iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 1);
    let expected = "5 is already used on interface \"eth0\" by vrrp_instance \"lan\" (";
    assert!(notices[0].contains(expected) && notices[0].ends_with("k.conf:3); choose another"), "{notices:?}");
}

#[test]
fn a_virtual_router_that_is_refused_is_reported_once_with_its_group() {
    let second = router("").replace("lan", "wan");
    let group = "vrrp_sync_group g {\n group {\n lan\n wan\n }\n}\n";
    let import = import(&format!("{}{second}{group}", router("")));
    let notices: Vec<String> = import.notices.iter().map(ToString::to_string).collect();
    assert!(notices.iter().all(|notice| !notice.contains("there is no virtual router")), "{notices:#?}");
    assert_eq!(notices.iter().filter(|notice| notice.contains("[[sync_group]]: ")).count(), 0, "{notices:#?}");
    assert!(notices.iter().any(|notice| notice.contains("with it goes group (")), "{notices:#?}");
}

#[test]
fn of_a_password_in_any_script_the_first_8_bytes_are_taken_over() {
    let with = |password: &str| {
        import(&router(&format!("version 2\n authentication {{\n auth_type PASS\n auth_pass {password}\n }}")))
    };
    for (password, sent) in [("£6nj7^5", "£6nj7^5"), ("geheïm-9", "geheïm-"), ("abcdefghi", "abcdefgh")] {
        let import = with(password);
        assert!(import.toml().unwrap().contains(&format!("password = \"{sent}\"")), "{:#?}", import.notices);
        assert!(import.is_complete());
    }
    // No text has the bytes that keepalived sends.
    let import = with("abcdefgé");
    let left_out = import.notices.iter().find(|notice| notice.kind == Kind::LeftOut);
    assert_eq!(left_out.map(|notice| notice.directive.as_str()), Some("auth_pass"));
}
