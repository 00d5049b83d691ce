//! Who is Active on a segment of xvrrp routers, and who becomes it when things change.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// Several Active_Down_Intervals at 100 ms adverts: long enough for anything wrong to happen.
const SETTLED: Duration = Duration::from_secs(2);

/// One agent on each router of the lab, with these priorities.
fn agents(lab: &Lab, priorities: &[u8]) -> Result<Vec<Xvrrp>> {
    let agent = |(router, priority): (_, &u8)| Xvrrp::start(router, &[VirtualRouter::lan(*priority)]);
    lab.routers.iter().zip(priorities).map(agent).collect()
}

fn has_vip(lab: &Lab, router: usize) -> Result<bool> {
    Ok(lab.routers[router].ip("-4 -o addr show dev eth0")?.contains("192.0.2.1/24"))
}

/// Exactly this router is Active and has the address, and goes on so.
fn assert_only_active(lab: &Lab, agents: &mut [Xvrrp], active: usize) -> Result<()> {
    agents[active].wait_for_state("lan", "active")?;
    for (index, agent) in agents.iter_mut().enumerate().filter(|(index, _)| *index != active) {
        agent.wait_for_state("lan", "backup")?;
        eventually("the address is off", PATIENCE, || {
            ensure!(!has_vip(lab, index)?, "router {index} still has it");
            Ok(())
        })?;
    }
    eventually("the address is on", PATIENCE, || {
        ensure!(has_vip(lab, active)?, "router {active} lacks it");
        Ok(())
    })
}

#[test]
fn the_highest_priority_becomes_active_and_stays_it() -> Result<()> {
    let lab = Lab::new(3)?;
    let mut agents = agents(&lab, &[100, 200, 150])?;
    // On a slow machine one that started earlier may have been Active first.
    assert_only_active(&lab, &mut agents, 1)?;
    let elected =
        |agents: &[Xvrrp]| -> Vec<_> { agents.iter().map(|agent| agent.transitions("lan", "active")).collect() };
    let once = elected(&agents);
    thread::sleep(SETTLED);
    assert_only_active(&lab, &mut agents, 1)?;
    assert_eq!(elected(&agents), once);
    assert_eq!(once[1], 1);
    Ok(())
}

#[test]
fn of_two_active_routers_with_equal_priorities_the_higher_address_stays() -> Result<()> {
    // RFC 9568 6.4.3
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[100, 100])?;
    // Which of them was first does not matter: a Backup does not preempt its equal.
    eventually("one of them is Active, and no other", PATIENCE, || {
        let states = agents.iter().map(|agent| agent.state("lan")).collect::<Result<Vec<_>>>()?;
        ensure!(states.iter().filter(|state| *state == "active").count() == 1, "{states:?}");
        Ok(())
    })?;
    lab.isolate(0)?;
    agents[0].wait_for_state("lan", "active")?;
    agents[1].wait_for_state("lan", "active")?;
    lab.rejoin(0)?;
    assert_only_active(&lab, &mut agents, 1)?;
    agents[0].daemon.wait_for_line(&["state=backup ", "reason=higher_address"], PATIENCE)?;
    Ok(())
}

#[test]
fn a_backup_takes_over_from_one_that_lost_its_cable_and_the_better_one_comes_back() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[200, 100])?;
    assert_only_active(&lab, &mut agents, 0)?;
    lab.pull(0)?;
    agents[1].wait_for_state("lan", "active")?;
    agents[0].wait_for_state("lan", "fault")?;
    eventually("a router without a carrier gives the address up", PATIENCE, || {
        ensure!(!has_vip(&lab, 0)?, "it has it");
        Ok(())
    })?;
    lab.plug(0)?;
    assert_only_active(&lab, &mut agents, 0)?;
    // It came back as a Backup that heard the other one, not as a second Active router.
    agents[0].daemon.wait_for_line(&["virtual_router=lan ", "state=active ", "reason=preempted"], PATIENCE)?;
    Ok(())
}

