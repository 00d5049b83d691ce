//! A restart of the agent, or its replacement, is no failover; and what a crash leaves is gone on with, or removed.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use xvrrp_common::abi::{LAYOUT, Stamp, map};
use xvrrp_tests::lab::{
    Lab, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, agent_binary, eventually, host_state, run,
};
use xvrrp_tests::probe::{UdpEcho, UdpProbe};

const PROBE: Duration = Duration::from_millis(1);

/// Two routers with a service behind the virtual address; the first one is Active.
struct Pair {
    lab: Lab,
    _echoes: [UdpEcho; 2],
    active: Xvrrp,
    backup: Xvrrp,
}

fn router(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority)
}

fn pair() -> Result<Pair> {
    let lab = Lab::new(2)?;
    let echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut active = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router(100)])?;
    backup.wait_for_state("lan", "backup")?;
    Ok(Pair { lab, _echoes: echoes, active, backup })
}

/// Every probe was answered by the first router, and the second one never became Active.
fn check_undisturbed(probe: UdpProbe, backup: &Xvrrp, since: Instant) -> Result<()> {
    let seen = probe.finish();
    let (_, longest) = seen.longest_gap_between(since, Instant::now()).context("no answers")?;
    // Answers may be late on a busy machine; none may be missing.
    ensure!(seen.lost() == 0, "{} probes were lost; longest gap {longest:?}", seen.lost());
    ensure!(seen.hosts() == [0], "answers came from {:?}", seen.hosts());
    ensure!(backup.transitions("lan", "active") == 0, "the Backup took over:\n{}", backup.daemon.log());
    Ok(())
}

#[test]
fn after_a_kill_an_immediate_restart_goes_on_as_active_without_losing_a_packet() -> Result<()> {
    let Pair { lab, mut active, backup, _echoes } = pair()?;
    let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    let start = Instant::now();
    for _ in 0..3 {
        active.kill()?;
        active = active.restart(&lab.routers[0], &[router(200)])?;
        active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
        thread::sleep(Duration::from_millis(500));
    }
    check_undisturbed(probe, &backup, start)
}

#[test]
fn a_successor_takes_over_from_a_running_agent_without_losing_a_packet() -> Result<()> {
    let Pair { lab, mut active, mut backup, _echoes } = pair()?;
    let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    let start = Instant::now();
    for _ in 0..3 {
        let mut successor = active.replace(&lab.routers[0], &[router(200)])?;
        ensure!(active.daemon.wait(PATIENCE)?.success(), "the predecessor fails: {}", active.daemon.log());
        successor.wait_for_state("lan", "active")?;
        active = successor;
        thread::sleep(Duration::from_millis(200));
    }
    // The Backup's agent as well.
    let successor = backup.replace(&lab.routers[1], &[router(100)])?;
    ensure!(backup.daemon.wait(PATIENCE)?.success());
    backup = successor;
    backup.wait_for_state("lan", "backup")?;
    thread::sleep(Duration::from_millis(500));
    check_undisturbed(probe, &backup, start)
}

#[test]
fn replacing_nobody_is_an_ordinary_start() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut gone = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    gone.wait_for_state("lan", "active")?;
    gone.stop()?;
    let mut agent = gone.replace(&lab.routers[0], &[router(200)])?;
    agent.wait_for_state("lan", "active")
}

#[test]
fn a_restart_after_the_lease_listens_first_and_leaves_the_address_to_its_successor() -> Result<()> {
    let Pair { lab, mut active, mut backup, _echoes } = pair()?;
    active.kill()?;
    backup.wait_for_state("lan", "active")?;
    let mut restarted = active.restart(&lab.routers[0], &[router(50)])?;
    restarted.wait_for_state("lan", "backup")?;
    let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
    ensure!(!addresses.contains(&format!("{VIP}/")), "{addresses}");
    thread::sleep(Duration::from_millis(800));
    // The log is the first one's too.
    ensure!(restarted.transitions("lan", "active") == 1, "{}", restarted.daemon.log());
    Ok(())
}

/// Changes what the maps that were left say of themselves.
fn restamp(host: &Namespace, change: impl FnOnce(&mut Stamp)) -> Result<()> {
    let stamp = MapData::from_pin(host.pins()?.join(map::STAMP))?;
    let mut stamp: Array<_, Stamp> = Map::Array(stamp).try_into()?;
    let mut value = stamp.get(&0, 0)?;
    change(&mut value);
    Ok(stamp.set(0, value, 0)?)
}

