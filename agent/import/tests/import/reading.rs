//! keepalived's reading, where a sample cannot show it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use xvrrp_config::Config;
use xvrrp_import::{Format, Options};

/// Imports files of keepalived, of which the first is named. Returns the result and the notices.
fn import(files: &[(&str, &str)]) -> (Config, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
        let executable = fs::Permissions::from_mode(if name.ends_with(".sh") { 0o755 } else { 0o644 });
        fs::set_permissions(directory.path().join(name), executable).unwrap();
    }
    let options = Options { format: Some(Format::Keepalived), node: Some("alpha".to_owned()) };
    let import = xvrrp_import::import(&directory.path().join(files[0].0), &options).unwrap();
    let toml = import.toml().unwrap().to_owned();
    let short = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
    let config = xvrrp_config::parse("result".as_ref(), &toml).unwrap();
    (config, import.notices.iter().map(|notice| short(notice.to_string())).collect())
}

/// Returns a virtual router with more lines in its block.
fn router(name: &str, vrid: u8, more: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n interface eth0\n virtual_router_id {vrid}\n virtual_ipaddress {{ 192.0.2.{vrid} }}\n\
         {more}}}\n"
    )
}

#[test]
fn random_numbers_are_within_their_bounds_and_reported() {
    let text = router("a", 5, "priority ${_RANDOM 20 21}\n");
    let (config, notices) = import(&[("k.conf", &text)]);
    let priority = config.virtual_routers[0].priority.to_string();
    assert!(["20", "21"].contains(&priority.as_str()), "{priority}");
    let expected = format!(
        "k.conf:5: changed: ${{_RANDOM}}: became {priority}, and stays that; keepalived takes another number at each start"
    );
    assert_eq!(notices, [expected]);
}

#[test]
fn variables_of_the_environment_are_reported() {
    // Cargo sets it for every test.
    let text = router("${_ENV CARGO_PKG_NAME}", 5, "priority 1${_ENV XVRRP_NO_SUCH_VARIABLE}0\n");
    let (config, notices) = import(&[("k.conf", &text)]);
    assert_eq!(config.virtual_routers[0].name, "xvrrp-import");
    assert_eq!(config.virtual_routers[0].priority.to_string(), "10");
    assert!(notices[0].starts_with("k.conf:1: changed: ${_ENV}: became \"xvrrp-import\", from"), "{notices:?}");
    assert!(notices[1].starts_with("k.conf:5: changed: ${_ENV}: became \"\", from"), "{notices:?}");
}

#[test]
fn an_executable_file_is_skipped_as_by_keepalived() {
    let files = [("k.conf", format!("include *.sh\n{}", router("a", 5, ""))), ("b.sh", router("b", 6, ""))];
    let (config, notices) = import(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)]);
    assert_eq!(config.virtual_routers.len(), 1);
    assert_eq!(notices, ["k.conf:1: changed: include: b.sh is executable, so keepalived skips it; so does the import"]);
}

#[test]
fn a_comment_ends_a_definition_of_several_lines() {
    let text = format!("$A=\\\npriority 7 \\\n# comment\nstate MASTER\n{}", router("a", 5, "$A\n"));
    let (config, notices) = import(&[("k.conf", &text)]);
    assert_eq!(config.virtual_routers[0].priority.to_string(), "7");
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("k.conf:4: note: state: keepalived has no such directive outside"), "{notices:?}");
}

#[test]
fn a_backslash_protects_a_comment_character_only_in_global_defs() {
    let text = router("a", 5, "authentication {\n auth_type PASS\n auth_pass a\\#b\n}\n");
    let (config, notices) = import(&[("k.conf", &format!("global_defs {{\n router_id a\\#b\n}}\n{text}"))]);
    assert_eq!(config.virtual_routers[0].password.as_ref().map(|password| password.0), Some(*b"a\0\0\0\0\0\0\0"));
    assert!(notices[0].starts_with("k.conf:2: changed: router_id: \"a#b\" becomes \"a-b\""), "{notices:?}");
    assert!(notices[1].starts_with("k.conf:10: changed: auth_pass: keepalived reads this line twice"), "{notices:?}");
}

