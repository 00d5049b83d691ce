//! Floods of what no virtual router wants: nothing changes, nobody is kept busy, and all of it is counted.
//!
//! Each flood goes to one router, out of its own switch port, as fast as one processor sends; in turn to the Active router
//! and to the Backup. On the way to the kernel half nothing is lost, unless the processor's backlog was full, which the
//! port counts. What could be taken for an advert would win if it were believed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use xvrrp_common::units::{Interval, MacAddress, Priority, Vrid};
use xvrrp_common::wire::arp::{Arp, OPERATION_REQUEST};
use xvrrp_common::wire::vrrp::{AdvertFrame, GROUP, PROTOCOL};
use xvrrp_tests::flood::{Flood, Handed, dropped};
use xvrrp_tests::frames::{self, MESSAGE};
use xvrrp_tests::lab::{INTERFACE, Lab, PATIENCE, VIP, VirtualRouter, Xvrrp, eventually};
use xvrrp_tests::metronome::Metronome;
use xvrrp_tests::probe::{Destination, Hosts, Kind, Serving, UdpEcho};

/// How long each flood lasts.
const LENGTH: Duration = Duration::from_secs(2);
/// Of one processor, while the flood lasts.
const CPU_SHARE: f64 = 0.02;
/// So many different senders, where that could matter.
const SENDERS: u16 = 4096;

/// A machine that holds up a real-time thread of the highest priority for so long is no judge of adverts every 10 ms: a
/// lease lasts for 30 ms.
const UNSTEADY: Duration = Duration::from_millis(15);
/// How often something is measured on a machine that is.
const ROUNDS: usize = 5;

/// One flood at a time: each takes a processor for itself.
static TURN: Mutex<()> = Mutex::new(());

const ROUTERS: [(usize, &str); 2] = [(0, "active"), (1, "backup")];

/// An Active router and a Backup, with 10 ms adverts, and who may send them adverts.
struct Pair {
    agents: Vec<Xvrrp>,
    _echoes: Vec<UdpEcho>,
    lab: Lab,
    metronome: Metronome,
    _turn: MutexGuard<'static, ()>,
}

/// What an agent has counted.
#[derive(Clone, Debug)]
struct Counts {
    ours: serde_json::Value,
    foreign: serde_json::Value,
    /// Datagrams that the host had nobody for.
    no_ports: u64,
}

impl Counts {
    fn of(&self, counter: Counter) -> u64 {
        match counter {
            Ours(name) => self.ours[name].as_u64().unwrap_or(0),
            Foreign(name) => self.foreign[name].as_u64().unwrap_or(0),
            Counter::NoPort => self.no_ports,
        }
    }

    fn sum(&self, counters: &[Counter]) -> u64 {
        counters.iter().map(|&counter| self.of(counter)).sum()
    }
}

