//! Which of several xvrrp routers on a segment is Active, and which one takes over when something changes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// Several Active_Down_Intervals at 100 ms adverts, so that a wrong change of state would have happened.
const SETTLED: Duration = Duration::from_secs(2);

/// Starts an agent on each router of the lab, with these priorities.
fn agents(lab: &Lab, priorities: &[u8]) -> Result<Vec<Xvrrp>> {
    let agent = |(router, priority): (_, &u8)| Xvrrp::start(router, &[VirtualRouter::lan(*priority)]);
    lab.routers.iter().zip(priorities).map(agent).collect()
}

/// Waits until a router has the virtual address, or no longer has it.
fn wait_for_vip(lab: &Lab, router: usize, present: bool) -> Result<()> {
    eventually(&format!("router {router} has the virtual address: {present}"), PATIENCE, || {
        let addresses = lab.routers[router].ip("-4 -o addr show dev eth0")?;
        ensure!(addresses.contains("192.0.2.1/24") == present, "{addresses}");
        Ok(())
    })
}

/// Waits until exactly this router is Active and has the virtual address.
fn wait_for_sole_active(lab: &Lab, agents: &mut [Xvrrp], active: usize) -> Result<()> {
    agents[active].wait_for_state("lan", "active")?;
    for (index, agent) in agents.iter_mut().enumerate().filter(|(index, _)| *index != active) {
        agent.wait_for_state("lan", "backup")?;
        wait_for_vip(lab, index, false)?;
    }
    wait_for_vip(lab, active, true)
}

#[test]
fn the_router_with_the_highest_priority_becomes_active_and_stays_active() -> Result<()> {
    let lab = Lab::new(3)?;
    let mut agents = agents(&lab, &[100, 200, 150])?;
    // On a busy machine, a router that started earlier may have been Active first.
    wait_for_sole_active(&lab, &mut agents, 1)?;
    let elected =
        |agents: &[Xvrrp]| -> Vec<_> { agents.iter().map(|agent| agent.transitions("lan", "active")).collect() };
    let once = elected(&agents);
    thread::sleep(SETTLED);
    wait_for_sole_active(&lab, &mut agents, 1)?;
    assert_eq!(elected(&agents), once, "how often each router has become Active");
    assert_eq!(once[1], 1, "router 1 has not become Active exactly once");
    Ok(())
}

#[test]
fn of_two_active_routers_with_equal_priorities_the_one_with_the_higher_address_stays_active() -> Result<()> {
    // RFC 9568 6.4.3
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[100, 100])?;
    // Which of them was first does not matter: a Backup does not preempt a router of the same priority.
    eventually("exactly one router is Active", PATIENCE, || {
        let states = agents.iter().map(|agent| agent.state("lan")).collect::<Result<Vec<_>>>()?;
        ensure!(states.iter().filter(|state| *state == "active").count() == 1, "{states:?}");
        Ok(())
    })?;
    lab.isolate(0)?;
    agents[0].wait_for_state("lan", "active")?;
    agents[1].wait_for_state("lan", "active")?;
    lab.rejoin(0)?;
    wait_for_sole_active(&lab, &mut agents, 1)?;
    agents[0].daemon.wait_for_line(&["state=backup ", "reason=higher_address"], PATIENCE)?;
    Ok(())
}

#[test]
fn a_backup_takes_over_when_the_cable_is_pulled_and_yields_when_it_is_plugged_in_again() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[200, 100])?;
    wait_for_sole_active(&lab, &mut agents, 0)?;
    lab.pull(0)?;
    agents[1].wait_for_state("lan", "active")?;
    agents[0].wait_for_state("lan", "fault")?;
    wait_for_vip(&lab, 0, false)?;
    lab.plug(0)?;
    wait_for_sole_active(&lab, &mut agents, 0)?;
    // It came back as a Backup that heard the other router, not as a second Active router.
    agents[0].daemon.wait_for_line(&["virtual_router=lan ", "state=active ", "reason=preempted"], PATIENCE)?;
    Ok(())
}

#[test]
fn after_an_isolation_that_leaves_the_carrier_the_lower_priority_yields() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[200, 100])?;
    wait_for_sole_active(&lab, &mut agents, 0)?;
    lab.isolate(0)?;
    agents[1].wait_for_state("lan", "active")?;
    assert_eq!(agents[0].state("lan")?, "active", "it cannot notice that it is isolated");
    lab.rejoin(0)?;
    wait_for_sole_active(&lab, &mut agents, 0)?;
    agents[1].daemon.wait_for_line(&["state=backup ", "reason=higher_priority"], PATIENCE)?;
    Ok(())
}

/// Waits until this agent is Backup and has heard the Active router on router 0.
fn wait_until_heard(backup: &Xvrrp) -> Result<()> {
    eventually("the Backup has heard the Active router", PATIENCE, || {
        let router = backup.virtual_router("lan")?;
        ensure!(router["state"] == "backup" && router["active"]["address"] == "192.0.2.2", "{router}");
        Ok(())
    })
}

