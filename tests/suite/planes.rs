//! Whatever holds up the management side or the address thread, no advert is late because of it.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
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
/// Adverts are 100 ms apart, a lease lasts for 300 ms, and a Backup with priority 100 waits for 360 ms.
const LATEST: Duration = Duration::from_millis(300);

/// Much longer than Active_Down_Interval, much shorter than who waits for a reader.
const PROMPT: Duration = Duration::from_secs(2);

/// Two routers with 100 ms adverts.
struct Pair {
    agents: Vec<Xvrrp>,
    taps: Vec<AdvertTap>,
    lab: Lab,
    /// How often the second one had been Active when both were settled: starting together, either may be the first.
    before: usize,
    /// What is measured is not how the tests keep each other from the processors.
    _alone: Alone,
}

impl Pair {
    fn new() -> Result<Self> {
        Self::with(|lab| {
            let start = |(router, priority): (&Namespace, u8)| Xvrrp::start(router, &[VirtualRouter::lan(priority)]);
            lab.routers.iter().zip([200, 100]).map(start).collect()
        })
    }

    /// With agents that are started by `start`; the first becomes Active.
    fn with(start: impl FnOnce(&Lab) -> Result<Vec<Xvrrp>>) -> Result<Self> {
        let alone = alone();
        let lab = Lab::new(2)?;
        let taps = [0, 1].map(|router| AdvertTap::start(lab.switch(), &Lab::port(router)));
        let taps = taps.into_iter().collect::<Result<_>>()?;
        let mut pair = Self { agents: start(&lab)?, taps, lab, before: 0, _alone: alone };
        pair.settle()?;
        Ok(pair)
    }

    /// Waits until the first one is Active, and the second one knows it.
    fn settle(&mut self) -> Result<()> {
        self.agents[0].wait_for_state("lan", "active")?;
        eventually("the Backup hears the Active router", PATIENCE, || {
            let router = self.agents[1].virtual_router("lan")?;
            ensure!(router["state"] == "backup" && router["active"]["priority"] == 200, "{router}");
            Ok(())
        })?;
        self.before = self.agents[1].transitions("lan", "active");
        Ok(())
    }

    /// The router's adverts are on time for as long as a fault should last.
    fn assert_on_time(&self, router: usize) -> Result<()> {
        let from = Instant::now();
        thread::sleep(LENGTH);
        let until = Instant::now();
        // What has passed by then has to be noted, too.
        thread::sleep(LATEST);
        let longest = self.taps[router].longest_pause(Lab::address(router), from, until);
        println!("adverts of router {router} were up to {longest:?} apart");
        ensure!(longest < LATEST, "adverts of router {router} were {longest:?} apart");
        Ok(())
    }

    /// The second one, whose log can be read, has not taken over.
    fn assert_no_takeover(&self) {
        assert_eq!(self.agents[1].transitions("lan", "active"), self.before, "{}", self.agents[1].daemon.log());
    }

    fn has_vip(&self, router: usize) -> Result<bool> {
        Ok(self.lab.routers[router].ip(&format!("-4 -o addr show dev {INTERFACE}"))?.contains(&format!("{VIP}/24")))
    }
}

#[test]
fn clients_that_are_silent_or_never_read_the_answer_delay_no_advert() -> Result<()> {
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
    // Nor do they keep anybody else from an answer.
    assert_eq!(pair.agents[0].state("lan")?, "active");
    pair.assert_no_takeover();
    drop(held);
    Ok(())
}

