//! What a restart, a replacement or a reload of the Active router's agent costs, from one virtual router to 255.

mod matrix;
mod single;
mod site;

use std::time::Duration;

use anyhow::{Context, Result};

use self::matrix::{Cell, Place};
use self::site::{Seen, Site, Way};
use super::{Findings, Options, Row, Samples, Subject};

pub const SUBJECT: Subject =
    Subject { name: "restart", title: "what is missed when the Active router's program is restarted or reloads", run };

/// How far apart a client's probes are.
const PROBE: Duration = Duration::from_millis(1);
/// The longest time between two adverts of a virtual router, in its intervals.
const LONGEST_GAP: f64 = 1.2;
/// From start to first advert, in milliseconds.
const FIRST_ADVERT: f64 = 30.0;
/// Where keepalived is beside, which has to do with one virtual router.
const COMPARED: (Place, Duration) = (matrix::ALONE, Duration::from_millis(100));

fn run(options: &Options) -> Result<Findings> {
    let mut findings = Findings {
        how: format!(
            "Clients ask services on the first and on the last virtual address every {} ms, while the Active router's agent \
             reloads a configuration with another priority; is replaced by run --replace; is killed with SIGKILL and \
             another one is started at the same moment; and hears of another primary address on an interface that no other \
             virtual router is on (self-reload). Roles: changes of the Backup to Active, over all virtual routers. Gap: the \
             longest time between two adverts of the same virtual router, at the Active router's switch ports, over all virtual \
             routers, in advertisement intervals; undisturbed: the same, before anything is done.",
            PROBE.as_millis()
        ),
        ..Findings::default()
    };
    let (cells, left_out) = matrix::cells(options.quick)?;
    findings.notes.extend(left_out);
    let mut refused = Vec::new();
    for cell in cells {
        eprintln!("bench: restart, {cell} ...");
        refused.extend(measure(cell, options, &mut findings).with_context(|| cell.to_string())?);
    }
    if !refused.is_empty() {
        let cells = refused.join("; ");
        findings
            .notes
            .push(format!("Agents that were started beside a dying one ended, and were started again: {cells}."));
    }
    let runs = options.runs(20, 1);
    for (what, samples) in [
        ("start to first advert, after a kill", single::first_adverts(runs)?),
        ("cold start to first advert, address owner", single::cold_starts(runs)?),
    ] {
        let met = samples.median() < FIRST_ADVERT;
        let row = Row::new(what, "ms").figure("xvrrp", samples);
        findings.rows.push(row.target(format!("median under {FIRST_ADVERT} ms"), met));
    }
    findings.notes.extend([
        "keepalived is killed with its child and started at once. It comes back as Backup: its Backup takes over in \
         the meantime, and the addresses stay on both hosts until it has."
            .to_owned(),
        "Start to first advert: from the start of the process that resumes to its first frame on the wire. Cold: nothing is \
         there to resume, all programs are loaded first; the address owner advertises without listening before."
            .to_owned(),
    ]);
    Ok(findings)
}

/// All ways on one pair of hosts. Returns how many starts were in vain, if any were.
fn measure(cell: Cell, options: &Options, findings: &mut Findings) -> Result<Option<String>> {
    let runs = options.runs(cell.runs(), 1);
    let mut site = Site::start(cell.place, cell.interval)?;
    let undisturbed = site.undisturbed()?;
    let mut lost = Row::new(format!("{cell}: probes lost"), "count");
    let mut roles = Row::new(format!("{cell}: roles lost"), "count");
    let mut gaps = Row::new(format!("{cell}: gap"), "intervals");
    let (mut worst_gap, mut nothing_lost, mut refused) = (0.0_f64, true, 0);
    for way in Way::ALL {
        let name = way.name();
        let seen = (0..runs).map(|number| site.go(way, number));
        let seen = seen.collect::<Result<Vec<_>>>().with_context(|| name.to_owned())?;
        refused += seen.iter().map(|seen| seen.refused).sum::<usize>();
        let figure = |value: fn(&Seen) -> f64| Samples::of(seen.iter().map(value));
        let (lost_ones, lost_roles, gap) =
            (figure(|seen| seen.lost)?, figure(|seen| seen.roles)?, figure(|seen| seen.gap)?);
        nothing_lost &= lost_ones.max() == 0.0 && lost_roles.max() == 0.0;
        worst_gap = worst_gap.max(gap.max());
        if way == Way::Kill && (cell.place, cell.interval) == COMPARED {
            let ours = Samples::milliseconds(seen.iter().map(|seen| seen.client_gap))?;
            let theirs = single::keepalived(cell.interval, runs.min(5))?;
            let row = Row::new(format!("{cell}, {name}: a client's gap"), "ms");
            findings.rows.push(row.figure("xvrrp", ours).beside("keepalived", theirs));
        }
        lost = lost.figure(name, lost_ones);
        roles = roles.figure(name, lost_roles);
        gaps = gaps.figure(name, gap);
    }
    let target = format!("at most {LONGEST_GAP} intervals in any run");
    let gaps = if undisturbed > LONGEST_GAP {
        gaps.not_comparable(target, format!("{undisturbed:.2} intervals when nothing was done"))
    } else {
        gaps.target(target, worst_gap <= LONGEST_GAP)
    };
    findings.rows.extend([
        lost.target("no probe and no role lost in any run", nothing_lost),
        roles,
        gaps.beside("undisturbed", Samples::once(undisturbed)?),
    ]);
    Ok((refused > 0).then(|| format!("{cell}, {refused} in {runs} runs")))
}
