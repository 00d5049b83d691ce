//! A flood of ARP requests for the virtual address: how many are answered, and how much processor time an answer costs,
//! by the XDP program and by the kernel's own stack.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use xvrrp_common::abi::{Router, RouterKey};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};

use super::bare_xdp::{self, BareProgram, Injector, Variation};
use super::wires::Wires;
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::kernel_half::{KernelHalf, key, router};
use xvrrp_lab::traffic::flood::Flood;
use xvrrp_lab::traffic::frames;
use xvrrp_lab::usage::received;
use xvrrp_lab::{INTERFACE, Namespace, VirtualRouter, Xvrrp, pause};

pub const SUBJECT: Subject = Subject { name: "arp", title: "answers to a flood of ARP requests", run };

/// Number of senders, and the factor by which an answer must be cheaper than the kernel's.
const SENDERS: [(u16, f64); 2] = [(1, 4.0), (4096, 100.0)];
const VIP: [u8; 4] = [10, 0, 64, 1];
/// Number of frames that are injected at a time.
const AT_ONCE: u32 = 1 << 13;

/// Way by which requests arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Through a packet socket. Each request has a socket buffer, and the agent's program runs in generic mode.
    Cable,
    /// Injected at the driver, where the program runs in driver mode.
    Driver,
}

/// Part of the host that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answerer {
    Kernel,
    Xdp,
    /// None: every frame is dropped as early as possible.
    Nobody,
}

/// Counts of one measurement window.
struct Window {
    seconds: f64,
    sent: f64,
    answered: f64,
}

/// Figures of several measurement windows.
struct Answers {
    thousands_a_second: Samples,
    percent: Samples,
    /// Processor time for each answer, without the time for sending the request.
    microseconds_each: Samples,
}

fn run(options: &Options) -> Result<Findings> {
    let window = options.pick(Duration::from_secs(1), Duration::from_millis(200));
    let windows = options.runs(7, 1);
    let mut findings = Findings {
        how: format!(
            "Two hosts are connected by a veth cable. One thread sends requests as fast as it can for {window:?}, \
             {windows} times, and the answers that arrive are counted. Over the cable: the requests come from a packet \
             socket, the program runs in generic mode, and the answers go up the sender's stack. At the driver: the \
             kernel makes the frames and hands them to the interface's driver, and the program runs in driver mode, as \
             on a card. Its answers are dropped in the sender's driver, the kernel's answers in the first step of the \
             sender's stack, where ARP is off. Sending, answering and receiving the answer share one core. The cost of \
             an answer is therefore the time per answer, minus the shortest time that the same thread took per frame when \
             the other host dropped every frame. The targets apply to that cost, not to the rate, which includes \
             sending."
        ),
        notes: vec![
            "The kernel's own stack answers because the address is on the interface. It creates a neighbor entry for \
             each sender, and by default has room for 1024. The cost of its answers includes its work on requests that \
             it does not answer."
                .to_owned(),
            "In generic mode the program runs after the socket buffer has been allocated. The kernel's own answer \
             needs a socket buffer too, so that part of the cost is the same for both."
                .to_owned(),
        ],
        ..Findings::default()
    };
    let mut groups = Vec::new();
    for arrival in [Arrival::Driver, Arrival::Cable] {
        for (senders, times) in SENDERS {
            let kernel =
                answers((arrival, Answerer::Kernel), senders, window, windows).context("the kernel's own stack")?;
            let xdp = answers((arrival, Answerer::Xdp), senders, window, windows).context("the XDP program")?;
            let senders = if senders == 1 { "1 sender".to_owned() } else { format!("{senders} senders") };
            let place = if arrival == Arrival::Driver { "at the driver" } else { "over the cable" };
            let name = format!("{place}, {senders}");
            let row = |what: &str, unit, ours: &Samples, theirs: &Samples| {
                Row::new(format!("{name}: {what}"), unit).figure("xvrrp", ours.clone()).beside("kernel", theirs.clone())
            };
            let rate = row("answers", "thousand/s", &xdp.thousands_a_second, &kernel.thousands_a_second);
            let share = row("answered", "%", &xdp.percent, &kernel.percent);
            let cost = row("CPU per answer", "us", &xdp.microseconds_each, &kernel.microseconds_each);
            let what = format!("at most 1/{times} of the kernel's");
            let (ours, theirs) = (xdp.microseconds_each.median(), kernel.microseconds_each.median());
            let cost = if ours > 0.0 {
                cost.target(what, ours * times <= theirs)
            } else {
                cost.not_comparable(
                    what,
                    "sending alone took longer than sending and answering, so the machine was disturbed",
                )
            };
            findings.rows.push(rate);
            findings
                .rows
                .push(share.target("all (99.9 %, because some are still under way)", xdp.percent.min() >= 99.9));
            findings.rows.push(cost);
            groups.push(
                Group::new(name)
                    .with("xvrrp", xdp.thousands_a_second)
                    .with("kernel's own stack", kernel.thousands_a_second),
            );
        }
    }
    findings.plots.push(Plot {
        title: "Answers to a flood of ARP requests".to_owned(),
        axis: "thousand answers/s, sender and answers on one core (log scale)".to_owned(),
        logarithmic: true,
        mark: None,
        body: Body::Bars(groups),
    });
    Ok(findings)
}