/// By its name in the status.
#[derive(Clone, Copy, Debug)]
enum Counter {
    /// Of the virtual router.
    Ours(&'static str),
    /// Of what belongs to none.
    Foreign(&'static str),
    /// The host's own: the kernel half lets it pass and counts nothing.
    NoPort,
}

use Counter::{Foreign, Ours};

impl Pair {
    fn new() -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new(2)?;
        let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
        let echoes = echoes.collect::<Result<Vec<_>>>()?;
        let agents = lab.routers.iter().zip([200, 100]).map(|(router, priority)| {
            let lan = VirtualRouter::lan(priority).with("advert_interval", "\"10ms\"");
            Xvrrp::start(router, &[lan.with("allowed_sources", "[\"192.0.2.2\", \"192.0.2.3\", \"192.0.2.9\"]")])
        });
        let agents = agents.collect::<Result<_>>()?;
        let pair = Self { agents, _echoes: echoes, lab, metronome: Metronome::start()?, _turn: turn };
        pair.settle()?;
        Ok(pair)
    }

    /// Until the first one is Active and the second one knows it.
    fn settle(&self) -> Result<()> {
        eventually("the Backup hears the Active router", PATIENCE, || {
            let (first, second) = (self.agents[0].state("lan")?, self.agents[1].virtual_router("lan")?);
            ensure!(first == "active", "the first one is {first}");
            ensure!(second["state"] == "backup" && second["active"]["priority"] == 200, "{second}");
            Ok(())
        })
    }

    fn counts(&self, router: usize) -> Result<Counts> {
        let status = self.agents[router].status()?;
        Ok(Counts {
            ours: status["virtual_routers"][0]["counters"].clone(),
            foreign: status["counters"].clone(),
            no_ports: self.lab.routers[router].run(no_ports)??,
        })
    }

    /// Every change of state that was logged, of both.
    fn changes(&self) -> Vec<usize> {
        self.agents.iter().map(|agent| agent.daemon.count_lines(&["state changed"])).collect()
    }

    fn check_roles(&self, changes: &[usize]) -> Result<()> {
        for (router, state) in ROUTERS {
            let now = self.agents[router].state("lan")?;
            ensure!(now == state, "router {router} is {now}");
        }
        ensure!(self.changes() == changes, "{}{}", self.agents[0].daemon.log(), self.agents[1].daemon.log());
        Ok(())
    }

    /// Floods each router in turn. All of it must be found in these counters, by the router's number. Meanwhile everybody
    /// is asked whether he serves.
    fn withstands(&self, what: &str, frames: &[Vec<u8>], counters: [&[Counter]; 2]) -> Result<()> {
        self.floods(what, frames, counters, |router, flood, counters| {
            let sampler = Serving::start(&self.lab, Destination::VirtualMac(51))?;
            let withstood = self.withstands_at(router, flood, counters)?;
            let seen = sampler.finish();
            ensure!(seen.served_twice().is_empty(), "two served: {seen:?}");
            ensure!(seen.hosts(Kind::Arp) == [Hosts::one(0)], "{seen:?}");
            Ok(withstood)
        })
    }

    /// The same, but nobody is asked anything: for floods of questions.
    fn withstands_unasked(&self, what: &str, frames: &[Vec<u8>], counters: [&[Counter]; 2]) -> Result<()> {
        self.floods(what, frames, counters, |router, flood, counters| self.withstands_at(router, flood, counters))
    }

    fn floods(
        &self,
        what: &str,
        frames: &[Vec<u8>],
        counters: [&[Counter]; 2],
        measure: impl Fn(usize, &Flood, &[Counter]) -> Result<Withstood>,
    ) -> Result<()> {
        let flood = Flood::of(frames.iter().cloned());
        for (router, state) in ROUTERS {
            let withstood = self.on_a_steady_machine(|| measure(router, &flood, counters[router]));
            let withstood = withstood.with_context(|| format!("{what} at the {state} router"))?;
            println!("{what:>28} at the {state} router: {withstood}");
        }
        Ok(())
    }

    /// Measures anew, a few times, what went wrong while the machine held up everybody.
    fn on_a_steady_machine<T>(&self, measure: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 1..ROUNDS {
            self.settle()?;
            let start = Instant::now();
            let measured = measure();
            let late = self.metronome.latest_since(start);
            match measured {
                Err(error) if late > UNSTEADY => println!("the machine was {late:?} late: {error:#}"),
                measured => return measured,
            }
        }
        self.settle()?;
        measure()
    }

    fn withstands_at(&self, router: usize, flood: &Flood, counters: &[Counter]) -> Result<Withstood> {
        let port = Lab::port(router);
        let changes = self.changes();
        let before = self.counts(router)?;
        let served_before = self.counts(1)?.sum(SERVED);
        let lost_before = dropped(self.lab.switch(), &port)?;
        let used_before = self.used()?;

        let start = Instant::now();
        let handed = flood.send(self.lab.switch(), &port, LENGTH)?;
        let took = start.elapsed();

        let used = self.used()?;
        let shares = [0, 1].map(|agent| (used[agent] - used_before[agent]).as_secs_f64() / took.as_secs_f64());
        let lost = dropped(self.lab.switch(), &port)? - lost_before;
        let counted = self.counts(router)?.sum(counters) - before.sum(counters);
        let withstood = Withstood { handed, lost, counted, shares };
        ensure!(self.counts(1)?.sum(SERVED) == served_before, "the Backup has served: {:?}", self.counts(1)?);
        self.check_roles(&changes).with_context(|| withstood.to_string())?;
        ensure!(counted + lost == handed.frames, "{withstood}: {:?}", self.counts(router)?);
        ensure!(shares.iter().all(|share| *share < CPU_SHARE), "{withstood}");
        Ok(withstood)
    }

    /// Processor time of each agent so far.
    fn used(&self) -> Result<[Duration; 2]> {
        let used = |router: usize| -> Result<Duration> {
            let pid = Pid::from_raw(i32::try_from(self.agents[router].daemon.pid())?);
            Ok(nix::time::clock_getcpuclockid(pid)?.now()?.into())
        };
        Ok([used(0)?, used(1)?])
    }
}

/// `NoPorts` of the network namespace that this is called in.
fn no_ports() -> Result<u64> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let (mut names, mut values) = (udp.next().context("no names")?, udp.next().context("no values")?);
    let index = names.position(|name| name == "NoPorts").context("no NoPorts")?;
    Ok(values.nth(index).context("no value")?.parse()?)
}

