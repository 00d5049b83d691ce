//! The agent pins programs and maps again if something removes them from the BPF file system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_common::abi::map;
use xvrrp_lab::{
    INTERFACE, Lab, Namespace, PATIENCE, ServedPair, Side, VirtualRouter, Xvrrp, agent_binary, eventually, run,
    wait_until,
};

/// Several times the interval at which the agent checks the pins.
const SOON: Duration = Duration::from_secs(5);

fn names(host: &Namespace) -> Result<Vec<String>> {
    let entries = fs::read_dir(host.pins()?)?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn wait_for_names(host: &Namespace, expected: &[String]) -> Result<()> {
    eventually("everything is pinned again", SOON, || {
        let names = names(host)?;
        ensure!(names == expected, "{names:?}");
        Ok(())
    })
}

#[test]
fn removed_pins_are_restored_soon_and_a_start_after_a_crash_resumes_the_role() -> Result<()> {
    let lab = Lab::new(2)?;
    // Neither end has a virtual router, so both get the fence.
    let _side = Side::new(&lab.routers[0])?;
    let active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::unhurried_lan(200)])?;
    let mut pair = ServedPair::with_unhurried(lab, active)?;
    let host = &pair.lab.routers[0];
    let pinned = eventually("the fence is on both ends", PATIENCE, || {
        let names = names(host)?;
        ensure!(names.iter().filter(|name| name.starts_with("fence-")).count() == 2, "{names:?}");
        Ok(names)
    })?;
    // All pins are removed, then only one map, then only one link of the fence.
    fs::remove_dir_all(host.pins()?)?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    fs::remove_file(host.pins()?.join(map::SLOTS))?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    let fence = pinned.iter().find(|name| name.starts_with("fence-")).context("no link of the fence")?;
    fs::remove_file(host.pins()?.join(fence))?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    let line = ["WARN", "had been removed from the BPF file system: pinned them again"];
    pair.active.daemon.wait_for_lines(&line, 2)?;
    wait_until("the status says that everything is pinned", || Ok(pair.active.status()?["unpinned"].is_null()))?;

    pair.active.kill()?;
    ensure!(host.ip(&format!("link show dev {INTERFACE}"))?.contains("xdp"), "the XDP program is gone with the agent");
    wait_for_names(host, &pinned)?;
    pair.active.start_again(host, &[VirtualRouter::unhurried_lan(200)])?;
    pair.active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    let (mut active, _backup, lab) = pair.check_undisturbed()?;
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    let pins = lab.routers[0].pins()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))?;
    Ok(())
}

#[test]
fn a_reload_right_after_pins_were_removed_succeeds_or_is_refused_and_causes_no_failover() -> Result<()> {
    let pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let host = &pair.lab.routers[0];
    fs::remove_dir_all(host.pins()?)?;
    if let Err(error) = pair.active.reload() {
        let message = format!("{error:#}");
        ensure!(message.contains("everything stays as it was") && message.contains("bpffs"), "{message}");
    }
    eventually("the agent reloads once the pins are restored", SOON, || pair.active.reload())?;
    pair.check_undisturbed().map(drop)
}

#[test]
fn while_pins_cannot_be_restored_log_and_status_say_so() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let file_system = directory.path().join("bpf");
    let base = file_system.join("xvrrp");
    // A mount namespace of its own keeps other tests' pins out of this.
    let mut agent = Xvrrp::start_unshared(&lab.routers[0], &[VirtualRouter::lan(200)], &base)?;
    agent.wait_for_state("lan", "active")?;
    let pid = agent.daemon.pid().to_string();
    let inside = |line: &str| -> Result<String> {
        run(std::process::Command::new("nsenter").args(["--target", &pid, "--mount", "sh", "-c", line]))
    };
    let shown = |path: &Path| path.display().to_string();
    let (place, base) = (shown(&file_system), shown(&base));
    inside(&format!("rm -r {base} && mount -o remount,ro {place}"))?;
    let unpinned = eventually("the status says that pins are missing", SOON, || {
        let status = agent.status()?;
        status["unpinned"].as_str().map(str::to_owned).with_context(|| status.to_string())
    })
    .with_context(|| agent.daemon.log())?;
    ensure!(unpinned.contains(&base) && unpinned.contains("Read-only file system"), "{unpinned}");
    // However often the agent tries again, it logs this once.
    std::thread::sleep(Duration::from_secs(3));
    let line = ["ERROR", "cannot be pinned again", "a restart of this agent is a failover"];
    agent.daemon.wait_for_lines(&line, 1).with_context(|| agent.daemon.log())?;
    ensure!(agent.state("lan")? == "active");

    inside(&format!("mount -o remount,rw {place}"))?;
    eventually("the status says that everything is pinned", SOON, || {
        let status = agent.status()?;
        ensure!(status["unpinned"].is_null(), "{status}");
        Ok(())
    })?;
    ensure!(inside(&format!("ls {base}/*"))?.contains(map::STAMP));
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

/// Runs `xvrrp COMMAND` on a configuration with these keys of `[agent]`, through a wrapper unless that is empty.
/// Returns the exit code and the output.
fn run_on(host: &Namespace, wrapper: &str, command: &str, keys: &str) -> Result<(Option<i32>, String)> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("xvrrp.toml");
    let control = directory.path().join("xvrrp.sock");
    fs::write(&config, format!("[agent]\ncontrol = {control:?}\n{keys}\n{}", VirtualRouter::lan(200)))?;
    let (agent, config) = (agent_binary()?, config.display());
    let line = format!("{wrapper} {} {command} {config}", agent.display());
    let output = host.command("sh")?.args(["-c", &line]).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).replace(&config.to_string(), "FILE");
    Ok((output.status.code(), text))
}

#[test]
fn a_directory_that_cannot_hold_pins_is_an_error_in_the_configuration() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let complaint = "FILE:3: agent: bpffs: \"/tmp\": / is not in a BPF file system, and one cannot be mounted \
                     there because the directory is not empty; give another agent.bpffs, such as /sys/fs/bpf/xvrrp";
    for command in ["check", "run --config"] {
        let (code, output) = run_on(host, "", command, "bpffs = \"/tmp\"")?;
        ensure!(code == Some(2) && output.contains(complaint), "{command}: {code:?} {output}");
    }
    // Accepted: a BPF file system that is not mounted but can be, one whose directory does not exist yet, and the
    // default.
    let unmounted = "unshare --mount sh -c 'while umount /sys/fs/bpf 2>/dev/null; do :; done; exec \"$@\"' sh";
    for (wrapper, keys) in [(unmounted, ""), ("", "bpffs = \"/run/xvrrp-nowhere/bpf/xvrrp\""), ("", "")] {
        let (code, output) = run_on(host, wrapper, "check", keys)?;
        ensure!(code == Some(0), "{wrapper} {keys}: {code:?} {output}");
    }
    Ok(())
}
