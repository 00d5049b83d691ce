//! Virtual routers on two interfaces change role together, so a gateway is Active on both sides or on neither.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::{
    INTERFACE, Keepalived, Lab, PATIENCE, SERVER, UPSTREAM, UPSTREAM_VIP, VIP, VirtualRouter, Xvrrp, eventually,
    script, wait_until_is,
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

/// Starts two agents, of which the first is Active and the second Backup. The first one's group has these additional
/// keys.
fn pair(lab: &Lab, keys: &str) -> Result<[Xvrrp; 2]> {
    let mut first = agent(lab, 0, 200, &format!("{GROUP}{keys}"))?;
    wait_for_both(&mut first, "active")?;
    let mut second = agent(lab, 1, 100, GROUP)?;
    wait_for_both(&mut second, "backup")?;
    Ok([first, second])
}

/// Fails unless client and server reach each other. The gateway of each is the virtual address on its side, so one
/// router must have both addresses.
fn ensure_forwarded(lab: &Lab) -> Result<()> {
    const HOST: u8 = 9;
    let _echo = UdpEcho::start(lab.server.as_ref().context("a lab with a server")?, HOST)?;
    UdpProbe::start(&lab.client, SERVER, Duration::from_millis(10))?.wait_for_answer_from(HOST, PATIENCE)
}

/// Writes a program that records its arguments in a file. Returns the program and the file.
fn recorder(directory: &Path) -> Result<(String, String)> {
    let calls = directory.join("calls");
    let program = script(directory, "recorder", &format!("echo \"$@ $XVRRP_REASON\" >> {}", calls.display()))?;
    fs::write(&calls, "")?;
    Ok((program.display().to_string(), calls.display().to_string()))
}

#[test]
fn both_addresses_move_together_when_a_cable_is_pulled_or_an_interface_disappears() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let directory = tempfile::tempdir()?;
    let (program, calls) = recorder(directory.path())?;
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
    eventually("the group's program has run once for each change", PATIENCE, || {
        let calls = fs::read_to_string(&calls)?;
        let expected = [
            "GROUP gw BACKUP 0 startup",
            "GROUP gw MASTER 0 active_down",
            "GROUP gw FAULT 0 interface_down",
            "GROUP gw BACKUP 0 interface_up",
            "GROUP gw MASTER 0 preempted",
        ];
        ensure!(calls.lines().eq(expected), "{calls}");
        Ok(())
    })?;

    lab.routers[0].ip(&format!("link del {UPSTREAM}"))?;
    wait_for_both(&mut second, "active")?;
    wait_for_both(&mut first, "fault")?;
    // The agent restarts without the interface.
    eventually("the other virtual router waits for its partner", PATIENCE, || {
        let wan = first.virtual_router("wan")?;
        ensure!(wan["reason"].as_str().is_some_and(|reason| reason.contains(UPSTREAM)), "{wan}");
        ensure!(first.virtual_router("lan")?["reason"] == "partner_fault");
        Ok(())
    })
}

#[test]
fn a_check_that_a_member_or_its_group_tracks_affects_the_whole_group() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let directory = tempfile::tempdir()?;
    let (program, calls) = recorder(directory.path())?;
    let check = |name: &str| {
        let file = directory.path().join(name);
        format!("[[check]]\nname = {name:?}\nfile = {file:?}\ninterval = \"50ms\"\n")
    };
    let routers = [lan(200), wan(200).with("track", "[\"own\"]")];
    let tables = format!("{}{}{GROUP}track = [\"common\"]\nnotify = {program:?}\n", check("own"), check("common"));
    let mut first = Xvrrp::start_by(&lab.routers[0], &routers, &[], &tables)?;
    wait_for_both(&mut first, "active")?;
    let mut second = agent(&lab, 1, 100, GROUP)?;
    wait_for_both(&mut second, "backup")?;
    for (file, reasons) in [("own", ["partner_fault", "check_failed"]), ("common", ["check_failed"; 2])] {
        let file = directory.path().join(file);
        fs::write(&file, "1")?;
        wait_for_both(&mut first, "fault")?;
        let found = ["lan", "wan"].map(|name| first.virtual_router(name).map(|router| router["reason"].clone()));
        for (found, expected) in found.into_iter().zip(reasons) {
            assert_eq!(found?, expected);
        }
        wait_for_both(&mut second, "active")?;
        fs::remove_file(&file)?;
        wait_for_both(&mut first, "active")?;
        wait_for_both(&mut second, "backup")?;
    }
    eventually("the group's program has run once for each change", PATIENCE, || {
        let calls = fs::read_to_string(&calls)?;
        let states: Vec<_> = calls.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        let expected = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"];
        ensure!(states == expected, "{calls}");
        Ok(())
    })
}

