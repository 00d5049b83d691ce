//! Measures how long a client cannot reach its virtual address in a takeover when there are many: the first address
//! that the configuration names, and the last.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routers::{PRIORITIES, Program};
use super::{Body, Findings, Line, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{Keepalived, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, run as run_command};

pub const SUBJECT: Subject = Subject { name: "vips", title: "takeover with many virtual addresses", run };

const INTERVAL: Duration = Duration::from_millis(100);
const PROBE: Duration = Duration::from_micros(500);
/// Number of addresses in a virtual router; an advert holds at most 255.
const AT_ONCE: usize = 250;
/// Largest number of addresses for which the lag is judged, and the target for it in milliseconds.
const TARGET_COUNT: usize = 1000;
const TARGET: f64 = 5.0;

/// Outages of the first and of the last address.
struct Outages {
    first: Samples,
    last: Samples,
    lag: Samples,
    /// Reason why there are fewer runs than planned.
    cut_short: Option<String>,
}

fn run(options: &Options) -> Result<Findings> {
    let counts: &[usize] = options.pick(&[1, 250, 1000, 4000], &[1, 300]);
    let runs = options.runs(10, 1);
    let mut findings = Findings {
        how: format!(
            "The Active router's cable is pulled (adverts every {} ms), while a client asks the first and the last \
             address, each every {} ms. Lag: how much longer the last address is out of reach than the first.",
            INTERVAL.as_millis(),
            PROBE.as_secs_f64() * 1e3
        ),
        notes: vec![
            "Added by ip(8): one `ip -batch` adds as many addresses to an interface while nothing else happens. For \
             each address, the kernel walks twice through all addresses of the interface. The time therefore grows \
             with the square of their number, whichever program adds them."
                .to_owned(),
            format!(
                "An advert holds at most 255 addresses. xvrrp has one virtual router for every {AT_ONCE}, and all \
                 addresses are in its adverts. keepalived has one virtual router with one address in its adverts, and \
                 the others under virtual_ipaddress_excluded, which is the usual way there and means less work per \
                 advert."
            ),
        ],
        ..Findings::default()
    };
    let mut lines: Vec<Line> = Vec::new();
    for program in [Program::Xvrrp, Program::Keepalived] {
        for which in ["first", "last"] {
            lines.push(Line { program: format!("{}, {which}", program.name()), points: Vec::new() });
        }
    }
    for &count in counts {
        let measure = |program: Program| {
            outages(program, count, runs).with_context(|| format!("{} with {count} addresses", program.name()))
        };
        let (xvrrp, keepalived) = (measure(Program::Xvrrp)?, measure(Program::Keepalived)?);
        findings.notes.extend(keepalived.cut_short);
        let medians = [&xvrrp.first, &xvrrp.last, &keepalived.first, &keepalived.last].map(Samples::median);
        for (line, median) in lines.iter_mut().zip(medians) {
            line.points.push((f64::from(u32::try_from(count)?), median));
        }
        let name = if count == 1 { "1 address".to_owned() } else { format!("{count} addresses") };
        let row = |what: &str, ours: Samples, theirs: Samples| {
            Row::new(format!("{name}: {what}"), "ms").figure("xvrrp", ours).beside("keepalived", theirs)
        };
        findings.rows.push(row("first", xvrrp.first, keepalived.first));
        findings.rows.push(row("last", xvrrp.last, keepalived.last));
        let met = xvrrp.lag.median() <= TARGET;
        // There is no ratio, because the differences may be zero.
        let lag =
            Row::new(format!("{name}: lag"), "ms").figure("xvrrp", xvrrp.lag).figure("keepalived", keepalived.lag);
        let judged = (AT_ONCE..=TARGET_COUNT).contains(&count);
        findings.rows.push(if judged { lag.target(format!("median at most {TARGET} ms"), met) } else { lag });
        if count > 1 {
            findings.rows.push(Row::new(format!("{name}: added by ip(8)"), "ms").figure("kernel", alone(count, runs)?));
        }
    }
    findings.plots.push(Plot {
        title: "Takeover with many addresses".to_owned(),
        axis: "outage, ms".to_owned(),
        logarithmic: false,
        mark: None,
        body: Body::Lines("number of virtual addresses (medians)".to_owned(), lines),
    });
    Ok(findings)
}

/// A running daemon, which stops when this is dropped.
enum Daemon {
    Xvrrp { _agent: Xvrrp },
    Keepalived { _daemon: Keepalived },
}

fn outages(program: Program, count: usize, runs: usize) -> Result<Outages> {
    let lab = Lab::new(2)?;
    lab.client.ip("route add 10.0.0.0/8 dev eth0")?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let _active = start(program, &lab.routers[0], PRIORITIES[0], count)?;
    // The routers start one after the other. If they started together, the one that is busy with its addresses might
    // not advertise in time.
    let last = UdpProbe::start(&lab.client, address(count - 1), PROBE)?;
    last.wait_for_answer_from(0, PATIENCE)?;
    drop(last);
    let _backup = start(program, &lab.routers[1], PRIORITIES[1], count)?;
    let (mut firsts, mut lasts, mut lags) = (Vec::new(), Vec::new(), Vec::new());
    let mut cut_short = None;
    for run in 0..runs {
        let probes = [0, count - 1].map(|number| UdpProbe::start(&lab.client, address(number), PROBE));
        let probes = probes.into_iter().collect::<Result<Vec<_>>>()?;
        if let Err(error) = probes.iter().try_for_each(|probe| probe.wait_for_answer_from(0, PATIENCE)) {
            ensure!(program == Program::Keepalived && run > 0, "after {run} takeovers: {error:#}");
            cut_short =
                Some(format!("With {count} addresses, keepalived did not take over again after {run} takeovers."));
            break;
        }
        // The other host has to remove thousands of addresses first.
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_millis(1500) + INTERVAL * share / 100);
        let cut = Instant::now();
        lab.pull(0)?;
        probes.iter().try_for_each(|probe| probe.wait_for_answer_from(1, PATIENCE))?;
        let mut gaps = Vec::new();
        for probe in probes {
            let seen = probe.finish();
            let (_, gap) = seen.longest_gap_between(cut, Instant::now()).context("the client got no answers")?;
            gaps.push(gap.as_secs_f64() * 1e3);
        }
        firsts.push(gaps[0]);
        lasts.push(gaps[1]);
        lags.push(gaps[1] - gaps[0]);
        lab.plug(0)?;
    }
    Ok(Outages { first: Samples::of(firsts)?, last: Samples::of(lasts)?, lag: Samples::of(lags)?, cut_short })
}

