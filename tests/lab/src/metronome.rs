//! How late the machine itself is: what no program on it can be blamed for.
//!
//! A kernel that is not preempted in its own work, or a host that does not run its guest, holds up a real-time thread of any
//! priority, on a machine that others use for tens of milliseconds. A thread at the highest priority on each
//! processor, which does nothing but wake up, measures that.

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

/// How often each thread wakes up.
const PACE: Duration = Duration::from_millis(1);
/// Anything below is of no interest.
const NOTABLE: Duration = Duration::from_millis(2);
/// The highest priority (sched(7)).
const HIGHEST: u8 = 99;

/// For how long the host of this virtual machine has kept its processors from it since it was started, all together, as it
/// says itself: the steal time of proc_stat(5). 0 on a machine of its own.
pub fn stolen() -> Result<Duration> {
    const STEAL: usize = 8;
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: u64 = stat.split_whitespace().nth(STEAL).context("no steal time")?.parse()?;
    let a_second = u64::try_from(sysconf(SysconfVar::CLK_TCK)?.context("no CLK_TCK")?)?;
    Ok(Duration::from_millis(ticks * 1000 / a_second))
}

/// Measures until it is dropped.
#[derive(Debug)]
pub struct Metronome {
    delays: Arc<Mutex<Vec<(Instant, Duration)>>>,
    _threads: Vec<Service>,
}

impl Metronome {
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
                // Where that is not permitted, what is measured is an ordinary thread.
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

    /// How late the latest thread was since `from`.
    pub fn latest_since(&self, from: Instant) -> Duration {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let delays = delays.iter().filter(|(before, late)| *before + PACE + *late >= from).map(|(_, late)| *late);
        delays.max().unwrap_or_default()
    }

    /// The same and the processors that were kept from the machine, in words, for whoever reads a result.
    pub fn verdict(&self, from: Instant, stolen_before: Duration) -> Result<String> {
        let late = self.latest_since(from).as_secs_f64() * 1e3;
        let stolen = (stolen()? - stolen_before).as_millis();
        Ok(format!(
            "the machine held up a thread at the highest priority for {late:.0} ms, and its host kept {stolen} ms of \
             processor time from it"
        ))
    }
}
