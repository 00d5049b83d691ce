//! The sample files that keepalived ships are imported, and nothing of VRRP in them is left out. They come from the
//! installed package, because their licence does not permit copies here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::agent_binary;

const SAMPLES: &str = "/usr/share/doc/keepalived/samples";
/// How to get the samples where dpkg is configured to leave out documentation.
const HOW_TO_INSTALL: &str = "apt-get install --reinstall -o Dpkg::Options::=--path-include=/usr/share/doc/keepalived/* \
                              keepalived";

/// Directives that are left out in samples with load balancing.
const WITH_LOAD_BALANCING: &[&str] = &["auth_type", "virtual_server", "vrrp_instance"];
/// Returns the directives that the import of a file leaves out, and whether its exit status agrees.
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
fn of_the_samples_that_keepalived_ships_only_load_balancing_is_left_out() -> Result<()> {
    let entries = fs::read_dir(SAMPLES).with_context(|| format!("{SAMPLES}: {HOW_TO_INSTALL}"))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.to_string_lossy().contains("/keepalived.conf."));
    ensure!(files.len() >= 25, "{SAMPLES} has only {} samples: {HOW_TO_INSTALL}", files.len());
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let found = left_out(file)?;
        if fs::read_to_string(file)?.contains("\nvirtual_server") {
            let is_allowed = |directive: &String| WITH_LOAD_BALANCING.contains(&directive.as_str());
            ensure!(found.iter().all(is_allowed), "{name}: {found:?}");
        } else {
            ensure!(found.is_empty(), "{name}: {found:?}");
        }
    }
    Ok(())
}
