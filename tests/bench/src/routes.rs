//! Measures how soon after a takeover the host has its last route, and whether the work delays adverts.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routers::{PRIORITIES, Program, active_down_interval};
use super::{Body, Findings, Line, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::probe::RouteProbe;
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{CLIENT, INTERFACE, Imported, Keepalived, Lab, Namespace, PATIENCE, VIP, eventually};

pub const SUBJECT: Subject = Subject { name: "routes", title: "takeover with many routes", run };

const INTERVAL: Duration = Duration::from_millis(100);
const VRID: u8 = 51;
/// Number of routes for which the delay of the last one is judged, and the target for it in milliseconds.
const TARGET_COUNT: usize = 1000;
const TARGET: f64 = 60.0;
/// Target for the longest time between two adverts, in intervals.
const LONGEST_GAP: f64 = 1.2;
/// For how long adverts are watched from the first one of a takeover on: longer than any number of routes takes.
const WATCHED: Duration = Duration::from_secs(2);

/// Figures of takeovers.
struct Takeovers {
    /// Time from the first advert to the last route, if there are routes.
    delays: Option<Samples>,
    /// Longest time between two adverts after the first one, in intervals.
    gaps: Samples,
}

fn run(options: &Options) -> Result<Findings> {
    let counts: &[usize] = options.pick(&[0, TARGET_COUNT, 10_000], &[0, 100]);
    let runs = options.runs(10, 1);
    let mut findings = Findings {
        how: format!(
            "The Active router's cable is pulled (adverts every {} ms). Both programs run the same keepalived.conf, \
             whose virtual_routes has that many routes. Last route: the time from the Backup's first advert until its \
             kernel has the last route of the list, which is looked for every 0.25 ms. Longest gap: the longest time \
             between two of its adverts in the {} s from the first one on.",
            INTERVAL.as_millis(),
            WATCHED.as_secs()
        ),
        ..Findings::default()
    };
    let mut lines = [Program::Xvrrp, Program::Keepalived]
        .map(|program| Line { program: program.name().to_owned(), points: Vec::new() });
    for &count in counts {
        let measure = |program: Program| {
            takeovers(program, count, runs).with_context(|| format!("{} with {count} routes", program.name()))
        };
        let (xvrrp, keepalived) = (measure(Program::Xvrrp)?, measure(Program::Keepalived)?);
        let name = if count == 0 { "no routes".to_owned() } else { format!("{count} routes") };
        if let (Some(ours), Some(theirs)) = (xvrrp.delays, keepalived.delays) {
            let number = f64::from(u32::try_from(count)?);
            lines[0].points.push((number, ours.median()));
            lines[1].points.push((number, theirs.median()));
            let met = ours.max() <= TARGET;
            let row = Row::new(format!("{name}: last route"), "ms").figure("xvrrp", ours).beside("keepalived", theirs);
            let is_judged = count == TARGET_COUNT;
            findings.rows.push(if is_judged { row.target(format!("each at most {TARGET} ms"), met) } else { row });
        }
        let met = xvrrp.gaps.max() <= LONGEST_GAP;
        findings.rows.push(
            Row::new(format!("{name}: longest gap"), "intervals")
                .figure("xvrrp", xvrrp.gaps)
                .beside("keepalived", keepalived.gaps)
                .target(format!("each at most {LONGEST_GAP} intervals"), met),
        );
    }
    findings.plots.push(Plot {
        title: "Takeover with many routes".to_owned(),
        axis: "ms from the first advert to the last route".to_owned(),
        logarithmic: false,
        mark: None,
        body: Body::Lines("number of routes (medians)".to_owned(), lines.into()),
    });
    Ok(findings)
}

/// A running daemon, which stops when this is dropped.
enum Daemon {
    Xvrrp(Imported),
    Keepalived(Keepalived),
}

fn takeovers(program: Program, count: usize, runs: usize) -> Result<Takeovers> {
    let lab = Lab::new(2)?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(1))?;
    let [first, second] = [&lab.routers[0], &lab.routers[1]];
    let mut active = Daemon::start(program, first, PRIORITIES[0], count)?;
    active.wait_until(true)?;
    let mut backup = Daemon::start(program, second, PRIORITIES[1], count)?;
    let backups = [Advertiser { interface: 0, vrid: VRID, source: Lab::address(1) }];
    let (mut delays, mut gaps) = (Vec::new(), Vec::new());
    for run in 0..runs {
        active.wait_until(true)?;
        backup.wait_until(false)?;
        wait_for_routes(first, count)?;
        wait_for_routes(second, 0)?;
        // Whatever follows from the last change is done by then.
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_millis(1500) + INTERVAL * share / 100);
        let probe = count.checked_sub(1).map(|last| RouteProbe::start(second, address(last))).transpose()?;
        let cut = Instant::now();
        lab.pull(0)?;
        let advert = eventually("the Backup advertises", active_down_interval(INTERVAL) + PATIENCE, || {
            tap.first_after(Lab::address(1), cut)
        })?;
        if let Some(probe) = probe {
            delays.push(probe.wait(PATIENCE)?.saturating_duration_since(advert));
        }
        let watched = advert + WATCHED;
        thread::sleep(watched.saturating_duration_since(Instant::now()) + INTERVAL);
        // Those of the previous run are not counted.
        tap.forget_before(advert);
        let gap = tap.longest_gap(&backups, advert, watched);
        gaps.push(gap.as_secs_f64() / INTERVAL.as_secs_f64());
        wait_for_routes(second, count)?;
        lab.plug(0)?;
    }
    let delays = if delays.is_empty() { None } else { Some(Samples::milliseconds(delays)?) };
    Ok(Takeovers { delays, gaps: Samples::of(gaps)? })
}

impl Daemon {
    fn start(program: Program, host: &Namespace, priority: u8, count: usize) -> Result<Self> {
        let config = config(priority, count);
        Ok(match program {
            Program::Xvrrp => Self::Xvrrp(Imported::start(host, &config, None)?),
            Program::Keepalived => Self::Keepalived(Keepalived::start_with(host, &config)?),
        })
    }

    fn wait_until(&mut self, is_active: bool) -> Result<()> {
        match self {
            Self::Xvrrp(agent) => agent.wait_for_state(if is_active { "active" } else { "backup" }),
            Self::Keepalived(daemon) => daemon.wait_for_state(if is_active { "MASTER" } else { "BACKUP" }),
        }
    }
}

fn config(priority: u8, count: usize) -> String {
    let mut text = format!(
        "global_defs {{\n  vrrp_version 3\n  vrrp_garp_master_refresh 0\n}}\nvrrp_instance lan {{\n  state BACKUP\n  \
         interface {INTERFACE}\n  virtual_router_id {VRID}\n  priority {priority}\n  advert_int {}\n  \
         virtual_ipaddress {{\n    {VIP}/24\n  }}\n",
        INTERVAL.as_secs_f64()
    );
    if count > 0 {
        text.push_str("  virtual_routes {\n");
        for number in 0..count {
            let _ = writeln!(text, "    {}/32 via {CLIENT} dev {INTERFACE}", address(number));
        }
        text.push_str("  }\n");
    }
    text + "}\n"
}

/// Returns 10.0.0.1 and so on.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + u32::try_from(number).unwrap_or_default())
}

/// Waits until a host has this many of the routes.
fn wait_for_routes(host: &Namespace, count: usize) -> Result<()> {
    eventually(&format!("{} has {count} routes", host.name()), PATIENCE, || {
        let found = host.ip("-4 route show root 10.0.0.0/8")?.lines().count();
        ensure!(found == count, "{found}");
        Ok(())
    })
}
