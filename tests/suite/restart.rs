//! A restart or a replacement of the agent causes no failover. The next agent reuses or removes what a crash has left.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use aya::maps::{Array, Map, MapData};
use xvrrp_common::abi::{LAYOUT, Stamp, map};
use xvrrp_lab::load::Load;
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, ServedPair, Shortage, TinyDirectory, VIP, VirtualRouter, Xvrrp, agent_binary, alone,
    eventually, host_state, run, wait_for_host_state, wait_until, wait_until_is,
};

/// Returns a virtual router whose lease is long enough for a restart on a busy machine.
fn router(priority: u8) -> VirtualRouter {
    VirtualRouter::unhurried_lan(priority)
}

fn pair() -> Result<ServedPair> {
    let lab = Lab::new(2)?;
    let active = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    ServedPair::with_unhurried(lab, active)
}

#[test]
fn an_immediate_restart_after_a_kill_resumes_the_active_role_without_losing_a_packet() -> Result<()> {
    let mut pair = pair()?;
    for restarts in 1..=3 {
        pair.active.kill()?;
        pair.active.start_again(&pair.lab.routers[0], &[router(200)])?;
        // The log is that of all these agents.
        pair.active.daemon.wait_for_lines(&["state=active", "reason=resumed"], restarts)?;
        thread::sleep(Duration::from_millis(500));
    }
    pair.check_undisturbed().map(drop)
}

/// Kills an agent whose control socket is in a tiny directory, and starts another one while `spoil` keeps that
/// directory from being used.
fn check_resumes(
    spoil: impl Fn(&TinyDirectory) -> Result<()>,
    restore: impl Fn(&TinyDirectory) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(2)?;
    let agent = Xvrrp::start_in_tiny_run(&lab.routers[0], &[router(200)])?;
    let mut pair = ServedPair::with_unhurried(lab, agent)?;
    pair.active.kill()?;
    spoil(pair.active.tiny_run()?)?;
    pair.active.start_again(&pair.lab.routers[0], &[router(200)])?;
    pair.active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    pair.active.daemon.wait_for_line(&["cannot open the control socket", "the agent runs without it"], PATIENCE)?;
    restore(pair.active.tiny_run()?)?;
    pair.active.daemon.wait_for_line(&["the control socket", "is there now"], PATIENCE)?;
    pair.active.wait_for_state("lan", "active")?;
    let (mut active, _backup, _lab) = pair.check_undisturbed()?;
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    Ok(())
}

#[test]
fn a_killed_agents_role_is_resumed_although_run_has_no_room_for_files() -> Result<()> {
    let fill = |run: &TinyDirectory| -> Result<()> {
        // Without its removal, the socket of the dead agent would leave room for that of the next one.
        fs::remove_file(run.path().join("xvrrp.sock"))?;
        run.fill(Shortage::Inodes)
    };
    check_resumes(fill, TinyDirectory::empty)
}

#[test]
fn a_killed_agents_role_is_resumed_although_run_is_read_only() -> Result<()> {
    check_resumes(|run| run.set_read_only(true), |run| run.set_read_only(false))
}

#[test]
fn a_successor_takes_over_from_a_running_agent_without_losing_a_packet() -> Result<()> {
    let mut pair = pair()?;
    for _ in 0..3 {
        let mut successor = pair.active.replace(&pair.lab.routers[0], &[router(200)])?;
        ensure!(pair.active.daemon.wait(PATIENCE)?.success(), "the predecessor failed: {}", pair.active.daemon.log());
        successor.wait_for_state("lan", "active")?;
        pair.active = successor;
        thread::sleep(Duration::from_millis(200));
    }
    // The agent of the Backup is replaced too.
    let successor = pair.backup.replace(&pair.lab.routers[1], &[router(100)])?;
    ensure!(pair.backup.daemon.wait(PATIENCE)?.success());
    pair.backup = successor;
    pair.backup.wait_for_state("lan", "backup")?;
    pair.check_undisturbed().map(drop)
}

#[test]
fn a_successor_takes_over_while_processes_compete_for_the_processors() -> Result<()> {
    let _alone = alone();
    let mut pair = pair()?;
    // Without a larger share of the processor, the successor takes longer than its predecessor waits for it.
    let load = Load::spinning(40)?;
    let mut successor = pair.active.replace(&pair.lab.routers[0], &[router(200)])?;
    ensure!(pair.active.daemon.wait(PATIENCE)?.success(), "the predecessor failed: {}", pair.active.daemon.log());
    drop(load);
    successor.wait_for_state("lan", "active")?;
    // The client and the service compete for the processors too, so datagrams may be lost.
    ensure!(pair.backup.transitions("lan", "active") == 0, "the Backup took over: {}", pair.backup.daemon.log());
    Ok(())
}

