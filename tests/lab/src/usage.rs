//! Reads from /proc what a daemon uses of the machine and what its interfaces receive.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

use crate::Namespace;
use crate::memory::Memory;

/// A process with its children.
#[derive(Debug)]
pub struct Usage {
    pids: Vec<u32>,
}

/// Processor time that was used until a moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    seconds: f64,
}

impl Usage {
    /// Finds the process with this id and the children of its threads.
    pub fn of(pid: u32) -> Result<Self> {
        let mut pids = vec![pid];
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(thread?.path().join("children"))?;
            pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        Ok(Self { pids })
    }

    /// Reads the processor time that they have used so far.
    pub fn read(&self) -> Result<Reading> {
        let ticks: u64 = self.pids.iter().map(|pid| ticks(*pid)).sum::<Result<u64>>()?;
        let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?;
        Ok(Reading { at: Instant::now(), seconds: ticks as f64 / a_second as f64 })
    }

    /// Returns the processor time since an earlier reading, in percent of one core.
    pub fn percent_since(&self, earlier: Reading) -> Result<f64> {
        let now = self.read()?;
        Ok((now.seconds - earlier.seconds) / (now.at - earlier.at).as_secs_f64() * 100.0)
    }

    /// Returns the resident memory of the largest of the processes, in megabytes (10^6 bytes).
    pub fn resident_megabytes(&self) -> Result<f64> {
        let sizes = self
            .pids
            .iter()
            .map(|pid| kilobytes(&format!("/proc/{pid}/status"), "VmRSS:"))
            .collect::<Result<Vec<_>>>()?;
        Ok(sizes.into_iter().fold(0.0, f64::max) * 1024.0 / 1e6)
    }

    /// Returns the memory of the process itself, without its children.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.pids[0])
    }

    /// Returns the kernel memory of all BPF maps that the processes have open, in megabytes (10^6 bytes).
    pub fn map_megabytes(&self) -> Result<f64> {
        let mut bytes = 0.0;
        for pid in &self.pids {
            for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
                let Ok(text) = fs::read_to_string(file?.path()) else { continue };
                let field =
                    |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
                if field("map_type:").is_some() {
                    bytes += field("memlock:").unwrap_or(0.0);
                }
            }
        }
        Ok(bytes / 1e6)
    }
}

/// Returns how often threads of a process have waited so far for a page that was not in memory.
pub fn major_faults(pid: u32) -> Result<u64> {
    let [faults] = stat(pid, [12])?;
    Ok(faults)
}

/// Returns the processor time of all threads of a process in user and kernel mode, in ticks (proc(5)).
fn ticks(pid: u32) -> Result<u64> {
    let [user, kernel] = stat(pid, [14, 15])?;
    Ok(user + kernel)
}

/// Fields of /proc/PID/stat, by the numbers of proc(5).
fn stat<const N: usize>(pid: u32, fields: [usize; N]) -> Result<[u64; N]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(") ").context("no name in stat")?;
    let mut values = [0; N];
    for (value, field) in values.iter_mut().zip(fields) {
        *value = after_name.split(' ').nth(field - 3).context("a short stat")?.parse()?;
    }
    Ok(values)
}

fn kilobytes(path: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Returns how many packets were received on those interfaces of a host whose names begin with `interfaces`.
pub fn received(host: &Namespace, interfaces: &str) -> Result<f64> {
    let table = host.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let mut packets = 0.0;
    for line in table.lines().filter(|line| line.trim_start().starts_with(interfaces)) {
        let (_, counts) = line.split_once(':').context("no counts")?;
        packets += counts.split_whitespace().nth(1).context("no count")?.parse::<f64>()?;
    }
    Ok(packets)
}
