//! Properties of the lab that the other tests rely on, shown with keepalived routers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{Keepalived, KeepalivedConfig, Lab, Namespace, PATIENCE, VIP, eventually, run, sweep, wait_until};

/// A process ID that no process can have: it is above the kernel's PID_MAX_LIMIT.
const UNUSED_PID: u32 = 4_194_305;

fn handle(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn the_probe_sees_two_keepalived_routers_fail_over() -> Result<()> {
    let lab = Lab::new(2)?;
    let _services = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let mut best = Keepalived::start(&lab.routers[0], &KeepalivedConfig::v3(51, 200))?;
    best.wait_for_state("MASTER")?;
    let mut backup = Keepalived::start(&lab.routers[1], &KeepalivedConfig::v3(51, 100))?;
    backup.wait_for_state("BACKUP")?;
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(5))?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    lab.pull(0)?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    lab.plug(0)?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    let timeline = probe.finish();
    let (_, gap) = timeline.longest_gap().expect("there are answers");
    // Active_Down_Interval is 361 ms. Adverts are 100 ms apart, so at least 261 ms of it are left when the cable is
    // pulled.
    assert!(gap > Duration::from_millis(100) && gap < PATIENCE, "{gap:?}");
    let mut hosts = timeline.hosts();
    // When the first router takes the role back, both may answer for a moment.
    hosts.dedup();
    assert_eq!(hosts.first(), Some(&0));
    assert_eq!(hosts.last(), Some(&0));
    assert!(hosts.contains(&1), "{hosts:?}");
    capture.finish()?;
    capture.check_adverts()
}

#[test]
fn an_isolated_router_keeps_its_carrier_and_a_pulled_one_loses_it() -> Result<()> {
    let lab = Lab::new(1)?;
    let is_up = || anyhow::Ok(lab.routers[0].ip("-o link show eth0")?.contains("LOWER_UP"));
    let reaches = || lab.client.sh("ping -n -c 1 -W 1 192.0.2.2").is_ok();
    let wait_for = |what, up, reached| wait_until(what, || Ok(is_up()? == up && reaches() == reached));
    wait_for("the router has a carrier and is reachable", true, true)?;
    lab.isolate(0)?;
    wait_for("the router has a carrier and is unreachable", true, false)?;
    lab.rejoin(0)?;
    wait_for("the router is reachable again", true, true)?;
    lab.pull(0)?;
    wait_for("the carrier is gone", false, false)?;
    lab.plug(0)?;
    wait_for("the carrier is back", true, true)
}

#[test]
fn nothing_is_left_of_a_lab_whose_test_panics() {
    let mut names = Vec::new();
    let mut pid = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new(1).unwrap();
        let keepalived = Keepalived::start(&lab.routers[0], &KeepalivedConfig::v3(51, 100)).unwrap();
        names.extend([lab.routers[0].name(), lab.client.name(), lab.switch().name()].map(str::to_owned));
        pid = keepalived.daemon.pid();
        assert!(names.iter().all(|name| handle(name).exists()) && is_alive(&pid.to_string()));
        panic!("like a failed assertion");
    }));
    assert!(panicked.is_err());
    assert_eq!(names.len(), 3);
    assert!(!names.iter().any(|name| handle(name).exists()), "{names:?}");
    assert!(!is_alive(&pid.to_string()));
}

#[test]
fn removing_a_namespace_ends_the_processes_in_it() -> Result<()> {
    let namespace = Namespace::new("occupied")?;
    let pid = namespace.sh("sleep 600 >/dev/null 2>&1 & echo $!")?;
    assert!(is_alive(pid.trim()));
    drop(namespace);
    eventually("the process is gone", PATIENCE, || {
        // It remains a zombie until its new parent reaps it.
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        ensure!(status.is_empty() || status.contains("State:\tZ"), "{status}");
        Ok(())
    })
}

#[test]
fn a_sweep_removes_the_namespaces_of_killed_tests_and_no_others() -> Result<()> {
    let (dead, living) = (format!("xv-{UNUSED_PID}-0-dead"), Namespace::new("living")?);
    run(Command::new("ip").args(["netns", "add", &dead]))?;
    sweep();
    wait_until("the namespace of the killed test is gone", || Ok(!handle(&dead).exists()))?;
    assert!(handle(living.name()).exists());
    Ok(())
}
