//! Checks, and what virtual routers and sync groups track.

use xvrrp_common::units::Interval;
use xvrrp_config::{
    ArgumentRule, CheckConfig, CheckIndex, CheckKind, GroupIndex, InitialNumber, ProcessCheck, ProcessMatch, Program,
    Tracked,
};

use super::{parse, router_with, user, words};

const CHECKS: &str = r#"
    [[virtual_router]]
    name = "lan"
    interface = "eth0"
    vrid = 51
    addresses = ["192.0.2.1/24"]
    track = [
        "uplink",
        { check = "web", weight = -253 },
        { check = "far" },
        "drained",
        { check = "reserve", reverse = false },
    ]

    [[check]]
    name = "web"
    script = ["/usr/local/bin/check", "--fast", ""]
    interval = "50ms"
    rise = 2
    fall = 255
    init_fail = true
    user = "nobody"

    [[check]]
    name = "uplink"
    interface = "eth1"
    weight = 253

    [[check]]
    name = "far"
    ping = "2001:db8::1"
    timeout = "100ms"

    [[check]]
    name = "unused"
    pid_file = "/run/nginx.pid"

    [[check]]
    name = "drained"
    file = "/run/drained"
    reverse = true

    [[check]]
    name = "reserve"
    interface = "eth2"
    weight = 20
    reverse = true
    "#;

#[test]
fn checks_are_tracked_by_name_with_their_own_weight_or_another() {
    let config = parse(CHECKS);
    let [web, uplink, far, unused, ..] = &config.checks[..] else { panic!("{config:?}") };
    assert_eq!(
        *web,
        CheckConfig {
            name: "web".into(),
            kind: CheckKind::Script(Program {
                command: words(&["/usr/local/bin/check", "--fast", ""]),
                user: Some(user("nobody", None))
            }),
            interval: Interval::from_millis(50),
            timeout: Interval::from_millis(50),
            rise: 2,
            fall: 255,
            init_fail: true,
            lines: (15, 17),
        }
    );
    assert_eq!((&uplink.kind, uplink.interval), (&CheckKind::Interface("eth1".into()), Interval::from_seconds(1)));
    assert_eq!(
        (&far.kind, far.timeout),
        (&CheckKind::Ping(vec!["2001:db8::1".parse().unwrap()]), Interval::from_millis(100))
    );
    assert_eq!(unused.kind, CheckKind::PidFile("/run/nginx.pid".into()));
    let tracked = |check, weight, reverse| Tracked { check: CheckIndex::new(check), weight, reverse };
    assert_eq!(
        config.virtual_routers[0].track,
        [
            tracked(1, 253, false),
            tracked(0, -253, false),
            tracked(2, 0, false),
            tracked(4, 0, true),
            tracked(5, 20, false)
        ]
    );
    let unused = "xvrrp.toml:34: check \"unused\": is not run, because no virtual router tracks it; track or remove it";
    assert_eq!(config.warnings(), [unused]);
}

#[test]
fn a_check_of_processes_has_defaults_and_rules_for_arguments() {
    let of = |lines: &str| {
        let mut config = parse(&format!("[[check]]\nname = \"x\"\n{lines}\n{}", router_with("track = [\"x\"]")));
        match config.checks.remove(0).kind {
            CheckKind::Process(process) => process,
            other => panic!("{other:?}"),
        }
    };
    let command = |arguments: &[&str], rule| ProcessMatch::Command {
        program: "/usr/sbin/a b".into(),
        arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        rule,
    };
    let by_name = ProcessCheck {
        processes: ProcessMatch::Name("nginx".into()),
        quorum: 1,
        quorum_max: None,
        fork_delay: Interval::ZERO,
        terminate_delay: Interval::ZERO,
    };
    assert_eq!(of("process = \"nginx\""), by_name);
    let none = ProcessCheck { quorum: 0, quorum_max: Some(0), ..by_name.clone() };
    assert_eq!(of("process = \"nginx\"\nquorum_max = 0"), none);
    let limited = ProcessCheck {
        quorum: 2,
        quorum_max: Some(65_535),
        fork_delay: Interval::from_millis(500),
        terminate_delay: Interval::from_millis(3_600_000),
        ..by_name
    };
    let keys = "quorum = 2\nquorum_max = 65535\nfork_delay = \"500ms\"\nterminate_delay = \"60m\"";
    assert_eq!(of(&format!("process = \"nginx\"\n{keys}")), limited);
    for (line, arguments, rule) in [
        ("process = [\"/usr/sbin/a b\"]", &[][..], ArgumentRule::Any),
        ("process = [\"/usr/sbin/a b\"]\narguments = \"exact\"", &[], ArgumentRule::Exact),
        ("process = [\"/usr/sbin/a b\", \"-c\", \"\"]", &["-c", ""], ArgumentRule::Exact),
        ("process = [\"/usr/sbin/a b\", \"-c\"]\narguments = \"leading\"", &["-c"], ArgumentRule::Leading),
        ("process = [\"/usr/sbin/a b\", \"-c\"]\narguments = \"prefix\"", &["-c"], ArgumentRule::Prefix),
        ("process = [\"/usr/sbin/a b\", \"-c\"]\narguments = \"any\"", &["-c"], ArgumentRule::Any),
    ] {
        assert_eq!(of(line).processes, command(arguments, rule), "{line}");
    }
}