#[test]
fn an_older_version_of_the_same_layout_is_gone_on_with() -> Result<()> {
    let Pair { lab, mut active, backup, _echoes } = pair()?;
    active.kill()?;
    restamp(&lab.routers[0], |stamp| stamp.version[..6].copy_from_slice(b"0.0.9\0"))?;
    let mut active = active.restart(&lab.routers[0], &[router(200)])?;
    active.daemon.wait_for_line(&["reusing the maps of xvrrp 0.0.9"], PATIENCE)?;
    active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    ensure!(backup.transitions("lan", "active") == 0);
    Ok(())
}

#[test]
fn another_layout_is_replaced_whole_and_the_log_says_so() -> Result<()> {
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
fn a_changed_configuration_goes_on_with_what_stays_and_forgets_the_rest() -> Result<()> {
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
    ensure!(agent.counter("third", "arp_answered")? == 0, "the slot of the one that went is new");
    let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
    ensure!(!addresses.contains("192.0.2.201/"), "{addresses}");
    ensure!(addresses.contains("192.0.2.202/") && addresses.contains("192.0.2.203/"), "{addresses}");
    Ok(())
}

#[test]
fn cleanup_removes_what_a_crash_left_and_nothing_of_a_running_agents() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[router(200)])?;
    agent.wait_for_state("lan", "active")?;
    let config = agent.config();
    let cleanup =
        || -> Result<String> { run(host.command(agent_binary()?)?.args(["cleanup", "--config"]).arg(&config)) };

    let refused = cleanup().expect_err("an agent runs");
    ensure!(refused.to_string().contains("another xvrrp agent runs"), "{refused}");
    agent.wait_for_state("lan", "active")?;

    agent.kill()?;
    ensure!(host.pins()?.exists(), "a crash leaves the fence up");
    ensure!(host.ip("link show dev eth0")?.contains("xdp"), "a crash leaves the fence up");
    let removed = cleanup()?;
    for what in [
        "address 192.0.2.1/24 on eth0",
        "programs and maps",
        "unicast filter 00:00:5e:00:01:33 on eth0",
        "control socket",
    ] {
        ensure!(removed.contains(what), "{what} is not in:\n{removed}");
    }
    eventually("the host is as it was", PATIENCE, || {
        let after = host_state(host)?;
        ensure!(after == before, "before:\n{before}\nafter:\n{after}");
        Ok(())
    })?;
    ensure!(!host.pins()?.exists());
    // Others may have left something in namespaces that are gone.
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
    ensure!(!pins.exists());
    Ok(())
}

#[test]
fn a_bpf_file_system_is_mounted_where_there_is_none() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let base = directory.path().join("bpf/xvrrp");
    // In a mount namespace of its own, so that nothing stays mounted.
    let agent = Xvrrp::start_unshared(&lab.routers[0], &[router(200)], &base)?;
    let mounts = || -> Result<String> { Ok(fs::read_to_string(format!("/proc/{}/mounts", agent.daemon.pid()))?) };
    let line = format!("bpf {} bpf", base.parent().unwrap_or(Path::new("/")).display());
    eventually("a BPF file system is mounted", PATIENCE, || {
        let mounts = mounts()?;
        ensure!(mounts.contains(&line), "{mounts}");
        Ok(())
    })?;
    eventually("it is active", PATIENCE, || {
        let state = agent.state("lan")?;
        ensure!(state == "active", "{state}");
        Ok(())
    })
}

#[test]
fn a_kernel_half_that_was_detached_by_hand_is_attached_again_before_a_backup_takes_over() -> Result<()> {
    let Pair { lab, mut active, mut backup, _echoes } = pair()?;
    for (host, agent) in [(&lab.routers[1], &mut backup), (&lab.routers[0], &mut active)] {
        host.detach_ingress()?;
        agent.daemon.wait_for_line(&["WARN", "had been detached: attached it again"], PATIENCE)?;
        thread::sleep(Duration::from_millis(800));
        ensure!(host.ip("link show dev eth0")?.contains("xdp"));
    }
    ensure!(backup.transitions("lan", "active") == 0, "{}", backup.daemon.log());
    Ok(())
}
