//! Virtual routers on two interfaces that change role together: a gateway has both sides, or none.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{
    INTERFACE, Keepalived, Lab, PATIENCE, SERVER, UPSTREAM, UPSTREAM_VIP, VIP, VirtualRouter, Xvrrp, eventually, script,
};

const GROUP: &str = "[[sync_group]]\nname = \"gw\"\nmembers = [\"lan\", \"wan\"]\n";

fn lan(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority)
}

fn wan(priority: u8) -> VirtualRouter {
    VirtualRouter::lan(priority)
        .with("name", "\"wan\"")
        .with("interface", &format!("{UPSTREAM:?}"))
        .with("vrid", "52")
        .with("addresses", &format!("[\"{UPSTREAM_VIP}/24\"]"))
}

fn agent(lab: &Lab, router: usize, priority: u8, tables: &str) -> Result<Xvrrp> {
    Xvrrp::start_by(&lab.routers[router], &[lan(priority), wan(priority)], &[], tables)
}

fn wait_for_both(agent: &mut Xvrrp, state: &str) -> Result<()> {
    ["lan", "wan"].iter().try_for_each(|name| agent.wait_for_state(name, state))
}

/// The first one Active, the second one Backup, and the first one's group with these further keys.
fn pair(lab: &Lab, keys: &str) -> Result<[Xvrrp; 2]> {
    let mut first = agent(lab, 0, 200, &format!("{GROUP}{keys}"))?;
    wait_for_both(&mut first, "active")?;
    let mut second = agent(lab, 1, 100, GROUP)?;
    wait_for_both(&mut second, "backup")?;
    Ok([first, second])
}

/// Through whoever has both addresses: each host's way to the other is the virtual address of its own side.
fn ensure_forwarded(lab: &Lab) -> Result<()> {
    const HOST: u8 = 9;
    let _echo = UdpEcho::start(lab.server.as_ref().context("a lab with a server")?, HOST)?;
    UdpProbe::start(&lab.client, SERVER, Duration::from_millis(10))?.wait_for_answer_from(HOST, PATIENCE)
}

/// A program that notes its arguments in a file.
fn scribe(directory: &Path) -> Result<(String, String)> {
    let notes = directory.join("notes");
    let program = script(directory, "scribe", &format!("echo \"$@ $XVRRP_REASON\" >> {}", notes.display()))?;
    fs::write(&notes, "")?;
    Ok((program.display().to_string(), notes.display().to_string()))
}

#[test]
fn both_addresses_move_when_a_cable_is_pulled_or_an_interface_goes_and_come_back_together() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let directory = tempfile::tempdir()?;
    let (program, notes) = scribe(directory.path())?;
    let [mut first, mut second] = pair(&lab, &format!("notify = {program:?}\n"))?;
    assert_eq!(first.virtual_router("wan")?["sync_group"], "gw");

    lab.pull(0)?;
    wait_for_both(&mut second, "active")?;
    wait_for_both(&mut first, "fault")?;
    assert_eq!(first.virtual_router("lan")?["reason"], "interface_down");
    assert_eq!(first.virtual_router("wan")?["reason"], "partner_fault");
    ensure_forwarded(&lab)?;

    lab.plug(0)?;
    wait_for_both(&mut first, "active")?;
    wait_for_both(&mut second, "backup")?;
    ensure_forwarded(&lab)?;
    eventually("the group's program was told of each change once", PATIENCE, || {
        let notes = fs::read_to_string(&notes)?;
        let expected = [
            "GROUP gw BACKUP 200 startup",
            "GROUP gw MASTER 200 active_down",
            "GROUP gw FAULT 200 interface_down",
            "GROUP gw BACKUP 200 interface_up",
            "GROUP gw MASTER 200 preempted",
        ];
        ensure!(notes.lines().eq(expected), "{notes}");
        Ok(())
    })?;

    lab.routers[0].ip(&format!("link del {UPSTREAM}"))?;
    wait_for_both(&mut second, "active")?;
    wait_for_both(&mut first, "fault")?;
    // Also once it has started anew without the interface.
    eventually("the other one waits for its partner", PATIENCE, || {
        let wan = first.virtual_router("wan")?;
        ensure!(wan["reason"].as_str().is_some_and(|reason| reason.contains(UPSTREAM)), "{wan}");
        ensure!(first.virtual_router("lan")?["reason"] == "partner_fault");
        Ok(())
    })
}

