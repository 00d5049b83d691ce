//! Planned handovers: the role moves to another host, and returns when the operator asks for it or no other host has
//! it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{
    Keepalived, KeepalivedConfig, Lab, PATIENCE, Pair, VIP, VirtualRouter, Xvrrp, eventually, wait_until_is,
};

/// Longer than the Active_Down_Interval at 300 ms adverts, so that a Backup that preempts would have taken over.
const WHILE: Duration = Duration::from_secs(2);

fn ensure_done(outcome: (Option<i32>, String), words: &[&str]) -> Result<()> {
    let (code, said) = outcome;
    let is_done = code == Some(0) && words.iter().all(|word| said.contains(word));
    ensure!(is_done, "exit code {code:?} instead of 0 with {words:?}: {said}");
    Ok(())
}

fn ensure_refused(outcome: (Option<i32>, String), words: &str) -> Result<()> {
    let (code, said) = outcome;
    ensure!(code == Some(1) && said.contains(words), "exit code {code:?} instead of 1 with {words:?}: {said}");
    Ok(())
}

fn wait_until_handed_over(agent: &Xvrrp) -> Result<()> {
    eventually("lan is Backup because it has handed over", PATIENCE, || {
        let router = agent.virtual_router("lan")?;
        ensure!(router["state"] == "backup" && router["handed_over"] == true, "{router}");
        Ok(())
    })
}

fn wait_until_not_handed_over(agent: &Xvrrp) -> Result<()> {
    wait_until_is("lan takes part in the election again", &serde_json::json!(false), || {
        Ok(agent.virtual_router("lan")?["handed_over"].take())
    })
}

/// Starts an Active router and a Backup in a lab.
fn start_two(lab: Lab, interval: &str) -> Result<([Xvrrp; 2], Lab)> {
    let pair = Pair::start(lab, [""; 2], |router| router.with("advert_interval", interval))?;
    Ok((<[Xvrrp; 2]>::try_from(pair.agents).ok().context("two agents")?, pair.lab))
}

#[test]
fn the_other_host_takes_the_role_within_skew_time_and_keeps_it_until_the_operator_wants_it_back() -> Result<()> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let ([active, mut backup], lab) = start_two(lab, "\"300ms\"")?;
    ensure_refused(active.hand_over("wan", &[])?, "no virtual router \"wan\"; it has lan")?;
    ensure_refused(active.hand_over("lan", &[])?, "no other router has been heard yet")?;
    ensure_refused(backup.hand_over("lan", &[])?, "there is no role to hand over")?;
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    ensure_done(active.hand_over("lan", &["--force"])?, &["is Active with priority 100", "after the handover"])?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    thread::sleep(WHILE);
    wait_until_handed_over(&active)?;
    let router = active.virtual_router("lan")?;
    let history = router["history"].as_array().context("history")?;
    let states: Vec<_> = history.iter().map(|entry| (entry["state"].clone(), entry["reason"].clone())).collect();
    ensure!(states.ends_with(&[("backup".into(), "handed_over".into())]), "the latest change in {router}");
    ensure!(history.iter().any(|entry| entry["state"] == "active"), "no earlier change in {router}");
    ensure!(router["reason"] == "handed_over", "the reason in {router}");
    ensure!(backup.state("lan")? == "active", "the other host is no longer Active: {}", backup.daemon.log());
    let seen = probe.finish();
    let longest = seen.longest_gap().map(|(_, longest)| longest).unwrap_or_default();
    // Skew_Time is 183 ms, Active_Down_Interval 1083 ms.
    ensure!(longest < Duration::from_millis(900), "the client was not served for {longest:?}");
    ensure_done(active.hand_over("lan", &[])?, &["has been handed over already"])?;

    ensure_done(active.hand_over("lan", &["--resume"])?, &["is Active here again"])?;
    backup.wait_for_state("lan", "backup")?;
    wait_until_not_handed_over(&active)?;
    ensure_done(active.hand_over("lan", &["--resume"])?, &["is not handed over; this host is Active"])?;
    // It has heard the other router by now, so `--force` is not needed.
    ensure_done(active.hand_over("lan", &[])?, &["is Active with priority 100"])
}

/// Returns how many milliseconds after the handover the command says that it has heard the other host.
fn printed_milliseconds(said: &str) -> Result<f64> {
    let (_, rest) = said.split_once("heard ").with_context(|| format!("no time in: {said}"))?;
    let (time, _) = rest.split_once(" ms").with_context(|| format!("no milliseconds in: {said}"))?;
    Ok(time.parse()?)
}

