//! ARP as a host on the segment sees it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::TimeVal;
use xvrrp_common::units::MacAddress;
use xvrrp_common::wire::arp::{Arp, LENGTH, OPERATION_REQUEST};
use xvrrp_common::wire::ethernet;

use super::service::Service;
use crate::Namespace;
use crate::traffic::packet_socket;

/// An ARP packet in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Source of the Ethernet header.
    pub source: MacAddress,
    /// The packet.
    pub arp: Arp,
}

impl ArpFrame {
    /// Whether the sender claims to have this address.
    pub fn claims(&self, address: Ipv4Addr) -> bool {
        self.arp.sender == address.octets()
    }
}

/// Collects every ARP packet that an interface receives.
#[derive(Debug)]
pub struct ArpWatch {
    service: Service,
    frames: Arc<Mutex<Vec<ArpFrame>>>,
}

impl ArpWatch {
    /// Starts to collect the ARP packets of an interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = open(namespace, interface)?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&frames);
        let service = Service::start(move |stop: &AtomicBool| {
            while !stop.load(Ordering::Relaxed) {
                if let Some(frame) = receive(&socket)
                    && let Ok(mut collected) = collected.lock()
                {
                    collected.push(frame);
                }
            }
        });
        Ok(Self { service, frames })
    }

    /// Returns the packets that were received so far.
    pub fn frames(&self) -> Vec<ArpFrame> {
        self.frames.lock().map(|frames| frames.clone()).unwrap_or_default()
    }

    /// Stops, and returns the packets that were received. Those that still wait in the socket are left out.
    pub fn finish(mut self) -> Vec<ArpFrame> {
        self.service.finish();
        self.frames()
    }
}

/// Asks once for an address, in the name of a host that does not exist, and returns the answers that arrive `within`.
pub fn ask_for(namespace: &Namespace, interface: &str, address: Ipv4Addr, within: Duration) -> Result<Vec<ArpFrame>> {
    /// Locally administered; no host has it.
    const ASKER: MacAddress = MacAddress([0x02, 0x00, 0x00, 0x00, 0x00, 0xaa]);
    let socket = open(namespace, interface)?;
    // The answers go to a MAC that is not the interface's.
    let index = namespace.run(|| nix::net::if_::if_nametoindex(interface))??;
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(index)?,
        mr_type: 1, // PACKET_MR_PROMISC of linux/if_packet.h
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the pointer and length describe `membership`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            libc::socklen_t::try_from(size_of_val(&membership))?,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("cannot set promiscuous mode");
    }
    let request = Arp {
        operation: OPERATION_REQUEST,
        sender_mac: ASKER,
        sender: [192, 0, 2, 200],
        target_mac: MacAddress::default(),
        target: address.octets(),
    };
    let mut frame = [MacAddress::BROADCAST.0, ASKER.0].concat();
    frame.extend(ethernet::TYPE_ARP.to_be_bytes());
    frame.extend(request.emit());
    send(socket.as_raw_fd(), &frame, MsgFlags::empty())?;
    let deadline = Instant::now() + within;
    let mut answers = Vec::new();
    loop {
        // Read before the frame: on a busy machine, answers that came in time may wait in the socket until then.
        let is_over = Instant::now() >= deadline;
        match receive(&socket) {
            Some(frame) if frame.claims(address) && !frame.arp.is_gratuitous() => answers.push(frame),
            None if is_over => return Ok(answers),
            _ => {}
        }
    }
}

/// Receives the next ARP packet. Returns `None` if none comes in time, and for a malformed one.
fn receive(socket: &OwnedFd) -> Option<ArpFrame> {
    let mut buffer = [0; 128];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
    let frame = &buffer[..length];
    if length < ethernet::HEADER + LENGTH {
        return None;
    }
    let arp = Arp::decode(frame, ethernet::HEADER).ok()??;
    Some(ArpFrame { source: ethernet::source(frame).ok()?, arp })
}

/// Opens a packet socket for ARP on one interface. A receive waits at most 20 ms.
fn open(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    packet_socket::open(namespace, interface, ethernet::TYPE_ARP, |socket| {
        Ok(setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000))?)
    })
}
