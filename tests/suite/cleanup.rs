//! What an agent leaves on its host: nothing, and it takes away nothing that is not its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xvrrp_dataplane::{Attachments, Capacity, Dataplane};
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually, host_state, ifindex, wait_for_host_state,
    wait_until,
};

/// Several Active_Down_Intervals at 100 ms adverts.
const SETTLED: Duration = Duration::from_secs(2);

fn addresses(host: &Namespace) -> Result<String> {
    host.ip("-4 -o address show dev eth0")
}

fn has(host: &Namespace, address: &str) -> Result<bool> {
    Ok(addresses(host)?.contains(&format!(" {address} ")))
}

fn wait_for_address(host: &Namespace, address: &str, present: bool) -> Result<()> {
    eventually(&format!("{address} present: {present}"), PATIENCE, || {
        ensure!(has(host, address)? == present, "{}", addresses(host)?);
        Ok(())
    })
}

fn wait_until_gone(host: &Namespace, traces: &[&str]) -> Result<()> {
    traces.iter().try_for_each(|trace| {
        wait_until(&format!("{trace} is nowhere on the host"), || Ok(!host_state(host)?.contains(trace)))
    })
}

fn stopped_by(signal: Signal) -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let both = [
        VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24\"]"),
        VirtualRouter::lan(200)
            .with("name", "\"web\"")
            .with("vrid", "52")
            .with("addresses", "[\"192.0.2.10/24\"]")
            .with("virtual_mac", "false"),
    ];
    let mut agent = Xvrrp::start(host, &both)?;
    for (name, address) in [("lan", "203.0.113.1/24"), ("web", "192.0.2.10/24")] {
        agent.wait_for_state(name, "active")?;
        wait_for_address(host, address, true)?;
    }
    for trace in ["00:00:5e:00:01:33", "xvrrp_ingress", "xvrrp_egress", "192.0.2.1/24"] {
        wait_until(&format!("{trace} is on the host"), || Ok(host_state(host)?.contains(trace)))?;
    }

    let status = agent.daemon.stop(signal, PATIENCE)?;
    assert_eq!(status.code(), Some(0), "{signal}");
    wait_for_host_state(host, &before)?;
    assert!(!agent.control().exists(), "the control socket is still there");
    Ok(())
}

#[test]
fn sigterm_leaves_the_host_as_it_was() -> Result<()> {
    stopped_by(Signal::SIGTERM)
}

#[test]
fn sigint_leaves_the_host_as_it_was() -> Result<()> {
    stopped_by(Signal::SIGINT)
}

#[test]
fn a_backup_leaves_the_host_as_it_was_and_the_active_router_alone() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let before = host_state(&lab.routers[1])?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    assert!(backup.stop()?.success());
    wait_for_host_state(&lab.routers[1], &before)?;
    assert_eq!(active.state("lan")?, "active");
    assert_eq!(active.counter("lan", "advert_release")?, 0, "a Backup leaves silently (RFC 9568 6.4.2)");
    Ok(())
}

#[test]
fn a_stop_without_a_carrier_leaves_the_host_as_it_was() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    wait_for_address(host, "192.0.2.1/24", false)?;
    assert!(agent.stop()?.success());
    lab.plug(0)?;
    wait_until_gone(host, &["00:00:5e:00:01:33", "xvrrp", "192.0.2.1/24"])?;
    Ok(())
}

