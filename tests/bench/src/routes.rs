//! Measures how long a takeover takes to install many routes, and whether adverts are late meanwhile.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routers::{PRIORITIES, Program};
use super::{Findings, Options, Row, Samples, Subject};
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually};

pub const SUBJECT: Subject = Subject { name: "routes", title: "takeover with many routes", run };

const INTERVAL: Duration = Duration::from_millis(100);
const VRID: u8 = 51;
/// Number of routes for which the time is judged, and the target for it in milliseconds.
const TARGET_COUNT: usize = 1000;
const TARGET: f64 = 60.0;
/// Longest time between two adverts, in advertisement intervals, that is not late.
const LATE: f64 = 1.5;

/// What was measured over several takeovers.
struct Takeovers {
    /// Time from the first advert to the last route.
    last: Samples,
    /// Longest time between two adverts from the first advert on, in advertisement intervals.
    gap: Samples,
}

fn run(options: &Options) -> Result<Findings> {
    let counts: &[usize] = options.pick(&[100, 1000, 10_000], &[100, 300]);
    let runs = options.runs(10, 1);
    let mut findings = Findings {
        how: format!(
            "The Active router's cable is pulled (adverts every {} ms). Measured at the router that takes over, which \
             installs routes by a gateway: the time from its first advert until the kernel reports the last route, and \
             the longest time between two of its adverts until a second after that.",
            INTERVAL.as_millis()
        ),
        ..Findings::default()
    };
    for &count in counts {
        let measure = |program: Program| {
            takeovers(program, count, runs).with_context(|| format!("{} with {count} routes", program.name()))
        };
        let (xvrrp, keepalived) = (measure(Program::Xvrrp)?, measure(Program::Keepalived)?);
        let met = xvrrp.last.median() <= TARGET;
        let last = Row::new(format!("{count} routes: last one"), "ms")
            .figure("xvrrp", xvrrp.last)
            .beside("keepalived", keepalived.last);
        let judged = count == TARGET_COUNT;
        findings.rows.push(if judged { last.target(format!("median at most {TARGET} ms"), met) } else { last });
        let met = xvrrp.gap.max() <= LATE;
        let gap = Row::new(format!("{count} routes: longest gap"), "intervals")
            .figure("xvrrp", xvrrp.gap)
            .beside("keepalived", keepalived.gap);
        findings.rows.push(gap.target(format!("at most {LATE} intervals"), met));
    }
    Ok(findings)
}

/// A running daemon, which stops when this is dropped.
enum Daemon {
    Xvrrp { _agent: Xvrrp },
    Keepalived { _daemon: Keepalived },
}

fn takeovers(program: Program, count: usize, runs: usize) -> Result<Takeovers> {
    let lab = Lab::new(2)?;
    let (first, second) = (&lab.routers[0], &lab.routers[1]);
    let _active = start(program, first, PRIORITIES[0], count)?;
    wait_for_routes(first, count)?;
    let _backup = start(program, second, PRIORITIES[1], count)?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(1))?;
    let source = Lab::address(1);
    let advertiser = Advertiser { interface: 0, vrid: VRID, source };
    let (mut lasts, mut gaps) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_secs(2) + INTERVAL * share / 100);
        tap.forget();
        let watch = RouteWatch::start(second)?;
        let cut = Instant::now();
        lab.pull(0)?;
        let last = watch.wait_for(count)?;
        thread::sleep(Duration::from_secs(1));
        let begin = tap.first_after(source, cut)?;
        let gap = tap.longest_gap(&[advertiser], begin, Instant::now());
        // A router that installs its routes before its first advert has them in no time.
        lasts.push(last.saturating_duration_since(begin).as_secs_f64() * 1e3);
        gaps.push(gap.as_secs_f64() / INTERVAL.as_secs_f64());
        lab.plug(0)?;
        wait_for_routes(first, count)?;
        wait_for_routes(second, 0)?;
    }
    Ok(Takeovers { last: Samples::of(lasts)?, gap: Samples::of(gaps)? })
}