#[test]
fn an_answer_that_does_not_fit_into_the_socket_delays_no_advert() -> Result<()> {
    // Beside ours many others with many addresses, which stay Backups for minutes: an answer of some hundred kilobytes.
    let others = (1..=40).map(|number| {
        let addresses: Vec<_> = (1..=250).map(|last| format!("\"10.0.{number}.{last}/32\"")).collect();
        VirtualRouter::lan(1)
            .with("name", &format!("\"other{number}\""))
            .with("vrid", &(100 + number).to_string())
            .with("advert_interval", "\"40s\"")
            .with("addresses", &format!("[{}]", addresses.join(", ")))
    });
    let others: Vec<_> = others.collect();
    let pair = Pair::with(|lab| {
        let many: Vec<_> = std::iter::once(VirtualRouter::lan(200)).chain(others.iter().cloned()).collect();
        Ok(vec![Xvrrp::start(&lab.routers[0], &many)?, Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?])
    })?;
    let ask = || -> Result<UnixStream> {
        let mut client = UnixStream::connect(pair.agents[0].control())?;
        client.write_all(b"{\"command\":\"status\"}\n")?;
        Ok(client)
    };
    let held: Vec<_> = (0..20).map(|_| ask()).collect::<Result<_>>()?;
    pair.assert_on_time(0)?;
    assert_eq!(pair.agents[0].state("lan")?, "active");
    pair.assert_no_takeover();
    drop(held);
    Ok(())
}

/// The client says that it has the virtual address.
fn claim(lab: &Lab) -> Result<()> {
    let claim = arp::gratuitous(MacAddress([2, 0, 0, 0, 0, 9]), VIP.octets());
    let socket = packet_socket::open(&lab.client, INTERFACE, packet_socket::NOTHING, |_| Ok(()))?;
    send(socket.as_raw_fd(), &claim, MsgFlags::empty())?;
    Ok(())
}

/// A log that nobody reads.
struct FullPipe(fs::File);

impl FullPipe {
    fn new(path: &Path) -> Result<Self> {
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // It is there for those who write, and reads nothing. Its own writes do not wait.
        let options = fs::File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        Ok(Self(options?))
    }

    /// Until nothing fits in any more.
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

#[test]
fn a_log_that_nobody_reads_delays_no_advert() -> Result<()> {
    let directory = tempfile::TempDir::with_prefix("xvrrp-lab-pipe-")?;
    let path = directory.path().join("log");
    let mut pipe = FullPipe::new(&path)?;
    let mut pair = Pair::with(|lab| {
        let script = format!("exec \"$0\" \"$@\" 2>{}", path.display());
        let muted = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &["sh", "-c", &script], "")?;
        Ok(vec![muted, Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?])
    })?;
    pipe.fill()?;
    // Lines for the log: another host claims the address.
    claim(&pair.lab)?;
    pair.assert_on_time(0)?;
    pair.agents[0].wait_for_counter("lan", "arp_rival_claim", 1)?;
    pair.assert_no_takeover();
    // The management side goes on as well.
    ensure!(pair.agents[0].state("lan")? == "active");
    ensure!(pair.agents[0].stop()?.success());
    drop(pipe);
    Ok(())
}

#[test]
fn a_log_that_nobody_reads_delays_no_takeover() -> Result<()> {
    let directory = tempfile::TempDir::with_prefix("xvrrp-lab-pipe-")?;
    let path = directory.path().join("log");
    let mut pipe = FullPipe::new(&path)?;
    let mut pair = Pair::with(|lab| {
        let script = format!("exec \"$0\" \"$@\" 2>{}", path.display());
        let muted = Xvrrp::start_by(&lab.routers[1], &[VirtualRouter::lan(100)], &["sh", "-c", &script], "")?;
        Ok(vec![Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?, muted])
    })?;
    pipe.fill()?;
    let killed = Instant::now();
    pair.agents[0].kill()?;
    eventually("the Backup advertises", PATIENCE, || pair.taps[1].last_before(Lab::address(1), Instant::now()))?;
    let took = killed.elapsed();
    ensure!(took < PROMPT, "the other one advertised {took:?} after the kill");
    pair.assert_on_time(1)?;
    wait_until("the address is installed", || pair.has_vip(1))?;
    // Lets it end.
    drop(pipe);
    Ok(())
}