#[test]
fn a_check_that_one_tracks_counts_for_all() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("broken");
    let check = format!("[[check]]\nname = \"broken\"\nfile = {file:?}\ninterval = \"50ms\"\n");
    let routers = [lan(200), wan(200).with("track", "[\"broken\"]")];
    let mut first = Xvrrp::start_by(&lab.routers[0], &routers, &[], &format!("{check}{GROUP}"))?;
    wait_for_both(&mut first, "active")?;
    let mut second = agent(&lab, 1, 100, GROUP)?;
    wait_for_both(&mut second, "backup")?;
    fs::write(&file, "1")?;
    wait_for_both(&mut first, "fault")?;
    assert_eq!(first.virtual_router("lan")?["reason"], "check_failed");
    wait_for_both(&mut second, "active")?;
    fs::remove_file(&file)?;
    wait_for_both(&mut first, "active")?;
    wait_for_both(&mut second, "backup")
}

#[test]
fn where_one_segment_is_cut_all_stay_as_they_were() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let [first, second] = pair(&lab, "")?;
    lab.isolate(0)?;
    // Of more than three Active_Down_Intervals.
    thread::sleep(Duration::from_millis(1_500));
    for name in ["lan", "wan"] {
        ensure!(first.state(name)? == "active" && second.state(name)? == "backup", "{name} has changed");
        ensure!(
            first.transitions(name, "backup") == 1 && second.transitions(name, "active") == 0,
            "{name} has changed"
        );
    }
    Ok(())
}

#[test]
fn a_member_that_is_handed_over_takes_its_group_along_and_back() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let [mut first, mut second] = pair(&lab, "")?;
    let (code, said) = first.hand_over("wan", &["--force"])?;
    ensure!(code == Some(0) && said.contains("is Active with priority 100"), "{code:?}: {said}");
    let ensure_handed_over = |first: &Xvrrp| -> Result<()> {
        for name in ["lan", "wan"] {
            let router = first.virtual_router(name)?;
            ensure!(router["state"] == "backup" && router["handed_over"] == true, "{router}");
            ensure!(second.state(name)? == "active", "{name} is not there");
        }
        Ok(())
    };
    // The command has waited for all of them.
    ensure_handed_over(&first)?;
    ensure_forwarded(&lab)?;
    first.reload()?;
    ensure_handed_over(&first)?;
    ensure!(second.daemon.count_lines(&["reason=active_down"]) == 0, "priority 0 was not heard on both");

    let (code, said) = first.hand_over("lan", &["--resume"])?;
    ensure!(code == Some(0) && said.contains("is Active here again"), "{code:?}: {said}");
    wait_for_both(&mut first, "active")?;
    wait_for_both(&mut second, "backup")?;
    ensure_forwarded(&lab)
}

/// The same group in keepalived's words.
fn keepalived(priority: u8) -> String {
    let instance = |name, interface, vrid, address| {
        format!(
            "vrrp_instance {name} {{\n  state BACKUP\n  interface {interface}\n  virtual_router_id {vrid}\n  \
             priority {priority}\n  advert_int 0.1\n  virtual_ipaddress {{\n    {address}/24\n  }}\n}}\n"
        )
    };
    format!(
        "global_defs {{\n  vrrp_version 3\n  vrrp_garp_master_refresh 0\n}}\nvrrp_sync_group gw {{\n  group {{\n    lan\n    \
         wan\n  }}\n}}\n{}{}",
        instance("lan", INTERFACE, 51, VIP),
        instance("wan", UPSTREAM, 52, UPSTREAM_VIP)
    )
}

fn wait_for_keepalived(lab: &Lab, has: bool) -> Result<()> {
    for (interface, vip) in [(INTERFACE, VIP), (UPSTREAM, UPSTREAM_VIP)] {
        eventually("keepalived has both addresses, or none", PATIENCE, || {
            let addresses = lab.routers[1].ip(&format!("-4 -o addr show dev {interface}"))?;
            ensure!(addresses.contains(&format!("{vip}/24")) == has, "{addresses}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn beside_keepalived_with_the_same_group_both_addresses_move_both_ways() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let mut ours = agent(&lab, 0, 200, GROUP)?;
    wait_for_both(&mut ours, "active")?;
    let _peer = Keepalived::start_with(&lab.routers[1], &keepalived(100))?;
    lab.pull(0)?;
    wait_for_keepalived(&lab, true)?;
    wait_for_both(&mut ours, "fault")?;
    ensure_forwarded(&lab)?;
    lab.plug(0)?;
    wait_for_both(&mut ours, "active")?;
    wait_for_keepalived(&lab, false)?;
    ensure_forwarded(&lab)
}

#[test]
fn beside_a_better_keepalived_both_addresses_come_when_its_cable_is_pulled() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let _peer = Keepalived::start_with(&lab.routers[1], &keepalived(200))?;
    wait_for_keepalived(&lab, true)?;
    let mut ours = agent(&lab, 0, 100, GROUP)?;
    wait_for_both(&mut ours, "backup")?;
    lab.pull(1)?;
    wait_for_both(&mut ours, "active")?;
    ensure_forwarded(&lab)?;
    lab.plug(1)?;
    wait_for_both(&mut ours, "backup")?;
    wait_for_keepalived(&lab, true)
}
