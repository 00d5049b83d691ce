//! `xvrrp monitor`: frames as XDP sees them.

use std::process::Command;
use std::str;

use anyhow::{Result, ensure};
use xvrrp_lab::traffic::capture;
use xvrrp_lab::{Daemon, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, agent_binary, eventually};

fn monitor(agent: &Xvrrp) -> Result<Command> {
    let mut command = Command::new(agent_binary()?);
    command.args(["monitor", "--control"]).arg(agent.control());
    Ok(command)
}

#[test]
fn frames_that_end_in_xdp_are_shown_with_what_became_of_them() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("seen.pcap");
    let mut first = Daemon::start("monitor", monitor(&agent)?.arg("--write").arg(&file), directory.path())?;
    first.wait_for_line(&["Ctrl-C ends"], PATIENCE)?;

    lab.client.sh(&format!("ip neigh flush dev eth0; ping -n -c 1 -W 5 {VIP}"))?;
    first.wait_for_line(&[&format!(" eth0 ARP who has {VIP}? tell "), ": arp_answered"], PATIENCE)?;
    // Of another version: it hears nobody, and becomes Active.
    let other = VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"");
    let mut other = Xvrrp::start(&lab.routers[1], &[other])?;
    let told = ["VRRPv2 advert VRID 51 priority 100 interval 1 s addresses 1: advert_version"];
    first.wait_for_line(&told, PATIENCE)?;

    let refused = monitor(&agent)?.output()?;
    let said = str::from_utf8(&refused.stderr)?;
    ensure!(refused.status.code() == Some(1) && said.contains("another `xvrrp monitor` runs"), "{said}");

    // What tcpdump never sees is in the file, whole.
    let asked = capture::read(&file, &format!("arp.opcode == 1 && arp.dst.proto_ipv4 == {VIP}"), &["frame.number"])?;
    ensure!(!asked.is_empty(), "no ARP");
    let whole = "vrrp && frame.len == frame.cap_len && ip.checksum.status == 1 && vrrp.checksum.status == 1";
    let adverts = capture::read(&file, whole, &["vrrp.virt_rtr_id", "vrrp.prio", "vrrp.version"])?;
    ensure!(adverts.first().is_some_and(|advert| advert == &["51", "100", "2"]), "{adverts:?}");
    drop(first);

    // With the first one gone, another may watch.
    let again = tempfile::tempdir()?;
    let mut second = eventually("another one watches", PATIENCE, || {
        let mut second = Daemon::start("monitor", &mut monitor(&agent)?, again.path())?;
        second.wait_for_line(&["advert_version"], PATIENCE / 4).map(|_| second)
    })?;
    ensure!(agent.state("lan")? == "active");
    ensure!(agent.stop()?.success() && other.stop()?.success());
    second.wait_for_line(&["the agent has ended"], PATIENCE)?;
    Ok(())
}
