//! A flood of ARP requests for the virtual address: how many are answered, and what an answer costs, by the XDP program
//! and by the kernel's own stack.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};

use super::usage::received;
use super::wires::Wires;
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use crate::flood::Flood;
use crate::frames;
use crate::lab::{Namespace, VirtualRouter, Xvrrp, pause};

pub const SUBJECT: Subject = Subject { name: "arp", title: "answers to a flood of ARP requests", run };

/// How many senders there are, and how much less an answer must cost than the kernel's.
const SENDERS: [(u16, f64); 2] = [(1, 4.0), (4096, 100.0)];
const VIP: [u8; 4] = [10, 0, 64, 1];

/// What one window has counted.
struct Window {
    seconds: f64,
    sent: f64,
    answered: f64,
}

/// What some windows have shown.
struct Answers {
    thousands_a_second: Samples,
    percent: Samples,
    /// Of processor time, without the sending.
    microseconds_each: Samples,
}

fn run(options: &Options) -> Result<Findings> {
    let window = options.pick(Duration::from_secs(1), Duration::from_millis(200));
    let windows = options.runs(7, 1);
    let mut findings = Findings {
        how: format!(
            "Two hosts and a cable; one thread sends requests as fast as it can for {window:?}, {windows} times; \
             counted is what comes back. On a veth cable sender, answer and the answer's reception share one core. So the \
             cost of an answer is the time per answer, less the least time that the same thread took to send a frame that the \
             other host throws away. Targets are for that cost: sending is in nobody's."
        ),
        notes: vec![
            "The kernel's own stack: the address on the interface, no program. It makes a neighbour entry for each sender, \
             and by default has room for 1024."
                .to_owned(),
            "Both answer on veth, where the program runs in generic mode, behind the allocation of the buffer. In driver \
             mode it spares that too."
                .to_owned(),
        ],
        ..Findings::default()
    };
    let mut groups = Vec::new();
    for (senders, times) in SENDERS {
        let kernel = answers(false, senders, window, windows).context("the kernel's own stack")?;
        let xdp = answers(true, senders, window, windows).context("the XDP program")?;
        let name = if senders == 1 { "1 sender".to_owned() } else { format!("{senders} senders") };
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
            cost.not_comparable(what, "sending alone took longer than sending with answers: the machine was disturbed")
        };
        findings.rows.push(rate);
        findings.rows.push(share.target("all (99.9 %, for what is under way)", xdp.percent.median() >= 99.9));
        findings.rows.push(cost);
        groups.push(
            Group::new(name)
                .with("xvrrp", xdp.thousands_a_second)
                .with("kernel's own stack", kernel.thousands_a_second),
        );
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

fn answers(by_program: bool, senders: u16, window: Duration, windows: usize) -> Result<Answers> {
    let wires = Wires::new(1)?;
    let _agent = if by_program {
        let router = VirtualRouter::lan(200).with("addresses", "[\"10.0.64.1/32\"]");
        let mut agent = Xvrrp::start(&wires.left, &[router])?;
        agent.wait_for_state("lan", "active")?;
        Some(agent)
    } else {
        wires.left.ip("addr add 10.0.64.1/32 dev eth0")?;
        None
    };
    let requests: Vec<Vec<u8>> = (0..senders).map(request).collect();
    let nothing = vec![nobodys(&requests[0])];
    // The least: what was disturbed would make the answers cheaper than they are.
    let mut sending = f64::INFINITY;
    for _ in 0..windows {
        let alone = flood(&wires.right, &nothing, window)?;
        sending = sending.min(alone.seconds / alone.sent);
    }
    let (mut rates, mut shares, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..windows {
        let Window { seconds, sent, answered } = flood(&wires.right, &requests, window)?;
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

/// From one of many hosts, each with an address in the network of the virtual address.
fn request(sender: u16) -> Vec<u8> {
    let [high, low] = sender.to_be_bytes();
    frames::arp(&Arp {
        operation: arp::OPERATION_REQUEST,
        sender_mac: MacAddress([2, 0, 0, 1, high, low]),
        sender: [10, 0, 128 + high, low],
        target_mac: MacAddress::default(),
        target: VIP,
    })
}

/// The same of a protocol that nobody speaks: local experimental (IEEE 802, 9.2.4).
fn nobodys(frame: &[u8]) -> Vec<u8> {
    let frame = frames::with_byte(frame, 12, 0x88);
    frames::with_byte(&frame, 13, 0xb5)
}

/// Sends the frames in turn for this long, from one thread; what was under way has come back when it is over.
fn flood(from: &Namespace, frames: &[Vec<u8>], window: Duration) -> Result<Window> {
    let before = received(from, "eth0")?;
    let handed = Flood::of(frames.iter().cloned()).send(from, "eth0", window)?;
    pause(Duration::from_millis(50))?;
    let answered = received(from, "eth0")? - before;
    let sent = f64::from(u32::try_from(handed.frames)?);
    Ok(Window { seconds: handed.took.as_secs_f64(), sent, answered })
}
