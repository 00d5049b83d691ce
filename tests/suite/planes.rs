//! No advert is late because the management side or the address thread is held up.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::Mode;
use xvrrp_common::abi::Router;
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp;
use xvrrp_config::AgentConfig;
use xvrrp_dataplane::{Pins, Tables};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::traffic::packet_socket;
use xvrrp_lab::{Alone, INTERFACE, Lab, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, alone, eventually, wait_until};

/// How long each fault lasts.
const LENGTH: Duration = Duration::from_millis(1500);
/// Longest acceptable time between two adverts. They are 100 ms apart, a lease lasts for 300 ms, and a Backup with
/// priority 100 waits for 360 ms.
const LATEST: Duration = Duration::from_millis(300);

/// Limit for a takeover: much longer than Active_Down_Interval, and much shorter than a wait for a reader of the log.
const PROMPT: Duration = Duration::from_secs(2);

/// Two routers with 100 ms adverts: the first has priority 200 and is Active, the second has 100.
struct Pair {
    agents: Vec<Xvrrp>,
    taps: Vec<AdvertTap>,
    lab: Lab,
    /// Other tests would delay adverts too.
    _alone: Alone,
}

impl Pair {
    fn new() -> Result<Self> {
        Self::with(|_, place, lan| Xvrrp::start(place, &[lan]))
    }

    /// Starts each agent with `start`, which gets its number, its namespace and its virtual router `lan`.
    fn with(start: impl Fn(usize, &Namespace, VirtualRouter) -> Result<Xvrrp>) -> Result<Self> {
        let alone = alone();
        let lab = Lab::new(2)?;
        let taps = [0, 1].map(|router| AdvertTap::start(lab.switch(), &Lab::port(router)));
        let taps = taps.into_iter().collect::<Result<_>>()?;
        // The second one starts once the first one is Active. Otherwise it could be Active for a moment.
        let mut first = start(0, &lab.routers[0], VirtualRouter::lan(200))?;
        first.wait_for_state("lan", "active")?;
        let second = start(1, &lab.routers[1], VirtualRouter::lan(100))?;
        eventually("the Backup hears the Active router", PATIENCE, || {
            let router = second.virtual_router("lan")?;
            ensure!(router["state"] == "backup" && router["active"]["priority"] == 200, "{router}");
            Ok(())
        })?;
        Ok(Self { agents: vec![first, second], taps, lab, _alone: alone })
    }

    /// Fails unless the router's adverts are on time for as long as a fault lasts.
    fn assert_on_time(&self, router: usize) -> Result<()> {
        let from = Instant::now();
        thread::sleep(LENGTH);
        let until = Instant::now();
        let (tap, source) = (&self.taps[router], Lab::address(router));
        // The tap records adverts a little later than they pass.
        eventually("the next advert is recorded", PATIENCE, || tap.first_after(source, until))?;
        let longest = tap.longest_pause(source, from, until);
        println!("adverts of router {router} were up to {longest:?} apart");
        ensure!(longest < LATEST, "adverts of router {router} were {longest:?} apart");
        Ok(())
    }

    /// Fails if the second router has taken over. Its log must be readable.
    fn assert_no_takeover(&self) -> Result<()> {
        let backup = &self.agents[1];
        let sent = backup.virtual_router("lan")?["adverts_sent"].clone();
        ensure!(sent == 0 && backup.transitions("lan", "active") == 0, "{sent} adverts\n{}", backup.daemon.log());
        Ok(())
    }

    fn has_vip(&self, router: usize) -> Result<bool> {
        Ok(self.lab.routers[router].ip(&format!("-4 -o addr show dev {INTERFACE}"))?.contains(&format!("{VIP}/24")))
    }
}

#[test]
fn clients_that_are_silent_or_never_read_the_answer_delay_no_advert() -> Result<()> {
    /// Number of clients of each kind.
    const CLIENTS: usize = 50;
    let pair = Pair::new()?;
    let mut held = Vec::new();
    for words in ["", "{\"command\":", "{\"command\":\"status\"}\n"] {
        for _ in 0..CLIENTS {
            let mut client = UnixStream::connect(pair.agents[0].control())?;
            client.write_all(words.as_bytes())?;
            held.push(client);
        }
    }
    pair.assert_on_time(0)?;
    // Another client gets an answer.
    assert_eq!(pair.agents[0].state("lan")?, "active");
    pair.assert_no_takeover()?;
    drop(held);
    Ok(())
}

