//! Programs and maps stay pinned, whatever removes their names from the BPF file system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_common::abi::map;
use xvrrp_lab::{
    INTERFACE, Lab, Namespace, PATIENCE, ServedPair, Side, VirtualRouter, Xvrrp, agent_binary, eventually, run,
    wait_until,
};

/// Several looks of the agent.
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
fn pins_that_are_removed_are_back_soon_and_a_start_after_a_crash_resumes_the_role() -> Result<()> {
    let lab = Lab::new(2)?;
    // Its two ends are interfaces for the fence alone.
    let _side = Side::new(&lab.routers[0])?;
    let mut pair = ServedPair::in_lab(lab, &[VirtualRouter::lan(200)])?;
    let host = &pair.lab.routers[0];
    let pinned = eventually("the fence is on both ends", PATIENCE, || {
        let names = names(host)?;
        ensure!(names.iter().filter(|name| name.starts_with("fence-")).count() == 2, "{names:?}");
        Ok(names)
    })?;
    // All of them, then one map alone, then one of the fence alone.
    fs::remove_dir_all(host.pins()?)?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    fs::remove_file(host.pins()?.join(map::SLOTS))?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    let fence = pinned.iter().find(|name| name.starts_with("fence-")).context("there are two")?;
    fs::remove_file(host.pins()?.join(fence))?;
    wait_for_names(host, &pinned).with_context(|| pair.active.daemon.log())?;
    let line = ["WARN", "had been removed from the BPF file system: pinned them again"];
    pair.active.daemon.wait_for_lines(&line, 2)?;
    ensure!(pair.active.status()?["unpinned"].is_null());

    pair.active.kill()?;
    ensure!(host.ip(&format!("link show dev {INTERFACE}"))?.contains("xdp"), "the fence has gone with the agent");
    wait_for_names(host, &pinned)?;
    pair.active.start_again(host, &[VirtualRouter::lan(200)])?;
    pair.active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    let (mut active, _backup, lab) = pair.check_undisturbed()?;
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    let pins = lab.routers[0].pins()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))?;
    Ok(())
}

#[test]
fn a_reload_right_after_pins_were_removed_finds_them_or_is_refused_and_is_no_failover() -> Result<()> {
    let pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let host = &pair.lab.routers[0];
    fs::remove_dir_all(host.pins()?)?;
    if let Err(error) = pair.active.reload() {
        let said = format!("{error:#}");
        ensure!(said.contains("everything stays as it was") && said.contains("bpffs"), "{said}");
    }
    eventually("it reloads once the pins are back", SOON, || pair.active.reload())?;
    pair.check_undisturbed().map(drop)
}

#[test]
fn where_pins_cannot_be_put_back_the_status_says_that_a_restart_is_a_failover_until_they_can() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let file_system = directory.path().join("bpf");
    let base = file_system.join("xvrrp");
    // In a mount namespace of its own, so that nobody else's pins are concerned.
    let mut agent = Xvrrp::start_unshared(&lab.routers[0], &[VirtualRouter::lan(200)], &base)?;
    agent.wait_for_state("lan", "active")?;
    let pid = agent.daemon.pid().to_string();
    let inside = |line: &str| -> Result<String> {
        run(std::process::Command::new("nsenter").args(["--target", &pid, "--mount", "sh", "-c", line]))
    };
    let shown = |path: &Path| path.display().to_string();
    let (place, base) = (shown(&file_system), shown(&base));
    inside(&format!("rm -r {base} && mount -o remount,ro {place}"))?;
    let unpinned = eventually("the status says so", SOON, || {
        let status = agent.status()?;
        status["unpinned"].as_str().map(str::to_owned).with_context(|| status.to_string())
    })
    .with_context(|| agent.daemon.log())?;
    ensure!(unpinned.contains(&base) && unpinned.contains("Read-only file system"), "{unpinned}");
    // Once, however often it tries.
    std::thread::sleep(3 * Duration::from_secs(1));
    let lines = agent.daemon.count_lines(&["ERROR", "cannot be pinned again", "a restart of this agent is a failover"]);
    ensure!(lines == 1, "{}", agent.daemon.log());
    ensure!(agent.state("lan")? == "active");

    inside(&format!("mount -o remount,rw {place}"))?;
    eventually("they are pinned again", SOON, || {
        let status = agent.status()?;
        ensure!(status["unpinned"].is_null(), "{status}");
        Ok(())
    })?;
    ensure!(inside(&format!("ls {base}/*"))?.contains(map::STAMP));
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

/// What `xvrrp COMMAND` says about a configuration with these keys of `[agent]`, by a wrapper if there is one; and how it ends.
fn said_of(host: &Namespace, wrapper: &str, command: &str, keys: &str) -> Result<(Option<i32>, String)> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("xvrrp.toml");
    let control = directory.path().join("xvrrp.sock");
    fs::write(&config, format!("[agent]\ncontrol = {control:?}\n{keys}\n{}", VirtualRouter::lan(200)))?;
    let (agent, config) = (agent_binary()?, config.display());
    let line = format!("{wrapper} {} {command} {config}", agent.display());
    let output = host.command("sh")?.args(["-c", &line]).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).replace(&config.to_string(), "FILE");
    Ok((output.status.code(), said))
}

#[test]
fn a_directory_that_can_hold_no_pins_is_a_fault_of_the_configuration() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let complaint = "FILE:3: agent: bpffs: \"/tmp\": / is in no BPF file system, and not empty, so that none can be mounted \
                     there; give another agent.bpffs, such as /sys/fs/bpf/xvrrp";
    for command in ["check", "run --config"] {
        let (code, said) = said_of(host, "", command, "bpffs = \"/tmp\"")?;
        ensure!(code == Some(2) && said.contains(complaint), "{command}: {code:?} {said}");
    }
    // None is mounted, but one can be; and one whose place is not even there.
    let unmounted = "unshare --mount sh -c 'while umount /sys/fs/bpf 2>/dev/null; do :; done; exec \"$@\"' sh";
    for (wrapper, keys) in [(unmounted, ""), ("", "bpffs = \"/run/xvrrp-nowhere/bpf/xvrrp\""), ("", "")] {
        let (code, said) = said_of(host, wrapper, "check", keys)?;
        ensure!(code == Some(0), "{wrapper} {keys}: {code:?} {said}");
    }
    Ok(())
}
