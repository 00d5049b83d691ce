//! Many virtual routers: as many as one interface can have, and what a restart of the agent does to 30.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use xvrrp_lab::{Lab, PATIENCE, Segments, Side, VirtualRouter, Xvrrp, alone, eventually, pause, wait_until_is};
use xvrrp_lab::{traffic::AdvertTap, usage::Usage};

const COUNT: usize = 255;
/// For how long nothing may change.
const STEADY: Duration = Duration::from_secs(4);
/// Of a core, in percent, with an agent that is not optimized: 255 adverts a second are a hundredth of that.
const MOST_PROCESSOR_TIME: f64 = 60.0;

fn routers(priority: u8) -> Vec<VirtualRouter> {
    let router = |vrid| {
        VirtualRouter::lan(priority)
            .with("name", &format!("\"r{vrid}\""))
            .with("vrid", &format!("{vrid}"))
            .with("advert_interval", "\"1s\"")
            .with("addresses", &format!("[\"198.51.100.{vrid}/32\"]"))
    };
    (1..=COUNT).map(router).collect()
}

#[test]
fn the_255_virtual_routers_of_an_interface_keep_their_roles() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new(2)?;
    // Fewer files than virtual routers may be open. That does: over IPv4 they have their sockets in common.
    let few_files = ["prlimit", "--nofile=128:600"];
    let mut active = Xvrrp::start_by(&lab.routers[0], &routers(200), &few_files, "")?;
    active.wait_until_all_are("active", COUNT)?;
    ensure!(active.daemon.count_lines(&["files may have to be open"]) == 0, "{}", active.daemon.log());
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100))?;
    backup.wait_until_all_are("backup", COUNT)?;
    let changes = |agent: &Xvrrp| agent.daemon.count_lines(&["state changed"]);
    let before = [changes(&active), changes(&backup)];
    let usages = [Usage::of(active.daemon.pid())?, Usage::of(backup.daemon.pid())?];
    let readings = [usages[0].read()?, usages[1].read()?];
    pause(STEADY)?;
    for (usage, reading) in usages.iter().zip(readings) {
        let share = usage.percent_since(reading)?;
        ensure!(share < MOST_PROCESSOR_TIME, "{share} % of a core");
    }
    active.wait_until_all_are("active", COUNT)?;
    backup.wait_until_all_are("backup", COUNT)?;
    let after = [changes(&active), changes(&backup)];
    ensure!(after == before, "changes of state: {before:?} before, {after:?} after\n{}", backup.daemon.log());
    // To Backup and to Active, and to Backup: that is all.
    ensure!(after == [2 * COUNT, COUNT], "changes of state: {after:?}");
    wait_until_is("all addresses are there", &COUNT, || {
        Ok(lab.routers[0].ip("-4 -o address show dev eth0")?.matches(" 198.51.100.").count())
    })?;
    ensure!(active.stop()?.success() && backup.stop()?.success());
    Ok(())
}

/// An Active router with 30 virtual routers and one more on an interface that concerns nobody else, and a Backup for the 30.
struct Thirty {
    lab: Lab,
    side: Side,
    side_tap: AdvertTap,
    active: Xvrrp,
    backup: Xvrrp,
    priority: u8,
}

impl Thirty {
    const SEGMENTS: Segments = Segments { routers: 30, interfaces: 1 };
    const INTERVAL: Duration = Duration::from_millis(100);
    const RUNS: usize = 3;
    /// A program that starts has no priority. Beside others it may be held up for three intervals; a run in which a thread
    /// like it was late by this much says nothing.
    const LATE: Duration = Duration::from_millis(50);
    /// How many such runs there may be.
    const MOST_LATE: usize = 20;

    fn start() -> Result<Self> {
        let lab = Lab::new(2)?;
        let side = Side::new(&lab.routers[0])?;
        let side_tap = AdvertTap::start(&lab.routers[0], Side::OTHER_END)?;
        let active = Xvrrp::start(&lab.routers[0], &Self::configuration(200))?;
        let mut thirty = Self {
            side,
            side_tap,
            active,
            backup: Xvrrp::start(&lab.routers[1], &Self::SEGMENTS.configuration(100, Self::INTERVAL))?,
            lab,
            priority: 200,
        };
        thirty.settle()?;
        Ok(thirty)
    }