#[test]
fn an_answer_that_does_not_fit_into_the_socket_delays_no_advert() -> Result<()> {
    // Many more virtual routers with many addresses, which stay Backups for minutes, make an answer of some hundred
    // kilobytes.
    let others = (1..=40).map(|number| {
        let addresses: Vec<_> = (1..=250).map(|last| format!("\"10.0.{number}.{last}/32\"")).collect();
        VirtualRouter::lan(1)
            .with("name", &format!("\"other{number}\""))
            .with("vrid", &(100 + number).to_string())
            .with("advert_interval", "\"40s\"")
            .with("addresses", &format!("[{}]", addresses.join(", ")))
    });
    let others: Vec<_> = others.collect();
    let pair = Pair::with(|index, place, lan| match index {
        0 => Xvrrp::start(place, &[&[lan], &others[..]].concat()),
        _ => Xvrrp::start(place, &[lan]),
    })?;
    let ask = || -> Result<UnixStream> {
        let mut client = UnixStream::connect(pair.agents[0].control())?;
        client.write_all(b"{\"command\":\"status\"}\n")?;
        Ok(client)
    };
    let held: Vec<_> = (0..20).map(|_| ask()).collect::<Result<_>>()?;
    pair.assert_on_time(0)?;
    assert_eq!(pair.agents[0].state("lan")?, "active");
    pair.assert_no_takeover()?;
    drop(held);
    Ok(())
}

/// Makes the client claim the virtual address.
fn claim(lab: &Lab) -> Result<()> {
    let claim = arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), VIP.octets());
    let socket = packet_socket::open(&lab.client, INTERFACE, packet_socket::NOTHING, |_| Ok(()))?;
    send(socket.as_raw_fd(), &claim, MsgFlags::empty())?;
    Ok(())
}

/// A log file that is a pipe, which nothing reads.
struct FullPipe(fs::File);

impl FullPipe {
    fn new(path: &Path) -> Result<Self> {
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // A writer needs a reader to open the pipe. This one reads nothing, and its own writes do not block.
        let options = fs::File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        Ok(Self(options?))
    }

