//! How often a state changes although nobody has failed: on a busy machine, and under a flood of junk. And what a
//! takeover adds to the protocol's own wait while memory is short.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_common::units::{Interval, MacAddress, Priority};

use super::memory;
use super::routers::PRIORITIES;
use super::samples::number;
use super::{Findings, Options, Row, Samples, Subject};
use xvrrp_lab::load::Load;
use xvrrp_lab::metronome::{Metronome, stolen};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::traffic::flood::Flood;
use xvrrp_lab::traffic::frames;
use xvrrp_lab::{INTERFACE, Keepalived, KeepalivedConfig, Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, pause};

pub const SUBJECT: Subject = Subject {
    name: "false",
    title: "changes of state where nobody has failed, and takeovers while memory is short",
    run,
};

const INTERVAL: Duration = Duration::from_millis(10);
type StartLoad = fn() -> Result<Load>;

/// A name, and what makes the load.
const LOADS: [(&str, StartLoad); 4] = [
    ("16 busy loops", || Load::spinning(16)),
    ("48 busy loops", || Load::spinning(48)),
    ("4 writers that sync", || Load::writing(4)),
    ("4 takers of memory", || Load::allocating(4)),
];

fn run(options: &Options) -> Result<Findings> {
    let busy = options.pick(Duration::from_mins(1), Duration::from_secs(2));
    let metronome = Metronome::start()?;
    let mut findings = Findings {
        how: format!(
            "Three pairs of routers with adverts every {} ms, each in a lab of its own, are there for the same {} s of each load: \
             xvrrp; xvrrp with an ordinarily scheduled Backup; keepalived as it comes. Counted is every change of state in the \
             logs of both routers. A flood of adverts with TTL 254 comes from a third host on the segment as fast as one \
             processor sends, for as long to each pair, one after the other. Before that, {}",
            INTERVAL.as_millis(),
            busy.as_secs(),
            memory::HOW
        ),
        ..Findings::default()
    };
    memory::add_takeovers(&mut findings, &metronome, options)?;
    let pairs = [Kind::Xvrrp, Kind::OrdinaryBackup, Kind::Keepalived].map(Pair::start);
    let pairs = pairs.into_iter().collect::<Result<Vec<_>>>()?;
    for (name, load) in LOADS {
        settle(&pairs)?;
        let before: Vec<_> = pairs.iter().map(Pair::changes).collect();
        let (start, stolen_before) = (Instant::now(), stolen()?);
        let load = load()?;
        pause(busy)?;
        let until = Instant::now();
        findings.notes.push(format!("{name}: {}.", metronome.verdict(start, stolen_before)?));
        drop(load);
        thread::sleep(Duration::from_millis(200));
        let seen = pairs.iter().zip(before).map(|(pair, before)| pair.look(before, start, until));
        findings.add(name, &seen.collect::<Vec<_>>())?;
    }
    let name = "flood with TTL 254";
    let mut seen = Vec::new();
    for pair in &pairs {
        settle(&pairs)?;
        let before = pair.changes();
        let (start, stolen_before) = (Instant::now(), stolen()?);
        let handed = Flood::of([junk()]).send(&pair.lab.routers[2], INTERFACE, busy)?;
        let until = Instant::now();
        let machine = metronome.verdict(start, stolen_before)?;
        thread::sleep(Duration::from_millis(200));
        seen.push(pair.look(before, start, until));
        findings.notes.push(format!("{name}: {} a second at {}; {machine}.", number(handed.rate()), pair.kind.name()));
    }
    findings.add(name, &seen)?;
    Ok(findings)
}

impl Findings {
    fn add(&mut self, name: &str, seen: &[Seen]) -> Result<()> {
        let [xvrrp, ordinary, keepalived] = seen else { unreachable!("three pairs") };
        let changes = |seen: &Seen| Samples::of(u32::try_from(seen.changes).map(f64::from));
        let row = Row::new(name, "changes")
            .figure("xvrrp", changes(xvrrp)?)
            .figure("ordinary Backup", changes(ordinary)?)
            .beside("keepalived", changes(keepalived)?);
        // However the machine was: a load may be what holds it up, and then it is what is measured.
        let none = xvrrp.changes + ordinary.changes == 0;
        self.rows.push(row.target("none by xvrrp", none));
        self.rows.push(
            Row::new(format!("{name}: longest pause"), "ms")
                .figure("xvrrp", Samples::milliseconds([xvrrp.pause])?)
                .figure("ordinary Backup", Samples::milliseconds([ordinary.pause])?)
                .beside("keepalived", Samples::milliseconds([keepalived.pause])?),
        );
        Ok(())
    }
}