/// Returns a destination among 10.0.0.0/8.
fn destination(number: usize) -> Ipv4Addr {
    let octet = |value: usize| u8::try_from(value).expect("a few thousand routes");
    Ipv4Addr::new(10, octet(number / 250), octet(number % 250), 0)
}

fn route(number: usize) -> String {
    format!("{}/24 via 192.0.2.254 dev {INTERFACE}", destination(number))
}

fn wait_for_routes(host: &Namespace, count: usize) -> Result<()> {
    eventually(&format!("{} has {count} routes", host.name()), PATIENCE * 3, || {
        let routes = host.ip("-4 route show root 10.0.0.0/8")?;
        ensure!(routes.lines().count() == count, "{}", routes.lines().count());
        Ok(())
    })
}

fn start(program: Program, host: &Namespace, priority: u8, count: usize) -> Result<Daemon> {
    Ok(match program {
        Program::Xvrrp => {
            let routes: Vec<String> = (0..count).map(|number| format!("{:?}", route(number))).collect();
            let router = VirtualRouter::lan(priority)
                .with("advert_interval", &format!("\"{}ms\"", INTERVAL.as_millis()))
                .with("routes", &format!("[{}]", routes.join(", ")));
            Daemon::Xvrrp { _agent: Xvrrp::start(host, &[router])? }
        }
        Program::Keepalived => {
            let mut text = format!(
                "global_defs {{\n  vrrp_version 3\n}}\nvrrp_instance lan {{\n  state BACKUP\n  interface {INTERFACE}\n  \
                 virtual_router_id {VRID}\n  priority {priority}\n  advert_int {}\n  virtual_ipaddress {{\n    \
                 {VIP}/24\n  }}\n  virtual_routes {{\n",
                INTERVAL.as_secs_f64(),
            );
            for number in 0..count {
                let _ = writeln!(text, "    {}", route(number));
            }
            text.push_str("  }\n}\n");
            Daemon::Keepalived { _daemon: Keepalived::start_with(host, &text)? }
        }
    })
}

/// Records when the kernel reports new routes. It ends when this is dropped.
struct RouteWatch {
    monitor: Child,
    added: Arc<Mutex<Vec<Instant>>>,
}

impl RouteWatch {
    /// Starts it, and waits until it sees routes.
    fn start(host: &Namespace) -> Result<Self> {
        let mut monitor = host.command("ip")?.args(["-4", "monitor", "route"]).stdout(Stdio::piped()).spawn()?;
        let output = monitor.stdout.take().context("the output of ip(8)")?;
        let added = Arc::new(Mutex::new(Vec::new()));
        let (records, seen) = (Arc::clone(&added), Arc::new(Mutex::new(false)));
        let sees = Arc::clone(&seen);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("10.") {
                    records.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                } else if line.contains("198.18.0.0/24") {
                    *sees.lock().unwrap_or_else(PoisonError::into_inner) = true;
                }
            }
        });
        let watch = Self { monitor, added };
        eventually("the monitor sees routes", PATIENCE, || {
            // The kernel does not report a route that replaces an equal one.
            host.sh("ip route del blackhole 198.18.0.0/24 2>&-; ip route add blackhole 198.18.0.0/24")?;
            ensure!(*seen.lock().unwrap_or_else(PoisonError::into_inner), "none yet");
            Ok(())
        })?;
        Ok(watch)
    }

    /// Waits for so many routes, and returns when the last one was reported.
    fn wait_for(&self, count: usize) -> Result<Instant> {
        eventually(&format!("{count} routes are reported"), PATIENCE * 3, || {
            let added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
            ensure!(added.len() >= count, "{}", added.len());
            added.get(count - 1).copied().context("no route")
        })
    }
}

impl Drop for RouteWatch {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
