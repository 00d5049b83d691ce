//! A reload causes no failover, and with a wrong configuration it changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, ServedPair, VIP, VirtualRouter, Xvrrp, agent_binary, eventually, script, wait_until,
    wait_until_is,
};

/// Returns when the agent was started or last reloaded.
fn started(agent: &Xvrrp) -> Result<f64> {
    agent.status()?["started"].as_f64().context("status without started")
}

#[test]
fn a_reload_applies_priority_interval_and_addresses_and_loses_no_packet() -> Result<()> {
    const MORE: &str = "192.0.2.77";
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let mut active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    let (pid, before) = (active.daemon.pid(), started(&active)?);
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
    probe.wait_for_answer_from(0, PATIENCE)?;

    let both = format!("[\"{VIP}/24\", \"{MORE}/24\"]");
    let changed = VirtualRouter::lan(150).with("advert_interval", "\"200ms\"").with("addresses", &both);
    active.configure(&[changed])?;
    active.reload()?;
    let router = active.virtual_router("lan")?;
    ensure!(router["state"] == "active" && router["reason"] == "resumed", "{router}");
    ensure!(router["priority"] == 150 && router["timers"]["advert_interval_ms"] == 200.0, "{router}");
    ensure!(started(&active)? > before && active.status()?["pid"] == pid, "another process runs");
    eventually("the new address is on the interface", PATIENCE, || {
        let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
        ensure!(addresses.contains(&format!("{MORE}/24")) && addresses.contains(&format!("{VIP}/24")), "{addresses}");
        Ok(())
    })?;
    // The Backup reloads too, and the Active router returns to its first configuration.
    backup.configure(&[VirtualRouter::lan(90)])?;
    backup.reload()?;
    ensure!(backup.virtual_router("lan")?["priority"] == 90);
    active.configure(&[VirtualRouter::lan(200)])?;
    active.reload()?;
    eventually("the added address is removed", PATIENCE, || {
        let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
        ensure!(!addresses.contains(MORE) && addresses.contains(&format!("{VIP}/24")), "{addresses}");
        Ok(())
    })?;
    thread::sleep(Duration::from_millis(500));

    let seen = probe.finish();
    let longest = seen.longest_gap();
    ensure!(seen.lost() == 0 && seen.hosts() == [0], "{} lost, longest gap {longest:?}", seen.lost());
    ensure!(backup.transitions("lan", "active") == 0, "the Backup took over:\n{}", backup.daemon.log());
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    for agent in [&active, &backup] {
        ensure!(agent.daemon.count_lines(&["ERROR"]) == 0, "{}", agent.daemon.log());
    }
    Ok(())
}

#[test]
fn at_50_ms_adverts_a_reload_does_not_disturb_a_virtual_router_whose_configuration_is_unchanged() -> Result<()> {
    /// How many reloads may be disturbed, because a machine can stand still for three intervals. On a busy machine, a
    /// reload of an agent that is not optimized takes up to 85 ms. `cargo xtask bench restart` measures one that is
    /// optimized, at 10 ms adverts.
    const ATTEMPTS: usize = 5;
    /// Longest acceptable time between two adverts: the three intervals for which a Backup waits at least.
    const LATEST: Duration = Duration::from_millis(150);
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let other = |priority| {
        let other = VirtualRouter::lan(priority).with("name", "\"other\"").with("vrid", "52");
        other.with("addresses", "[\"192.0.2.77/24\"]").with("advert_interval", "\"1s\"")
    };
    let routers = |priority, others| [VirtualRouter::lan(priority).with("advert_interval", "\"50ms\""), other(others)];
    let mut active = Xvrrp::start(&lab.routers[0], &routers(200, 200))?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100, 100))?;
    backup.wait_for_state("lan", "backup")?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
    let mut seen = Vec::new();
    for attempt in 0..ATTEMPTS {
        active.wait_for_state("lan", "active")?;
        let takeovers = backup.transitions("lan", "active");
        let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(1))?;
        probe.wait_for_answer_from(0, PATIENCE)?;
        let (since, priority) = (Instant::now(), if attempt % 2 == 0 { 150 } else { 200 });
        active.configure(&routers(200, priority))?;
        active.reload()?;
        ensure!(active.virtual_router("other")?["priority"] == priority, "the other virtual router is unchanged");
        thread::sleep(Duration::from_millis(300));
        let pause = tap.longest_pause(Lab::address(0), since, Instant::now());
        let (lost, takeovers) = (probe.finish().lost(), backup.transitions("lan", "active") - takeovers);
        if lost == 0 && takeovers == 0 && pause < LATEST {
            println!("no probe lost, adverts up to {pause:?} apart");
            return Ok(());
        }
        seen.push(format!("{lost} probes lost, {takeovers} takeovers, adverts up to {pause:?} apart"));
    }
    bail!("each reload was noticed: {seen:#?}")
}