#[test]
fn after_a_kill_the_next_start_removes_what_was_left() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(host, "192.0.2.1/24", true)?;
    let mut other = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    other.wait_for_state("lan", "backup")?;

    agent.kill()?;
    other.wait_for_state("lan", "active")?;
    assert!(has(host, "192.0.2.1/24")?, "nobody is there to take it off");
    let worse = [VirtualRouter::lan(50)];
    let mut agent = agent.restart(host, &worse)?;
    agent.wait_for_state("lan", "backup")?;
    wait_for_address(host, "192.0.2.1/24", false)?;
    agent.daemon.wait_for_line(&["removed 192.0.2.1/24"], PATIENCE)?;

    assert!(agent.stop()?.success());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn after_a_kill_another_configuration_finds_no_trace_of_the_old_one() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let old = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24\"]");
    let mut agent = Xvrrp::start(host, &[old])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(host, "203.0.113.1/24", true)?;

    agent.kill()?;
    let new = [VirtualRouter::lan(200).with("vrid", "77").with("addresses", "[\"192.0.2.9/24\"]")];
    let mut agent = agent.restart(host, &new)?;
    agent.wait_for_state("lan", "active")?;
    wait_until_gone(host, &["00:00:5e:00:01:33", "192.0.2.1/24", "203.0.113.1"])?;
    assert!(agent.stop()?.success());
    wait_for_host_state(host, &before)?;
    Ok(())
}

/// The operator's addresses: one in the subnet of the interface's own, one in a subnet that only a virtual address
/// has, so that the kernel counts it as the virtual address's secondary.
const OPERATOR: [&str; 2] = ["192.0.2.77/24", "203.0.113.77/24"];

fn agent_beside_the_operators_addresses(lab: &Lab) -> Result<Xvrrp> {
    let host = &lab.routers[0];
    let router = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24\"]");
    let mut agent = Xvrrp::start(host, &[router])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(host, "203.0.113.1/24", true)?;
    for address in OPERATOR {
        host.ip(&format!("address add {address} dev eth0"))?;
    }
    let listed = addresses(host)?;
    let secondary = listed.lines().find(|line| line.contains("203.0.113.77/24"));
    assert!(secondary.is_some_and(|line| line.contains("secondary")), "{listed}");
    Ok(agent)
}

#[test]
fn a_stop_never_takes_the_operators_addresses() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = agent_beside_the_operators_addresses(&lab)?;
    assert!(agent.stop()?.success());
    for address in OPERATOR {
        assert!(has(host, address)?, "{address} is gone: {}", addresses(host)?);
    }
    wait_for_address(host, "203.0.113.1/24", false)?;
    wait_for_address(host, "192.0.2.1/24", false)?;
    Ok(())
}

#[test]
fn a_start_after_a_kill_never_takes_the_operators_addresses() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = agent_beside_the_operators_addresses(&lab)?;
    agent.kill()?;
    let mut agent = agent.restart(host, &[VirtualRouter::lan(200).with("addresses", "[\"192.0.2.9/24\"]")])?;
    agent.wait_for_state("lan", "active")?;
    for address in OPERATOR {
        assert!(has(host, address)?, "{address} is gone: {}", addresses(host)?);
    }
    wait_for_address(host, "203.0.113.1/24", false)?;
    wait_for_address(host, "192.0.2.1/24", false)?;
    Ok(())
}

#[test]
fn an_address_that_was_there_before_stays() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    host.ip("address add 192.0.2.1/24 dev eth0")?;
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    thread::sleep(SETTLED);
    assert!(agent.stop()?.success());
    wait_for_host_state(host, &before)?;

    let mut agent = agent.restart(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    agent.kill()?;
    let mut agent = agent.restart(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    assert!(agent.stop()?.success());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn an_address_that_the_operator_has_replaced_is_the_operators() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    wait_for_address(host, "192.0.2.1/24", true)?;
    // Taken off, it would come back. So the operator makes it theirs where it stands.
    host.ip("address replace 192.0.2.1/24 dev eth0")?;
    assert!(agent.stop()?.success());
    assert!(has(host, "192.0.2.1/24")?, "{}", addresses(host)?);
    Ok(())
}

#[test]
fn a_unicast_filter_that_somebody_else_has_opened_stays_open() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    host.sh("bridge fdb add 00:00:5e:00:01:33 dev eth0 self permanent")?;
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    assert!(agent.stop()?.success());
    wait_for_host_state(host, &before)?;
    Ok(())
}

