//! Measures what a restart, a replacement or a reload of the Active router's agent costs, with 1 to 255 virtual
//! routers.

mod matrix;
mod single;
mod site;

use std::time::Duration;

use anyhow::{Context, Result};

use self::matrix::{Cell, Place};
use self::site::{Seen, Site, Way};
use super::{Findings, Options, Row, Samples, Subject};

pub const SUBJECT: Subject =
    Subject { name: "restart", title: "losses when the Active router's program is restarted or reloads", run };

/// Time between a client's probes.
const PROBE: Duration = Duration::from_millis(1);
/// Target for the longest time between two adverts of a virtual router, in intervals.
const LONGEST_GAP: f64 = 1.2;
/// Target for the time from start to first advert, in milliseconds.
const FIRST_ADVERT: f64 = 30.0;
/// The combination for which keepalived is measured too. It runs a single virtual router.
const COMPARED: (Place, Duration) = (matrix::ALONE, Duration::from_millis(100));

fn run(options: &Options) -> Result<Findings> {
    let mut findings = Findings {
        how: format!(
            "Clients ask services on the first and on the last virtual address every {} ms. Meanwhile, the Active \
             router's agent reloads a configuration with another priority; is replaced by run --replace; is killed \
             with SIGKILL while another one is started; and reloads by itself (self-reload), because the primary \
             address changes on an interface of one more virtual router. Roles: changes of the Backup to Active, \
             counted over all virtual routers. Gap: the longest time between two adverts of the same virtual router at \
             the Active router's switch ports, in advertisement intervals, over all virtual routers. Undisturbed: the \
             same, before anything is done.",
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
            .push(format!("Some agents that were started beside a dying one exited, and were started again: {cells}."));
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
        "keepalived is killed with its child process and started again at once. It returns as Backup, so the other \
         router takes over in the meantime. Until then, the addresses are on both hosts."
            .to_owned(),
        "Start to first advert: the time from the start of a process that resumes to its first frame on the wire. Cold \
         start: there is nothing to resume, so all programs are loaded first. The address owner advertises without \
         waiting for the adverts of others."
            .to_owned(),
    ]);
    Ok(findings)
}

/// Measures all ways on one pair of hosts. Returns a note about starts that failed, if there were any.
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
    Ok((refused > 0).then(|| format!("{cell}: {refused} in {runs} runs")))
}