#[test]
fn a_router_that_was_cut_off_behind_its_carrier_yields_or_wins_when_it_is_back() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agents = agents(&lab, &[200, 100])?;
    assert_only_active(&lab, &mut agents, 0)?;
    lab.isolate(0)?;
    agents[1].wait_for_state("lan", "active")?;
    assert_eq!(agents[0].state("lan")?, "active", "nothing tells it that it is alone");
    lab.rejoin(0)?;
    assert_only_active(&lab, &mut agents, 0)?;
    agents[1].daemon.wait_for_line(&["state=backup ", "reason=higher_priority"], PATIENCE)?;
    Ok(())
}

#[test]
fn without_preempt_a_better_router_waits_until_the_active_one_is_gone() -> Result<()> {
    // RFC 9568 6.1, Preempt_Mode
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let patient = VirtualRouter::lan(200).with("preempt", "false");
    let mut better = Xvrrp::start(&lab.routers[1], &[patient])?;
    better.wait_for_state("lan", "backup")?;
    thread::sleep(SETTLED);
    let router = better.virtual_router("lan")?;
    assert_eq!((router["state"].as_str(), router["active"]["address"].as_str()), (Some("backup"), Some("192.0.2.2")));
    worse.stop()?;
    better.wait_for_state("lan", "active")
}

#[test]
fn with_preempt_a_better_router_takes_over_and_preempt_delay_puts_it_off() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let hesitant = VirtualRouter::lan(200).with("preempt_delay", "\"3s\"");
    let mut better = Xvrrp::start(&lab.routers[1], &[hesitant])?;
    better.wait_for_state("lan", "backup")?;
    thread::sleep(SETTLED);
    assert_eq!(better.state("lan")?, "backup", "2 s of 3 s have passed");
    better.wait_for_state("lan", "active")?;
    worse.wait_for_state("lan", "backup")
}

#[test]
fn preempt_delay_does_not_put_off_taking_over_from_a_dead_router() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut worse = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    let hesitant = VirtualRouter::lan(200).with("preempt_delay", "\"600s\"");
    let mut better = Xvrrp::start(&lab.routers[1], &[hesitant])?;
    better.wait_for_state("lan", "backup")?;
    thread::sleep(SETTLED);
    lab.pull(0)?;
    better.wait_for_state("lan", "active")
}

#[test]
fn a_graceful_stop_moves_the_address_long_before_the_active_down_interval() -> Result<()> {
    // RFC 9568 6.4.2: on priority 0 a Backup waits for Skew_Time only.
    let lab = Lab::new(2)?;
    let slow = |priority| [VirtualRouter::lan(priority).with("advert_interval", "\"5s\"")];
    let _echo = UdpEcho::start(&lab.routers[1], 1)?;
    let mut best = Xvrrp::start(&lab.routers[0], &slow(255 - 1))?;
    best.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &slow(250))?;
    backup.wait_for_state("lan", "backup")?;
    eventually("the Backup has heard the Active router", PATIENCE, || {
        ensure!(backup.virtual_router("lan")?["active"]["priority"] == 254, "not yet");
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
fn the_backup_learns_the_interval_of_the_active_router() -> Result<()> {
    // RFC 9568 6.4.2
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("advert_interval", "\"250ms\"")])?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    active.wait_for_state("lan", "active")?;
    eventually("the interval is learned", PATIENCE, || {
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
fn two_hosts_are_each_active_for_one_address_and_for_both_when_the_other_is_gone() -> Result<()> {
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
    lab.client.sh("ping -c 1 -W 5 192.0.2.1 && ping -c 1 -W 5 192.0.2.10")?;
    lab.plug(1)?;
    right.wait_for_state("web", "active")?;
    left.wait_for_state("web", "backup")?;
    left.wait_for_transitions("lan", "active", 1)?;
    Ok(())
}

#[test]
fn the_owner_is_active_at_once_and_keeps_its_own_address() -> Result<()> {
    // RFC 9568 6.4.1
    let lab = Lab::new(2)?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100).with("addresses", "[\"192.0.2.2/24\"]")])?;
    backup.wait_for_state("lan", "active")?;
    let mut owner = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(255).with("addresses", "[\"192.0.2.2/24\"]")])?;
    owner.daemon.wait_for_line(&["state=active ", "reason=owner"], PATIENCE)?;
    backup.wait_for_state("lan", "backup")?;
    owner.stop()?;
    assert!(lab.routers[0].ip("-4 -o addr show dev eth0")?.contains("192.0.2.2/24"), "it was not ours to take away");
    backup.wait_for_state("lan", "active")
}
