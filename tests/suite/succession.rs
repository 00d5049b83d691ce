//! An agent leaves its roles to a successor, and keeps them if the successor fails.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::programs::Program;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xvrrp_common::abi::program;
use xvrrp_dataplane::{Capacity, Dataplane};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{
    INTERFACE, Lab, Namespace, PATIENCE, ServedPair, Side, VIP, VirtualRouter, Xvrrp, eventually, host_state, ifindex,
    wait_for_host_state, wait_until,
};

/// Fails unless the first router has always been Active, and its agent still answers and can reload.
fn check_continues(pair: ServedPair) -> Result<()> {
    let (mut active, mut backup, _lab) = pair.check_undisturbed()?;
    active.configure(&[VirtualRouter::lan(200)])?;
    active.reload()?;
    active.wait_for_state("lan", "active")?;
    ensure!(active.stop()?.success() && backup.stop()?.success());
    Ok(())
}

/// Fails unless the successor ends with an error that contains these words.
fn check_refused(mut successor: Xvrrp, words: &str) -> Result<()> {
    ensure!(!successor.daemon.wait(PATIENCE)?.success(), "it ended without an error:\n{}", successor.daemon.log());
    let log = successor.daemon.log();
    ensure!(log.contains(words), "the error does not say \"{words}\":\n{log}");
    Ok(())
}

#[test]
fn a_successor_with_other_pins_is_refused_before_it_disturbs_the_running_agent() -> Result<()> {
    let pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let keys = "bpffs = \"/sys/fs/bpf/xvrrp-elsewhere\"\n";
    let successor = pair.active.replace_by(&pair.lab.routers[0], &[VirtualRouter::lan(200)], &[], keys)?;
    check_refused(successor, "agent: bpffs: is not that of the running agent")?;
    check_continues(pair)
}

#[test]
fn a_successor_that_needs_larger_maps_is_refused_before_it_disturbs_the_running_agent() -> Result<()> {
    let pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let addresses: Vec<_> = (1..=200).map(|host| format!("\"198.51.100.{host}/32\"")).collect();
    let many = VirtualRouter::lan(200).with("addresses", &format!("[\"{VIP}/24\", {}]", addresses.join(", ")));
    let successor = pair.active.replace(&pair.lab.routers[0], &[many])?;
    check_refused(successor, "too small for this configuration")?;
    check_continues(pair)
}

#[test]
fn a_successor_on_an_interface_with_a_foreign_program_is_refused_before_it_disturbs_the_running_agent() -> Result<()> {
    let pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let host = &pair.lab.routers[0];
    host.ip("link add taken type veth peer name far")?;
    host.ip("addr add 198.51.100.2/24 dev taken")?;
    let _holder = host.run(|| -> Result<_> {
        let mut holder = Dataplane::load(Capacity { routers: 1, vips: 1, sources: 0 })?.attachments;
        holder.attach("taken", ifindex("taken")?, None)?;
        ensure!(matches!(holder.program(program::INGRESS), Some(Program::Xdp(_))));
        Ok(holder)
    })??;
    let other = VirtualRouter::lan(200).with("name", "\"other\"").with("interface", "\"taken\"");
    let other = other.with("addresses", "[\"198.51.100.1/24\"]");
    let both = [VirtualRouter::lan(200), other];
    let successor = pair.active.replace(host, &both)?;
    check_refused(successor, "the XDP hook of taken is taken by program")?;
    // A reload is refused for the same reason.
    pair.active.configure(&both)?;
    let Err(error) = pair.active.reload() else { bail!("the agent has reloaded") };
    ensure!(format!("{error:#}").contains("the XDP hook of taken is taken by program"), "{error:#}");
    check_continues(pair)
}

#[test]
fn an_agent_whose_successor_ends_before_it_advertises_continues() -> Result<()> {
    let mut pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    // Each peer takes a socket, and the limit of open files is too low for that. The successor finds out only after the
    // agent has left its roles.
    let peers: Vec<_> = (1..=60).map(|host| format!("\"192.0.2.{}\"", 100 + host)).collect();
    let many = VirtualRouter::lan(200).with("unicast_peers", &format!("[{}]", peers.join(", ")));
    let few_files = ["prlimit", "--nofile=48:48"];
    let successor = pair.active.replace_by(&pair.lab.routers[0], &[many], &few_files, "")?;
    check_refused(successor, "the previous agent continues")?;
    let line = pair.active.daemon.wait_for_line(&["the successor ended before it advertised"], PATIENCE);
    line.with_context(|| pair.active.daemon.log())?;
    pair.active.wait_for_state("lan", "active")?;
    check_continues(pair)
}