#[test]
fn the_result_of_a_check_holds_across_a_reload_until_the_check_has_a_new_one() -> Result<()> {
    let lab = Lab::new(2)?;
    let directory = tempfile::tempdir()?;
    let [hang, hangs] = ["hang", "hangs"].map(|name| directory.path().join(name));
    // Fails until the first file exists. Then it creates the second one and hangs.
    let script = format!("[ -e {} ] || exit 1; echo >{}; exec sleep 60", hang.display(), hangs.display());
    let check = format!(
        "\n[[check]]\nname = \"service\"\nscript = [\"/bin/sh\", \"-c\", {script:?}]\ninterval = \"200ms\"\n\
         timeout = \"30s\"\nweight = -150\n"
    );
    let failing = VirtualRouter::lan(200).with("track", "[\"service\"]");
    let mut backup = Xvrrp::start_by(&lab.routers[0], &[failing], &[], &check)?;
    let mut active = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    active.wait_for_state("lan", "active")?;
    backup.wait_for_state("lan", "backup")?;
    wait_until("the check has failed", || Ok(backup.virtual_router("lan")?["priority"] == 50))?;
    fs::write(&hang, "")?;
    wait_until("the check hangs", || Ok(hangs.exists()))?;
    backup.reload()?;
    ensure!(backup.virtual_router("lan")?["priority"] == 50, "{}", backup.virtual_router("lan")?);
    // Several Active_Down_Intervals.
    thread::sleep(Duration::from_secs(1));
    let router = backup.virtual_router("lan")?;
    ensure!(router["priority"] == 50 && router["state"] == "backup" && router["adverts_sent"] == 0, "{router}");
    ensure!(active.state("lan")? == "active", "{}", active.daemon.log());
    Ok(())
}

#[test]
fn a_notification_that_waits_during_a_reload_is_sent_after_it() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let [calls, proceed] = ["calls", "proceed"].map(|name| directory.path().join(name));
    // For the first state, the program runs until the test lets it proceed.
    let lines = format!(
        "echo $3 begins >>{calls}\nwhile [ $3 = BACKUP ] && ! [ -e {proceed} ]; do sleep 0.05; done\necho $3 >>{calls}",
        calls = calls.display(),
        proceed = proceed.display()
    );
    let program = script(directory.path(), "notify", &lines)?;
    let router = VirtualRouter::lan(200).with("notify", &format!("{program:?}"));
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    let called = || fs::read_to_string(&calls).unwrap_or_default();
    wait_until_is("the program runs for the first state", &"BACKUP begins\n".to_owned(), || Ok(called()))?;
    agent.wait_for_state("lan", "active")?;
    agent.reload()?;
    ensure!(called() == "BACKUP begins\n", "{}", called());
    fs::write(&proceed, "")?;
    let all = "BACKUP begins\nBACKUP\nMASTER begins\nMASTER\n".to_owned();
    wait_until_is("the program runs for the role after the first state", &all, || Ok(called()))?;
    // Another reload is no news, so the program does not run again.
    agent.reload()?;
    thread::sleep(Duration::from_millis(500));
    ensure!(called() == all, "{}", called());
    Ok(())
}

