//! Measures what many virtual routers cost: processor time of the Active and of the Backup router, and memory.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::routers::Program;
use super::wires::{Wires, virtual_addresses, wait_for_virtual_addresses};
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::memory::{Memory, Share};
use xvrrp_lab::usage::{Usage, received};
use xvrrp_lab::{Keepalived, Namespace, VirtualRouter, Xvrrp, pause};

pub const SUBJECT: Subject = Subject { name: "scale", title: "processor and memory with many virtual routers", run };

/// Time until all announcements are sent: keepalived sends a second round of them five seconds after the first.
const SETTLE: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_mins(2);

/// Number of interfaces, of virtual routers on each of them, and their advertisement interval.
#[derive(Clone, Copy)]
struct Size {
    interfaces: u8,
    on_each: u8,
    milliseconds: u32,
}

/// Resources that both routers of a program take.
struct Taken {
    active: Samples,
    backup: Samples,
    memory: Samples,
    /// The larger one of both routers.
    parts: Memory,
    maps: Samples,
    /// Adverts that arrive at the Backup in a second.
    adverts: Samples,
    /// Changes of role of both routers, in all windows together.
    changes: Samples,
    /// Number of virtual addresses on the Active and on the Backup router at the end.
    at_the_end: (usize, usize),
}

#[expect(clippy::too_many_lines, reason = "a table of sizes and one of rows")]
fn run(options: &Options) -> Result<Findings> {
    let sizes = options.pick(
        [
            Size { interfaces: 1, on_each: 255, milliseconds: 10 },
            Size { interfaces: 16, on_each: 255, milliseconds: 1000 },
        ],
        [
            Size { interfaces: 1, on_each: 16, milliseconds: 10 },
            Size { interfaces: 2, on_each: 16, milliseconds: 1000 },
        ],
    );
    let mut findings = Findings {
        how: "Two hosts are connected by one cable for each interface. Each virtual router has one address. Processor \
              time is that of the daemon and its children (/proc/PID/stat), in windows of a few seconds, after \
              everything has settled. Memory is that of the largest process of the daemon (/proc/PID/status), on the \
              host where it is larger."
            .to_owned(),
        notes: vec![
            "The time that the kernel spends on an advert in softirq is charged to the process that runs at that \
             moment, mostly the sender's daemon. That holds for the XDP program as well as for keepalived's sockets."
                .to_owned(),
            "Adverts are those that arrive at the Backup's interfaces. If there are fewer than the virtual routers and \
             their interval require, a router does not keep its interval."
                .to_owned(),
            "The memory of keepalived's parent process is not counted. The BPF maps are memory of the kernel, not of \
             the agent, and have a row of their own."
                .to_owned(),
        ],
        ..Findings::default()
    };
    let mut groups = Vec::new();
    for (number, size) in (0..).zip(sizes) {
        let [xvrrp, keepalived] = [Program::Xvrrp, Program::Keepalived]
            .map(|program| measure(program, size, options).with_context(|| format!("{} {size}", program.name())));
        let (xvrrp, keepalived) = (xvrrp?, keepalived?);
        for (program, taken) in [(Program::Xvrrp, &xvrrp), (Program::Keepalived, &keepalived)] {
            if taken.at_the_end != (size.count(), 0) {
                let (active, backup) = taken.at_the_end;
                let text = format!(
                    "{size}: {} did not keep up: at the end, {active} addresses were on the Active and {backup} on the \
                     Backup router.",
                    program.name()
                );
                findings.notes.push(text);
            }
        }
        let judged = number == 0;
        let row = |what: &str, unit, ours: &Samples, theirs: &Samples| {
            Row::new(format!("{size}: {what}"), unit).figure("xvrrp", ours.clone()).beside("keepalived", theirs.clone())
        };
        let at_most = |row: Row, share: f64, what: &str, ours: &Samples, theirs: &Samples| {
            if judged { row.target(what, ours.median() <= theirs.median() * share) } else { row }
        };
        let active = row("Active", "% of a core", &xvrrp.active, &keepalived.active);
        findings.rows.push(at_most(
            active,
            0.25,
            "at most a quarter of keepalived's",
            &xvrrp.active,
            &keepalived.active,
        ));
        let backup = row("Backup", "% of a core", &xvrrp.backup, &keepalived.backup);
        findings.rows.push(at_most(backup, 0.1, "at most a tenth of keepalived's", &xvrrp.backup, &keepalived.backup));
        findings.rows.push(row("memory", "MB", &xvrrp.memory, &keepalived.memory));
        for (part, share) in parts(xvrrp.parts) {
            findings.rows.push(
                Row::new(format!("{size}: {part}"), "MB")
                    .figure("resident", megabytes(share.resident)?)
                    .figure("locked", megabytes(share.locked)?),
            );
        }
        findings.rows.push(row("adverts", "1/s", &xvrrp.adverts, &keepalived.adverts));
        let steady = xvrrp.changes.max() <= 0.0;
        findings.rows.push(row("changes of role", "", &xvrrp.changes, &keepalived.changes).target("none", steady));
        findings.rows.push(Row::new(format!("{size}: BPF maps"), "MB").figure("xvrrp", xvrrp.maps));
        for (role, ours, theirs) in
            [("Active", xvrrp.active, keepalived.active), ("Backup", xvrrp.backup, keepalived.backup)]
        {
            groups.push(Group::new(format!("{size}: {role}")).with("xvrrp", ours).with("keepalived", theirs));
        }
    }
    findings.plots.push(Plot {
        title: "Processor time with many virtual routers".to_owned(),
        axis: "% of a core (median; whisker: minimum to maximum)".to_owned(),
        logarithmic: false,
        mark: None,
        body: Body::Bars(groups),
    });
    Ok(findings)
}

