//! Files of each program are recognized, and others are named.

use std::fs;

use xvrrp_import::Options;

/// Imports a file without naming the program.
fn import(name: &str, text: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    let short = |message: String| message.replace(&format!("{}/", directory.path().display()), "");
    match xvrrp_import::import(&file, &Options { format: None, node: Some("alpha".to_owned()) }) {
        Ok(import) => Ok(short(import.toml().unwrap_or_default().to_owned())),
        Err(error) => Err(short(error.to_string())),
    }
}

#[test]
fn a_file_is_recognized_by_its_content() {
    for text in [
        "\u{feff}vrrp_instance A {\n interface eth0\n virtual_router_id 5\n virtual_ipaddress { 192.0.2.1 }\n}\n",
        "@alpha vrrp_instance A\n{\n interface eth0\n virtual_router_id 5\n virtual_ipaddress { 192.0.2.1 }\n}\n",
        "interface eth0\n vrrp 5\n vrrp 5 ip 192.0.2.1\n",
        "frr version 8.4.4\ninterface eth0\n vrrp 5 ip 192.0.2.1\n",
    ] {
        let toml = import("some.conf", text).unwrap();
        assert!(toml.contains("vrid = 5") && toml.contains("192.0.2.1"), "{text}: {toml}");
    }
    // Only comments: a keepalived.conf without a virtual router.
    assert_eq!(import("some.conf", "! empty\n\n# really\n"), Ok(String::new()));
}

#[test]
fn a_configuration_of_ucarp_is_refused_with_what_to_write_instead() {
    let refused = |what| {
        Err(format!(
            "{what}: this is a configuration of ucarp, which speaks CARP and not VRRP, so that all hosts must change at the \
             same time; write a [[virtual_router]] with interface = \"eth0\", vrid = 42, addresses = [\"192.0.2.100\"] \
             (docs/configuration.md)"
        ))
    };
    let command =
        "#!/bin/sh\n# starts ucarp\nexec /usr/sbin/ucarp -i eth0 -s 192.0.2.2 -v42 -p love --addr=192.0.2.100 -B\n";
    assert_eq!(import("start", command), refused("start:3"));
    let interfaces =
        "auto eth0\niface eth0 inet static\n  address 192.0.2.2/24\n  ucarp-vid 42\n  ucarp-vip 192.0.2.100\n";
    assert_eq!(import("interfaces", interfaces), refused("interfaces:4"));
    let variables = "ID=\"42\"\nBIND_INTERFACE=\"eth0\"\nVIP_ADDRESS=\"192.0.2.100\"\n";
    let refused_variables = import("vip-042.conf", variables).unwrap_err();
    assert!(refused_variables.contains("interface = \"eth0\", addresses = [\"192.0.2.100\"]"), "{refused_variables}");
}

#[test]
fn a_file_of_an_unknown_kind_is_refused_with_its_first_word() {
    assert_eq!(
        import("named.conf", "# BIND\noptions {\n directory \"/var/cache/bind\";\n};\n"),
        Err("named.conf:2: \"options\" begins no line of xvrrp, keepalived, heartbeat or FRR; give the path of one of their \
             configurations, or name the program: xvrrp import --from keepalived named.conf"
            .to_owned())
    );
    assert_eq!(
        import("xvrrp.toml", "[agent]\n\n[[virtual_router]]\nname = \"lan\"\n"),
        Err("xvrrp.toml:3: this is a configuration of xvrrp already; run `xvrrp check` with it".to_owned())
    );
}