struct Withstood {
    handed: Handed,
    lost: u64,
    counted: u64,
    /// Of one processor, for each agent.
    shares: [f64; 2],
}

impl fmt::Display for Withstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handed, lost, counted, shares: [active, backup] } = self;
        write!(
            f,
            "{} frames ({:.0}/s): {counted} counted, {lost} lost; the agents took {:.2} % and {:.2} %",
            handed.frames,
            handed.rate(),
            active * 100.0,
            backup * 100.0
        )
    }
}

/// An advert of a router that is allowed to send some, and that would win.
fn winning() -> AdvertFrame<'static> {
    AdvertFrame {
        source: [192, 0, 2, 9],
        source_mac: MacAddress([2, 0, 0, 0, 0, 9]),
        priority: Priority::new(254),
        interval: Interval::from_millis(10),
        ..frames::advert()
    }
}

/// What only an Active router counts.
const SERVED: &[Counter] = &[Ours("arp_answered"), Ours("virtual_mac_admitted")];

/// Every reason for which an advert is thrown away, and the two that say it is somebody else's to judge.
const DISCARDED: &[Counter] = &[
    Ours("advert_fragment"),
    Ours("advert_time_to_live"),
    Ours("advert_version"),
    Ours("advert_type"),
    Ours("advert_length"),
    Ours("advert_checksum"),
    Ours("advert_interval_zero"),
    Ours("advert_no_address"),
    Ours("advert_own_source"),
    Ours("advert_forbidden_source"),
    Foreign("advert_unknown_vrid"),
    Foreign("advert_length"),
];

#[test]
fn adverts_with_a_wrong_ttl_checksum_interval_or_count_change_nothing_and_are_counted() -> Result<()> {
    // RFC 9568 5.1.1.3, 5.2.8, 5.2.5 (erratum 8299), erratum 8301
    let pair = Pair::new()?;
    let advert = frames::emit(&winning());
    pair.withstands("wrong TTL", &[frames::with_ip_byte(&advert, 8, 254)], [&[Ours("advert_time_to_live")]; 2])?;
    let wrong = frames::with_byte(&advert, MESSAGE + 6, advert[MESSAGE + 6] ^ 0x55);
    pair.withstands("wrong checksum", &[wrong], [&[Ours("advert_checksum")]; 2])?;
    let zero = frames::with_message_byte(&frames::with_message_byte(&advert, 4, 0), 5, 0);
    pair.withstands("interval 0", &[zero], [&[Ours("advert_interval_zero")]; 2])?;
    pair.withstands("count 0", &[frames::with_message_byte(&advert, 3, 0)], [&[Ours("advert_no_address")]; 2])
}