/// Starts a successor of the agent and stops its process (SIGSTOP) while the agent waits for its report.
fn hung_successor(agent: &mut Xvrrp, host: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Xvrrp> {
    /// An agent that has received the report ends within this time.
    const ENDING: Duration = Duration::from_millis(500);
    // A successor that has reported before it could be stopped is the agent from then on, and gets a successor itself.
    for _ in 0..20 {
        // The agents have one log. A successor writes this line as soon as its predecessor has let go.
        let reuses = |agent: &Xvrrp| agent.daemon.count_lines(&["reusing the maps"]);
        let before = reuses(agent);
        let mut successor = agent.replace(host, virtual_routers)?;
        let deadline = Instant::now() + PATIENCE;
        while reuses(agent) == before {
            successor.daemon.check_alive()?;
            ensure!(Instant::now() < deadline, "the agent does not let go:\n{}", agent.daemon.log());
        }
        successor.daemon.signal(Signal::SIGSTOP)?;
        if agent.daemon.wait(ENDING).is_err() {
            return Ok(successor);
        }
        successor.daemon.signal(Signal::SIGCONT)?;
        *agent = successor;
        agent.wait_for_state("lan", "active")?;
    }
    bail!("every successor was ready before it could be stopped:\n{}", agent.daemon.log())
}

/// Fails unless the successor was killed.
fn check_killed(mut successor: Xvrrp) -> Result<()> {
    let status = successor.daemon.wait(PATIENCE)?;
    ensure!(status.signal() == Some(Signal::SIGKILL as i32), "{status}");
    Ok(())
}

#[test]
fn an_agent_whose_successor_hangs_kills_it_after_three_seconds_and_resumes() -> Result<()> {
    let mut pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let hung = hung_successor(&mut pair.active, &pair.lab.routers[0], &[VirtualRouter::lan(200)])?;
    let second = hung.replace(&pair.lab.routers[0], &[VirtualRouter::lan(200)])?;
    let killed = format!("within 3s that it advertises, and was killed (process {}): this agent", hung.daemon.pid());
    pair.active.daemon.wait_for_line(&["ERROR", &killed, "continues"], PATIENCE)?;
    check_killed(hung)?;
    check_refused(second, "another `xvrrp run --replace` is taking over from it, or")?;
    // The lease had ended by then. The Backup has served, and yields to the higher priority.
    pair.active.wait_for_state("lan", "active").with_context(|| pair.active.daemon.log())?;
    pair.backup.wait_for_state("lan", "backup")?;
    pair.backup.wait_for_transitions("lan", "active", 1)?;
    pair.probe.wait_for_answer_from(0, PATIENCE)?;
    pair.active.reload()?;
    pair.active.wait_for_state("lan", "active")?;
    ensure!(pair.active.stop()?.success(), "{}", pair.active.daemon.log());
    Ok(())
}

#[test]
fn an_agent_that_is_stopped_while_its_successor_hangs_kills_it_and_leaves_nothing_on_the_host() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let hung = hung_successor(&mut agent, host, &[VirtualRouter::lan(200)])?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    check_killed(hung)?;
    ensure!(agent.daemon.count_lines(&["this agent continues"]) == 0, "{}", agent.daemon.log());
    agent.daemon.wait_for_line(&["this agent was stopped meanwhile, and removes what it has installed"], PATIENCE)?;
    wait_for_host_state(host, &before)?;
    let (pins, control) = (host.pins()?, agent.control());
    wait_until("pins and control socket are gone", || Ok(!pins.exists() && !control.exists()))
}

