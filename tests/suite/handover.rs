//! A planned move: the role goes to another host, and comes back when the operator wants it or nobody else has it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{Keepalived, KeepalivedConfig, Lab, PATIENCE, Pair, VIP, VirtualRouter, Xvrrp, eventually};

/// Of more than ten adverts: a Backup that preempted would have by then.
const WHILE: Duration = Duration::from_millis(1_200);

fn ensure_done(outcome: (Option<i32>, String), words: &[&str]) -> Result<()> {
    let (code, said) = outcome;
    ensure!(code == Some(0) && words.iter().all(|word| said.contains(word)), "{code:?}: {said}");
    Ok(())
}

fn ensure_refused(outcome: (Option<i32>, String), words: &str) -> Result<()> {
    let (code, said) = outcome;
    ensure!(code == Some(1) && said.contains(words), "{code:?}: {said}");
    Ok(())
}

fn ensure_handed_over(agent: &Xvrrp) -> Result<()> {
    let router = agent.virtual_router("lan")?;
    ensure!(router["state"] == "backup" && router["handed_over"] == true, "{router}");
    Ok(())
}

#[test]
fn the_other_host_has_the_role_in_skew_time_and_keeps_it_until_it_is_wanted_back() -> Result<()> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let pair = Pair::start(lab, [""; 2], |router| router)?;
    let ([active, backup], lab) = (<[Xvrrp; 2]>::try_from(pair.agents).ok().context("two agents")?, pair.lab);
    ensure_refused(active.hand_over("wan", &[])?, "no virtual router \"wan\"; it has lan")?;
    ensure_refused(active.hand_over("lan", &[])?, "no other router has been heard yet")?;
    ensure_refused(backup.hand_over("lan", &[])?, "there is no role to hand over")?;
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    ensure_done(active.hand_over("lan", &["--force"])?, &["is Active with priority 100", "after the handover"])?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    thread::sleep(WHILE);
    ensure_handed_over(&active)?;
    let router = active.virtual_router("lan")?;
    let history = router["history"].as_array().context("history")?;
    let states: Vec<_> = history.iter().map(|entry| (entry["state"].clone(), entry["reason"].clone())).collect();
    ensure!(states.ends_with(&[("backup".into(), "handed_over".into())]), "{router}");
    ensure!(history.iter().any(|entry| entry["state"] == "active"), "{router}");
    ensure!(router["reason"] == "handed_over" && backup.state("lan")? == "active");
    let seen = probe.finish();
    let longest = seen.longest_gap().map(|(_, longest)| longest).unwrap_or_default();
    // Skew_Time is 61 ms, Active_Down_Interval 361 ms.
    ensure!(longest < Duration::from_millis(250), "longest gap {longest:?}");
    ensure_done(active.hand_over("lan", &[])?, &["has been handed over already"])?;

    ensure_done(active.hand_over("lan", &["--resume"])?, &["is Active here again"])?;
    eventually("the other one is Backup", PATIENCE, || {
        let state = backup.state("lan")?;
        ensure!(state == "backup", "it is {state}");
        Ok(())
    })?;
    ensure!(active.virtual_router("lan")?["handed_over"] == false);
    ensure_done(active.hand_over("lan", &["--resume"])?, &["is not handed over; this host is Active"])?;
    // By now it has heard the other one.
    ensure_done(active.hand_over("lan", &[])?, &["is Active with priority 100"])
}

#[test]
fn a_handover_outlasts_a_reload_a_successor_and_a_crash() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, [""; 2], |router| router)?;
    let ([mut active, backup], lab) = (<[Xvrrp; 2]>::try_from(pair.agents).ok().context("two agents")?, pair.lab);
    ensure_done(active.hand_over("lan", &["--force"])?, &[])?;
    active.reload()?;
    ensure_handed_over(&active)?;
    let routers = [VirtualRouter::lan(200)];
    let mut successor = active.replace(&lab.routers[0], &routers)?;
    active.daemon.wait(PATIENCE)?;
    successor.wait_for_state("lan", "backup")?;
    ensure_handed_over(&successor)?;
    successor.kill()?;
    successor.start_again(&lab.routers[0], &routers)?;
    successor.wait_for_state("lan", "backup")?;
    thread::sleep(WHILE);
    ensure_handed_over(&successor)?;
    ensure!(backup.state("lan")? == "active");
    // A stop ends it: who starts anew takes part as configured.
    successor.stop()?;
    successor.start_again(&lab.routers[0], &routers)?;
    successor.wait_for_state("lan", "active")
}

#[test]
fn the_role_comes_back_where_nobody_has_it() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    ensure_refused(active.hand_over("lan", &["--force"])?, "nobody else took over, and this host is Active again")?;
    ensure!(active.virtual_router("lan")?["handed_over"] == false);

    let mut other = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    other.wait_for_state("lan", "backup")?;
    ensure_done(active.hand_over("lan", &["--force"])?, &[])?;
    other.kill()?;
    active.wait_for_state("lan", "active")?;
    ensure!(active.virtual_router("lan")?["handed_over"] == false);
    Ok(())
}

#[test]
fn both_families_move_together() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    backup.wait_for_state("lan", "backup")?;
    ensure_done(active.hand_over("lan", &["--force"])?, &["is Active with priority 100"])?;
    thread::sleep(WHILE);
    backup.wait_for_state("lan", "active")?;
    active.wait_for_state("lan", "backup")?;
    // Nobody fell back on the timer of the other family.
    ensure!(backup.daemon.count_lines(&["reason=active_down"]) == 0, "{}", backup.daemon.log());
    ensure_done(active.hand_over("lan", &["--resume"])?, &["is Active here again"])?;
    active.wait_for_state("lan", "active")?;
    backup.wait_for_state("lan", "backup")
}

#[test]
fn keepalived_takes_the_role_and_gives_it_back() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let mut keepalived = Keepalived::start(&lab.routers[1], &KeepalivedConfig::v3(51, 100))?;
    keepalived.wait_for_state("BACKUP")?;
    ensure_done(agent.hand_over("lan", &["--force"])?, &["is Active with priority 100"])?;
    keepalived.wait_for_state("MASTER")?;
    thread::sleep(WHILE);
    ensure_handed_over(&agent)?;
    ensure_done(agent.hand_over("lan", &["--resume"])?, &["is Active here again"])?;
    keepalived.wait_for_state("BACKUP")?;
    keepalived.ensure_understood()
}