/// What the memory of an agent is for.
fn parts(memory: Memory) -> [(&'static str, Share); 4] {
    [
        ("code and constants", memory.program),
        ("libraries", memory.libraries),
        ("heap, stacks, variables", memory.data),
        ("mapped BPF maps", memory.maps),
    ]
}

fn megabytes(bytes: usize) -> Result<Samples> {
    Samples::once(bytes as f64 / 1e6)
}

enum Daemon {
    Xvrrp(Xvrrp),
    Keepalived(Keepalived),
}

fn measure(program: Program, size: Size, options: &Options) -> Result<Taken> {
    let wires = Wires::new(size.interfaces)?;
    let active = size.start(program, &wires.left, 200)?;
    wait_for_virtual_addresses(&wires.left, size.count(), PATIENCE)?;
    let backup = size.start(program, &wires.right, 100)?;
    pause(options.pick(SETTLE, Duration::from_secs(1)))?;
    let usages = [Usage::of(active.pid())?, Usage::of(backup.pid())?];
    let window = options.pick(Duration::from_secs(4), Duration::from_millis(500));
    let mut shares = [Vec::new(), Vec::new()];
    let (mut memory, mut maps) = (Vec::new(), Vec::new());
    let mut adverts = Vec::new();
    let before = active.changes() + backup.changes();
    for _ in 0..options.runs(5, 1) {
        let readings = [usages[0].read()?, usages[1].read()?];
        let (start, before) = (Instant::now(), received(&wires.right, "eth")?);
        pause(window)?;
        adverts.push((received(&wires.right, "eth")? - before) / start.elapsed().as_secs_f64());
        for (usage, (share, reading)) in usages.iter().zip(shares.iter_mut().zip(readings)) {
            share.push(usage.percent_since(reading)?);
        }
        memory.push(usages[0].resident_megabytes()?.max(usages[1].resident_megabytes()?));
        maps.push(usages[0].map_megabytes()?);
    }
    let parts = [usages[0].memory()?, usages[1].memory()?].into_iter().max_by_key(Memory::resident);
    let parts = parts.context("two routers")?;
    let changes = active.changes() + backup.changes() - before;
    active.ensure_all("active", size.count())?;
    backup.ensure_all("backup", size.count())?;
    let at_the_end = (virtual_addresses(&wires.left)?, virtual_addresses(&wires.right)?);
    ensure!(
        program == Program::Keepalived || at_the_end == (size.count(), 0),
        "at the end, the Active and the Backup router had {at_the_end:?} addresses"
    );
    let [active, backup] = shares;
    Ok(Taken {
        active: Samples::of(active)?,
        backup: Samples::of(backup)?,
        memory: Samples::of(memory)?,
        parts,
        maps: Samples::of(maps)?,
        adverts: Samples::of(adverts)?,
        changes: Samples::once(changes as f64)?,
        at_the_end,
    })
}

impl Daemon {
    fn pid(&self) -> u32 {
        match self {
            Self::Xvrrp(agent) => agent.daemon.pid(),
            Self::Keepalived(keepalived) => keepalived.daemon.pid(),
        }
    }

    /// Returns the number of changes of role that the daemon has logged so far.
    fn changes(&self) -> usize {
        match self {
            Self::Xvrrp(agent) => agent.daemon.count_lines(&["state changed"]),
            Self::Keepalived(keepalived) => keepalived.daemon.count_lines(&["Entering", "STATE"]),
        }
    }

    /// Fails unless an xvrrp agent has exactly `count` virtual routers, all in this state. Does nothing for keepalived.
    fn ensure_all(&self, state: &str, count: usize) -> Result<()> {
        let Self::Xvrrp(agent) = self else { return Ok(()) };
        let status = agent.status()?;
        let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
        let there = routers.iter().filter(|router| router["state"] == state).count();
        ensure!((there, routers.len()) == (count, count), "{there} of {} are {state}", routers.len());
        Ok(())
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} ms", self.count(), self.milliseconds)
    }
}

