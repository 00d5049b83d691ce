//! Takeovers by a Backup that is short of memory, beside those by one that is not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::routers::PRIORITIES;
use super::takeover::{Takeover, TakeoverLab, Takeovers};
use super::{Findings, Options, Row, Samples};
use xvrrp_lab::load::Load;
use xvrrp_lab::metronome::{Metronome, stolen};
use xvrrp_lab::usage::major_faults;
use xvrrp_lab::{MemoryGroup, VirtualRouter, Xvrrp};

pub const HOW: &str = "a takeover is measured as by `outage`, with adverts every 100 ms, in three labs in turn. In the first, the Backup has \
     all memory. In the second, it runs in a memory control group of its own, together with a process that fills 48 of the \
     64 MiB that are left to both and reads a file of any length through the rest, so that the kernel takes back whatever \
     it can. In the third, the Backup may not lock memory either. A page wait is a major fault of the Backup's threads from \
     the cut to 0.1 s after the client's first answer.";

const INTERVAL: Duration = Duration::from_millis(100);
/// Between the medians of a Backup that is short of memory and of one that is not, in milliseconds.
const MAX_EXCESS_MS: f64 = 1.0;
/// What the Backup and the load together can use, in bytes, beside what the kernel cannot take back from the Backup.
const ROOM: u64 = 64 << 20;

/// Conditions under which a Backup is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As much memory as it likes.
    Unloaded,
    /// Less than the load in its group would take.
    Short,
    /// The same, and it may not lock any.
    ShortAndUnlocked,
}

/// Measures takeovers by the three kinds of Backup in turn, and adds the rows.
pub fn add_takeovers(findings: &mut Findings, metronome: &Metronome, options: &Options) -> Result<()> {
    let kinds = [Kind::Unloaded, Kind::Short, Kind::ShortAndUnlocked];
    let pairs = kinds.map(|kind| Pair::start(kind).with_context(|| format!("{kind:?}")));
    let pairs = pairs.into_iter().collect::<Result<Vec<_>>>()?;
    let mut seen = [const { (Vec::new(), Vec::new()) }; 3];
    let (start, stolen_before) = (Instant::now(), stolen()?);
    for run in 0..options.runs(40, 2) {
        for (pair, (takeovers, faults)) in pairs.iter().zip(&mut seen) {
            let (takeover, read) = pair.take_over(run).with_context(|| format!("{:?}", pair.kind))?;
            takeovers.push(takeover);
            faults.push(read);
        }
    }
    findings.notes.push(format!("takeovers with and without memory: {}.", metronome.verdict(start, stolen_before)?));
    let [unloaded, short, unlocked] = &seen;
    let excesses = |seen: &(Vec<Takeover>, _)| Ok::<_, anyhow::Error>(Takeovers::of(&seen.0)?.excesses);
    let faults = |seen: &(_, Vec<u32>)| Samples::of(seen.1.iter().map(|count| f64::from(*count)));
    let (usual, late) = (excesses(unloaded)?, excesses(short)?);
    let met = late.median() <= usual.median() + MAX_EXCESS_MS;
    findings.rows.push(
        Row::new("takeover while memory is short: excess", "ms")
            .figure("xvrrp", late)
            .figure("nothing locked", excesses(unlocked)?)
            .beside("unloaded", usual)
            .target(format!("xvrrp's median at most {MAX_EXCESS_MS} ms above unloaded"), met),
    );
    let waits = faults(short)?;
    let none = waits.max() <= 0.0;
    findings.rows.push(
        Row::new("takeover while memory is short: page waits", "")
            .figure("xvrrp", waits)
            .figure("nothing locked", faults(unlocked)?)
            .beside("unloaded", faults(unloaded)?)
            .target("none by xvrrp", none),
    );
    Ok(())
}

/// An Active router, which has all memory, and a Backup.
struct Pair {
    kind: Kind,
    backup: Xvrrp,
    _active: Xvrrp,
    group: Option<MemoryGroup>,
    /// Contains the Backup's own copy of the program.
    _directory: TempDir,
    lab: TakeoverLab,
}

impl Pair {
    fn start(kind: Kind) -> Result<Self> {
        let lab = TakeoverLab::new(INTERVAL)?;
        let interval = format!("\"{}ms\"", INTERVAL.as_millis());
        let [active, backup] =
            PRIORITIES.map(|priority| VirtualRouter::lan(priority).with("advert_interval", &interval));
        let [first, second] = &lab.lab.routers[..] else { anyhow::bail!("a lab of two routers") };
        let mut active = Xvrrp::start(first, &[active])?;
        active.wait_for_state("lan", "active")?;
        // The kernel leaves pages alone that agents outside the group use too, and does not take back those of a file
        // system in memory.
        let directory = TempDir::with_prefix_in("xvrrp-bench-", "/var/tmp")?;
        let copy = directory.path().join("xvrrp").display().to_string();
        let group = (kind != Kind::Unloaded).then(MemoryGroup::new).transpose()?;
        let join = group.as_ref().map_or_else(|| "true".to_owned(), MemoryGroup::join_command);
        let unlocked = match kind {
            Kind::ShortAndUnlocked => "prlimit --memlock=0 setpriv --bounding-set=-ipc_lock",
            Kind::Unloaded | Kind::Short => "",
        };
        // The copy belongs to the group in which it is written, and can be taken back once it is on the disk.
        let line = format!("{join} && cp \"$0\" {copy} && sync {copy} && exec {unlocked} {copy} \"$@\"");
        let mut backup = Xvrrp::start_by(second, &[backup], &["sh", "-c", &line], "")?;
        backup.wait_for_state("lan", "backup")?;
        if let Some(group) = &group {
            group.limit_to(ROOM)?;
        }
        Ok(Self { kind, backup, _active: active, group, _directory: directory, lab })
    }

    /// Returns also how often the Backup waited for a page meanwhile.
    fn take_over(&self, run: usize) -> Result<(Takeover, u32)> {
        let _load = self.group.as_ref().map(|group| Load::crowding(group, ROOM)).transpose()?;
        let client = self.lab.settle(run)?;
        let before = major_faults(self.backup.daemon.pid())?;
        let takeover = self.lab.take_over(client)?;
        Ok((takeover, u32::try_from(major_faults(self.backup.daemon.pid())? - before)?))
    }
}
