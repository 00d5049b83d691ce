//! The sample files that keepalived ships are imported, and files as people publish them. Nothing of VRRP in them is
//! left out. The samples come from the installed package, because their licence does not permit copies here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{agent_binary, workspace};

const SAMPLES: &str = "/usr/share/doc/keepalived/samples";
/// How to get the samples where dpkg is configured to leave out documentation.
const HOW_TO_INSTALL: &str = "apt-get install --reinstall -o Dpkg::Options::=--path-include=/usr/share/doc/keepalived/* \
                              keepalived";

/// Each sample, with the directives of which something is left out.
const LEFT_OUT: &[(&str, &[&str])] = &[
    ("HTTP_GET.port", BALANCER),
    ("IPv6", BALANCER),
    ("PING_CHECK", BALANCER),
    ("SMTP_CHECK", BALANCER),
    ("SSL_GET", &["auth_type", "virtual_server"]),
    ("UDP_CHECK", BALANCER),
    ("conditional_conf", &[]),
    ("fwmark", BALANCER),
    ("inhibit", BALANCER),
    ("misc_check", BALANCER),
    ("misc_check_arg", BALANCER),
    ("quorum", BALANCER),
    ("sample", &["virtual_server"]),
    ("status_code", BALANCER),
    ("track_interface", &[]),
    ("virtual_server_group", BALANCER),
    ("virtualhost", BALANCER),
    ("vrrp", &[]),
    ("vrrp.localcheck", &[]),
    ("vrrp.lvs_syncd", &["virtual_server"]),
    ("vrrp.routes", &[]),
    ("vrrp.rules", &[]),
    ("vrrp.scripts", &[]),
    ("vrrp.static_ipaddress", &[]),
    ("vrrp.sync", &[]),
];
/// What is left out of a file that only balances load: it has no virtual router.
const BALANCER: &[&str] = &["virtual_server", "vrrp_instance"];

/// Samples of the import's tests that are files as people run them, all of VRRP alone.
const IN_USE: &[&str] = &[
    "announcements",
    "checks-by-name",
    "crosswise",
    "dual-stack",
    "group-of-one",
    "include-here",
    "ipv6-late-interface",
    "nginx-pair",
    "no-address",
    "other-interfaces",
    "process-without-weight",
    "published",
    "router-vendor",
];

/// Returns the directives that the import of a file leaves out. Fails if its exit status says something else.
fn left_out(file: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new(agent_binary()?).arg("import").arg(file).output()?;
    let messages = String::from_utf8(output.stderr)?;
    let directive = |line: &str| Some(line.split_once(": left out: ")?.1.split_once(": ")?.0.to_owned());
    let directives: BTreeSet<String> = messages.lines().filter_map(directive).collect();
    let expected = if directives.is_empty() { 0 } else { 3 };
    ensure!(output.status.code() == Some(expected), "{}: {}: {messages}", file.display(), output.status);
    Ok(directives)
}

#[test]
fn of_the_samples_that_keepalived_ships_only_load_balancing_and_ah_are_left_out() -> Result<()> {
    let entries = fs::read_dir(SAMPLES).with_context(|| format!("{SAMPLES}: {HOW_TO_INSTALL}"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>>>()?;
    let found: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_prefix("keepalived.conf.")).collect();
    let expected: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    ensure!(found == expected, "{SAMPLES} has {found:?}: {HOW_TO_INSTALL}");
    for (name, expected) in LEFT_OUT {
        let found = left_out(&Path::new(SAMPLES).join(format!("keepalived.conf.{name}")))?;
        ensure!(found.iter().eq(*expected), "{name}: {found:?}");
    }
    Ok(())
}

#[test]
fn nothing_is_left_out_of_files_in_use_that_have_vrrp_alone() -> Result<()> {
    for name in IN_USE {
        let samples = workspace().join("agent/import/tests/import/samples");
        let found = left_out(&samples.join(name).join("keepalived.conf"))?;
        ensure!(found.is_empty(), "{name}: {found:?}");
    }
    Ok(())
}
