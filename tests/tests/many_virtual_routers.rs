//! As many virtual routers as one interface can have.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_tests::bench::Usage;
use xvrrp_tests::lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, pause};

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

fn wait_until_all_are(agent: &mut Xvrrp, state: &str) -> Result<()> {
    eventually(&format!("all are {state}"), 2 * PATIENCE, || {
        agent.daemon.check_alive()?;
        let mut states = BTreeMap::<String, usize>::new();
        for router in agent.status()?["virtual_routers"].as_array().context("a list")? {
            *states.entry(router["state"].to_string()).or_default() += 1;
        }
        ensure!(states.get(&format!("{state:?}")) == Some(&COUNT), "{states:?}");
        Ok(())
    })
}

#[test]
fn the_255_virtual_routers_of_an_interface_keep_their_roles() -> Result<()> {
    let lab = Lab::new(2)?;
    // Fewer files than virtual routers may be open, unless the agent sees to it.
    let few_files = ["prlimit", "--nofile=128:4096"];
    let mut active = Xvrrp::start_by(&lab.routers[0], &routers(200), &few_files, "")?;
    wait_until_all_are(&mut active, "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100))?;
    wait_until_all_are(&mut backup, "backup")?;
    let changes = |agent: &Xvrrp| agent.daemon.count_lines(&["state changed"]);
    let before = [changes(&active), changes(&backup)];
    let usages = [Usage::of(active.daemon.pid())?, Usage::of(backup.daemon.pid())?];
    let readings = [usages[0].read()?, usages[1].read()?];
    pause(STEADY)?;
    for (usage, reading) in usages.iter().zip(readings) {
        let share = usage.percent_since(reading)?;
        ensure!(share < MOST_PROCESSOR_TIME, "{share} % of a core");
    }
    wait_until_all_are(&mut active, "active")?;
    wait_until_all_are(&mut backup, "backup")?;
    let after = [changes(&active), changes(&backup)];
    ensure!(after == before, "changes of state: {before:?} before, {after:?} after\n{}", backup.daemon.log());
    // To Backup and to Active, and to Backup: that is all.
    ensure!(after == [2 * COUNT, COUNT], "changes of state: {after:?}");
    let held = lab.routers[0].ip("-4 -o address show dev eth0")?.matches(" 198.51.100.").count();
    ensure!(held == COUNT, "{held} addresses");
    ensure!(active.stop()?.success() && backup.stop()?.success());
    Ok(())
}