#[test]
fn adverts_that_are_cut_short_change_nothing_and_are_counted() -> Result<()> {
    let pair = Pair::new()?;
    let cut = |message: usize| {
        let mut frame = frames::emit(&winning());
        frames::set_total_length(&mut frame, |_| 20 + message);
        frame.truncate(MESSAGE + message);
        frame
    };
    pair.withstands("without its address", &[cut(8)], [&[Ours("advert_length")]; 2])?;
    pair.withstands("without half of its header", &[cut(4)], [&[Ours("advert_length")]; 2])?;
    pair.withstands("without a VRID", &[cut(1)], [&[Foreign("advert_length")]; 2])
}

#[test]
fn adverts_of_others_change_nothing_and_are_counted() -> Result<()> {
    let pair = Pair::new()?;
    let elsewhere = AdvertFrame { vrid: Vrid::new(52).context("not zero")?, ..winning() };
    pair.withstands("wrong VRID", &[frames::emit(&elsewhere)], [&[Foreign("advert_unknown_vrid")]; 2])?;
    let stranger = |number: u16| {
        let [high, low] = number.to_be_bytes();
        frames::emit(&AdvertFrame { source: [192, 0, 1 - high / 16, low], ..winning() })
    };
    let strangers: Vec<_> = (0..SENDERS).map(stranger).collect();
    pair.withstands("from forbidden sources", &strangers, [&[Ours("advert_forbidden_source")]; 2])
}

#[test]
fn random_bytes_in_the_place_of_an_advert_change_nothing_and_are_counted() -> Result<()> {
    let pair = Pair::new()?;
    // Knuth's MMIX generator: the same bytes each time.
    let mut state: u64 = 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let junk: Vec<_> = (0..SENDERS)
        .map(|number| {
            let length = usize::from(random() % 64);
            let mut payload: Vec<u8> = (0..length).map(|_| random()).collect();
            // Every other one looks a little like an advert for the virtual router.
            if let Some(start) = payload.first_chunk_mut().filter(|_| number % 2 == 0) {
                *start = [0x31, 51];
            }
            frames::ipv4(MacAddress::VRRP_IPV4_MULTICAST, 255, PROTOCOL, GROUP, &payload)
        })
        .collect();
    pair.withstands("random bytes", &junk, [DISCARDED; 2])
}

#[test]
fn requests_for_the_virtual_address_change_nothing_and_are_counted() -> Result<()> {
    // RFC 9568 6.4.2, 6.4.3
    let pair = Pair::new()?;
    let request = |number: u16| {
        let [high, low] = number.to_be_bytes();
        frames::arp(&Arp {
            operation: OPERATION_REQUEST,
            sender_mac: MacAddress([2, 0, 0, 1, high, low]),
            sender: [198, 18, high, low],
            target_mac: MacAddress::default(),
            target: VIP.octets(),
        })
    };
    let requests: Vec<_> = (0..SENDERS).map(request).collect();
    pair.withstands_unasked("ARP for the VIP", &requests, [&[Ours("arp_answered")], &[Ours("arp_suppressed")]])
}

#[test]
fn datagrams_to_the_routers_change_nothing_and_are_counted() -> Result<()> {
    // RFC 9568 6.4.2, 6.4.3
    const NOBODY: [u8; 12] = [0x13, 0x88, 0, 9, 0, 12, 0, 0, 0, 0, 0, 0];
    let pair = Pair::new()?;
    let virtual_mac = MacAddress::virtual_ipv4(Vrid::new(51).context("not zero")?);
    let to_vip = frames::ipv4(virtual_mac, 64, 17, VIP.octets(), &NOBODY);
    let counters = [&[Ours("virtual_mac_admitted")][..], &[Ours("virtual_mac_dropped")]];
    pair.withstands_unasked("UDP to the VIP", &[to_vip], counters)?;
    for (router, _) in ROUTERS {
        let mac = pair.lab.routers[router].mac(INTERFACE)?;
        let own = frames::ipv4(mac, 64, 17, Lab::address(router).octets(), &NOBODY);
        let flood = Flood::of([own]);
        let withstood = pair.on_a_steady_machine(|| pair.withstands_at(router, &flood, &[Counter::NoPort]))?;
        println!("UDP to router {router} itself: {withstood}");
    }
    Ok(())
}
