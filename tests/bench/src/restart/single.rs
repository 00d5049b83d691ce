//! Measures keepalived's restart with a single virtual router, and the time until a new agent sends its first advert.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PROBE;
use crate::Samples;
use crate::routers::PRIORITIES;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{INTERFACE, Keepalived, KeepalivedConfig, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp};

/// Priority of the address owner (RFC 9568 5.2.4).
const OWNER: u8 = 255;
/// Time in which a Backup would take over.
const SETTLE: Duration = Duration::from_millis(500);

fn router(priority: u8, interval: Duration) -> VirtualRouter {
    VirtualRouter::lan(priority).with("advert_interval", &format!("\"{}ms\"", interval.as_millis()))
}

/// Measures the longest time between two answers to a client when keepalived is killed and started again.
pub fn keepalived(interval: Duration, runs: usize) -> Result<Samples> {
    let mut gaps = Vec::new();
    for _ in 0..runs {
        let lab = Lab::new(2)?;
        let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
        let config = |index: usize| KeepalivedConfig {
            advert_int: interval.as_secs_f64(),
            ..KeepalivedConfig::v3(51, PRIORITIES[index])
        };
        let mut active = Keepalived::start_quietly(&lab.routers[0], &config(0))?;
        active.wait_for_state("MASTER")?;
        let mut backup = Keepalived::start_quietly(&lab.routers[1], &config(1))?;
        backup.wait_for_state("BACKUP")?;
        let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        let start = Instant::now();
        let pid = active.daemon.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            kill(Pid::from_raw(child), Signal::SIGKILL)?;
        }
        active.daemon.stop(Signal::SIGKILL, PATIENCE)?;
        let mut restarted = Keepalived::start_quietly(&lab.routers[0], &config(0))?;
        restarted.wait_for_state("MASTER")?;
        thread::sleep(SETTLE);
        let (_, gap) =
            probe.finish().longest_gap_between(start, Instant::now()).context("the client got no answers")?;
        gaps.push(gap);
    }
    Samples::milliseconds(gaps)
}

/// Measures the time from the start of an agent that resumes its roles to its first advert.
pub fn first_adverts(runs: usize) -> Result<Samples> {
    let interval = Duration::from_millis(200);
    let lab = Lab::new(1)?;
    let tap = AdvertTap::start(lab.switch(), "client")?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(PRIORITIES[0], interval)])?;
    let mut times = Vec::new();
    for _ in 0..runs {
        agent.wait_for_state("lan", "active")?;
        thread::sleep(SETTLE);
        agent.kill()?;
        tap.forget();
        let start = Instant::now();
        agent = agent.restart(&lab.routers[0], &[router(PRIORITIES[0], interval)])?;
        agent.wait_for_state("lan", "active")?;
        times.push(tap.first_after(Lab::address(0), start)?.saturating_duration_since(start));
    }
    Samples::milliseconds(times)
}

/// Measures the time from the start of an agent that has nothing to resume to its first advert.
pub fn cold_starts(runs: usize) -> Result<Samples> {
    let lab = Lab::new(1)?;
    let tap = AdvertTap::start(lab.switch(), "client")?;
    lab.routers[0].ip(&format!("addr add {VIP}/24 dev {INTERFACE}"))?;
    let mut times = Vec::new();
    for _ in 0..runs {
        tap.forget();
        let start = Instant::now();
        let mut agent = Xvrrp::start(&lab.routers[0], &[router(OWNER, Duration::from_secs(1))])?;
        agent.wait_for_state("lan", "active")?;
        times.push(tap.first_after(Lab::address(0), start)?.saturating_duration_since(start));
        ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    }
    Samples::milliseconds(times)
}