    /// Writes until nothing more fits in.
    fn fill(&mut self) -> Result<()> {
        loop {
            match self.0.write(b".") {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Starts an agent whose log goes to this file, or to its usual one.
fn start_with_log(place: &Namespace, lan: VirtualRouter, log: Option<&PathBuf>) -> Result<Xvrrp> {
    let Some(log) = log else { return Xvrrp::start(place, &[lan]) };
    let script = format!("exec \"$0\" \"$@\" 2>{}", log.display());
    Xvrrp::start_by(place, &[lan], &["sh", "-c", &script], "")
}

#[test]
fn a_log_that_is_not_read_delays_no_advert() -> Result<()> {
    let directory = tempfile::TempDir::with_prefix("xvrrp-lab-pipe-")?;
    let path = directory.path().join("log");
    let mut pipe = FullPipe::new(&path)?;
    let mut pair = Pair::with(|index, place, lan| start_with_log(place, lan, (index == 0).then_some(&path)))?;
    pipe.fill()?;
    // The agent logs a line about a claim of the address.
    claim(&pair.lab)?;
    pair.assert_on_time(0)?;
    wait_until("the agent has handled the claim", || Ok(!pair.agents[0].virtual_router("lan")?["rival"].is_null()))?;
    pair.assert_no_takeover()?;
    // The management side works too.
    ensure!(pair.agents[0].state("lan")? == "active");
    ensure!(pair.agents[0].stop()?.success());
    drop(pipe);
    Ok(())
}

#[test]
fn a_log_that_is_not_read_delays_no_takeover() -> Result<()> {
    let directory = tempfile::TempDir::with_prefix("xvrrp-lab-pipe-")?;
    let path = directory.path().join("log");
    let mut pipe = FullPipe::new(&path)?;
    let mut pair = Pair::with(|index, place, lan| start_with_log(place, lan, (index == 1).then_some(&path)))?;
    pipe.fill()?;
    let killed = Instant::now();
    pair.agents[0].kill()?;
    eventually("the Backup advertises", PATIENCE, || pair.taps[1].last_before(Lab::address(1), Instant::now()))?;
    let took = killed.elapsed();
    ensure!(took < PROMPT, "the Backup advertised {took:?} after the kill");
    pair.assert_on_time(1)?;
    wait_until("the address is installed", || pair.has_vip(1))?;
    // The agent can write its log and end.
    drop(pipe);
    Ok(())
}

/// A thread of another process that is stopped until this is dropped. ptrace(2) requires that the thread that created
/// it drops it.
struct Frozen(libc::pid_t);

impl Frozen {
    /// Stops the thread with this name, and no other of the process.
    fn thread(process: u32, name: &str) -> Result<Self> {
        let threads = fs::read_dir(format!("/proc/{process}/task"))?.flatten();
        let mut threads = threads
            .filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name));
        let thread = threads.next().with_context(|| format!("no thread {name}"))?;
        let thread = thread.file_name().to_string_lossy().parse()?;
        trace(libc::PTRACE_SEIZE, thread).context("cannot seize")?;
        // From here on, the thread is released if anything fails.
        let frozen = Self(thread);
        trace(libc::PTRACE_INTERRUPT, thread).context("cannot interrupt")?;
        // SAFETY: a null pointer asks for no status.
        let waited = unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
        ensure!(waited == thread, "{}", io::Error::last_os_error());
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have ended with its process.
        let _ = trace(libc::PTRACE_DETACH, self.0);
    }
}

fn trace(request: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests used here reads or writes through its arguments.
    let result = unsafe { libc::ptrace(request, thread, null, null) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn a_netlink_call_that_stalls_delays_no_advert_and_no_change_to_backup() -> Result<()> {
    let mut pair = Pair::new()?;
    let frozen = Frozen::thread(pair.agents[1].daemon.pid(), "addresses")?;
    pair.agents[0].stop()?;
    pair.agents[1].wait_for_state("lan", "active")?;
    pair.assert_on_time(1)?;
    ensure!(!pair.has_vip(1)?, "the address is installed although the thread is stopped");
    drop(frozen);
    wait_until("the address is installed", || pair.has_vip(1))?;

    let frozen = Frozen::thread(pair.agents[1].daemon.pid(), "addresses")?;
    pair.agents[0] = Xvrrp::start(&pair.lab.routers[0], &[VirtualRouter::lan(200)])?;
    pair.agents[0].wait_for_state("lan", "active")?;
    pair.agents[1].wait_for_state("lan", "backup")?;
    pair.assert_on_time(0)?;
    ensure!(pair.has_vip(1)?, "the address is removed although the thread is stopped");
    drop(frozen);
    wait_until("the address is removed", || Ok(!pair.has_vip(1)?))
}

#[test]
fn a_management_side_that_hangs_delays_no_advert() -> Result<()> {
    let pair = Pair::new()?;
    let process = pair.agents[0].daemon.pid();
    // The management side runs on the first thread, which has the name of the process.
    let _frozen = Frozen::thread(process, "xvrrp")?;
    pair.assert_on_time(0)?;
    pair.assert_no_takeover()
}

/// Reads the role of the only virtual router from the maps of the kernel half.
fn role(host: &Namespace) -> Result<u8> {
    host.run(|| {
        let tables = Tables::open(&Pins::below(Path::new(AgentConfig::DEFAULT_BPFFS))?)?;
        Ok(tables.routers().values().next().context("no virtual router")?.role)
    })?
}

#[test]
fn a_router_whose_management_side_hangs_gives_up_its_role_while_its_cable_is_pulled() -> Result<()> {
    let mut pair = Pair::new()?;
    assert_eq!(role(&pair.lab.routers[0])?, Router::ROLE_ACTIVE);
    let _frozen = Frozen::thread(pair.agents[0].daemon.pid(), "xvrrp")?;
    pair.lab.pull(0)?;
    pair.agents[1].wait_for_state("lan", "active")?;
    // Otherwise both would serve once the cable is plugged in again.
    wait_until(
        "the router without a cable gives up its role",
        || Ok(role(&pair.lab.routers[0])? != Router::ROLE_ACTIVE),
    )
}

#[test]
fn a_kernel_that_is_busy_with_interfaces_and_addresses_delays_no_advert() -> Result<()> {
    let pair = Pair::new()?;
    let busy = Namespace::new("busy")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // The kernel has one lock for all of its network configuration, which these commands take.
        for number in 0..2 {
            let (busy, stop) = (&busy, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = busy.ip(&format!("link add v{number} type veth peer name w{number}"));
                    let _ = busy.ip(&format!("link del v{number}"));
                }
            });
        }
        let on_time = pair.assert_on_time(0);
        stop.store(true, Ordering::Relaxed);
        on_time
    })?;
    pair.assert_no_takeover()
}

#[test]
fn hundreds_of_addresses_to_install_delay_no_advert() -> Result<()> {
    let addresses: Vec<_> = (1..=250).map(|last| format!("\"198.51.100.{last}/32\"")).collect();
    let addresses = format!("[{}]", addresses.join(", "));
    let mut pair = Pair::with(|_, place, lan| Xvrrp::start(place, &[lan.with("addresses", &addresses)]))?;
    pair.agents[0].stop()?;
    eventually("the Backup advertises", PATIENCE, || pair.taps[1].last_before(Lab::address(1), Instant::now()))?;
    pair.assert_on_time(1)
}