/// What became of a pair.
struct Seen {
    changes: usize,
    /// The longest time without an advert of the first router.
    pause: Duration,
}

#[derive(Clone, Copy)]
enum Kind {
    Xvrrp,
    /// xvrrp with `realtime_priority = 0` on the Backup.
    OrdinaryBackup,
    Keepalived,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Xvrrp => "xvrrp",
            Self::OrdinaryBackup => "xvrrp with an ordinary Backup",
            Self::Keepalived => "keepalived",
        }
    }
}

/// An Active router and a Backup, and a third host on their segment.
struct Pair {
    kind: Kind,
    routers: Routers,
    tap: AdvertTap,
    lab: Lab,
}

enum Routers {
    Xvrrp(Vec<Xvrrp>),
    Keepalived(Vec<Keepalived>),
}

impl Pair {
    fn start(kind: Kind) -> Result<Self> {
        let lab = Lab::new(3)?;
        let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
        let places = lab.routers.iter().zip(PRIORITIES);
        let routers = if let Kind::Keepalived = kind {
            let config = |priority| KeepalivedConfig {
                advert_int: INTERVAL.as_secs_f64(),
                ..KeepalivedConfig::v3(51, priority)
            };
            let daemons = places.map(|(place, priority)| Keepalived::start_quietly(place, &config(priority)));
            Routers::Keepalived(daemons.collect::<Result<_>>()?)
        } else {
            let keys = [
                "",
                match kind {
                    Kind::OrdinaryBackup => "realtime_priority = 0\n",
                    _ => "",
                },
            ];
            let interval = format!("\"{}ms\"", INTERVAL.as_millis());
            let agents = places.zip(keys).map(|((place, priority), keys)| {
                let lan = VirtualRouter::lan(priority).with("advert_interval", &interval);
                Xvrrp::start_by(place, &[lan], &[], keys)
            });
            Routers::Xvrrp(agents.collect::<Result<_>>()?)
        };
        Ok(Self { kind, routers, tap, lab })
    }

    /// How often a state has changed so far.
    fn changes(&self) -> usize {
        match &self.routers {
            Routers::Xvrrp(agents) => agents.iter().map(|agent| agent.daemon.count_lines(&["state changed"])).sum(),
            Routers::Keepalived(daemons) => {
                daemons.iter().map(|daemon| daemon.daemon.count_lines(&["Entering ", " STATE"])).sum()
            }
        }
    }

    /// Since there were so many changes.
    fn look(&self, before: usize, from: Instant, until: Instant) -> Seen {
        let pause = self.tap.longest_pause(Lab::address(0), from, until);
        self.tap.forget();
        Seen { changes: self.changes() - before, pause }
    }

    /// The first one is the only one that advertises.
    fn is_settled(&self) -> Result<()> {
        let from = Instant::now();
        thread::sleep(20 * INTERVAL);
        let first = self.tap.longest_pause(Lab::address(0), from, Instant::now());
        ensure!(first < 10 * INTERVAL, "the first router is silent for {first:?}");
        let changes = self.changes();
        thread::sleep(20 * INTERVAL);
        ensure!(self.changes() == changes, "a state has changed");
        Ok(())
    }
}

/// Waits until everybody is in his place.
fn settle(pairs: &[Pair]) -> Result<()> {
    pairs.iter().try_for_each(|pair| {
        let what = format!("a quiet pair of {}", pair.kind.name());
        eventually(&what, PATIENCE, || pair.is_settled()).context("before a load")
    })
}

/// An advert that would win, if its TTL did not say that it was routed (RFC 9568 5.1.1.3).
fn junk() -> Vec<u8> {
    let mut advert = frames::advert();
    advert.source = [192, 0, 2, 9];
    advert.source_mac = MacAddress([2, 0, 0, 0, 0, 9]);
    advert.priority = Priority::new(254);
    advert.interval = Interval::from_millis(10);
    frames::with_ip_byte(&frames::emit(&advert), 8, 254)
}
