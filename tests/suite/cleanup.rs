//! An agent leaves nothing on its host, and it never removes what is not its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
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

fn ensure_present(host: &Namespace, address: &str) -> Result<()> {
    let addresses = addresses(host)?;
    ensure!(addresses.contains(&format!(" {address} ")), "{address} is not among {addresses}");
    Ok(())
}

fn wait_for_address(host: &Namespace, address: &str, present: bool) -> Result<()> {
    eventually(&format!("{address} is on the host: {present}"), PATIENCE, || {
        let addresses = addresses(host)?;
        ensure!(addresses.contains(&format!(" {address} ")) == present, "{addresses}");
        Ok(())
    })
}

/// Waits until each of these words is somewhere in the state of the host.
fn wait_until_present(host: &Namespace, traces: &[&str]) -> Result<()> {
    traces
        .iter()
        .try_for_each(|trace| wait_until(&format!("{trace} is on the host"), || Ok(host_state(host)?.contains(trace))))
}

/// Waits until none of these words is anywhere in the state of the host.
fn wait_until_gone(host: &Namespace, traces: &[&str]) -> Result<()> {
    traces.iter().try_for_each(|trace| {
        wait_until(&format!("{trace} is nowhere on the host"), || Ok(!host_state(host)?.contains(trace)))
    })
}

fn stop(agent: &mut Xvrrp) -> Result<()> {
    let status = agent.stop()?;
    ensure!(status.success(), "the agent failed: {status}");
    Ok(())
}

/// Starts an agent and waits until its virtual router `lan` is Active.
fn start_active(host: &Namespace, router: VirtualRouter) -> Result<Xvrrp> {
    let mut agent = Xvrrp::start(host, &[router])?;
    agent.wait_for_state("lan", "active")?;
    Ok(agent)
}

/// Starts another agent with the directory of one that was killed, and waits until its virtual router `lan` is Active.
fn restart_active(agent: Xvrrp, host: &Namespace, router: VirtualRouter) -> Result<Xvrrp> {
    let mut agent = agent.restart(host, &[router])?;
    agent.wait_for_state("lan", "active")?;
    Ok(agent)
}

/// Stops the agent that `live` returns, and fails unless the host is afterwards as it was before `live`.
fn ensure_leaves_no_trace(host: &Namespace, live: impl FnOnce() -> Result<Xvrrp>) -> Result<()> {
    let before = host_state(host)?;
    let mut agent = live()?;
    stop(&mut agent)?;
    wait_for_host_state(host, &before)?;
    ensure!(!agent.control().exists(), "the control socket is still there");
    Ok(())
}

/// Starts an agent with all that it can install on a host, ends it by a signal, and fails unless the host is as before.
fn ensure_signal_leaves_no_trace(signal: Signal) -> Result<()> {
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
    wait_until_present(host, &["00:00:5e:00:01:33", "xvrrp_ingress", "xvrrp_egress", "192.0.2.1/24"])?;

    let status = agent.daemon.stop(signal, PATIENCE)?;
    assert_eq!(status.code(), Some(0), "exit code after {signal}");
    wait_for_host_state(host, &before)?;
    assert!(!agent.control().exists(), "the control socket is still there");
    Ok(())
}

#[test]
fn sigterm_leaves_the_host_as_it_was() -> Result<()> {
    ensure_signal_leaves_no_trace(Signal::SIGTERM)
}

#[test]
fn sigint_leaves_the_host_as_it_was() -> Result<()> {
    ensure_signal_leaves_no_trace(Signal::SIGINT)
}

#[test]
fn a_backup_leaves_the_host_as_it_was_and_the_active_router_alone() -> Result<()> {
    let lab = Lab::new(2)?;
    let active = start_active(&lab.routers[0], VirtualRouter::lan(200))?;
    ensure_leaves_no_trace(&lab.routers[1], || {
        let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
        backup.wait_for_state("lan", "backup")?;
        Ok(backup)
    })?;
    assert_eq!(active.state("lan")?, "active");
    assert_eq!(active.counter("lan", "advert_release")?, 0, "a Backup sends no advert when it stops (RFC 9568 6.4.2)");
    Ok(())
}

#[test]
fn a_stop_without_a_carrier_leaves_the_host_as_it_was() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = start_active(host, VirtualRouter::lan(200))?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    wait_for_address(host, "192.0.2.1/24", false)?;
    stop(&mut agent)?;
    lab.plug(0)?;
    wait_until_gone(host, &["00:00:5e:00:01:33", "xvrrp", "192.0.2.1/24"])
}

#[test]
fn after_a_kill_the_next_start_removes_what_was_left() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    ensure_leaves_no_trace(host, || {
        let mut agent = start_active(host, VirtualRouter::lan(200))?;
        wait_for_address(host, "192.0.2.1/24", true)?;
        let mut other = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
        other.wait_for_state("lan", "backup")?;

        agent.kill()?;
        other.wait_for_state("lan", "active")?;
        // No agent runs that could remove the address.
        ensure_present(host, "192.0.2.1/24")?;
        let mut agent = agent.restart(host, &[VirtualRouter::lan(50)])?;
        agent.wait_for_state("lan", "backup")?;
        wait_for_address(host, "192.0.2.1/24", false)?;
        agent.daemon.wait_for_line(&["removed 192.0.2.1/24"], PATIENCE)?;
        Ok(agent)
    })
}