/// A thread that does not run until this is dropped, which must be on the thread that has made it (ptrace(2)).
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
        // From here on it is let go if anything fails.
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
    // SAFETY: none of our requests reads or writes through its arguments.
    let result = unsafe { libc::ptrace(request, thread, null, null) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn a_netlink_call_that_stalls_delays_no_advert_and_no_step_back() -> Result<()> {
    let mut pair = Pair::new()?;
    let frozen = Frozen::thread(pair.agents[1].daemon.pid(), "addresses")?;
    pair.agents[0].stop()?;
    pair.agents[1].wait_for_state("lan", "active")?;
    pair.assert_on_time(1)?;
    ensure!(!pair.has_vip(1)?, "the call was to stall");
    drop(frozen);
    eventually("the address is installed", PATIENCE, || {
        ensure!(pair.has_vip(1)?, "not yet");
        Ok(())
    })?;

    let frozen = Frozen::thread(pair.agents[1].daemon.pid(), "addresses")?;
    pair.agents[0] = Xvrrp::start(&pair.lab.routers[0], &[VirtualRouter::lan(200)])?;
    pair.agents[0].wait_for_state("lan", "active")?;
    pair.agents[1].wait_for_state("lan", "backup")?;
    pair.assert_on_time(0)?;
    ensure!(pair.has_vip(1)?, "the call was to stall");
    drop(frozen);
    eventually("the address is removed", PATIENCE, || {
        ensure!(!pair.has_vip(1)?, "not yet");
        Ok(())
    })
}

#[test]
fn a_management_side_that_hangs_delays_no_advert() -> Result<()> {
    let pair = Pair::new()?;
    let process = pair.agents[0].daemon.pid();
    // The process's first thread has the process's name.
    let _frozen = Frozen::thread(process, "xvrrp")?;
    pair.assert_on_time(0)?;
    pair.assert_no_takeover();
    Ok(())
}

/// The role of the only virtual router, as its kernel half has it.
fn role(host: &Namespace) -> Result<u8> {
    host.run(|| {
        let tables = Tables::open(&Pins::below(Path::new(AgentConfig::DEFAULT_BPFFS))?)?;
        Ok(tables.routers().values().next().context("no virtual router")?.role)
    })?
}

#[test]
fn a_cable_that_is_pulled_while_the_management_side_hangs_costs_the_role_before_it_is_back() -> Result<()> {
    let mut pair = Pair::new()?;
    assert_eq!(role(&pair.lab.routers[0])?, Router::ROLE_ACTIVE);
    let _frozen = Frozen::thread(pair.agents[0].daemon.pid(), "xvrrp")?;
    pair.lab.pull(0)?;
    pair.agents[1].wait_for_state("lan", "active")?;
    // Otherwise both would serve once the cable is back.
    eventually("the router without a cable gives up its role", PATIENCE, || {
        ensure!(role(&pair.lab.routers[0])? != Router::ROLE_ACTIVE, "it is Active");
        Ok(())
    })
}

#[test]
fn a_kernel_that_is_busy_with_interfaces_and_addresses_delays_no_advert() -> Result<()> {
    let pair = Pair::new()?;
    let busy = Namespace::new("busy")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // All of these want the kernel's one lock for network configuration.
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
    pair.assert_no_takeover();
    Ok(())
}

#[test]
fn hundreds_of_addresses_to_install_delay_no_advert() -> Result<()> {
    let addresses: Vec<_> = (1..=250).map(|last| format!("\"198.51.100.{last}/32\"")).collect();
    let many = |priority| VirtualRouter::lan(priority).with("addresses", &format!("[{}]", addresses.join(", ")));
    let mut pair = Pair::with(|lab| {
        let start = |(router, priority): (&Namespace, u8)| Xvrrp::start(router, &[many(priority)]);
        lab.routers.iter().zip([200, 100]).map(start).collect()
    })?;
    pair.agents[0].stop()?;
    eventually("the other one advertises", PATIENCE, || pair.taps[1].last_before(Lab::address(1), Instant::now()))?;
    pair.assert_on_time(1)
}
