//! `xvrrp run` and `xvrrp check` take other programs' files, and name their lines.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xvrrp_config::host::{self, HostInterface, HostLookup, Survey};
use xvrrp_config::{Config, NotifyFifo, ScriptUser, Text};
use xvrrp_import::{AgentKeys, Source};

const INSTANCE: &str = "vrrp_instance lan {\n interface eth9\n virtual_router_id 5\n virtual_ipaddress { 192.0.2.1 }\n";
const TOML: &str =
    "[[virtual_router]]\nname = \"lan\"\ninterface = \"eth9\"\nvrid = 5\naddresses = [\"192.0.2.1/24\"]\n";

fn source(directory: &TempDir, name: &str, text: impl AsRef<[u8]>) -> Source {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    Source { path, node: Some("alpha".to_owned()), ..Source::default() }
}

/// Loads a file. Its path in messages has no directory.
fn load(name: &str, text: impl AsRef<[u8]>) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let shown = format!("{}/", directory.path().display());
    source(&directory, name, text).load().map_err(|error| error.to_string().replace(&shown, ""))
}

/// Returns the places in the warnings about a host without interfaces.
fn places(config: &Config) -> Vec<String> {
    let warnings = Survey::new(config, &[]).warnings(config);
    let place = |warning: &String| warning.split(": ").next().unwrap().rsplit('/').next().unwrap().to_owned();
    warnings.iter().map(place).collect()
}

#[test]
fn the_content_of_a_file_says_whose_it_is() {
    let keepalived = format!("{INSTANCE}}}\n");
    let crlf = keepalived.replace('\n', "\r\n");
    let marked = format!("\u{feff}! [agent]\n{keepalived}");
    let defined = format!("$IF=eth9\n{}", keepalived.replace("eth9", "$IF"));
    let comment = "# vrrp_instance lan {\n".repeat(1000);
    for (name, text, place) in [
        ("xvrrp.toml", keepalived.as_str(), "xvrrp.toml:2"),
        ("none", &crlf, "none:2"),
        ("none", &marked, "none:3"),
        ("none", &defined, "none:3"),
        ("frr.conf", "interface eth9\n vrrp 5\n vrrp 5 ip 192.0.2.1\n", "frr.conf:1"),
        ("keepalived.conf", TOML, "keepalived.conf:3"),
        ("none", &format!("{comment}{TOML}"), "none:1003"),
    ] {
        let config = load(name, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(places(&config), [place], "{text}");
        assert_eq!(config.text.original.is_none(), text.ends_with(TOML));
    }
}

#[test]
fn a_file_that_nobody_can_use_is_refused_with_its_kind() {
    for (text, message) in [
        ("", "none:1: virtual_router: "),
        ("# only a comment\n", "none:1: virtual_router: "),
        ("[[virtual_ruoter]]\n", "none:1: "),
        ("options {\n}\n", "none:1: \"options\" begins no line of xvrrp, keepalived, heartbeat or FRR; "),
        ("name\n[[virtual_router]]\n", "none:1: not valid TOML"),
        ("ID=1\nVIP_ADDRESS=192.0.2.1\n", "none:2: this is a configuration of ucarp"),
        ("include none.conf\n", "none:1: "),
        ("includem none.conf\n", "none:1: include: there is no file "),
        ("global_defs {\n router_id a\n}\n", "none:1: left out: vrrp_instance: "),
    ] {
        let error = load("none", text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(load("none", [0x7f, b'E', b'L', b'F', 0, 0, b'\n']).is_err());
    let error = Source { path: "/none/none".into(), ..Source::default() }.load().unwrap_err().to_string();
    assert!(error.starts_with("/none/none: cannot be read: there is no such file; give the path"), "{error}");
}

#[test]
fn a_warning_names_the_line_of_an_included_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("lan.conf"), format!("\n\n{INSTANCE}}}\n")).unwrap();
    let main = format!("include {}/lan.conf\n", directory.path().display());
    let source = source(&directory, "keepalived.conf", main);
    let text = source.read().unwrap();
    // What was read holds everything: the files are not needed any more, nor is this process.
    fs::remove_file(directory.path().join("lan.conf")).unwrap();
    fs::remove_file(&source.path).unwrap();
    assert_eq!(places(&source.parse(&text).unwrap()), ["lan.conf:4"]);
}

#[test]
fn what_is_left_out_is_a_warning_with_its_line() {
    let text = format!("{INSTANCE} mcast_dst_ip 224.0.0.19\n priority 255\n}}\n");
    let config = load("keepalived.conf", text).unwrap();
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("/keepalived.conf:5: left out: mcast_dst_ip: "), "{warnings:?}");
    let original = config.text.original.unwrap();
    assert!(original.changed.len() == 1 && original.changed[0].contains("keepalived.conf:6: changed: priority: "));
    assert!(original.counts.starts_with("1 left out, 1 changed"), "{}", original.counts);
}

/// A host that has no program and no user, and a file in the place of each FIFO.
struct BareHost;

impl HostLookup for BareHost {
    fn is_executable(&self, _: &Path) -> bool {
        false
    }

    fn has_user(&self, _: &ScriptUser) -> bool {
        false
    }

    fn is_root(&self, _: Option<&ScriptUser>) -> bool {
        true
    }

    fn becomes_root(&self, _: &Path) -> bool {
        false
    }