#[test]
fn after_a_kill_a_start_with_another_configuration_removes_what_was_left() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    ensure_leaves_no_trace(host, || {
        let old = VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24\"]");
        let mut agent = start_active(host, old)?;
        wait_until_present(host, &["00:00:5e:00:01:33", "192.0.2.1/24", "203.0.113.1/24"])?;

        agent.kill()?;
        let new = VirtualRouter::lan(200).with("vrid", "77").with("addresses", "[\"192.0.2.9/24\"]");
        let agent = restart_active(agent, host, new)?;
        wait_until_gone(host, &["00:00:5e:00:01:33", "192.0.2.1/24", "203.0.113.1"])?;
        Ok(agent)
    })
}

/// The operator's addresses: one in the subnet of the interface's own address, and one in a subnet that only a virtual
/// address has. The kernel treats the latter as a secondary address of the virtual address.
const OPERATOR: [&str; 2] = ["192.0.2.77/24", "203.0.113.77/24"];

/// Adds the operator's addresses beside those of an Active agent, lets `end` remove the agent's addresses, and fails
/// unless those of the operator stay.
fn ensure_operators_addresses_stay(end: impl FnOnce(Xvrrp, &Namespace) -> Result<Xvrrp>) -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let agent =
        start_active(host, VirtualRouter::lan(200).with("addresses", "[\"192.0.2.1/24\", \"203.0.113.1/24\"]"))?;
    wait_for_address(host, "203.0.113.1/24", true)?;
    for address in OPERATOR {
        host.ip(&format!("address add {address} dev eth0"))?;
    }
    let listed = addresses(host)?;
    let secondary = listed.lines().find(|line| line.contains("203.0.113.77/24"));
    ensure!(secondary.is_some_and(|line| line.contains("secondary")), "203.0.113.77 is not secondary: {listed}");

    let _agent = end(agent, host)?;
    for address in ["203.0.113.1/24", "192.0.2.1/24"] {
        wait_for_address(host, address, false)?;
    }
    OPERATOR.iter().try_for_each(|address| ensure_present(host, address))
}

#[test]
fn a_stop_never_removes_the_operators_addresses() -> Result<()> {
    ensure_operators_addresses_stay(|mut agent, _| {
        stop(&mut agent)?;
        Ok(agent)
    })
}

#[test]
fn a_start_after_a_kill_never_removes_the_operators_addresses() -> Result<()> {
    ensure_operators_addresses_stay(|mut agent, host| {
        agent.kill()?;
        restart_active(agent, host, VirtualRouter::lan(200).with("addresses", "[\"192.0.2.9/24\"]"))
    })
}

#[test]
fn an_address_that_was_there_before_stays() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    host.ip("address add 192.0.2.1/24 dev eth0")?;
    ensure_leaves_no_trace(host, || {
        let agent = start_active(host, VirtualRouter::lan(200))?;
        thread::sleep(SETTLED);
        Ok(agent)
    })?;
    ensure_leaves_no_trace(host, || {
        let mut agent = start_active(host, VirtualRouter::lan(200))?;
        agent.kill()?;
        restart_active(agent, host, VirtualRouter::lan(200))
    })
}

#[test]
fn an_address_that_the_operator_has_replaced_stays() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = start_active(host, VirtualRouter::lan(200))?;
    wait_for_address(host, "192.0.2.1/24", true)?;
    // The agent would put the address back if it were deleted first. Replacing it in place makes it the operator's.
    host.ip("address replace 192.0.2.1/24 dev eth0")?;
    stop(&mut agent)?;
    ensure_present(host, "192.0.2.1/24")
}

#[test]
fn a_unicast_filter_entry_that_was_there_before_stays() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    host.sh("bridge fdb add 00:00:5e:00:01:33 dev eth0 self permanent")?;
    ensure_leaves_no_trace(host, || start_active(host, VirtualRouter::lan(200)))
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
    assert_eq!(agent.daemon.wait(PATIENCE)?.code(), Some(1), "exit code");
    let log = agent.daemon.log();
    let named = "the XDP hook of eth0 is taken by program \"xvrrp_ingress\" (id ";
    assert!(log.contains(named) && log.contains("generic mode"), "the log does not name the holder: {log}");
    wait_for_host_state(host, &before)?;
    assert!(!agent.control().exists(), "the control socket is still there");
    Ok(())
}

#[test]
fn a_second_agent_on_the_host_is_refused_and_disturbs_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let first = start_active(host, VirtualRouter::lan(200))?;
    wait_until_present(host, &["00:00:5e:00:01:33", "xvrrp_ingress", "xvrrp_egress", "192.0.2.1/24"])?;
    let before = host_state(host)?;
    let other = VirtualRouter::lan(200).with("vrid", "52").with("addresses", "[\"192.0.2.10/24\"]");
    let mut second = Xvrrp::start(host, &[other])?;
    assert_eq!(second.daemon.wait(PATIENCE)?.code(), Some(1), "exit code of the second agent: {}", second.daemon.log());
    wait_for_host_state(host, &before)?;
    assert_eq!(first.state("lan")?, "active");
    Ok(())
}

