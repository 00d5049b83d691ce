//! The systemd unit is well-formed, and the agent works with the capabilities that the unit grants.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Lab, VirtualRouter, Xvrrp, agent_binary, run, workspace};

fn unit() -> Result<String> {
    let path = workspace().join("scripts/xvrrp.service");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn the_unit_is_well_formed_and_hardened() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("xvrrp.service");
    // The unit names a program and a manual that are not installed here. The program is replaced, the manual left out.
    let program = agent_binary()?.canonicalize()?.display().to_string();
    let text: String = unit()?
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .fold(String::new(), |text, line| text + &line.replace("/usr/bin/xvrrp", &program) + "\n");
    fs::write(&path, text)?;
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().context("systemd-analyze")?;
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    ensure!(verified.status.success() && !complaints.contains("xvrrp.service"), "{complaints}");
    let security = run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&path))?;
    let score = security.lines().find(|line| line.contains("Overall exposure level")).context("no score")?;
    println!("{score}");
    let score: f64 = score.split_whitespace().find_map(|word| word.parse().ok()).context("no number")?;
    ensure!(score < 5.0, "{security}");
    Ok(())
}

#[test]
fn the_agent_works_with_the_capabilities_that_the_unit_grants() -> Result<()> {
    let unit = unit()?;
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).context("no bounding set")?;
    let set = set.split_whitespace().filter_map(|name| name.strip_prefix("CAP_"));
    let set = set.fold("-all".to_owned(), |set, name| format!("{set},+{}", name.to_lowercase()));
    let lab = Lab::new(1)?;
    let wrapper = ["setpriv", "--bounding-set", &set, "--no-new-privs"];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    agent.reload()?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success());
    // A warning would say that real-time scheduling or locked memory is missing.
    ensure!(agent.daemon.count_lines(&["WARN"]) == 0, "{}", agent.daemon.log());
    Ok(())
}
