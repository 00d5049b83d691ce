//! `xvrrp monitor` shows frames as XDP receives them.

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
fn frames_that_xdp_consumes_are_shown_with_their_outcome() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("seen.pcap");
    let mut first = Daemon::start("monitor", monitor(&agent)?.arg("--write").arg(&file), directory.path())?;
    first.wait_for_line(&["Ctrl-C ends"], PATIENCE)?;

    let ping = format!("ip neigh flush dev eth0; ping -n -c 1 -W 1 {VIP}");
    eventually("the client reaches the virtual address", PATIENCE, || lab.client.sh(&ping))?;
    first.wait_for_line(&[&format!(" eth0 ARP who has {VIP}? tell "), ": arp_answered"], PATIENCE)?;
    // A router with another version discards the adverts of the first one, and becomes Active too.
    let other = VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"");
    let mut other = Xvrrp::start(&lab.routers[1], &[other])?;
    let line = ["VRRPv2 advert VRID 51 priority 100 interval 1 s addresses 1: advert_version"];
    first.wait_for_line(&line, PATIENCE)?;

    let refused = monitor(&agent)?.output()?;
    let message = str::from_utf8(&refused.stderr)?;
    ensure!(refused.status.code() == Some(1) && message.contains("another `xvrrp monitor` runs"), "{message}");

    // The file has these frames completely, although tcpdump never sees them.
    let complete = "vrrp && frame.len == frame.cap_len && ip.checksum.status == 1 && vrrp.checksum.status == 1";
    eventually("the file has an ARP request and an advert", PATIENCE, || {
        let requests = format!("arp.opcode == 1 && arp.dst.proto_ipv4 == {VIP}");
        ensure!(!capture::read(&file, &requests, &["frame.number"])?.is_empty(), "no ARP request");
        let adverts = capture::read(&file, complete, &["vrrp.virt_rtr_id", "vrrp.prio", "vrrp.version"])?;
        ensure!(adverts.first().is_some_and(|advert| advert == &["51", "100", "2"]), "{adverts:?}");
        Ok(())
    })?;
    drop(first);

    // Once the first monitor has ended, another one may run.
    let again = tempfile::tempdir()?;
    let mut second = eventually("another monitor shows frames", PATIENCE, || {
        let mut second = Daemon::start("monitor", &mut monitor(&agent)?, again.path())?;
        second.wait_for_line(&["advert_version"], PATIENCE / 4).map(|_| second)
    })?;
    ensure!(agent.state("lan")? == "active");
    ensure!(agent.stop()?.success() && other.stop()?.success());
    second.wait_for_line(&["the agent has ended"], PATIENCE)?;
    Ok(())
}