/// A directory for pins that no other test uses. It is removed when this is dropped.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new(name: &str) -> Self {
        Self(Path::new("/sys/fs/bpf").join(format!("xvrrp-{name}-{}", std::process::id())))
    }

    /// Returns the line of `[agent]` that configures this directory.
    fn key(&self) -> String {
        format!("bpffs = {:?}\n", self.0)
    }

    /// Lists the directories of network namespaces.
    fn directories(&self) -> BTreeSet<PathBuf> {
        fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    fn ensure_directories(&self, expected: &BTreeSet<PathBuf>) -> Result<()> {
        let directories = self.directories();
        ensure!(directories == *expected, "{directories:?} are there instead of {expected:?}");
        Ok(())
    }

    /// Starts an agent that pins here, and waits until it is Active.
    fn start(&self, host: &Namespace) -> Result<Xvrrp> {
        let mut agent = Xvrrp::start_by(host, &[VirtualRouter::lan(200)], &[], &self.key())?;
        agent.wait_for_state("lan", "active")?;
        Ok(agent)
    }

    /// Kills an agent in a network namespace that then ends. Returns the agent, which keeps its files.
    fn leave_behind(&self) -> Result<Xvrrp> {
        let lab = Lab::new(1)?;
        let mut agent = self.start(&lab.routers[0])?;
        agent.kill()?;
        Ok(agent)
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
    // In this namespace an agent has crashed, and its interface is gone too.
    let living = Lab::new(1)?;
    bpffs.start(&living.routers[0])?.kill()?;
    living.routers[0].ip("link delete eth0")?;
    let of_living = bpffs.directories();
    ensure!(of_living.len() == 1, "one agent has left {of_living:?}");

    bpffs.leave_behind()?;
    ensure!(bpffs.directories().len() == 2, "two agents have left {:?}", bpffs.directories());
    // The kernel ends a namespace some time after its last user has gone, so only a later start may find it gone.
    let lab = Lab::new(1)?;
    eventually("a start of another agent removes the pins", PATIENCE, || {
        let mut agent = bpffs.start(&lab.routers[0])?;
        let removed = agent.daemon.wait_for_line(&["its network namespace is gone"], Duration::from_secs(1));
        stop(&mut agent)?;
        removed?;
        bpffs.ensure_directories(&of_living)
    })?;

    bpffs.leave_behind()?;
    let config = tempfile::NamedTempFile::new()?;
    fs::write(
        config.path(),
        format!(
            "[agent]\n{}\n[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.1/24\"]\n",
            bpffs.key()
        ),
    )?;
    eventually("cleanup removes the pins", PATIENCE, || {
        let mut command = lab.routers[0].command(agent_binary()?)?;
        let output = command.args(["cleanup", "--config"]).arg(config.path()).output()?;
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        bpffs.ensure_directories(&of_living).with_context(|| format!("cleanup has printed: {printed}"))
    })?;
    // A directory without the proof that its namespace is gone is left alone.
    let bare = bpffs.0.join("netns-1");
    fs::create_dir(&bare)?;
    let mut agent = bpffs.start(&lab.routers[0])?;
    stop(&mut agent)?;
    ensure!(bare.exists(), "{} was removed", bare.display());
    fs::remove_dir(&bare)?;
    Ok(())
}

/// Lists the records of unicast filter entries beside the control socket of an agent.
fn records(agent: &Xvrrp) -> Result<BTreeSet<PathBuf>> {
    let directory = agent.control().parent().context("a directory")?.to_owned();
    let paths = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.to_string_lossy().contains("unicast-filters-")).collect())
}

#[test]
fn cleanup_removes_everything_of_an_agent_whose_namespace_is_gone() -> Result<()> {
    let bpffs = Bpffs::new("all-gone");
    let agent = bpffs.leave_behind()?;
    ensure!(records(&agent)?.len() == 1, "the agent has left {:?}", records(&agent)?);
    let elsewhere = Namespace::new("elsewhere")?;
    // The record of a namespace of which nothing is known.
    let unknown = agent.control().with_file_name("unicast-filters-1.json");
    fs::write(&unknown, "{}")?;
    eventually("cleanup removes the pins, their directory and the record", PATIENCE, || {
        let mut command = elsewhere.command(agent_binary()?)?;
        let output = command.args(["cleanup", "--config"]).arg(agent.config()).output()?;
        let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(printed.contains("if that namespace is gone, remove the file"), "cleanup has printed: {printed}");
        ensure!(!bpffs.0.exists(), "{} is still there; cleanup has printed: {printed}", bpffs.0.display());
        Ok(())
    })?;
    ensure!(records(&agent)? == BTreeSet::from([unknown]), "there are {:?}", records(&agent)?);
    Ok(())
}