#[test]
fn a_group_of_one_runs_its_programs() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let (program, calls) = recorder(directory.path())?;
    let group = format!("[[sync_group]]\nname = \"one\"\nmembers = [\"lan\"]\nnotify = {program:?}\n");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[lan(200)], &[], &group)?;
    agent.wait_for_state("lan", "active")?;
    assert_eq!(agent.virtual_router("lan")?["sync_group"], "one");
    eventually("the group's program has run", PATIENCE, || {
        let calls = fs::read_to_string(&calls)?;
        ensure!(calls.lines().eq(["GROUP one BACKUP 0 startup", "GROUP one MASTER 0 active_down"]), "{calls}");
        Ok(())
    })
}

#[test]
fn no_role_changes_if_the_routers_still_hear_each_other_on_one_segment() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let [first, second] = pair(&lab, "")?;
    lab.isolate(0)?;
    // More than three Active_Down_Intervals.
    thread::sleep(Duration::from_millis(1_500));
    for name in ["lan", "wan"] {
        ensure!(first.state(name)? == "active" && second.state(name)? == "backup", "{name} has changed");
        first.wait_for_transitions(name, "backup", 1)?;
        let sent = second.virtual_router(name)?["adverts_sent"].clone();
        ensure!(
            sent == 0 && second.transitions(name, "active") == 0,
            "{name} has taken over:\n{}",
            second.daemon.log()
        );
    }
    Ok(())
}

#[test]
fn a_handover_of_one_member_and_its_end_apply_to_the_whole_group() -> Result<()> {
    let lab = Lab::with_upstream(2)?;
    let [mut first, mut second] = pair(&lab, "")?;
    let (code, output) = first.hand_over("wan", &["--force"])?;
    // The address is that of the other router in the network of the virtual router that was named.
    let words = format!("{} is Active with priority 100", Lab::upstream_address(1));
    ensure!(code == Some(0) && output.contains(&words), "{code:?}: {output}");
    let ensure_handed_over = |first: &Xvrrp| -> Result<()> {
        for name in ["lan", "wan"] {
            let router = first.virtual_router(name)?;
            ensure!(router["state"] == "backup" && router["handed_over"] == true, "{router}");
            ensure!(second.state(name)? == "active", "{name} is not Active on the other router");
        }
        Ok(())
    };
    // The command returns only once this holds for both.
    ensure_handed_over(&first)?;
    ensure_forwarded(&lab)?;
    first.reload()?;
    ensure_handed_over(&first)?;
    let missed = second.daemon.count_lines(&["reason=active_down"]);
    ensure!(missed == 0, "no advert with priority 0 was heard:\n{}", second.daemon.log());

    let (code, output) = first.hand_over("lan", &["--resume"])?;
    ensure!(code == Some(0) && output.contains("is Active here again"), "{code:?}: {output}");
    wait_for_both(&mut first, "active")?;
    wait_for_both(&mut second, "backup")?;
    ensure_forwarded(&lab)
}

/// Returns the configuration of the same group for keepalived.
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

/// Waits until keepalived has both addresses, or neither.
fn wait_for_keepalived(lab: &Lab, has_them: bool) -> Result<()> {
    for (interface, vip) in [(INTERFACE, VIP), (UPSTREAM, UPSTREAM_VIP)] {
        wait_until_is(&format!("keepalived has {vip}"), &has_them, || {
            let addresses = lab.routers[1].ip(&format!("-4 -o addr show dev {interface}"))?;
            Ok(addresses.contains(&format!("{vip}/24")))
        })?;
    }
    Ok(())
}

#[test]
fn both_addresses_move_to_a_keepalived_with_the_same_group_and_back() -> Result<()> {
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
fn both_addresses_move_from_a_better_keepalived_when_its_cable_is_pulled_and_back() -> Result<()> {
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