#[test]
fn without_preempt_a_higher_priority_waits_until_the_active_router_is_gone() -> Result<()> {
    // RFC 9568 6.1, Preempt_Mode
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let patient = VirtualRouter::lan(200).with("preempt", "false");
    let mut better = Xvrrp::start(&lab.routers[1], &[patient])?;
    wait_until_heard(&better)?;
    thread::sleep(SETTLED);
    assert_eq!(better.state("lan")?, "backup");
    assert_eq!(better.transitions("lan", "active"), 0, "it has been Active");
    worse.stop()?;
    better.wait_for_state("lan", "active")
}

#[test]
fn with_preempt_a_higher_priority_takes_over_not_before_preempt_delay_has_passed() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let hesitant = VirtualRouter::lan(200).with("preempt_delay", "\"3s\"");
    let started = Instant::now();
    let mut better = Xvrrp::start(&lab.routers[1], &[hesitant])?;
    better.wait_for_state("lan", "active")?;
    let passed = started.elapsed();
    assert!(passed >= Duration::from_secs(3), "it became Active within {passed:?} of its start");
    worse.wait_for_state("lan", "backup")
}

#[test]
fn preempt_delay_does_not_delay_a_takeover_from_a_dead_router() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let hesitant = VirtualRouter::lan(200).with("preempt_delay", "\"600s\"");
    let mut better = Xvrrp::start(&lab.routers[1], &[hesitant])?;
    wait_until_heard(&better)?;
    lab.pull(0)?;
    better.wait_for_state("lan", "active")
}

#[test]
fn a_graceful_stop_moves_the_address_long_before_the_active_down_interval_has_passed() -> Result<()> {
    // RFC 9568 6.4.2: after an advert with priority 0, a Backup waits only for Skew_Time.
    let lab = Lab::new(2)?;
    let slow = |priority| [VirtualRouter::lan(priority).with("advert_interval", "\"5s\"")];
    let _echo = UdpEcho::start(&lab.routers[1], 1)?;
    let mut best = Xvrrp::start(&lab.routers[0], &slow(254))?;
    best.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &slow(250))?;
    backup.wait_for_state("lan", "backup")?;
    eventually("the Backup has heard the Active router", PATIENCE, || {
        let router = backup.virtual_router("lan")?;
        ensure!(router["active"]["priority"] == 254, "{router}");
        Ok(())
    })?;
    let probe = UdpProbe::start(&lab.client, xvrrp_lab::VIP, Duration::from_millis(10))?;
    best.stop()?;
    // Skew_Time is 117 ms here, Active_Down_Interval 15.1 s.
    probe.wait_for_answer_from(1, Duration::from_secs(5))?;
    backup.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
    Ok(())
}

#[test]
fn a_backup_learns_the_interval_of_the_active_router() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("advert_interval", "\"250ms\"")])?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    active.wait_for_state("lan", "active")?;
    eventually("the Backup has learned the interval", PATIENCE, || {
        let timers = backup.virtual_router("lan")?["timers"].clone();
        ensure!(timers["active_adver_interval_ms"] == 250.0, "{timers}");
        ensure!(timers["advert_interval_ms"] == 100.0, "{timers}");
        Ok(())
    })?;
    backup.daemon.wait_for_line(&["virtual_router=lan", "the configurations differ"], PATIENCE)?;
    lab.pull(0)?;
    backup.wait_for_state("lan", "active")
}

#[test]
fn each_of_two_hosts_is_active_for_one_address_and_the_last_one_for_both() -> Result<()> {
    let lab = Lab::new(2)?;
    let crosswise = |first, second| {
        let second = VirtualRouter::lan(second).with("name", "\"web\"").with("vrid", "52");
        [VirtualRouter::lan(first), second.with("addresses", "[\"192.0.2.10/24\"]")]
    };
    let mut left = Xvrrp::start(&lab.routers[0], &crosswise(200, 100))?;
    let mut right = Xvrrp::start(&lab.routers[1], &crosswise(100, 200))?;
    for (agent, active, backup) in [(&mut left, "lan", "web"), (&mut right, "web", "lan")] {
        agent.wait_for_state(active, "active")?;
        agent.wait_for_state(backup, "backup")?;
    }
    lab.pull(1)?;
    left.wait_for_state("web", "active")?;
    assert_eq!(left.state("lan")?, "active");
    eventually("the client reaches both addresses", PATIENCE, || {
        lab.client.sh("ping -c 1 -W 5 192.0.2.1 && ping -c 1 -W 5 192.0.2.10")
    })?;
    lab.plug(1)?;
    right.wait_for_state("web", "active")?;
    left.wait_for_state("web", "backup")?;
    left.wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

#[test]
fn the_address_owner_is_active_at_once_and_keeps_its_address_when_it_stops() -> Result<()> {
    // RFC 9568 6.4.1
    let lab = Lab::new(2)?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100).with("addresses", "[\"192.0.2.2/24\"]")])?;
    backup.wait_for_state("lan", "active")?;
    let mut owner = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(255).with("addresses", "[\"192.0.2.2/24\"]")])?;
    owner.daemon.wait_for_line(&["state=active ", "reason=owner"], PATIENCE)?;
    backup.wait_for_state("lan", "backup")?;
    owner.stop()?;
    let addresses = lab.routers[0].ip("-4 -o addr show dev eth0")?;
    assert!(addresses.contains("192.0.2.2/24"), "the agent has removed the host's own address: {addresses}");
    backup.wait_for_state("lan", "active")
}
