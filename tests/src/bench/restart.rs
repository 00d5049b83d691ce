//! What a client misses when the Active router's agent is killed and started again, or replaced by another.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::routers::PRIORITIES;
use super::{Findings, Options, Row, Samples, Subject};
use crate::lab::{INTERFACE, Keepalived, KeepalivedConfig, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp};
use crate::probe::{Timeline, UdpEcho, UdpProbe};

pub const SUBJECT: Subject = Subject {
    name: "restart",
    title: "what a client misses when the Active router's program is restarted or reloads",
    run,
};

/// How far apart the client's probes are.
const PROBE: Duration = Duration::from_millis(1);
/// Advertisement intervals in milliseconds.
const INTERVALS: [u64; 5] = [100, 50, 30, 20, 10];
/// The shortest one that has to hold.
const SHORTEST: u64 = 50;
/// The priority of the address owner (RFC 9568 5.2.4).
const OWNER: u8 = 255;
/// From start to first advert, in milliseconds.
const FIRST_ADVERT: f64 = 30.0;
/// Time for a Backup to take over, if it does.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
enum Way {
    Kill,
    Replace,
    Reload,
}

/// What came of some restarts.
struct Restarts {
    lost: Samples,
    gaps: Samples,
    takeovers: usize,
}

fn run(options: &Options) -> Result<Findings> {
    let runs = options.runs(20, 2);
    let mut rows = Vec::new();
    for milliseconds in INTERVALS {
        let interval = Duration::from_millis(milliseconds);
        for (way, name) in [(Way::Kill, "kill -9 and start"), (Way::Replace, "run --replace"), (Way::Reload, "reload")]
        {
            let found = restarts(interval, way, runs).with_context(|| format!("{name} at {milliseconds} ms"))?;
            let what = format!("{name}, {milliseconds} ms");
            let mut gaps = Row::new(format!("{what}: longest gap"), "ms").figure("xvrrp", found.gaps);
            if milliseconds == INTERVALS[0] && matches!(way, Way::Kill) {
                gaps = gaps.beside("keepalived", keepalived(interval, runs.min(5))?);
            }
            rows.push(gaps);
            let lost = found.lost.max();
            let mut row = Row::new(format!("{what}: probes lost"), "count").figure("xvrrp", found.lost);
            if milliseconds >= SHORTEST {
                row = row.target("none in any run, and no takeover", lost == 0.0 && found.takeovers == 0);
            }
            rows.push(row);
            rows.push(
                Row::new(format!("{what}: takeovers"), "count")
                    .figure("xvrrp", Samples::once(f64::from(u32::try_from(found.takeovers)?))?),
            );
        }
    }
    let first = first_adverts(runs)?;
    let met = first.median() < FIRST_ADVERT;
    rows.push(
        Row::new("start to first advert, after a kill", "ms")
            .figure("xvrrp", first)
            .target(format!("median under {FIRST_ADVERT} ms"), met),
    );
    let cold = cold_starts(runs)?;
    let met = cold.median() < FIRST_ADVERT;
    rows.push(
        Row::new("cold start to first advert, address owner", "ms")
            .figure("xvrrp", cold)
            .target(format!("median under {FIRST_ADVERT} ms"), met),
    );
    Ok(Findings {
        how: format!(
            "A client asks a service on the virtual address every {} ms. The Active router's agent is killed with SIGKILL and \
             started at once, or another one is started with --replace, or it reloads a configuration with another priority; each time it advertises again before the Backup \
             gives it up, or not. A gap is from one answer to the next one.",
            PROBE.as_millis()
        ),
        rows,
        notes: vec![
            "keepalived is killed with its child and started at once. It comes back as Backup: its Backup takes over in \
             the meantime, and the addresses stay on both hosts until it has."
                .to_owned(),
            "Start to first advert: from the start of the process that resumes to its first frame on the wire. Cold: nothing is \
             there to resume, all programs are loaded first; the address owner advertises without listening before."
                .to_owned(),
        ],
        plots: Vec::new(),
    })
}

fn restarts(interval: Duration, way: Way, runs: usize) -> Result<Restarts> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let [first, second] = PRIORITIES.map(|priority| [router(priority, interval)]);
    let mut active = Xvrrp::start(&lab.routers[0], &first)?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &second)?;
    backup.wait_for_state("lan", "backup")?;
    let (mut lost, mut gaps) = (Vec::new(), Vec::new());
    for run in 0..runs {
        active.wait_for_state("lan", "active")?;
        let probe = UdpProbe::start(&lab.client, VIP, PROBE)?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        let start = Instant::now();
        active = match way {
            Way::Kill => {
                active.kill()?;
                active.restart(&lab.routers[0], &first)?
            }
            Way::Reload => {
                active.configure(&[router(PRIORITIES[0] + u8::try_from(run % 2)?, interval)])?;
                active.reload()?;
                active
            }
            Way::Replace => {
                let successor = active.replace(&lab.routers[0], &first)?;
                ensure!(active.daemon.wait(PATIENCE)?.success(), "{}", active.daemon.log());
                successor
            }
        };
        active.wait_for_state("lan", "active")?;
        thread::sleep(SETTLE);
        let (missed, gap) = misses(&probe.finish(), start)?;
        lost.push(missed);
        gaps.push(gap);
    }
    Ok(Restarts {
        lost: Samples::of(lost)?,
        gaps: Samples::milliseconds(gaps)?,
        takeovers: backup.transitions("lan", "active"),
    })
}

fn router(priority: u8, interval: Duration) -> VirtualRouter {
    VirtualRouter::lan(priority).with("advert_interval", &format!("\"{}ms\"", interval.as_millis()))
}

/// Probes without an answer, and the longest time between two answers.
fn misses(seen: &Timeline, since: Instant) -> Result<(f64, Duration)> {
    let (_, gap) = seen.longest_gap_between(since, Instant::now()).context("the client got no answers")?;
    Ok((f64::from(u32::try_from(seen.lost())?), gap))
}

fn keepalived(interval: Duration, runs: usize) -> Result<Samples> {
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
        gaps.push(misses(&probe.finish(), start)?.1);
    }
    Samples::milliseconds(gaps)
}

/// From the start of an agent that resumes to its first advert.
fn first_adverts(runs: usize) -> Result<Samples> {
    let interval = Duration::from_millis(200);
    let lab = Lab::new(1)?;
    let tap = super::tap::AdvertTap::start(lab.switch(), "client")?;
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

/// From the start of an agent that finds nothing of another to its first advert.
fn cold_starts(runs: usize) -> Result<Samples> {
    let lab = Lab::new(1)?;
    let tap = super::tap::AdvertTap::start(lab.switch(), "client")?;
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
