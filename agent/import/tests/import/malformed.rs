//! Configurations that cannot be read, and the exact messages about them.

use std::fs;

use xvrrp_import::{Format, Options};

fn message(format: Format, files: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let file = directory.path().join(files.first().map_or("missing", |(name, _)| name));
    let options = Options { format: Some(format), node: Some("alpha".to_owned()) };
    let error = xvrrp_import::import(&file, &options).expect_err("it is malformed").to_string();
    error.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn a_malformed_keepalived_conf_is_refused_with_file_and_line() {
    for (text, expected) in [
        ("vrrp_instance a {\n  priority 1\n", "k.conf:1: this { is never closed; add the }"),
        ("vrrp_instance a {\n}\n}\n", "k.conf:3: this } closes nothing; remove it, or add the {"),
        ("{\n}\n", "k.conf:1: a block has no name; put its keyword before the {"),
        ("vrrp_instance a {\n}\n{\n}\n", "k.conf:3: a block has no name; put its keyword before the {"),
        ("\nrouter_id \"a\n", "k.conf:2: a quoted string does not end on its line; add the second \""),
        (
            "$A=x \\\n y\n",
            "k.conf:1: definitions of several lines are not supported; write out what this one stands for",
        ),
        ("~SEQ(A, 1, 3) x\n", "k.conf:1: sequences are not supported; write out the lines that this one stands for"),
        ("$A=$B\n$B=$A\nx $A\n", "k.conf:3: parameters refer to each other endlessly; break the cycle"),
        ("\ninclude k.conf\n", "k.conf:2: files include each other endlessly; break the cycle"),
        ("include {a,b}.conf\n", "k.conf:1: includes with braces are not supported; write one include for each file"),
        ("include a[\n", "k.conf:1: the pattern of this include is not valid: Pattern syntax error near position "),
        ("x\0y\n", "k.conf: is not a text file; give the path of a configuration"),
    ] {
        let message = message(Format::Keepalived, &[("k.conf", text)]);
        assert!(message.starts_with(expected), "{text:?}: {message}");
    }
}

#[test]
fn a_malformed_heartbeat_configuration_is_refused_with_file_and_line() {
    for (ha_cf, haresources, expected) in [
        ("keepalive 1\n", "", "ha.cf:1: no node is named; add the hosts, as in: node alpha beta"),
        (
            "node alpha beta\ndeadtime soon\n",
            "",
            "ha.cf:2: deadtime: \"soon\" is not a time; expected one such as 10 or 500ms",
        ),
        ("node alpha beta\ndeadtime\n", "", "ha.cf:2: deadtime has no value; add one"),
        (
            "node alpha\nauto_failback maybe\n",
            "",
            "ha.cf:2: auto_failback: \"maybe\" is not valid; expected on, off or legacy",
        ),
        (
            "node alpha beta\n",
            "# x\ngamma 192.0.2.1\n",
            "haresources:2: \"gamma\" is not a node of ha.cf; begin the line with a node",
        ),
        (
            "node beta gamma\n",
            "beta 192.0.2.1\n",
            "ha.cf:1: \"alpha\" is not one of the nodes; name the node that the result is for: --node with one of beta, \
             gamma",
        ),
    ] {
        let message = message(Format::Heartbeat, &[("ha.cf", ha_cf), ("haresources", haresources)]);
        assert_eq!(message, expected);
    }
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let missing = message(Format::Keepalived, &[]);
    assert_eq!(missing, "missing: cannot be read: there is no such file; give the path of a configuration");
    let missing = message(Format::Heartbeat, &[("ha.cf", "node alpha\n")]);
    let remedy = "put ha.cf and haresources into one directory";
    assert_eq!(missing, format!("haresources: cannot be read: there is no such file; {remedy}"));
}