#[test]
fn an_agent_that_cannot_kill_its_hung_successor_says_so_and_the_successor_ends_when_it_wakes_up() -> Result<()> {
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    // In a PID namespace of its own, the agent does not see the process of its successor. Programs and maps are shared.
    let shared = "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; exec unshare \"$@\"";
    let wrapper = ["sh", "-c", shared, "sh", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut agent = Xvrrp::start_by(host, &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    let mut hung = hung_successor(&mut agent, host, &[VirtualRouter::lan(200)])?;
    let line = ["ERROR", "cannot be killed (it is in another PID namespace); end it yourself", "this agent continues"];
    agent.daemon.wait_for_line(&line, PATIENCE)?;
    hung.daemon.signal(Signal::SIGCONT)?;
    check_refused(hung, "the previous agent did not wait for this one")?;
    agent.wait_for_state("lan", "active")?;
    // The program unshare does not pass the signal on.
    let unshare = agent.daemon.pid();
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
    kill(Pid::from_raw(children.trim().parse()?), Signal::SIGTERM)?;
    ensure!(agent.daemon.wait(PATIENCE)?.success(), "{}", agent.daemon.log());
    Ok(())
}

/// Makes `interrupt` end the agent while a successor takes over from it. Fails unless the successor serves, and no
/// client notices.
fn check_succeeds(interrupt: impl Fn(&mut Xvrrp) -> Result<()>) -> Result<()> {
    // An agent that was stopped kills a successor that takes longer than 3 s, which a very busy machine also causes.
    const ATTEMPTS: usize = 3;
    for _ in 0..ATTEMPTS {
        let lab = Lab::new(2)?;
        let active = Xvrrp::start(&lab.routers[0], &[VirtualRouter::unhurried_lan(200)])?;
        let mut pair = ServedPair::with_unhurried(lab, active)?;
        let routers = [VirtualRouter::unhurried_lan(200)];
        let mut successor = hung_successor(&mut pair.active, &pair.lab.routers[0], &routers)?;
        interrupt(&mut pair.active)?;
        successor.daemon.signal(Signal::SIGCONT)?;
        pair.active.daemon.wait(PATIENCE)?;
        if pair.active.daemon.count_lines(&["did not report within 3s"]) > 0 {
            check_killed(successor)?;
            continue;
        }
        successor.wait_for_state("lan", "active")?;
        pair.active = successor;
        return check_continues(pair);
    }
    bail!("each of {ATTEMPTS} successors took longer than 3 s")
}

#[test]
fn a_successor_whose_predecessor_is_killed_meanwhile_serves_within_the_lease() -> Result<()> {
    check_succeeds(|agent| agent.kill().map(drop))
}

#[test]
fn an_agent_that_is_stopped_while_its_successor_starts_leaves_its_roles_to_it() -> Result<()> {
    check_succeeds(|agent| agent.daemon.signal(Signal::SIGTERM))
}

#[test]
fn two_simultaneous_successors_take_over_one_after_the_other_or_are_refused() -> Result<()> {
    let lab = Lab::new(2)?;
    let routers = [VirtualRouter::unhurried_lan(200)];
    let active = Xvrrp::start(&lab.routers[0], &routers)?;
    let mut pair = ServedPair::with_unhurried(lab, active)?;
    let host = &pair.lab.routers[0];
    let mut first = hung_successor(&mut pair.active, host, &routers)?;
    let mut second = first.replace(host, &routers)?;
    first.daemon.signal(Signal::SIGCONT)?;
    ensure!(pair.active.daemon.wait(PATIENCE)?.success(), "{}", pair.active.daemon.log());
    // The agents have one log and one control socket.
    let takes_over = eventually("the second one takes over, or has ended", PATIENCE, || {
        if second.daemon.check_alive().is_err() {
            return Ok(false);
        }
        ensure!(second.status()?["pid"] == second.daemon.pid(), "the first one answers");
        Ok(true)
    })?;
    if takes_over {
        ensure!(first.daemon.wait(PATIENCE)?.success(), "{}", first.daemon.log());
        pair.active = second;
    } else {
        check_refused(second, "look at `xvrrp status`, and try again")?;
        pair.active = first;
    }
    check_continues(pair)
}

#[test]
fn a_successor_in_another_network_namespace_is_refused_and_the_running_agent_sends_every_advert() -> Result<()> {
    /// Number of adverts in a second that is acceptable on a busy machine. The lab has 10.
    const ACCEPTABLE_PER_SECOND: f64 = 8.0;
    let pair = ServedPair::in_lab(Lab::new(3)?, &[VirtualRouter::lan(200)])?;
    let elsewhere = &pair.lab.routers[2];
    let sent = || -> Result<(f64, f64)> {
        let (status, router) = (pair.active.status()?, pair.active.virtual_router("lan")?);
        let started = status["started"].as_f64().context("started")?;
        Ok((started, router["adverts_sent"].as_f64().context("adverts_sent")?))
    };
    let (start, (started, sent_before)) = (Instant::now(), sent()?);
    // First no agent runs in that namespace, and then one with another control socket.
    let successor = pair.active.replace(elsewhere, &[VirtualRouter::lan(200)])?;
    check_refused(successor, "another xvrrp agent answers at")?;
    let other = VirtualRouter::lan(100).with("vrid", "77").with("addresses", "[\"192.0.2.77/24\"]");
    let mut neighbor = Xvrrp::start(elsewhere, std::slice::from_ref(&other))?;
    neighbor.wait_for_state("lan", "active")?;
    let successor = pair.active.replace(elsewhere, std::slice::from_ref(&other))?;
    check_refused(successor, "it belongs to another network namespace but has the same agent.control")?;

    let (now, sent_after) = sent()?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(now == started, "the agent has restarted:\n{}", pair.active.daemon.log());
    ensure!(
        sent_after - sent_before >= ACCEPTABLE_PER_SECOND * seconds - 1.0,
        "{sent_before} to {sent_after} in {seconds} s"
    );
    neighbor.wait_for_state("lan", "active")?;
    ensure!(neighbor.stop()?.success(), "{}", neighbor.daemon.log());
    check_continues(pair)
}

#[test]
fn no_process_can_take_the_agents_name_while_a_successor_takes_over() -> Result<()> {
    let mut pair = ServedPair::new(&[VirtualRouter::lan(200)])?;
    let host = &pair.lab.routers[0];
    let stop = AtomicBool::new(false);
    let successor = thread::scope(|scope| -> Result<Xvrrp> {
        // Any user can bind this name while it is free.
        let squatter = scope.spawn(|| {
            host.run(|| -> Result<bool> {
                let name = SocketAddr::from_abstract_name("xvrrp-agent")?;
                while !stop.load(Ordering::Relaxed) {
                    if UnixListener::bind_addr(&name).is_ok() {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
        });
        let mut successor = pair.active.replace(host, &[VirtualRouter::lan(200)])?;
        let ready = successor.wait_for_state("lan", "active").and_then(|()| {
            wait_until("the successor answers", || Ok(successor.status()?["pid"] == successor.daemon.pid()))
        });
        stop.store(true, Ordering::Relaxed);
        let was_free = squatter.join().map_err(|_| anyhow!("the squatter panicked"))???;
        ensure!(!was_free, "the name was free for a moment");
        ready.map(|()| successor)
    })?;
    ensure!(pair.active.daemon.wait(PATIENCE)?.success(), "{}", pair.active.daemon.log());
    pair.active = successor;
    check_continues(pair)
}

/// A file system without room for another file, mounted over a directory until this is dropped.
struct Full(PathBuf);

impl Full {
    fn over(directory: &Path) -> Result<Self> {
        mount(Some("full"), directory, Some("tmpfs"), MsFlags::empty(), Some("nr_inodes=1,size=4k"))?;
        Ok(Self(directory.to_owned()))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn an_agent_that_cannot_create_its_control_socket_after_a_reload_continues_and_creates_it_later() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut side = Side::new(&lab.routers[0])?;
    let mut pair = ServedPair::in_lab(lab, &[VirtualRouter::lan(200), Side::virtual_router()])?;
    let directory = pair.active.control().parent().context("a directory")?.to_owned();
    let full = Full::over(&directory)?;
    // The primary address of another interface changes, so the agent reloads by itself.
    side.change(&pair.lab.routers[0])?;
    // The path of the log is below that directory, too, but the agent still has the file open.
    let log = format!("/proc/{}/fd/2", pair.active.daemon.pid());
    wait_until("the agent has reloaded and cannot create its control socket", || {
        let log = fs::read_to_string(&log)?;
        Ok(log
            .lines()
            .any(|line| line.contains("cannot open the control socket") && line.contains("the agent runs without it")))
    })?;
    drop(full);
    pair.active.daemon.wait_for_line(&["the control socket", "is there now"], PATIENCE)?;
    check_continues(pair)
}

#[test]
fn a_virtual_router_that_is_no_longer_configured_gives_up_its_role_at_once() -> Result<()> {
    /// With this interval, Active_Down_Interval is 7.2 s: even a slow reload gives the role up before it expires.
    const INTERVAL: &str = "\"2s\"";
    let lab = Lab::with_ipv6(2)?;
    let routers = |priority: u8, peer: usize| {
        let lan = VirtualRouter::lan_of_both(priority).with("advert_interval", INTERVAL);
        let unicast = VirtualRouter::lan(priority).with("advert_interval", INTERVAL);
        let unicast = unicast.with("name", "\"unicast\"").with("vrid", "52").with("addresses", "[\"192.0.2.77/24\"]");
        let unicast = unicast.with("unicast_peers", &format!("[\"{}\"]", Lab::address(peer)));
        let stays = VirtualRouter::lan(priority).with("advert_interval", INTERVAL);
        let stays = stays.with("name", "\"stays\"").with("vrid", "53").with("addresses", "[\"192.0.2.78/24\"]");
        [stays, lan, unicast]
    };
    let names = ["stays", "lan", "unicast"];
    let mut active = Xvrrp::start(&lab.routers[0], &routers(200, 1))?;
    names.into_iter().try_for_each(|name| active.wait_for_state(name, "active"))?;
    let mut backup = Xvrrp::start(&lab.routers[1], &routers(100, 0))?;
    names.into_iter().try_for_each(|name| backup.wait_for_state(name, "backup"))?;
    active.configure(&routers(200, 1)[..1])?;
    active.reload()?;
    backup.wait_for_state("lan", "active")?;
    backup.wait_for_state("unicast", "active")?;
    let status = backup.status()?;
    let mut taken_over = status["virtual_routers"].as_array().context("status without virtual_routers")?.iter();
    ensure!(taken_over.all(|router| router["reason"] != "active_down"), "{status}\n{}", active.daemon.log());
    ensure!(active.virtual_router("stays")?["state"] == "active");
    ensure!(backup.transitions("stays", "active") == 0, "{}", backup.daemon.log());
    eventually("the addresses are removed", PATIENCE, || {
        let addresses = lab.routers[0].ip("-o address show dev eth0")?;
        ensure!(!addresses.contains("192.0.2.77") && !addresses.contains(&format!("{VIP}/")), "{addresses}");
        Ok(())
    })?;
    ensure!(active.stop()?.success() && backup.stop()?.success());
    Ok(())
}

#[test]
fn a_reload_does_not_leave_a_multicast_group_even_for_a_moment() -> Result<()> {
    /// Time after which the kernel has sent all reports of a change. It repeats a report within about a second.
    const REPORTED: Duration = Duration::from_secs(3);
    let lab = Lab::with_ipv6(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    agent.wait_for_state("lan", "active")?;
    thread::sleep(REPORTED);
    let mut capture = Capture::start(lab.switch(), &Lab::port(0), "igmp or icmp6")?;
    for priority in [150, 200] {
        agent.configure(&[VirtualRouter::lan_of_both(priority)])?;
        agent.reload()?;
        agent.wait_for_state("lan", "active")?;
    }
    thread::sleep(REPORTED);
    capture.finish()?;
    // IGMP, and the types of MLD: Report of version 1, Done, and Report of version 2.
    let reports = capture.read("igmp || icmpv6.type in {131,132,143}", &["frame.time_relative", "_ws.col.Info"])?;
    ensure!(reports.is_empty(), "{reports:?}");
    ensure!(agent.stop()?.success());
    Ok(())
}

#[test]
fn an_agent_starts_although_its_interface_got_another_index_after_a_crash() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let index = || host.run(|| ifindex(INTERFACE));
    let before = index()??;
    agent.kill()?;
    // The switch already has an interface with this index, so the kernel chooses another one.
    host.ip(&format!("link set {INTERFACE} netns {}", lab.switch().name()))?;
    lab.switch().ip(&format!("link set {INTERFACE} netns {}", host.name()))?;
    host.ip(&format!("addr add {}/24 dev {INTERFACE}", Lab::address(0)))?;
    host.ip(&format!("link set {INTERFACE} up"))?;
    ensure!(index()?? != before, "the interface has the same index as before");
    agent.start_again(host, &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_until("the program is detached", || Ok(!host.ip(&format!("-o link show dev {INTERFACE}"))?.contains("xdp")))
}

#[test]
fn files_that_are_kept_open_over_a_reload_are_closed_after_it() -> Result<()> {
    const RELOADS: usize = 5;
    let lab = Lab::with_ipv6(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan_of_both(200)])?;
    agent.wait_for_state("lan", "active")?;
    let open =
        |agent: &Xvrrp| -> Result<usize> { Ok(fs::read_dir(format!("/proc/{}/fd", agent.daemon.pid()))?.count()) };
    let reload = |agent: &Xvrrp| -> Result<()> {
        agent.reload()?;
        let name = format!("/proc/{}/task", agent.daemon.pid());
        wait_until("the thread that closes them has ended", || {
            let threads = fs::read_dir(&name)?.flatten();
            let mut names = threads.map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
            Ok(names.all(|name| name.trim() != "leftovers"))
        })
    };
    reload(&agent)?;
    let before = open(&agent)?;
    for _ in 0..RELOADS {
        reload(&agent)?;
    }
    // A file that is not closed costs one more with each reload. The agent may have been about to open some when the
    // first reload was counted.
    eventually("hardly more files are open than after one reload", PATIENCE, || {
        let after = open(&agent)?;
        ensure!(after < before + RELOADS, "{before} before, {after} after");
        Ok(())
    })?;
    wait_until("a program is attached", || {
        Ok(lab.routers[0].ip(&format!("-o link show dev {INTERFACE}"))?.contains("xdp"))
    })?;
    ensure!(agent.stop()?.success());
    Ok(())
}