#[test]
fn a_line_that_keepalived_cannot_read_whole_is_reported() {
    let long = format!("router_id a # {}", "x".repeat(1100));
    let latin = router("a", 5, "notify \"/usr/local/bin/\u{fffd}t\u{fffd}\"\n");
    let text = format!("\u{feff}global_defs {{\n {long}\n}}\n{latin}");
    let (_, notices) = import(&[("k.conf", &text)]);
    for (notice, expected) in notices.iter().zip([
        "k.conf:1: changed: global_defs: keepalived does not know this word, because the file begins with a byte order",
        "k.conf:2: changed: router_id: is longer than the 1022 bytes of a line that keepalived reads",
        "k.conf:8: changed: notify: has a character that is not UTF-8, which becomes \u{fffd}",
    ]) {
        assert!(notice.starts_with(expected), "{notice}");
    }
    assert_eq!(notices.len(), 3, "{notices:?}");
}

#[test]
fn a_sequence_that_keepalived_does_not_understand_is_ignored_and_reported() {
    let text = format!("~SEQ(I, 1, 0, 2) x\n~LST(I) x\n{}", router("a", 5, ""));
    let (_, notices) = import(&[("k.conf", &text)]);
    assert_eq!(
        notices,
        [
            "k.conf:1: changed: ~SEQ: never reaches its last value, so keepalived ignores the line; correct it",
            "k.conf:2: changed: ~LST: is not of the form ~LST(VARIABLE, VALUE, ...) or ~LST({VARIABLE, ...}, {VALUE, ...}, \
             ...), so keepalived ignores the line; correct it"
        ]
    );
}

#[test]
fn the_file_that_keepalived_documents_for_nested_sequences_makes_all_virtual_routers() {
    let text = format!(
        "$VI4= \\\n{}\n~SEQ(NUM,0,2) ~SEQ(ID,1,3) $VI4\n",
        "vrrp_instance v.${NUM}.${ID} { \\\n interface bond.${NUM} \\\n virtual_router_id ${ID} \\\n \
         virtual_ipaddress { \\\n ~LST({A, L}, {1,24}, {2,32}) 10.${NUM}.${ID}.${A}/${L} \\\n } \\\n}\n"
    );
    let (config, notices) = import(&[("k.conf", &text)]);
    let names: Vec<&str> = config.virtual_routers.iter().map(|router| router.name.as_str()).collect();
    assert_eq!(names, ["v.0.1", "v.0.2", "v.0.3", "v.1.1", "v.1.2", "v.1.3", "v.2.1", "v.2.2", "v.2.3"]);
    let last = config.virtual_routers.last().unwrap();
    let addresses: Vec<String> = last.addresses.iter().map(ToString::to_string).collect();
    assert_eq!((last.interface.as_str(), addresses.join(" ").as_str()), ("bond.2", "10.2.3.1/24 10.2.3.2/32"));
    assert_eq!(notices, [""; 0]);
}

#[test]
fn more_virtual_routers_than_a_configuration_can_have_are_left_out_with_one_notice() {
    let text = "~SEQ(I, 1, 17) ~SEQ(ID, 1, 250) $V\n".to_owned();
    let text = format!(
        "$V=vrrp_instance v.${{I}}.${{ID}} \\\n{{ \\\n interface i${{I}} \\\n virtual_router_id $ID \\\n \
                        virtual_ipaddress {{ 10.0.${{I}}.$ID }} \\\n}}\n{text}"
    );
    let (config, notices) = import(&[("k.conf", &text)]);
    assert_eq!(config.virtual_routers.len(), xvrrp_config::MAX_VIRTUAL_ROUTERS);
    let [notice] = notices.as_slice() else { panic!("{notices:#?}") };
    let excess = 17 * 250 - xvrrp_config::MAX_VIRTUAL_ROUTERS;
    let expected = format!("this one and all after it, {excess} in all, are left out");
    assert!(notice.starts_with("k.conf:7: left out: vrrp_instance: ") && notice.ends_with(&expected), "{notice}");
}
