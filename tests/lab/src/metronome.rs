//! Measures delays that the machine itself causes, for which no program on it is to blame.
//!
//! Kernel code that cannot be preempted, or a host that does not run its guest, delays a real-time thread of any
//! priority. On a shared machine these delays reach tens of milliseconds. A thread at the highest priority on each
//! processor, which does nothing but wake up, measures them.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};
use xvrrp::process::realtime;

use crate::probe::Service;

/// Time between two wake-ups of a thread.
const PACE: Duration = Duration::from_millis(1);
/// Shorter delays are not recorded.
const NOTABLE: Duration = Duration::from_millis(2);
/// The highest priority (sched(7)).
const HIGHEST: u8 = 99;

/// Returns how long the host has withheld processors from this virtual machine since it was started: the steal time of
/// proc_stat(5), summed over the processors. It is 0 on physical machines.
pub fn stolen() -> Result<Duration> {
    const STEAL: usize = 8;
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: u64 = stat.split_whitespace().nth(STEAL).context("no steal time")?.parse()?;
    let a_second = u64::try_from(sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?)?;
    Ok(Duration::from_millis(ticks * 1000 / a_second))
}

/// Measures delays until it is dropped.
#[derive(Debug)]
pub struct Metronome {
    delays: Arc<Mutex<Vec<(Instant, Duration)>>>,
    _threads: Vec<Service>,
}

impl Metronome {
    /// Starts a thread on each processor that this process may use.
    pub fn start() -> Result<Self> {
        let delays = Arc::new(Mutex::new(Vec::new()));
        let allowed = sched_getaffinity(Pid::this())?;
        let mut threads = Vec::new();
        for cpu in 0..CpuSet::count() {
            if !allowed.is_set(cpu)? {
                continue;
            }
            let mut here = CpuSet::new();
            here.set(cpu)?;
            let noted = Arc::clone(&delays);
            threads.push(Service::start(move |stop| {
                // Where this is not permitted, an ordinary thread measures.
                let _ = sched_setaffinity(Pid::from_raw(0), &here);
                let _ = realtime::schedule_fifo(HIGHEST);
                while !stop.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    thread::sleep(PACE);
                    let late = before.elapsed().saturating_sub(PACE);
                    if late > NOTABLE {
                        noted.lock().unwrap_or_else(PoisonError::into_inner).push((before, late));
                    }
                }
            }));
        }
        Ok(Self { delays, _threads: threads })
    }

    /// Returns the longest delay of any thread since `from`.
    pub fn latest_since(&self, from: Instant) -> Duration {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let delays = delays.iter().filter(|(before, late)| *before + PACE + *late >= from).map(|(_, late)| *late);
        delays.max().unwrap_or_default()
    }

    /// Describes, for the reader of a result, the longest delay since `from` and the steal time since it was
    /// `stolen_before`.
    pub fn verdict(&self, from: Instant, stolen_before: Duration) -> Result<String> {
        let late = self.latest_since(from).as_secs_f64() * 1e3;
        let stolen = (stolen()? - stolen_before).as_millis();
        Ok(format!(
            "a thread at the highest priority was delayed by up to {late:.0} ms, and the host of this virtual machine \
             withheld {stolen} ms of processor time"
        ))
    }
}
