//! A flood of ARP requests for the virtual address: how many are answered, and what an answer costs, by the XDP program
//! and by the kernel's own stack.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::libc;
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{self, Arp};

use super::usage::received;
use super::wires::Wires;
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use crate::frames;
use crate::lab::{Namespace, VirtualRouter, Xvrrp, pause};

pub const SUBJECT: Subject = Subject { name: "arp", title: "answers to a flood of ARP requests", run };

/// How many senders there are, and how much less an answer must cost than the kernel's.
const SENDERS: [(u16, f64); 2] = [(1, 4.0), (4096, 100.0)];
const VIP: [u8; 4] = [10, 0, 64, 1];
/// Frames that one system call sends.
const BATCH: usize = 64;

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
            "Two hosts and a cable; one thread sends {BATCH} requests per system call for {window:?}, {windows} times; \
             counted is what comes back. On a veth cable sender, answer and the answer's reception share one core. So the \
             cost of an answer is the time per answer, less the time that the same thread takes to send a frame that the \
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
        let cheap = xdp.microseconds_each.median() * times <= kernel.microseconds_each.median();
        findings.rows.push(rate);
        findings.rows.push(share.target("all (99.9 %, for what is under way)", xdp.percent.median() >= 99.9));
        findings.rows.push(cost.target(format!("at most 1/{times} of the kernel's"), cheap));
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
    let (mut rates, mut shares, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..windows {
        let alone = flood(&wires.right, &nothing, window)?;
        let Window { seconds, sent, answered } = flood(&wires.right, &requests, window)?;
        if answered == 0.0 {
            bail!("none of {sent} requests was answered");
        }
        rates.push(answered / seconds / 1e3);
        shares.push((answered / sent * 100.0).min(100.0));
        let sending = alone.seconds / alone.sent;
        costs.push((seconds - sending * sent).max(0.0) / answered * 1e6);
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

/// Sends the frames in turn for this long, from one thread.
fn flood(from: &Namespace, frames: &[Vec<u8>], window: Duration) -> Result<Window> {
    let socket = open(from)?;
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let window = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&socket, frames, &sent, &stop));
        let counted = (|| -> Result<Window> {
            pause(window / 5)?;
            let (start, sent_before, before) = (Instant::now(), sent.load(Ordering::Relaxed), received(from, "eth0")?);
            pause(window)?;
            let (sent_after, after) = (sent.load(Ordering::Relaxed), received(from, "eth0")?);
            let seconds = start.elapsed().as_secs_f64();
            let sent = f64::from(u32::try_from(sent_after - sent_before)?);
            Ok(Window { seconds, sent, answered: after - before })
        })();
        stop.store(true, Ordering::Relaxed);
        match sender.join() {
            Ok(Ok(())) => counted,
            Ok(Err(error)) => Err(error.into()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    Ok(window)
}

fn send(socket: &OwnedFd, frames: &[Vec<u8>], sent: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .cycle()
        .take(frames.len().next_multiple_of(BATCH))
        .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zero is a message without a name, parts or control data.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = ptr::from_mut(part);
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    loop {
        for batch in messages.chunks_mut(BATCH) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // SAFETY: the messages point to parts, and those to frames, which all outlive the call; nothing writes to them.
            let count = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), u32::try_from(batch.len()).unwrap_or(0), 0)
            };
            match u64::try_from(count) {
                Ok(count) => drop(sent.fetch_add(count, Ordering::Relaxed)),
                Err(_) => match io::Error::last_os_error() {
                    // The send buffer is full of frames that are under way.
                    error if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                    error => return Err(error),
                },
            }
        }
    }
}

/// A packet socket that sends on `eth0`, and receives nothing.
fn open(namespace: &Namespace) -> Result<OwnedFd> {
    namespace.run(|| -> Result<OwnedFd> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("cannot open a packet socket");
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET)?,
            sll_protocol: 0,
            sll_ifindex: i32::try_from(nix::net::if_::if_nametoindex("eth0")?)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = libc::socklen_t::try_from(size_of_val(&address))?;
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error()).context("cannot bind a packet socket");
        }
        Ok(fd)
    })?
}
