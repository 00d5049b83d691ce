//! Two hosts for which the loss of the carrier is no fault, as if a cable connected them directly.

use anyhow::{Result, ensure};
use xvrrp_lab::{INTERFACE, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually, wait_until_is};

fn agent(lab: &Lab, router: usize, priority: u8) -> Result<Xvrrp> {
    Xvrrp::start(&lab.routers[router], &[VirtualRouter::lan(priority).with("carrier_fault", "false")])
}

/// Waits until each host has the address, or lacks it.
fn wait_for_address(lab: &Lab, router: usize, has_it: bool) -> Result<()> {
    wait_until_is(&format!("router {router} has the address"), &has_it, || {
        let shown = lab.routers[router].ip(&format!("-4 -o addr show dev {INTERFACE}"))?;
        Ok(shown.contains(&format!("{VIP}/24")))
    })
}

#[test]
fn a_backup_takes_over_when_the_carrier_goes_and_the_better_host_is_the_only_active_one_after_it_is_back() -> Result<()>
{
    let lab = Lab::new(2)?;
    let mut better = agent(&lab, 0, 200)?;
    better.wait_for_state("lan", "active")?;
    let mut worse = agent(&lab, 1, 100)?;
    worse.wait_for_state("lan", "backup")?;
    lab.pull(1)?;
    worse.wait_for_state("lan", "active")?;
    wait_for_address(&lab, 1, true)?;
    ensure!(better.state("lan")? == "active" && worse.transitions("lan", "fault") == 0, "{}", worse.daemon.log());
    lab.plug(1)?;
    worse.wait_for_state("lan", "backup")?;
    wait_for_address(&lab, 1, false)?;
    lab.pull(0)?;
    worse.wait_for_state("lan", "active")?;
    lab.plug(0)?;
    worse.wait_for_state("lan", "backup")?;
    better.wait_for_transitions("lan", "active", 1)?;
    ensure!(better.state("lan")? == "active", "{}", better.daemon.log());
    Ok(())
}

#[test]
fn an_interface_that_is_taken_down_is_a_fault_nevertheless() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = agent(&lab, 0, 200)?;
    agent.wait_for_state("lan", "active")?;
    lab.routers[0].ip(&format!("link set {INTERFACE} down"))?;
    agent.wait_for_state("lan", "fault")?;
    ensure!(agent.virtual_router("lan")?["reason"] == "interface_down");
    lab.pull(0)?;
    lab.routers[0].ip(&format!("link set {INTERFACE} up"))?;
    agent.wait_for_state("lan", "active")?;
    eventually("there is no carrier", PATIENCE, || {
        let link = lab.routers[0].ip(&format!("-o link show {INTERFACE}"))?;
        ensure!(link.contains("NO-CARRIER"), "{link}");
        Ok(())
    })
}