#[test]
fn the_first_advert_of_a_host_that_was_active_before_is_noticed_at_once_and_its_time_is_printed() -> Result<()> {
    let ([mut active, mut backup], _lab) = start_two(Lab::new(2)?, "\"1s\"")?;
    // The other host becomes Active for the first time, and sends nothing when it loses the role again.
    ensure_done(active.hand_over("lan", &["--force"])?, &[])?;
    ensure_done(active.hand_over("lan", &["--resume"])?, &[])?;
    active.wait_for_state("lan", "active")?;
    backup.wait_for_state("lan", "backup")?;
    let (code, said) = active.hand_over("lan", &[])?;
    ensure!(code == Some(0), "exit code {code:?}: {said}");
    // Skew_Time is 609 ms, and the second advert follows a second after the first.
    let printed = printed_milliseconds(&said)?;
    ensure!((609.0..1_609.0).contains(&printed), "{said}");
    backup.wait_for_state("lan", "active")?;
    // The time of the first advert stays, however many follow.
    eventually("several adverts have been heard", PATIENCE, || {
        let router = active.virtual_router("lan")?;
        let heard = &router["heard"];
        let (first, latest) = (heard["first_ago_ms"].as_f64(), heard["ago_ms"].as_f64());
        let (first, latest) = (first.context("no first advert")?, latest.context("no latest advert")?);
        ensure!(first - latest > 1_500.0, "{heard}");
        let in_state = router["in_state_ms"].as_f64().context("in_state_ms")?;
        ensure!((in_state - first - printed).abs() < 1.0, "{router}, but it printed: {said}");
        Ok(())
    })
}

#[test]
fn a_handover_survives_a_reload_a_replacement_and_a_crash() -> Result<()> {
    let ([mut active, backup], lab) = start_two(Lab::new(2)?, "\"100ms\"")?;
    ensure_done(active.hand_over("lan", &["--force"])?, &[])?;
    active.reload()?;
    wait_until_handed_over(&active)?;
    let routers = [VirtualRouter::lan(200)];
    let mut successor = active.replace(&lab.routers[0], &routers)?;
    active.daemon.wait(PATIENCE)?;
    successor.wait_for_state("lan", "backup")?;
    wait_until_handed_over(&successor)?;
    successor.kill()?;
    successor.start_again(&lab.routers[0], &routers)?;
    successor.wait_for_state("lan", "backup")?;
    thread::sleep(WHILE);
    wait_until_handed_over(&successor)?;
    ensure!(backup.state("lan")? == "active", "the other host is no longer Active: {}", backup.daemon.log());
    // A stop ends the handover: the next agent takes part in the election as configured.
    successor.stop()?;
    successor.start_again(&lab.routers[0], &routers)?;
    successor.wait_for_state("lan", "active")
}

#[test]
fn the_role_returns_when_no_other_host_has_it() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    ensure_refused(active.hand_over("lan", &["--force"])?, "nobody else took over, and this host is Active again")?;
    wait_until_not_handed_over(&active)?;

    let mut other = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    other.wait_for_state("lan", "backup")?;
    ensure_done(active.hand_over("lan", &["--force"])?, &[])?;
    other.kill()?;
    active.wait_for_state("lan", "active")?;
    wait_until_not_handed_over(&active)
}

#[test]
fn both_families_are_handed_over_together() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan_of_both(100)])?;
    backup.wait_for_state("lan", "backup")?;
    // A virtual router of both families is listed once.
    ensure_refused(active.hand_over("gw", &[])?, "has no virtual router \"gw\"; it has lan\n")?;
    ensure_done(active.hand_over("lan", &["--force"])?, &["is Active with priority 100"])?;
    thread::sleep(WHILE);
    backup.wait_for_state("lan", "active")?;
    active.wait_for_state("lan", "backup")?;
    // Neither family had to wait for its Active_Down_Interval.
    let log = backup.daemon.log();
    ensure!(backup.daemon.count_lines(&["reason=active_down"]) == 0, "it has waited for Active_Down_Interval: {log}");
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
    wait_until_handed_over(&agent)?;
    ensure_done(agent.hand_over("lan", &["--resume"])?, &["is Active here again"])?;
    keepalived.wait_for_state("BACKUP")?;
    keepalived.ensure_understood()
}