#[test]
fn run_with_replace_starts_normally_if_no_agent_runs() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut gone = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    gone.wait_for_state("lan", "active")?;
    gone.stop()?;
    let mut agent = gone.replace(&lab.routers[0], &[router(200)])?;
    agent.wait_for_state("lan", "active")
}

#[test]
fn an_agent_that_restarts_after_its_lease_becomes_backup_and_removes_the_address() -> Result<()> {
    let mut pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    pair.active.kill()?;
    pair.backup.wait_for_state("lan", "active")?;
    pair.active.start_again(&pair.lab.routers[0], &[VirtualRouter::lan(50)])?;
    let (restarted, lab) = (&mut pair.active, &pair.lab);
    restarted.wait_for_state("lan", "backup")?;
    wait_until("the address is removed", || {
        Ok(!lab.routers[0].ip("-4 -o address show dev eth0")?.contains(&format!("{VIP}/")))
    })?;
    thread::sleep(Duration::from_millis(800));
    // The log also has the transition of the killed agent.
    restarted.wait_for_transitions("lan", "active", 1)
}

/// Changes the version and layout that are stored in the maps.
fn restamp(host: &Namespace, change: impl FnOnce(&mut Stamp)) -> Result<()> {
    let stamp = MapData::from_pin(host.pins()?.join(map::STAMP))?;
    let mut stamp: Array<_, Stamp> = Map::Array(stamp).try_into()?;
    let mut value = stamp.get(&0, 0)?;
    change(&mut value);
    Ok(stamp.set(0, value, 0)?)
}

#[test]
fn maps_of_an_older_version_with_the_same_layout_are_reused() -> Result<()> {
    let mut pair = pair()?;
    let (active, host) = (&mut pair.active, &pair.lab.routers[0]);
    active.kill()?;
    restamp(host, |stamp| stamp.version[..6].copy_from_slice(b"0.0.9\0"))?;
    active.start_again(host, &[router(200)])?;
    active.daemon.wait_for_line(&["reusing the maps of xvrrp 0.0.9"], PATIENCE)?;
    active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    ensure!(pair.backup.transitions("lan", "active") == 0);
    Ok(())
}

#[test]
fn maps_with_another_layout_are_replaced_and_the_log_says_so() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    agent.wait_for_state("lan", "active")?;
    agent.kill()?;
    restamp(&lab.routers[0], |stamp| stamp.layout = LAYOUT + 1)?;
    let mut agent = agent.restart(&lab.routers[0], &[router(200)])?;
    let layouts = format!("layout {}, ours {LAYOUT}", LAYOUT + 1);
    agent.daemon.wait_for_line(&["WARN", &layouts, "replaced them"], PATIENCE)?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.daemon.count_lines(&["reason=resumed"]) == 0);
    Ok(())
}

#[test]
fn maps_that_are_too_small_for_a_new_configuration_are_replaced() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    agent.wait_for_state("lan", "active")?;
    agent.kill()?;
    let many: Vec<_> = (1..=80)
        .map(|vrid| {
            router(200)
                .with("name", &format!("\"lan{vrid}\""))
                .with("vrid", &vrid.to_string())
                .with("addresses", &format!("[\"192.0.2.{}/24\"]", 120 + vrid))
        })
        .collect();
    let mut agent = agent.restart(&lab.routers[0], &many)?;
    agent.daemon.wait_for_line(&["WARN", "too small for this configuration"], PATIENCE)?;
    agent.wait_for_state("lan80", "active")
}

