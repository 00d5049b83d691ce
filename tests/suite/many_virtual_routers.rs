//! Many virtual routers: as many as one interface can have, and restarts of an agent with 30 of them.

use std::mem;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use xvrrp_lab::{Lab, PATIENCE, Segments, Side, VirtualRouter, Xvrrp, alone, eventually, pause, wait_until_is};
use xvrrp_lab::{traffic::AdvertTap, usage::Usage};

const COUNT: usize = 255;
/// How long the states are watched.
const STEADY: Duration = Duration::from_secs(4);
/// Limit in percent of a core for an agent that is not optimized. The 255 adverts a second take a hundredth of that.
const MAX_PROCESSOR_TIME: f64 = 60.0;

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
    // The limit of open files is below the number of virtual routers. It suffices because they share their IPv4
    // sockets.
    let few_files = ["prlimit", "--nofile=128:600"];
    let mut active = Xvrrp::start_by(&lab.routers[0], &routers(200), &few_files, "")?;
    active.wait_until_all_are("active", COUNT)?;
    ensure!(active.daemon.count_lines(&["files may have to be open"]) == 0, "{}", active.daemon.log());
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100))?;
    backup.wait_until_all_are("backup", COUNT)?;
    let changes = || [&active, &backup].map(|agent| agent.daemon.count_lines(&["state changed"]));
    // Each virtual router became Backup on its host, and Active on the first one.
    let expected = [2 * COUNT, COUNT];
    wait_until_is("every change of state is logged", &expected, || Ok(changes()))?;
    let usages = [Usage::of(active.daemon.pid())?, Usage::of(backup.daemon.pid())?];
    let readings = [usages[0].read()?, usages[1].read()?];
    pause(STEADY)?;
    for (usage, reading) in usages.iter().zip(readings) {
        let share = usage.percent_since(reading)?;
        ensure!(share < MAX_PROCESSOR_TIME, "{share} % of a core");
    }
    let after = changes();
    ensure!(after == expected, "changes of state: {after:?} instead of {expected:?}\n{}", backup.daemon.log());
    active.wait_until_all_are("active", COUNT)?;
    backup.wait_until_all_are("backup", COUNT)?;
    wait_until_is("all addresses are installed", &COUNT, || {
        Ok(lab.routers[0].ip("-4 -o address show dev eth0")?.matches(" 198.51.100.").count())
    })?;
    ensure!(active.stop()?.success() && backup.stop()?.success());
    Ok(())
}

/// A host that is Active for 30 virtual routers and for one more on a separate interface, and a Backup for the 30.
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
    /// Long enough for a restart within three intervals on a busy machine. `cargo xtask bench restart` uses shorter
    /// ones.
    const INTERVAL: Duration = Duration::from_secs(1);
    const RUNS: usize = 3;

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

    /// Waits until every virtual router is Active on the first host, and Backup on the second one.
    fn settle(&mut self) -> Result<()> {
        self.active.wait_until_all_are("active", usize::from(Self::SEGMENTS.routers) + 1)?;
        self.backup.wait_until_all_are("backup", Self::SEGMENTS.routers.into())
    }

    /// The status of the 30 virtual routers on one of the hosts.
    fn status(agent: &Xvrrp) -> Result<Vec<Value>> {
        let status = agent.status()?;
        let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
        Ok(routers.iter().filter(|router| router["name"] != Side::NAME).cloned().collect())
    }

    /// The number of adverts that each of the 30 has sent on the Backup's host. It grows whenever one becomes Active.
    fn sent_by_backup(&self) -> Result<Vec<Value>> {
        Ok(Self::status(&self.backup)?.iter().map(|router| router["adverts_sent"].clone()).collect())
    }

    /// The virtual routers that did not resume their role when the agent on the first host last restarted.
    fn not_resumed(&self) -> Result<Vec<Value>> {
        Ok(Self::status(&self.active)?.into_iter().filter(|router| router["reason"] != "resumed").collect())
    }

    /// Fails if this restart of the agent on the first host changes a role of the 30.
    fn check_unnoticed(&mut self, what: &str, mut restart: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..Self::RUNS {
            self.settle()?;
            let sent_before = self.sent_by_backup()?;
            restart(self)?;
            // More than Active_Down_Interval of the Backup.
            pause(Self::INTERVAL * 4)?;
            self.settle()?;
            let (lost, taken_over) = (self.not_resumed()?, self.sent_by_backup()? != sent_before);
            let log = || self.backup.daemon.log();
            ensure!(lost.is_empty(), "{what}: not resumed: {lost:?}\n{}", log());
            ensure!(!taken_over, "{what}: taken over by the Backup\n{}", log());
        }
        Ok(())
    }
}

#[test]
fn neither_a_reload_nor_a_replacement_changes_the_role_of_any_of_30_virtual_routers() -> Result<()> {
    let mut thirty = Thirty::start()?;
    thirty.check_unnoticed("reload", |thirty| {
        thirty.priority ^= 1;
        thirty.active.configure(&Thirty::configuration(thirty.priority))?;
        thirty.active.reload()
    })?;
    thirty.check_unnoticed("run --replace", |thirty| {
        let successor = thirty.active.replace(&thirty.lab.routers[0], &Thirty::configuration(thirty.priority))?;
        let mut predecessor = mem::replace(&mut thirty.active, successor);
        let status = predecessor.daemon.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", predecessor.daemon.log());
        Ok(())
    })
}

#[test]
fn a_start_immediately_after_a_kill_changes_the_role_of_none_of_30_virtual_routers() -> Result<()> {
    let mut thirty = Thirty::start()?;
    thirty.check_unnoticed("kill and start", |thirty| {
        thirty.active.daemon.signal(Signal::SIGKILL)?;
        let successor = thirty.active.start_beside(&thirty.lab.routers[0], &Thirty::configuration(thirty.priority))?;
        let mut dead = mem::replace(&mut thirty.active, successor);
        dead.daemon.wait(PATIENCE)?;
        Ok(())
    })
}

#[test]
fn a_new_address_of_one_interface_changes_the_role_of_none_of_30_virtual_routers_on_another() -> Result<()> {
    let mut thirty = Thirty::start()?;
    // The agent restarts by itself because of it.
    thirty.check_unnoticed("another primary address", |thirty| {
        let start = Instant::now();
        thirty.side.change(&thirty.lab.routers[0])?;
        eventually("the virtual router of that interface advertises from the new address", PATIENCE, || {
            thirty.side_tap.first_after(thirty.side.address(), start)
        })?;
        Ok(())
    })
}