/// Measures how long the kernel takes to add that many addresses, one request after the other.
fn alone(count: usize, runs: usize) -> Result<Samples> {
    let mut batch = tempfile::NamedTempFile::new()?;
    for number in 0..count {
        writeln!(batch, "address add {}/32 dev eth0", address(number))?;
    }
    let host = Namespace::new("alone")?;
    host.ip("link add eth0 type veth peer name eth1")?;
    host.ip("link set eth0 up")?;
    host.ip("link set eth1 up")?;
    let mut took = Vec::with_capacity(runs);
    for _ in 0..runs {
        let mut ip = host.command("ip")?;
        let start = Instant::now();
        run_command(ip.arg("-batch").arg(batch.path()))?;
        took.push(start.elapsed());
        host.ip("address flush dev eth0")?;
    }
    Samples::milliseconds(took)
}

/// Returns 10.0.0.1 and so on. No address ends in 0 or 255.
fn address(number: usize) -> Ipv4Addr {
    let octet = |value: usize| u8::try_from(value).expect("a few thousand addresses");
    Ipv4Addr::new(10, 0, octet(number / AT_ONCE), octet(number % AT_ONCE + 1))
}

fn start(program: Program, host: &Namespace, priority: u8, count: usize) -> Result<Daemon> {
    Ok(match program {
        Program::Xvrrp => {
            let routers: Vec<VirtualRouter> = (0..count.div_ceil(AT_ONCE))
                .map(|number| {
                    let all = number * AT_ONCE..count.min((number + 1) * AT_ONCE);
                    let addresses: Vec<String> = all.map(|number| format!("\"{}/32\"", address(number))).collect();
                    VirtualRouter::lan(priority)
                        .with("name", &format!("\"r{number}\""))
                        .with("vrid", &format!("{}", number + 1))
                        .with("advert_interval", &format!("\"{}ms\"", INTERVAL.as_millis()))
                        .with("addresses", &format!("[{}]", addresses.join(", ")))
                })
                .collect();
            Daemon::Xvrrp { _agent: Xvrrp::start(host, &routers)? }
        }
        Program::Keepalived => {
            let mut text = format!(
                "global_defs {{\n  vrrp_version 3\n  vrrp_garp_master_refresh 0\n}}\nvrrp_instance all {{\n  state BACKUP\n  \
                 interface eth0\n  virtual_router_id 1\n  priority {priority}\n  advert_int {}\n  virtual_ipaddress {{\n    \
                 {}/32\n  }}\n  virtual_ipaddress_excluded {{\n",
                INTERVAL.as_secs_f64(),
                address(0)
            );
            for number in 1..count {
                let _ = writeln!(text, "    {}/32", address(number));
            }
            text.push_str("  }\n}\n");
            Daemon::Keepalived { _daemon: Keepalived::start_with(host, &text)? }
        }
    })
}