#[test]
fn an_agent_that_finds_the_hook_taken_names_the_holder_and_changes_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let _holder = host.run(|| -> Result<Attachments> {
        let mut holder = Dataplane::load(Capacity { routers: 1, vips: 1, sources: 0 })?.attachments;
        holder.attach("eth0", ifindex("eth0")?, None)?;
        Ok(holder)
    })??;
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    assert_eq!(agent.daemon.wait(PATIENCE)?.code(), Some(1));
    let log = agent.daemon.log();
    let named = "the XDP hook of eth0 is taken by program \"xvrrp_ingress\" (id ";
    assert!(log.contains(named) && log.contains("generic mode"), "{log}");
    wait_for_host_state(host, &before)?;
    assert!(!agent.control().exists(), "the control socket is still there");
    Ok(())
}

#[test]
fn a_second_agent_on_the_host_is_refused_and_disturbs_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut first = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    first.wait_for_state("lan", "active")?;
    wait_for_address(host, "192.0.2.1/24", true)?;
    let before = host_state(host)?;
    let other = VirtualRouter::lan(200).with("vrid", "52").with("addresses", "[\"192.0.2.10/24\"]");
    let mut second = Xvrrp::start(host, &[other])?;
    assert_eq!(second.daemon.wait(PATIENCE)?.code(), Some(1), "{}", second.daemon.log());
    wait_for_host_state(host, &before)?;
    assert_eq!(first.state("lan")?, "active");
    Ok(())
}

/// A directory for pins that no other test has; gone when this is dropped.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new(name: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("xvrrp-{name}-{}", std::process::id())))
    }

    /// A line of `[agent]`.
    fn key(&self) -> String {
        format!("bpffs = {:?}\n", self.0)
    }

    /// The directories of namespaces.
    fn directories(&self) -> BTreeSet<PathBuf> {
        fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn pins_of_a_namespace_that_is_gone_are_removed_and_those_of_living_ones_are_not() -> Result<()> {
    let bpffs = Bpffs::new("gone");
    let start = |lab: &Lab| -> Result<Xvrrp> {
        let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &[], &bpffs.key())?;
        agent.wait_for_state("lan", "active")?;
        Ok(agent)
    };
    // In this one an agent has crashed, and its interface is gone too.
    let living = Lab::new(1)?;
    start(&living)?.kill()?;
    living.routers[0].ip("link delete eth0")?;
    let of_living = bpffs.directories();
    ensure!(of_living.len() == 1, "{of_living:?}");
    let leave_behind = || -> Result<()> {
        let lab = Lab::new(1)?;
        start(&lab)?.kill()?;
        Ok(())
    };

    leave_behind()?;
    ensure!(bpffs.directories().len() == 2, "{:?}", bpffs.directories());
    // The kernel takes its time to end a namespace. This host's agent finds that, and is no Backup for it.
    let lab = Lab::new(1)?;
    eventually("a start removes them", PATIENCE, || {
        let mut agent = start(&lab)?;
        let removed = agent.daemon.wait_for_line(&["its network namespace is gone"], Duration::from_secs(1));
        ensure!(agent.stop()?.success());
        removed?;
        ensure!(bpffs.directories() == of_living, "{:?}", bpffs.directories());
        Ok(())
    })?;

    leave_behind()?;
    let config = tempfile::NamedTempFile::new()?;
    fs::write(
        config.path(),
        format!(
            "[agent]\n{}\n[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.1/24\"]\n",
            bpffs.key()
        ),
    )?;
    eventually("cleanup removes them", PATIENCE, || {
        let mut command = lab.routers[0].command(agent_binary()?)?;
        let output = command.args(["cleanup", "--config"]).arg(config.path()).output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(bpffs.directories() == of_living, "{said} {:?}", bpffs.directories());
        Ok(())
    })?;
    // What no one could prove the end of is left alone.
    let bare = bpffs.0.join("netns-1");
    fs::create_dir(&bare)?;
    let mut agent = start(&lab)?;
    agent.daemon.wait_for_line(&["state=active "], PATIENCE)?;
    ensure!(agent.stop()?.success());
    ensure!(bare.exists());
    fs::remove_dir(&bare)?;
    Ok(())
}
