//! `cargo xtask demo`: shows two gateways and a client in network namespaces, and how the virtual address moves when a
//! cable is cut.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use xvrrp_lab::probe::{Timeline, UdpEcho, UdpProbe};
use xvrrp_lab::{Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, interrupt_on_signals, is_interrupted, pause};

const NAMES: [&str; 2] = ["gw-a", "gw-b"];
const PRIORITIES: [u8; 2] = [200, 100];
/// Active_Down_Interval of gw-b, which takes over: 3 x 100 ms + 100 ms x (256 - 100) / 256 (RFC 9568 6.1).
const ACTIVE_DOWN_INTERVAL_MS: f64 = 360.9375;
/// Skew_Time of gw-b, for which it waits after a graceful stop.
const SKEW_TIME_MS: f64 = 60.9375;
/// Exit status by which a shell shows that SIGINT has ended a program.
const EXIT_INTERRUPTED: u8 = 130;
/// Time that one character of the final bar stands for.
const BAR_STEP: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match interrupt_on_signals().and_then(|()| show()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if is_interrupted() => {
            println!("\n  interrupted; all network namespaces have been removed");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<()> {
    println!("Two gateways, a switch and a client run in network namespaces of their own.");
    println!(
        "  gw-a  {}  priority {}      gw-b  {}  priority {}",
        Lab::address(0),
        PRIORITIES[0],
        Lab::address(1),
        PRIORITIES[1]
    );
    println!("  virtual address {VIP}, VRID 51, VRRP version 3, an advert every 100 ms");
    println!("  The client sends a datagram to {VIP} every millisecond and notes who answers.\n");

    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut story = Story::begin();
    let mut agents = Vec::new();
    for (router, priority) in lab.routers.iter().zip(PRIORITIES) {
        agents.push(Xvrrp::start(router, &[VirtualRouter::lan(priority)])?);
    }
    story.event("both agents start");
    agents[0].wait_for_state("lan", "active")?;
    agents[1].wait_for_state("lan", "backup")?;
    story.hear(&agents);
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    pause(Duration::from_secs(2))?;

    let cut = story.event("the cable of gw-a is cut");
    lab.pull(0)?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    pause(Duration::from_secs(2))?;
    story.hear(&agents);

    let back = story.event("the cable of gw-a is plugged in again");
    lab.plug(0)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    pause(Duration::from_secs(2))?;
    story.hear(&agents);

    let stop = story.event("gw-a is stopped gracefully (SIGTERM)");
    agents[0].stop()?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    pause(Duration::from_secs(1))?;
    story.hear(&agents);

    let seen = probe.finish();
    println!("\nWhat the client saw ({} datagrams, {} without an answer):", seen.sent, seen.lost());
    println!("  {:30} {:>12}   what the protocol allows", "event", "outage");
    outage(&seen, "cable cut", cut, back, &format!("Active_Down_Interval of gw-b: {ACTIVE_DOWN_INTERVAL_MS:.1} ms"))?;
    outage(&seen, "cable back, gw-a preempts", back, stop, "none: gw-b serves until gw-a does")?;
    outage(&seen, "graceful stop", stop, Instant::now(), &format!("Skew_Time of gw-b: {SKEW_TIME_MS:.1} ms"))?;
    println!("\nWho answered, one character for {} ms (a: gw-a, b: gw-b, .: nobody):", BAR_STEP.as_millis());
    println!("  {}", bar(&seen));
    agents[1].stop()?;
    Ok(())
}

fn outage(seen: &Timeline, event: &str, from: Instant, until: Instant, allowed: &str) -> Result<()> {
    let (_, gap) = seen.longest_gap_between(from, until).context("the client got no answers")?;
    println!("  {event:30} {:>9.1} ms   {allowed}", gap.as_secs_f64() * 1000.0);
    Ok(())
}

fn bar(seen: &Timeline) -> String {
    let reigns = seen.reigns();
    let end = reigns.last().map_or(seen.start, |(_, _, until)| *until);
    let steps = (end - seen.start).as_millis() / BAR_STEP.as_millis();
    let host_at = |step| {
        let (from, to) = (seen.start + BAR_STEP * step, seen.start + BAR_STEP * (step + 1));
        let serving = reigns.iter().find(|(_, since, until)| *since < to && *until >= from);
        match serving {
            Some((0, _, _)) => 'a',
            Some(_) => 'b',
            None => '.',
        }
    };
    (0..u32::try_from(steps).unwrap_or(0)).map(host_at).collect()
}

/// Prints what happens, with the time since the start.
struct Story {
    start: Instant,
    /// The start in seconds of the day, by the clock of the agents' logs.
    start_of_day: f64,
    /// Number of lines of each agent's log that have been printed.
    heard: [usize; 2],
}

impl Story {
    fn begin() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { start: Instant::now(), start_of_day: now % 86_400.0, heard: [0; 2] }
    }

    /// Prints an event that happens now.
    fn event(&self, what: &str) -> Instant {
        let now = Instant::now();
        self.line((now - self.start).as_secs_f64(), "", what);
        now
    }

    fn line(&self, seconds: f64, who: &str, what: &str) {
        println!("  {seconds:>7.3} s  {who:5} {what}");
    }

    /// Prints the changes of state that the agents have logged since the last call.
    fn hear(&mut self, agents: &[Xvrrp]) {
        let mut changes = Vec::new();
        for (host, agent) in agents.iter().enumerate() {
            let log = agent.daemon.log();
            let lines: Vec<&str> = log.lines().filter(|line| line.contains("state changed")).collect();
            for line in lines.iter().skip(self.heard[host]) {
                if let Some((seconds, what)) = parse(line) {
                    changes.push(((seconds - self.start_of_day).rem_euclid(86_400.0), host, what));
                }
            }
            self.heard[host] = lines.len();
        }
        changes.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (seconds, host, what) in changes {
            self.line(seconds, NAMES[host], &what);
        }
    }
}

/// Reads the seconds of the day and the change of state from a line like
/// `2026-01-01T12:00:00.000000Z  INFO state changed virtual_router=lan vrid=51 state=active reason=active_down`.
fn parse(line: &str) -> Option<(f64, String)> {
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().unwrap_or_default());
    let seconds = parts.next()? * 3600.0 + parts.next()? * 60.0 + parts.next()?;
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Some((seconds, format!("is {:6} ({})", field("state")?.to_uppercase(), field("reason")?)))
}