fn answers(
    (arrival, answerer): (Arrival, Answerer),
    senders: u16,
    window: Duration,
    windows: usize,
) -> Result<Answers> {
    // The shortest time counts, because a disturbed window would make the answers look cheaper than they are.
    let mut sending = f64::INFINITY;
    {
        let alone = Host::start((arrival, Answerer::Nobody), senders)?;
        for _ in 0..windows {
            let alone = alone.ask(window)?;
            sending = sending.min(alone.seconds / alone.sent);
        }
    }
    let asked = Host::start((arrival, answerer), senders)?;
    let (mut rates, mut shares, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..windows {
        let Window { seconds, sent, answered } = asked.ask(window)?;
        if answered == 0.0 {
            bail!("none of {sent} requests was answered");
        }
        rates.push(answered / seconds / 1e3);
        shares.push((answered / sent * 100.0).min(100.0));
        costs.push((seconds - sending * sent) / answered * 1e6);
    }
    Ok(Answers {
        thousands_a_second: Samples::of(rates)?,
        percent: Samples::of(shares)?,
        microseconds_each: Samples::of(costs)?,
    })
}

/// The host that is asked, and the one that asks.
struct Host {
    // Kept alive, but not used.
    _agent: Option<Xvrrp>,
    _attached: Vec<OwnedFd>,
    _kernel_half: Option<KernelHalf>,
    wires: Wires,
    requests: Requests,
}

enum Requests {
    Sent(Vec<Vec<u8>>),
    /// Injected, from this number of senders.
    Injected(u16),
}

impl Host {
    fn start((arrival, answerer): (Arrival, Answerer), senders: u16) -> Result<Self> {
        let wires = Wires::new(1)?;
        let (asked, asker) = (&wires.left, &wires.right);
        let (mut agent, mut attached, mut kernel_half) = (None, Vec::new(), None);
        let mut requests = match arrival {
            Arrival::Cable => Requests::Sent((0..senders).map(request).collect()),
            Arrival::Driver => {
                if answerer == Answerer::Kernel {
                    asker.ip(&format!("link set {INTERFACE} arp off"))?;
                } else {
                    attached.push(bare_xdp::attach(BareProgram::discard()?.fd(), asker, INTERFACE)?);
                }
                Requests::Injected(senders)
            }
        };
        match (arrival, answerer) {
            (Arrival::Cable, Answerer::Nobody) => {
                requests = Requests::Sent((0..senders).map(|sender| nobodys(&request(sender))).collect());
            }
            (Arrival::Driver, Answerer::Nobody) => {
                attached.push(bare_xdp::attach(BareProgram::discard()?.fd(), asked, INTERFACE)?);
            }
            (_, Answerer::Kernel) => {
                asked.ip(&format!("addr add {}/32 dev {INTERFACE}", Ipv4Addr::from(VIP)))?;
                if arrival == Arrival::Driver {
                    asked.receive_at_driver(INTERFACE)?;
                }
            }
            (Arrival::Cable, Answerer::Xdp) => {
                let router = VirtualRouter::lan(200).with("addresses", &format!("[\"{}/32\"]", Ipv4Addr::from(VIP)));
                let mut active = Xvrrp::start(asked, &[router])?;
                active.wait_for_state("lan", "active")?;
                agent = Some(active);
            }
            // The kernel half runs without an agent, which would choose generic mode on veth, because driver mode needs
            // a program at the other end too.
            (Arrival::Driver, Answerer::Xdp) => {
                let ifindex = asked.run(|| if_nametoindex(INTERFACE))??;
                let mut kernel = KernelHalf::load()?;
                kernel.add(RouterKey { ifindex, ..key(51, 0) }, router(Router::ROLE_ACTIVE), VIP)?;
                attached.push(bare_xdp::attach(kernel.ingress()?, asked, INTERFACE)?);
                kernel_half = Some(kernel);
            }
        }
        Ok(Self { _agent: agent, _attached: attached, _kernel_half: kernel_half, wires, requests })
    }

    /// Sends requests from one thread for this long, then waits for answers that are still under way.
    fn ask(&self, window: Duration) -> Result<Window> {
        let asker = &self.wires.right;
        let before = received(asker, INTERFACE)?;
        let (frames, took) = match &self.requests {
            Requests::Sent(frames) => {
                let handed = Flood::of(frames.iter().cloned()).send(asker, INTERFACE, window)?;
                (u32::try_from(handed.frames)?, handed.took)
            }
            Requests::Injected(senders) => {
                let injector = injector(asker, *senders)?;
                let (start, mut frames) = (Instant::now(), 0);
                while start.elapsed() < window {
                    injector.send(AT_ONCE)?;
                    frames += AT_ONCE;
                }
                (frames, start.elapsed())
            }
        };
        pause(Duration::from_millis(50))?;
        let answered = received(asker, INTERFACE)? - before;
        Ok(Window { seconds: took.as_secs_f64(), sent: f64::from(frames), answered })
    }
}

/// Makes an injector of [`request`]s from random senders.
fn injector(asker: &Namespace, senders: u16) -> Result<Injector<'_>> {
    // The sender's number is in its MAC address, in the Ethernet header and in the message, and in its IP address.
    let places = &[10, 26, 30][..if senders == 1 { 0 } else { 3 }];
    let (mask, others) = (u16::from_ne_bytes((senders - 1).to_be_bytes()), u16::from_ne_bytes([128, 0]));
    Injector::new(asker, INTERFACE, &request(0), Variation { places, mask, others })
}

/// Makes a request from one of many hosts, each with an address in the network of the virtual address.
fn request(sender: u16) -> Vec<u8> {
    let [high, low] = sender.to_be_bytes();
    frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 1, 128 + high, low]),
        sender: [10, 0, 128 + high, low],
        target_mac: MacAddress::default(),
        target: VIP,
    })
}

/// Changes the EtherType of a frame to one that no host handles: local experimental (IEEE 802, 9.2.4).
fn nobodys(frame: &[u8]) -> Vec<u8> {
    let frame = frames::with_byte(frame, 12, 0x88);
    frames::with_byte(&frame, 13, 0xb5)
}