#[test]
fn a_reload_with_a_wrong_configuration_reports_the_error_to_its_caller_and_changes_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let before = started(&agent)?;
    let refused = |complaint: &str| -> Result<()> {
        let mut reload = std::process::Command::new(agent_binary()?);
        let output = reload.args(["reload", "--control"]).arg(agent.control()).output()?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{:?}: {message}", output.status);
        let expected = ["not reloaded, everything stays as it was", complaint];
        ensure!(expected.iter().all(|part| message.contains(part)), "{message}");
        ensure!(message.matches("xvrrp: ").count() == 1, "{message}");
        Ok(())
    };
    agent.configure(&[VirtualRouter::lan(200).with("vrid", "256")])?;
    refused("virtual_router \"lan\": vrid: 256 is out of range")?;
    // This error shows only on the host.
    agent.configure(&[VirtualRouter::lan(200).with("interface", "\"lo\"")])?;
    refused("\"lo\" is a loopback interface")?;
    // The next agent would not find the state that this one leaves.
    let text = fs::read_to_string(agent.config())?.replace("xvrrp.sock", "other.sock").replace("\"lo\"", "\"eth0\"");
    fs::write(agent.config(), text)?;
    refused(&format!("\n{}:2: agent: control: cannot be changed by a reload", agent.config().display()))?;
    agent.configure(&[VirtualRouter::lan(200)])?;
    let text = fs::read_to_string(agent.config())?.replacen('\n', "\nbpffs = \"/sys/fs/bpf/xvrrp-elsewhere\"\n", 1);
    fs::write(agent.config(), text)?;
    refused(&format!("\n{}:2: agent: bpffs: is not that of the running agent", agent.config().display()))?;
    // The maps have no room for so many addresses.
    let many: Vec<_> = (1..=200).map(|last| format!("\"198.51.100.{last}/32\"")).collect();
    agent.configure(&[VirtualRouter::lan(200).with("addresses", &format!("[{}]", many.join(", ")))])?;
    refused("is too small for this configuration")?;
    agent.daemon.signal(Signal::SIGHUP)?;
    agent.daemon.wait_for_line(&["ERROR", "not reloaded, everything stays as it was"], PATIENCE)?;
    ensure!(started(&agent)? == before && agent.state("lan")? == "active");
    Ok(())
}

#[test]
fn a_reload_is_refused_if_the_installed_program_would_lack_a_capability() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("xvrrp");
    symlink(agent_binary()?, &program)?;
    let run_it = format!("exec {} \"$@\"", program.display());
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &["sh", "-c", &run_it], "")?;
    agent.wait_for_state("lan", "active")?;
    let before = started(&agent)?;
    // As after an upgrade that has lost the capabilities of the file (setcap(8)).
    fs::remove_file(&program)?;
    let run_without = format!("exec setpriv --bounding-set=-cap_13 {} \"$@\"", agent_binary()?.display());
    script(directory.path(), "xvrrp", &run_without)?;
    let refused = agent.reload().expect_err("the next agent could not run").to_string();
    ensure!(refused.contains("stays as it was:\nmissing CAP_NET_RAW (to send adverts)"), "{refused}");
    ensure!(started(&agent)? == before && agent.state("lan")? == "active", "{}", agent.daemon.log());
    fs::remove_file(&program)?;
    symlink(agent_binary()?, &program)?;
    agent.reload()?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

/// A file by which `--netns` finds a network namespace, until this is dropped.
struct NamespaceFile<'a>(&'a Path);

impl<'a> NamespaceFile<'a> {
    fn new(path: &'a Path, host: &Namespace) -> Result<Self> {
        fs::write(path, "")?;
        let namespace = Path::new("/run/netns").join(host.name());
        mount(Some(&namespace), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(Self(path))
    }
}

impl Drop for NamespaceFile<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(self.0);
    }
}

#[test]
fn a_reload_stays_in_the_agents_network_namespace_when_its_name_is_gone_or_names_another_one() -> Result<()> {
    let lab = Lab::new(3)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("netns");
    let file = NamespaceFile::new(&path, &lab.routers[0])?;
    let agent = Xvrrp::start_outside(&lab.routers[0], &[VirtualRouter::unhurried_lan(200)], &path)?;
    let pair = ServedPair::with_unhurried(lab, agent)?;
    drop(file);
    let before = started(&pair.active)?;
    pair.active.reload()?;
    let reloaded = started(&pair.active)?;
    ensure!(reloaded > before, "the agent has not reloaded");
    let _other = NamespaceFile::new(&path, &pair.lab.routers[2])?;
    pair.active.reload()?;
    ensure!(started(&pair.active)? > reloaded, "the agent has not reloaded");
    let (mut active, _backup, _lab) = pair.check_undisturbed()?;
    ensure!(active.stop()?.success(), "{}", active.daemon.log());
    Ok(())
}

#[test]
fn any_number_of_sighups_reloads_the_agent_without_a_loss_of_its_role() -> Result<()> {
    let lab = Lab::new(1)?;
    // The lease outlasts a reload on a busy machine.
    let router = VirtualRouter::lan(200).with("advert_interval", "\"1s\"");
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    let before = started(&agent)?;
    for _ in 0..20 {
        agent.daemon.signal(Signal::SIGHUP)?;
        thread::sleep(Duration::from_millis(5));
    }
    let reloaded = eventually("the agent has reloaded", PATIENCE, || {
        agent.daemon.check_alive()?;
        let now = started(&agent)?;
        ensure!(now > before, "it still runs since {now}");
        Ok(())
    });
    reloaded.with_context(|| agent.daemon.log())?;
    agent.wait_for_state("lan", "active")?;
    // The agent stops even if the last reload is still under way.
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    let log = agent.daemon.log();
    let active = log.lines().filter(|line| line.contains("state=active "));
    ensure!(active.skip(1).all(|line| line.contains("reason=resumed")), "the agent has lost its role:\n{log}");
    Ok(())
}