#[test]
fn a_restart_with_another_configuration_resumes_the_routers_that_stay_and_removes_the_others() -> Result<()> {
    let named = |name: &str, vrid: u8, last: u8| {
        router(200)
            .with("name", &format!("{name:?}"))
            .with("vrid", &vrid.to_string())
            .with("addresses", &format!("[\"192.0.2.{last}/24\"]"))
    };
    let lab = Lab::new(1)?;
    let (first, second, third) = (named("first", 1, 201), named("second", 2, 202), named("third", 3, 203));
    let mut agent = Xvrrp::start(&lab.routers[0], &[first, second.clone()])?;
    agent.wait_for_state("first", "active")?;
    agent.wait_for_state("second", "active")?;
    agent.kill()?;
    let mut agent = agent.restart(&lab.routers[0], &[third, second])?;
    agent.daemon.wait_for_line(&["virtual_router=second", "reason=resumed"], PATIENCE)?;
    agent.wait_for_state("third", "active")?;
    ensure!(agent.counter("third", "arp_answered")? == 0, "a new virtual router has the counters of a removed one");
    eventually("the addresses are those of the new configuration", PATIENCE, || {
        let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
        ensure!(!addresses.contains("192.0.2.201/"), "{addresses}");
        ensure!(addresses.contains("192.0.2.202/") && addresses.contains("192.0.2.203/"), "{addresses}");
        Ok(())
    })
}

#[test]
fn cleanup_is_refused_while_an_agent_runs_and_removes_what_a_crash_has_left() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[router(200)])?;
    agent.wait_for_state("lan", "active")?;
    let config = agent.config();
    let cleanup =
        || -> Result<String> { run(host.command(agent_binary()?)?.args(["cleanup", "--config"]).arg(&config)) };

    let refused = cleanup().expect_err("an agent runs");
    let complaint = "xvrrp: an xvrrp agent runs in this network namespace: nothing was removed; stop it";
    ensure!(refused.to_string().contains(complaint), "{refused}");
    agent.wait_for_state("lan", "active")?;

    agent.kill()?;
    ensure!(host.pins()?.exists(), "the crash has removed the pins");
    ensure!(host.ip("link show dev eth0")?.contains("xdp"), "the crash has detached the kernel half");
    let removed = cleanup()?;
    for what in [
        "address 192.0.2.1/24 on eth0",
        "programs and maps",
        "unicast filter 00:00:5e:00:01:33 on eth0",
        "control socket",
    ] {
        ensure!(removed.contains(what), "{what} is not in:\n{removed}");
    }
    wait_for_host_state(host, &before)?;
    let pins = host.pins()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))?;
    // Other tests may have left something in namespaces that no longer exist.
    let left = cleanup()?;
    ensure!(
        left.lines().all(|line| line.contains("nothing was left") || line.contains("namespace that is gone")),
        "{left}"
    );
    Ok(())
}

#[test]
fn a_graceful_stop_leaves_no_pins() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    agent.wait_for_state("lan", "active")?;
    let pins = lab.routers[0].pins()?;
    let names: Vec<_> = fs::read_dir(&pins)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(names.iter().any(|name| name.to_string_lossy().starts_with("ingress-")), "{names:?}");
    agent.stop()?;
    wait_until("the pins are gone", || Ok(!pins.exists()))
}

#[test]
fn a_bpf_file_system_is_mounted_where_there_is_none() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let base = directory.path().join("bpf/xvrrp");
    // A mount namespace of its own, so that nothing stays mounted.
    let agent = Xvrrp::start_unshared(&lab.routers[0], &[router(200)], &base)?;
    let mounts = || -> Result<String> { Ok(fs::read_to_string(format!("/proc/{}/mounts", agent.daemon.pid()))?) };
    let line = format!("bpf {} bpf", base.parent().unwrap_or(Path::new("/")).display());
    eventually("a BPF file system is mounted", PATIENCE, || {
        let mounts = mounts()?;
        ensure!(mounts.contains(&line), "{mounts}");
        Ok(())
    })?;
    wait_until_is("the agent is Active", &"active".to_owned(), || agent.state("lan"))
}

#[test]
fn a_detached_kernel_half_is_attached_again_before_a_backup_takes_over() -> Result<()> {
    let mut pair = pair()?;
    let hosts = &pair.lab.routers;
    for (host, agent) in [(&hosts[1], &mut pair.backup), (&hosts[0], &mut pair.active)] {
        host.detach_ingress()?;
        agent.daemon.wait_for_line(&["WARN", "had been detached: attached it again"], PATIENCE)?;
        wait_until("a program is attached", || Ok(host.ip("link show dev eth0")?.contains("xdp")))?;
    }
    // Longer than Active_Down_Interval.
    thread::sleep(Duration::from_secs(4));
    ensure!(pair.backup.transitions("lan", "active") == 0, "{}", pair.backup.daemon.log());
    Ok(())
}