impl Size {
    fn count(self) -> usize {
        usize::from(self.interfaces) * usize::from(self.on_each)
    }

    fn routers(self) -> impl Iterator<Item = (u8, u8)> {
        (0..self.interfaces).flat_map(move |interface| (1..=self.on_each).map(move |vrid| (interface, vrid)))
    }

    fn start(self, program: Program, host: &Namespace, priority: u8) -> Result<Daemon> {
        Ok(match program {
            Program::Xvrrp => Daemon::Xvrrp(Xvrrp::start(host, &self.xvrrp(priority))?),
            Program::Keepalived => Daemon::Keepalived(Keepalived::start_with(host, &self.keepalived(priority))?),
        })
    }

    fn xvrrp(self, priority: u8) -> Vec<VirtualRouter> {
        let interval = format!("\"{}ms\"", self.milliseconds);
        let router = |(interface, vrid)| {
            VirtualRouter::lan(priority)
                .with("name", &format!("\"r{interface}-{vrid}\""))
                .with("interface", &format!("\"eth{interface}\""))
                .with("vrid", &format!("{vrid}"))
                .with("advert_interval", &interval)
                .with("addresses", &format!("[\"10.{interface}.64.{vrid}/32\"]"))
        };
        self.routers().map(router).collect()
    }

    fn keepalived(self, priority: u8) -> String {
        let mut text = "global_defs {\n  vrrp_version 3\n  vrrp_garp_master_refresh 0\n}\n".to_owned();
        let interval = f64::from(self.milliseconds) / 1e3;
        for (interface, vrid) in self.routers() {
            let _ = writeln!(
                text,
                "vrrp_instance r{interface}-{vrid} {{\n  state BACKUP\n  interface eth{interface}\n  virtual_router_id {vrid}\n  \
                 priority {priority}\n  advert_int {interval}\n  virtual_ipaddress {{\n    10.{interface}.64.{vrid}/32 dev \
                 eth{interface}\n  }}\n}}"
            );
        }
        text
    }
}