/// A signal that another thread takes just before the process becomes another program would be lost.
#[test]
fn only_the_first_thread_takes_the_signals_that_end_or_reload_the_agent() -> Result<()> {
    /// Number of files that are checked at the same time, each on a thread of its own. With so many, some threads start
    /// after the agent has started.
    const FILES: usize = 8;
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("number");
    fs::write(&file, "0")?;
    let names: Vec<_> = (0..FILES).map(|number| format!("check{number}")).collect();
    let check = |name: &String| format!("\n[[check]]\nname = {name:?}\nfile = {file:?}\ninterval = \"20ms\"\n");
    let checks: String = names.iter().map(check).collect();
    let router = VirtualRouter::lan(200).with("track", &format!("{names:?}"));
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], &checks)?;
    agent.wait_for_state("lan", "active")?;
    let process = agent.daemon.pid();
    let threads = eventually("the runtime has a thread for blocking calls", PATIENCE, || {
        let threads = statuses_of_threads(process)?;
        ensure!(threads.iter().any(|status| status.starts_with("Name:\ttokio")), "{threads:?}");
        Ok(threads)
    })?;
    let signals =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].iter().fold(0, |set, signal| set | 1 << (*signal as u64 - 1));
    for status in threads {
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).context("no field");
        let blocked = u64::from_str_radix(field("SigBlk:")?, 16)? & signals;
        let expected = if field("Pid:")? == process.to_string() { 0 } else { signals };
        ensure!(blocked == expected, "{status}");
    }
    ensure!(agent.stop()?.success());
    Ok(())
}

/// Reads /proc/PID/task/THREAD/status of each thread that still exists when it is read.
fn statuses_of_threads(process: u32) -> Result<Vec<String>> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))?;
    Ok(threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).collect())
}

#[test]
fn the_agent_notifies_the_service_manager_of_start_reload_and_stop() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(PATIENCE))?;
    let wait_for = |word: &str| -> Result<()> {
        eventually(&format!("the agent notifies {word}"), PATIENCE, || {
            let mut message = [0; 256];
            let length = manager.recv(&mut message)?;
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            ensure!(message.lines().any(|line| line == word), "{message}");
            Ok(())
        })
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let wrapper = ["env", &socket, "WATCHDOG_USEC=2000000"];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    wait_for("READY=1")?;
    wait_for("WATCHDOG=1")?;
    agent.reload()?;
    wait_for("RELOADING=1")?;
    wait_for("READY=1")?;
    wait_for("WATCHDOG=1")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for("STOPPING=1")
}

/// The management side of an agent, which is its first thread. ptrace(2) stops that thread and no other one until this
/// is dropped.
struct Halted(Pid);

impl Halted {
    fn new(agent: &Xvrrp) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(agent.daemon.pid())?);
        ptrace::seize(pid, ptrace::Options::empty())?;
        let halted = Self(pid);
        ptrace::interrupt(pid)?;
        waitpid(pid, Some(WaitPidFlag::__WALL))?;
        Ok(halted)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

#[test]
fn the_watchdog_is_notified_only_while_the_management_side_responds() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    let notified_within = |length: Duration| -> Result<bool> {
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            manager.set_read_timeout(Some(left))?;
            let mut message = [0; 256];
            let Ok(length) = manager.recv(&mut message) else { continue };
            if message[..length].starts_with(b"WATCHDOG=1") {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let wrapper = ["env", &socket, "WATCHDOG_USEC=400000"];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    ensure!(notified_within(PATIENCE)?, "the watchdog is not notified");
    let halted = Halted::new(&agent)?;
    // The last notification may be under way.
    notified_within(Duration::from_millis(300))?;
    manager.set_nonblocking(true)?;
    while manager.recv(&mut [0; 256]).is_ok() {}
    manager.set_nonblocking(false)?;
    let notified = notified_within(Duration::from_secs(2))?;
    ensure!(!notified, "the watchdog is notified although the management side hangs");
    drop(halted);
    ensure!(notified_within(PATIENCE)?, "the watchdog is no longer notified");
    ensure!(agent.stop()?.success());
    Ok(())
}
