//! Valid configurations: their values, the limits of the values, and that no text makes the reader panic.

mod garbled;
mod programs;
mod routing;
mod tracking;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xvrrp_common::units::{Family, Interval, Priority, Version, Vrid};
use xvrrp_config::{
    self, AgentConfig, Checksum, CommandLine, Config, ElectionRules, Encryption, Login, MailConfig, NotifyConfig,
    NotifyProgram, Occasion, Origin, Password, Program, ScriptUser, Text, Vip, VirtualRouterConfig, VirtualRouterLines,
    keys,
};

fn parse(text: &str) -> Config {
    xvrrp_config::parse(Path::new("xvrrp.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns a virtual router with the required keys and these lines.
fn router_with(lines: &str) -> String {
    format!(
        "[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.1/24\"]\n{lines}\n"
    )
}

fn words(words: &[&str]) -> CommandLine {
    CommandLine::Words(words.iter().copied().map(Into::into).collect())
}

fn user(name: &str, group: Option<&str>) -> ScriptUser {
    ScriptUser { name: name.into(), group: group.map(Into::into) }
}

fn notified(on: Occasion, command: CommandLine, line: usize) -> NotifyProgram {
    NotifyProgram { on, program: Program { command, user: None }, line }
}

fn assert_accepted(lines: &str) {
    parse(&router_with(lines));
}

fn vip(octets: [u8; 4], prefix_length: u8) -> Vip {
    Vip { address: octets.into(), prefix_length }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each default")]
fn omitted_keys_have_their_defaults() {
    let Config { file, agent, checks, mail, virtual_routers, sync_groups, text } = parse(&router_with(""));
    assert_eq!(text.toml, router_with(""));
    assert_eq!(file, Path::new("xvrrp.toml"));
    assert_eq!(checks, []);
    assert_eq!(mail, None);
    assert_eq!(sync_groups, []);
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        agent,
        AgentConfig {
            router_id: host_name.trim().into(),
            control: "/run/xvrrp/xvrrp.sock".into(),
            control_line: None,
            metrics: None,
            netns: None,
            bpffs: "/sys/fs/bpf/xvrrp".into(),
            bpffs_line: None,
            realtime_priority: 50,
            startup_delay: Interval::ZERO,
            boot_delay: Interval::ZERO,
            script_user: None,
            script_security: false,
            notify_fifos: vec![],
            statics: Arc::default(),
        }
    );
    assert_eq!(
        virtual_routers,
        [VirtualRouterConfig {
            name: "lan".into(),
            interface: "eth0".into(),
            vrid: Vrid::new(51).unwrap(),
            version: Version::V3,
            // RFC 9568 6.1
            priority: Priority::new(100),
            advert_interval: Interval::from_seconds(1),
            addresses: vec![vip([192, 0, 2, 1], 24)],
            unadvertised: vec![],
            address_options: vec![],
            family: Family::Ipv4,
            link_local_first: true,
            preempt: true,
            preempt_delay: Interval::ZERO,
            carrier_fault: true,
            election: ElectionRules {
                down_timer_adverts: 3,
                answer_lower_priority: true,
                answer_higher_priority: false
            },
            accept: true,
            lease: true,
            virtual_mac: true,
            checksum: Checksum::Auto,
            source_addresses: vec![],
            allowed_sources: vec![],
            unicast_peers: vec![],
            password: None,
            announce_count: 3,
            announce_interval: Interval::from_seconds(1),
            announce_refresh: Interval::ZERO,
            routing: Arc::default(),
            track: vec![],
            sync_group: None,
            notify: NotifyConfig {
                programs: vec![],
                timeout: Interval::from_seconds(30),
                services: vec![],
                deleted: false
            },
            notify_priority_changes: false,
            mail: vec![],
            lines: VirtualRouterLines { header: 1, interface: 3, addresses: 5, unicast_peers: 1, source_addresses: 1 },
        }]
    );
}

#[test]
fn a_virtual_router_may_have_addresses_of_both_families() {
    // Each family has its own VRIDs (RFC 9568 1.7, 5.2.3, 5.2.9).
    let config = parse(
        r#"
        [[virtual_router]]
        name = "both"
        interface = "eth0"
        vrid = 51
        addresses = ["192.0.2.1/24", "fe80::33/64", "2001:db8::1/64"]
        allowed_sources = ["192.0.2.2", "fe80::2"]

        [[virtual_router]]
        name = "ipv6"
        interface = "eth0"
        vrid = 52
        addresses = ["fe80::34/64"]

        [[virtual_router]]
        name = "ipv4"
        interface = "eth0"
        vrid = 52
        addresses = ["192.0.2.9/24"]
        "#,
    );
    let [both, ipv6, ipv4] = &config.virtual_routers[..] else { panic!("{config:?}") };
    let shown = |router: &VirtualRouterConfig, family| {
        router.addresses_of(family).map(|vip| vip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(both.families().collect::<Vec<_>>(), [Family::Ipv4, Family::Ipv6]);
    assert_eq!(shown(both, Family::Ipv6), ["fe80::33/64", "2001:db8::1/64"]);
    assert_eq!(shown(both, Family::Ipv4), ["192.0.2.1/24"]);
    assert_eq!(ipv6.families().collect::<Vec<_>>(), [Family::Ipv6]);
    assert_eq!(ipv4.families().collect::<Vec<_>>(), [Family::Ipv4]);
}

#[test]
fn unadvertised_addresses_of_a_family_without_adverts_belong_to_the_one_virtual_router() {
    let config = parse(
        r#"
        [[virtual_router]]
        name = "ipv4"
        interface = "eth0"
        vrid = 51
        version = 2
        addresses = ["192.0.2.1/24"]
        unadvertised_addresses = ["2001:db8::1/64 home", "192.0.2.2/24"]

        [[virtual_router]]
        name = "both"
        interface = "eth0"
        vrid = 52
        addresses = ["192.0.2.9/24", "fe80::34/64"]
        unadvertised_addresses = ["2001:db8::9/64 home", "192.0.2.10/24"]
        "#,
    );
    let [ipv4, both] = &config.virtual_routers[..] else { panic!("{config:?}") };
    let of = |router: &VirtualRouterConfig, family| {
        router.addresses_of(family).map(|vip| vip.to_string()).collect::<Vec<_>>()
    };
    let all = ["192.0.2.1/24", "2001:db8::1/64", "192.0.2.2/24"];
    assert_eq!(ipv4.families().collect::<Vec<_>>(), [Family::Ipv4]);
    assert_eq!(of(ipv4, Family::Ipv4), all);
    assert_eq!(both.families().collect::<Vec<_>>(), [Family::Ipv4, Family::Ipv6]);
    assert_eq!(of(both, Family::Ipv4), ["192.0.2.9/24", "192.0.2.10/24"]);
    assert_eq!(of(both, Family::Ipv6), ["fe80::34/64", "2001:db8::9/64"]);
}

#[test]
fn without_addresses_the_family_of_the_adverts_is_ipv4_unless_something_else_says_ipv6() {
    for (keys, family) in [
        ("", Family::Ipv4),
        ("addresses = []", Family::Ipv4),
        ("unadvertised_addresses = [\"2001:db8::1/64\"]", Family::Ipv4),
        ("family = \"ipv6\"", Family::Ipv6),
        ("unicast_peers = [\"2001:db8::2\"]", Family::Ipv6),
        ("allowed_sources = [\"fe80::2\"]", Family::Ipv6),
        ("unicast_peers = [\"192.0.2.2\"]", Family::Ipv4),
    ] {
        let text = format!("[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\n{keys}\n");
        let config = parse(&text);
        assert_eq!(config.virtual_routers[0].families().collect::<Vec<_>>(), [family], "{keys}");
    }
}

#[test]
fn an_ipv6_list_without_a_link_local_address_first_needs_a_key_and_causes_a_warning() {
    let text = |addresses: &str| {
        format!(
            "[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\naddresses = {addresses}\n\
             link_local_first = false\n"
        )
    };
    let config = parse(&text("[\"2001:db8::1/64\", \"fe80::33/64\"]"));
    assert!(!config.virtual_routers[0].link_local_first);
    let [warning] = &config.warnings()[..] else { panic!("{:?}", config.warnings()) };
    assert!(warning.contains(":5: virtual_router \"lan\": addresses: 2001:db8::1/64 is the first"), "{warning}");
    assert!(warning.contains("\"fe80::33/64\""), "{warning}");
    assert_eq!(parse(&text("[\"fe80::33/64\", \"2001:db8::1/64\"]")).warnings(), [""; 0]);
}

#[test]
fn unicast_peers_are_addresses_or_tables_with_a_minimum_ttl() {
    let config = parse(
        r#"
        [[virtual_router]]
        name = "lan"
        interface = "eth0"
        vrid = 51
        addresses = ["192.0.2.1/24", "fe80::33/64"]
        unicast_peers = ["192.0.2.2", { address = "203.0.113.2", min_ttl = 254 }, { address = "2001:db8::2", min_ttl = 1 }]

        [[virtual_router]]
        name = "link"
        interface = "eth0"
        vrid = 52
        addresses = ["fe80::34/64"]
        unicast_peers = ["fe80::2"]
        "#,
    );
    let [lan, link] = &config.virtual_routers[..] else { panic!("{config:?}") };
    let shown: Vec<_> = lan.unicast_peers.iter().map(|peer| (peer.address.to_string(), peer.min_ttl)).collect();
    assert_eq!(shown, [("192.0.2.2".into(), 255), ("203.0.113.2".into(), 254), ("2001:db8::2".into(), 1)]);
    // Adverts to peers that are not on the link are sent from an address that can be routed to.
    assert_eq!(lan.origin(Family::Ipv4), Origin::Ipv4);
    assert_eq!(lan.origin(Family::Ipv6), Origin::Ipv6);
    assert_eq!(link.origin(Family::Ipv6), Origin::LinkLocal);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one configuration with a value for every key")]
fn every_key_of_agent_and_virtual_router_takes_effect() {
    let config = parse(
        r#"
        [agent]
        router_id = "gw-a"
        control = "/run/a.sock"
        metrics = "[::1]:9112"
        netns = "blue"
        bpffs = "/sys/fs/bpf/other"
        realtime_priority = 0
        startup_delay = "60m"
        boot_delay = "90s"

        [[virtual_router]]
        name = "v3"
        interface = "eth0"
        vrid = 1
        version = 3
        priority = 200
        advert_interval = "40ms"
        addresses = ["192.0.2.2/25", "198.51.100.1"]
        preempt = true
        preempt_delay = "1.5s"
        carrier_fault = false
        down_timer_adverts = 100
        answer_lower_priority = false
        answer_higher_priority = true
        accept = false
        lease = "off"
        virtual_mac = false
        checksum = "plain"
        source_addresses = ["192.0.2.7"]
        allowed_sources = ["192.0.2.8"]
        announce_count = 5
        announce_interval = "20ms"
        announce_refresh = "1m"
        notify = ["/etc/xvrrp/notify", "a b"]
        notify_stop = "/etc/xvrrp/stop --now"
        notify_timeout = "2.5s"
        services = ["nginx.service", "vpn@lan.target"]

        [[virtual_router]]
        name = "v2"
        interface = "eth0"
        vrid = 2
        version = 2
        preempt = false
        addresses = ["192.0.2.1/24"]
        advert_interval = "2m"
        password = "secret"
        "#,
    );
    assert_eq!(
        config.agent,
        AgentConfig {
            router_id: "gw-a".into(),
            control: "/run/a.sock".into(),
            control_line: Some(4),
            metrics: Some("[::1]:9112".parse().unwrap()),
            netns: Some("blue".into()),
            bpffs: "/sys/fs/bpf/other".into(),
            bpffs_line: Some(7),
            realtime_priority: 0,
            startup_delay: Interval::from_millis(3_600_000),
            boot_delay: Interval::from_seconds(90),
            script_user: None,
            script_security: false,
            notify_fifos: vec![],
            statics: Arc::default(),
        }
    );
    let [v3, v2] = &config.virtual_routers[..] else { panic!("{config:?}") };
    assert_eq!(
        *v3,
        VirtualRouterConfig {
            name: "v3".into(),
            interface: "eth0".into(),
            vrid: Vrid::new(1).unwrap(),
            version: Version::V3,
            priority: Priority::new(200),
            advert_interval: Interval::from_millis(40),
            addresses: vec![vip([192, 0, 2, 2], 25), vip([198, 51, 100, 1], 32)],
            unadvertised: vec![],
            address_options: vec![],
            family: Family::Ipv4,
            link_local_first: true,
            preempt: true,
            preempt_delay: Interval::from_millis(1_500),
            carrier_fault: false,
            election: ElectionRules {
                down_timer_adverts: 100,
                answer_lower_priority: false,
                answer_higher_priority: true
            },
            accept: false,
            lease: false,
            virtual_mac: false,
            checksum: Checksum::Plain,
            source_addresses: vec![[192, 0, 2, 7].into()],
            allowed_sources: vec![[192, 0, 2, 8].into()],
            unicast_peers: vec![],
            password: None,
            announce_count: 5,
            announce_interval: Interval::from_millis(20),
            announce_refresh: Interval::from_seconds(60),
            routing: Arc::default(),
            track: vec![],
            sync_group: None,
            notify: NotifyConfig {
                programs: vec![
                    notified(Occasion::Stop, CommandLine::Shell("/etc/xvrrp/stop --now".into()), 36),
                    notified(Occasion::Any, words(&["/etc/xvrrp/notify", "a b"]), 35),
                ],
                timeout: Interval::from_millis(2_500),
                services: vec!["nginx.service".into(), "vpn@lan.target".into()],
                deleted: false,
            },
            notify_priority_changes: false,
            mail: vec![],
            lines: VirtualRouterLines {
                header: 12,
                interface: 14,
                addresses: 19,
                unicast_peers: 12,
                source_addresses: 30
            },
        }
    );
    assert_eq!(v2.version, Version::V2);
    assert!(!v2.preempt);
    assert_eq!(v2.advert_interval, Interval::from_seconds(120));
    assert_eq!(v2.password, Some(Password(*b"secret\0\0")));
}

/// Parses a configuration with a `[mail]` that has the required keys except the server, and these lines.
fn with_mail(lines: &str, router: &str) -> Config {
    let mail = "[mail]\nfrom = \"xvrrp@gw-a.example.net\"\nto = [\"ops@example.net\", \"a.b+c\"]";
    parse(&format!("{mail}\n{lines}\n{}", router_with(router)))
}

#[test]
fn mail_has_defaults_and_the_port_depends_on_the_encryption() {
    let mail = with_mail("server = \"mail.example.net\"", "").mail.unwrap();
    assert_eq!(
        mail,
        MailConfig {
            host: "mail.example.net".into(),
            port: 587,
            tls: Encryption::StartTls,
            ca_file: None,
            login: None,
            from: "xvrrp@gw-a.example.net".into(),
            to: vec!["ops@example.net".into(), "a.b+c@localhost".into()],
            helo: None,
            timeout: Interval::from_seconds(30),
            limit: 4,
            gather: Interval::from_millis(300_000),
        }
    );
    for (lines, host, port) in [
        ("server = \"mail\"\ntls = \"implicit\"", "mail", 465),
        ("server = \"mail\"\ntls = \"none\"", "mail", 25),
        ("server = \"mail:2525\"\ntls = \"none\"", "mail", 2525),
        ("server = \"192.0.2.25:26\"", "192.0.2.25", 26),
        ("server = \"2001:db8::25\"", "2001:db8::25", 587),
        ("server = \"[2001:db8::25]:26\"", "2001:db8::25", 26),
    ] {
        let mail = with_mail(lines, "").mail.unwrap();
        assert_eq!((mail.host.as_str(), mail.port), (host, port), "{lines}");
    }
    let lines = "server = \"mail\"\nca_file = \"/etc/ca.pem\"\nusername = \"gw-a\"\npassword_file = \"/etc/password\"";
    let mail = with_mail(lines, "").mail.unwrap();
    assert_eq!(mail.ca_file, Some(("/etc/ca.pem".into(), 5)));
    assert_eq!(mail.login, Some(Login { username: "gw-a".into(), password_file: "/etc/password".into(), line: 7 }));
}

#[test]
fn a_faulty_file_of_mail_is_reported_with_line_and_key() {
    let lines = "server = \"mail\"\nca_file = \"/ca\"\nusername = \"gw\"\npassword_file = \"/password\"";
    let config = with_mail(lines, "");
    assert_eq!(xvrrp_config::mail::check_files(&config, |_, _| None), Ok(()));
    let fault = |_: &Path, secret| Some(if secret { "is a secret" } else { "is none" }.to_owned());
    let error = xvrrp_config::mail::check_files(&config, fault).unwrap_err();
    let expected =
        "xvrrp.toml:5: mail: ca_file: \"/ca\" is none\nxvrrp.toml:7: mail: password_file: \"/password\" is a secret";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_virtual_router_lists_the_occasions_of_mail() {
    let all = vec![Occasion::Active, Occasion::Backup, Occasion::Fault, Occasion::Stop];
    for (line, occasions) in [
        ("", all.clone()),
        ("mail = true", all),
        ("mail = false", vec![]),
        ("mail = [\"fault\", \"active\"]", vec![Occasion::Fault, Occasion::Active]),
    ] {
        let config = with_mail("server = \"mail\"", line);
        assert_eq!(config.virtual_routers[0].mail, occasions, "{line}");
    }
    assert_accepted("mail = false");
}

#[test]
fn the_limits_of_every_range_are_accepted() {
    // conformance 25
    for lines in [
        "priority = 1",
        "priority = 255",
        "advert_interval = \"10ms\"",
        "advert_interval = \"40.95s\"",
        "version = 2\nadvert_interval = \"1000ms\"",
        "version = 2\nadvert_interval = \"255s\"",
        "preempt_delay = \"1000s\"",
        "preempt = false\npreempt_delay = \"0s\"",
        "priority = 255\npreempt_delay = \"5s\"",
        "version = 2\npassword = \"x\"",
        "version = 2\npassword = \"8 chars!\"",
        "checksum = \"pseudo-header\"",
        "allowed_sources = []",
        "unicast_peers = []",
        "unicast_peers = [\"198.51.100.2\"]\nallowed_sources = []",
        "announce_count = 1\nannounce_interval = \"10ms\"",
        "announce_count = 60\nannounce_interval = \"60s\"",
        "announce_refresh = \"1s\"",
        "announce_refresh = \"1440m\"",
    ] {
        assert_accepted(lines);
    }
    for vrid in [1, 255] {
        parse(&router_with("").replace("51", &vrid.to_string()));
    }
    for name in ["x", &"n".repeat(64), "a.B_9-z"] {
        parse(&router_with("").replace("lan", name));
    }
    for interface in ["x", "15-bytes-of-nam", "eth0.100", "eth0@x"] {
        parse(&router_with("").replace("eth0", interface));
    }
    for realtime_priority in [0, 99] {
        parse(&format!("[agent]\nrealtime_priority = {realtime_priority}\n{}", router_with("")));
    }
    for metrics in ["127.0.0.1:9112", "0.0.0.0:1", "[::]:65535", "[fe80::1%2]:9112"] {
        parse(&format!("[agent]\nmetrics = {metrics:?}\n{}", router_with("")));
    }
    parse(&format!("[agent]\ncontrol = \"/run/{}\"\n{}", "x".repeat(102), router_with("")));
}

#[test]
fn an_advert_has_room_for_255_addresses() {
    // RFC 9568 5.2.5
    let addresses: Vec<String> = (1..=255).map(|host| format!("\"10.0.0.{host}\"")).collect();
    let config = parse(&router_with("").replace("\"192.0.2.1/24\"", &addresses.join(", ")));
    assert_eq!(config.virtual_routers[0].addresses.len(), 255);
    assert_eq!(config.virtual_routers[0].addresses[254], vip([10, 0, 0, 255], 32));
}

#[test]
fn a_vrid_and_an_address_may_recur_on_another_interface() {
    // RFC 9568 5.2.3
    let other = router_with("").replace("lan", "wan").replace("eth0", "eth1");
    assert_eq!(parse(&(router_with("") + &other)).virtual_routers.len(), 2);
}

#[test]
fn equivalent_toml_yields_the_same_configuration() {
    let inline =
        "virtual_router = [{ name = \"lan\", interface = 'eth0', vrid = 0x33, addresses = [\"192.0.2.1/24\",] }]";
    // The text itself differs.
    let parse = |text: &str| Config { text: Text::of_toml(""), ..parse(text) };
    let mut inline = parse(inline);
    inline.virtual_routers[0].lines =
        VirtualRouterLines { header: 1, interface: 3, addresses: 5, unicast_peers: 1, source_addresses: 1 };
    assert_eq!(inline, parse(&router_with("")));
    let crlf = router_with("").replace('\n', "\r\n");
    assert_eq!(parse(&crlf), parse(&router_with("")));
    let byte_order_mark = format!("\u{feff}{}", router_with(""));
    assert_eq!(parse(&byte_order_mark), parse(&router_with("")));
}

#[test]
fn passwords_stay_out_of_debug_output() {
    let config = parse(&router_with("version = 2\npassword = \"s3cret\""));
    assert!(!format!("{config:?}").contains("s3cret"));
    let wrong =
        xvrrp_config::parse(Path::new("x"), &router_with("version = 2\npassword = \"s3cret-too-long\"")).unwrap_err();
    assert!(!format!("{wrong} {wrong:?}").contains("s3cret"));
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_examples_are_valid() {
    let examples: Vec<PathBuf> = fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        xvrrp_config::load(&example).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_reference_lists_exactly_the_keys_that_exist() {
    let reference = fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let described: Vec<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let tables =
        [keys::AGENT_KEYS, keys::VIRTUAL_ROUTER_KEYS, keys::SYNC_GROUP_KEYS, keys::CHECK_KEYS, keys::MAIL_KEYS];
    let keys = tables.into_iter().flatten().map(|key| key.name);
    assert_eq!(described, keys.collect::<Vec<_>>());
}

#[test]
fn the_configurations_in_the_reference_are_valid() {
    let reference = fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let blocks: Vec<&str> = reference.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        parse(block);
    }
}