    fn fault_of_fifo(&self, _: &NotifyFifo) -> Option<String> {
        Some("is a file".to_owned())
    }

    fn replaceable(&self, _: &Path) -> Option<String> {
        None
    }
}

/// Returns what is wrong with a configuration on a host that has only a loopback interface `lo` and a bridge `br0`.
fn complaints(config: &Config) -> String {
    let interface = |name: &str, loopback: bool, kind: Option<&'static str>| HostInterface {
        name: name.to_owned(),
        ethernet: !loopback,
        loopback,
        takes_own_mac_only: kind,
        addresses: vec!["192.0.2.9".parse().unwrap()],
    };
    let interfaces = [interface("lo", true, None), interface("br0", false, Some("a bridge"))];
    host::check(config, &Survey::new(config, &interfaces), &BareHost).unwrap_err().to_string()
}

#[test]
fn a_complaint_about_the_host_has_the_lines_and_words_of_the_user_in_the_order_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let shown = format!("{}/", directory.path().display());
    let included = "vrrp_sync_group both {\n group {\n \"web front\"\n lan\n }\n notify_fault /none/group\n}\n";
    fs::write(directory.path().join("groups"), included).unwrap();
    let text = format!(
        "vrrp_instance lan {{\n interface br0\n use_vmac\n virtual_router_id 5\n virtual_ipaddress {{\n 192.0.2.1/24\n \
         }}\n}}\ninclude groups\nvrrp_script web {{\n script \"/none/check\"\n user operator\n}}\n{}",
        "vrrp_instance \"web front\" {\n interface lo\n virtual_router_id 6\n virtual_ipaddress {\n 192.0.2.2/24\n }\n \
         track_script {\n web\n }\n notify_master \"/none/notify master\"\n}\nglobal_defs {\n vrrp_notify_fifo \
         /run/changes\n script_user nobody\n}\n"
    );
    let config = source(&directory, "k", text).load().unwrap();
    let complaints = complaints(&config).replace(&shown, "");
    let expected = [
        "k:2: vrrp_instance \"lan\": interface: \"br0\" is a bridge, which takes no frames to a virtual MAC; remove \
         use_vmac",
        "k:11: vrrp_script \"web\": script: \"/none/check\" is not a program that can be run; give the path of one",
        "k:11: vrrp_script \"web\": user: this host has no user \"operator\"; give the name of one",
        "k:15: vrrp_instance \"web front\": interface: \"lo\" is a loopback interface; expected an Ethernet interface",
        "k:23: vrrp_instance \"web front\": notify_master: \"/none/notify\" is not a program that can be run; give the \
         path of one",
        "k:26: vrrp_notify_fifo: \"/run/changes\" is a file",
        "k:27: script_user: this host has no user \"nobody\"; give the name of one",
        "groups:6: vrrp_sync_group \"both\": notify_fault: \"/none/group\" is not a program that can be run; give the \
         path of one",
    ];
    assert_eq!(complaints.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_complaint_about_the_host_of_frr_has_the_words_of_frr() {
    let config = load("frr.conf", "interface lo\n vrrp 5\n vrrp 5 ip 192.0.2.1\n").unwrap();
    let complaints = complaints(&config);
    assert!(
        complaints.ends_with(
            "/frr.conf:1: vrrp 5: interface: \"lo\" is a loopback interface; expected an Ethernet interface"
        ),
        "{complaints}"
    );
}

#[test]
fn the_command_line_sets_keys_of_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let agent = AgentKeys { control: Some("/run/a.sock".into()), metrics: Some("[::1]:9650".into()), bpffs: None };
    for before in ["", "global_defs {\n router_id left\n}\n"] {
        let source = source(&directory, "keepalived.conf", format!("{before}{INSTANCE}}}\n"));
        let config = Source { agent: agent.clone(), ..source }.load().unwrap();
        assert_eq!(config.agent.control, Path::new("/run/a.sock"));
        assert_eq!(config.agent.metrics, Some("[::1]:9650".parse().unwrap()));
        assert_eq!(config.agent.router_id == "left", !before.is_empty());
        let line = before.lines().count() + 2;
        assert_eq!(places(&config), [format!("keepalived.conf:{line}")]);
    }
    let control = |control: &str| AgentKeys { control: Some(control.into()), ..AgentKeys::default() };
    let wrong = Source { agent: control("relative"), ..source(&directory, "k", format!("{INSTANCE}}}\n")) };
    let error = wrong.load().unwrap_err().to_string();
    assert!(error.contains("/k: --control: \"relative\" is not absolute"), "{error}");
    let own = Source { agent: control("/run/a.sock"), ..source(&directory, "x.toml", TOML) };
    let error = own.load().unwrap_err().to_string();
    assert!(
        error.ends_with(
            "x.toml: --control is for configurations of other programs; set control in [agent] of this file instead"
        ),
        "{error}"
    );
}

#[test]
fn a_text_is_the_same_after_it_was_passed_to_the_next_agent() {
    let made = load("keepalived.conf", format!("{INSTANCE}}}\n")).unwrap().text;
    for text in [made, Text::of_toml(TOML)] {
        let passed = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<Text>(&passed).unwrap(), text);
    }
    // An earlier version passes the text by itself.
    assert_eq!(serde_json::from_str::<Text>("\"[agent]\"").unwrap(), Text::of_toml("[agent]"));
}