#[test]
fn members_of_a_sync_group_refer_to_it_and_track_what_it_tracks() {
    let config = parse(
        r#"
        check = [
            { name = "web", process = "nginx" },
            { name = "uplink", interface = "eth2", weight = -20 },
            { name = "power", file = "/run/power" },
        ]

        [[virtual_router]]
        name = "lan"
        interface = "eth0"
        vrid = 51
        priority = 150
        addresses = ["192.0.2.1/24"]
        track = ["web", { check = "power", weight = 1 }]

        [[virtual_router]]
        name = "other"
        interface = "eth0"
        vrid = 52
        addresses = ["192.0.2.9/24"]

        [[virtual_router]]
        name = "wan"
        interface = "eth1"
        vrid = 51
        preempt = false
        advert_interval = "100ms"
        addresses = ["198.51.100.1/24"]
        track = [{ check = "uplink", weight = 5 }]

        [[sync_group]]
        name = "gw"
        members = ["wan", "lan"]
        track = ["uplink", { check = "web", weight = 7 }]
        notify = "/etc/xvrrp/notify"

        [[sync_group]]
        name = "one"
        members = ["other"]
        "#,
    );
    let [lan, other, wan] = &config.virtual_routers[..] else { panic!("{config:?}") };
    assert_eq!(
        (lan.sync_group, other.sync_group, wan.sync_group),
        (Some(GroupIndex::new(0)), Some(GroupIndex::new(1)), Some(GroupIndex::new(0)))
    );
    let tracked = |check, weight| Tracked { check: CheckIndex::new(check), weight, reverse: false };
    // As in keepalived, the weight of the group counts, unless that of the member is 0.
    assert_eq!(lan.track, [tracked(0, 0), tracked(2, 1), tracked(1, -20)]);
    assert_eq!(wan.track, [tracked(1, -20), tracked(0, 7)]);
    assert_eq!(other.track, []);
    let [group, one] = &config.sync_groups[..] else { panic!("{config:?}") };
    assert_eq!((group.name.as_str(), group.notify.programs.len()), ("gw", 1));
    assert_eq!(
        (group.members.as_slice(), one.members.as_slice()),
        (&["wan".into(), "lan".into()][..], &["other".into()][..])
    );
    let lone = |line, name, check| {
        format!(
            "xvrrp.toml:{line}: virtual_router {name:?}: track: {check:?} changes the priority of this member of its \
             sync_group alone, so that hosts may disagree about who is better; list it in track of the sync_group instead"
        )
    };
    assert_eq!(config.warnings(), [lone(8, "lan", "power"), lone(22, "wan", "web")]);
}

#[test]
fn a_file_may_have_an_initial_value_and_a_ping_several_addresses() {
    let kind = |lines: &str| {
        let mut config = parse(&format!("[[check]]\nname = \"x\"\n{lines}\n{}", router_with("track = [\"x\"]")));
        let CheckConfig { kind, init_fail, .. } = config.checks.remove(0);
        assert!(!init_fail);
        kind
    };
    let file = |initial| CheckKind::File { path: "/run/x".into(), initial };
    let number = |value, overwrite| Some(InitialNumber { value, overwrite });
    assert_eq!(kind("file = \"/run/x\""), file(None));
    assert_eq!(kind("file = \"/run/x\"\ninitial_value = 0"), file(number(0, false)));
    let keys = "initial_value = -2147483648\noverwrite = true";
    assert_eq!(kind(&format!("file = \"/run/x\"\n{keys}")), file(number(i32::MIN, true)));
    let targets = CheckKind::Ping(vec!["192.0.2.9".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(kind("ping = [\"192.0.2.9\", \"2001:db8::1\"]"), targets);
}