    fn configuration(priority: u8) -> Vec<VirtualRouter> {
        let mut all = Self::SEGMENTS.configuration(priority, Self::INTERVAL);
        all.push(Side::virtual_router());
        all
    }

    /// Everybody is in his place.
    fn settle(&mut self) -> Result<()> {
        self.active.wait_until_all_are("active", usize::from(Self::SEGMENTS.routers) + 1)?;
        self.backup.wait_until_all_are("backup", Self::SEGMENTS.routers.into())
    }

    /// Changes of role of the 30 on either host; one that goes on has not changed.
    fn changes(&self) -> usize {
        let changed = |line: &&str| line.contains("state changed") && !line.contains("reason=resumed");
        let of_the_side = format!("virtual_router={} ", Side::NAME);
        let changes = |agent: &Xvrrp| {
            agent.daemon.log().lines().filter(changed).filter(|line| !line.contains(&of_the_side)).count()
        };
        changes(&self.active) + changes(&self.backup)
    }

    /// Fails if this changes a role.
    fn go_unseen(&mut self, what: &str, mut change: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let (mut unseen, mut late) = (0, Vec::new());
        while unseen < Self::RUNS {
            self.settle()?;
            let before = self.changes();
            let lateness = Lateness::start();
            change(self)?;
            // Several Active_Down_Intervals.
            pause(Self::INTERVAL * 10)?;
            self.settle()?;
            let (changes, lateness) = (self.changes() - before, lateness.finish());
            match changes {
                0 => unseen += 1,
                _ if lateness > Self::LATE => late.push(lateness),
                _ => bail!("{what}: {changes} changes of role, lateness {lateness:?}\n{}", self.backup.daemon.log()),
            }
            ensure!(late.len() <= Self::MOST_LATE, "{what}: the machine is too busy: {late:?}");
        }
        Ok(())
    }
}

/// How late a thread of no priority is that wakes up every millisecond.
struct Lateness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Lateness {
    fn start() -> Self {
        const PACE: Duration = Duration::from_millis(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut most = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                thread::sleep(PACE);
                most = most.max(start.elapsed() - PACE);
            }
            most
        });
        Self { stop, thread }
    }

    fn finish(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(Duration::MAX)
    }
}

#[test]
fn a_restart_of_the_agent_changes_the_role_of_none_of_30_virtual_routers() -> Result<()> {
    let mut thirty = Thirty::start()?;
    thirty.go_unseen("reload", |thirty| {
        thirty.priority ^= 1;
        thirty.active.configure(&Thirty::configuration(thirty.priority))?;
        thirty.active.reload()
    })?;
    thirty.go_unseen("run --replace", |thirty| {
        let successor = thirty.active.replace(&thirty.lab.routers[0], &Thirty::configuration(thirty.priority))?;
        let mut predecessor = mem::replace(&mut thirty.active, successor);
        let status = predecessor.daemon.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", predecessor.daemon.log());
        Ok(())
    })
}

#[test]
fn a_start_at_the_moment_of_a_kill_changes_the_role_of_none_of_30_virtual_routers() -> Result<()> {
    let mut thirty = Thirty::start()?;
    thirty.go_unseen("kill and start", |thirty| {
        thirty.active.daemon.signal(Signal::SIGKILL)?;
        let successor = thirty.active.start_beside(&thirty.lab.routers[0], &Thirty::configuration(thirty.priority))?;
        let mut dead = mem::replace(&mut thirty.active, successor);
        dead.daemon.wait(PATIENCE)?;
        Ok(())
    })
}

#[test]
fn another_address_of_one_interface_is_not_felt_by_30_virtual_routers_on_another() -> Result<()> {
    let mut thirty = Thirty::start()?;
    thirty.go_unseen("another primary address", |thirty| {
        let start = Instant::now();
        thirty.side.change(&thirty.lab.routers[0])?;
        eventually("it advertises from the other address", PATIENCE, || {
            thirty.side_tap.first_after(thirty.side.address(), start)
        })?;
        Ok(())
    })
}
