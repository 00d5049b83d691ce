//! A sampler that asks every router, at the same moment, whether it serves the virtual address. What the switch has
//! learned does not matter.
//!
//! Every millisecond, a simulated client sends an ARP request for the virtual address and a datagram to it out of each
//! router's own switch port. An answer that comes in by that port is therefore that router's. The switch learns the
//! place of the virtual MAC from these answers, as it does from answers to any client.
//!
//! Another sampler asks at each router's second interface, whose cable connects to no other host. There is no virtual
//! MAC there, and the host answers for all of its addresses.

mod port_socket;
mod timeline;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::units::{MacAddress, Vrid};
use xvrrp_common::wire::arp::{Arp, OPERATION_REPLY, OPERATION_REQUEST};
use xvrrp_common::wire::checksum::Sum;
use xvrrp_common::wire::ethernet;

use self::port_socket::PortSocket;
pub use self::timeline::{Asked, Gap, Hosts, Kind, Reign, Sample, ServingTimeline};
use super::echo::PORT;
use super::port::NOBODY;
use super::service::Service;
use crate::{INTERFACE, Lab, Namespace, UPSTREAM, VIP};

/// Time between two samples.
pub const PACE: Duration = Duration::from_millis(1);
/// An answer that comes later than this after the first request of its sample does not prove who served at that moment.
const IN_TIME: Duration = Duration::from_millis(1);
/// Answers that come later than this are ignored.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time between two samples at the second interfaces.
const PACE_BEHIND: Duration = Duration::from_millis(4);
/// Address of the simulated client. [`Serving::introduce`] makes its MAC known to a router.
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
/// Address of the simulated client behind the second interfaces.
const ASKER_BEHIND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 250);
/// MAC address of the simulated client. In the body of an ARP request, it ends with the number of the sample.
const ASKER_MAC: MacAddress = MacAddress([NOBODY[0], NOBODY[1], 0, 0, 0, 0]);
/// Source port of its datagrams.
const ASKER_PORT: u16 = 7008;

/// The MAC address that datagrams for the virtual address are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The virtual MAC of this VRID (RFC 9568 7.3).
    VirtualMac(u8),
    /// Each host's own MAC address at the start of the sampler.
    OwnMac,
}

/// A running sampler. It stops when this is dropped.
#[derive(Debug)]
pub struct Serving {
    thread: Service,
    done: Arc<Mutex<Vec<Sample>>>,
    start: Instant,
}

impl Serving {
    /// Starts a sampler that asks every router of the lab. Each of them should run [`super::UdpEcho`].
    pub fn start(lab: &Lab, destination: Destination) -> Result<Self> {
        ensure!(lab.routers.len() <= Hosts::MAX, "at most {} routers", Hosts::MAX);
        let mut places = Vec::with_capacity(lab.routers.len());
        for (index, router) in lab.routers.iter().enumerate() {
            Self::introduce(router)?;
            let mac = match destination {
                Destination::VirtualMac(vrid) => {
                    Vrid::new(vrid).map_or(MacAddress::BROADCAST, MacAddress::virtual_ipv4)
                }
                Destination::OwnMac => router.mac(INTERFACE)?,
            };
            let socket = PortSocket::open(lab.switch(), &Lab::port(index))?;
            places.push(Place { socket, datagram: datagram(mac, ASKER) });
        }
        // Otherwise the switch would flood the answers to all ports.
        lab.switch().sh(&format!("bridge fdb replace {ASKER_MAC} dev br0 self local"))?;
        Ok(Self::run(places, ASKER, PACE))
    }

    /// Starts a sampler that asks every router at its second interface.
    pub fn start_behind(lab: &Lab) -> Result<Self> {
        ensure!(lab.routers.len() <= Hosts::MAX, "at most {} routers", Hosts::MAX);
        let mut places = Vec::with_capacity(lab.routers.len());
        for (index, router) in lab.routers.iter().enumerate() {
            introduce(router, ASKER_BEHIND, UPSTREAM)?;
            let datagram = datagram(router.mac(UPSTREAM)?, ASKER_BEHIND);
            places.push(Place { socket: PortSocket::open(lab.switch(), &Lab::second_port(index))?, datagram });
        }
        Ok(Self::run(places, ASKER_BEHIND, PACE_BEHIND))
    }

    fn run(places: Vec<Place>, asker: Ipv4Addr, pace: Duration) -> Self {
        let done = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let mut sampler = Sampler { places, asker, pace, pending: VecDeque::new(), done: Arc::clone(&done) };
        let thread = Service::start(move |stop| sampler.run(start, stop));
        Self { thread, done, start }
    }

    /// Enters the simulated client into the router's neighbor table, so that services on the router can answer it. This
    /// is needed again whenever the router's interface was down, got another MAC address, or had no address at all.
    pub fn introduce(router: &Namespace) -> Result<()> {
        introduce(router, ASKER, INTERFACE)
    }

    /// Returns the samples so far. The latest ones, to which answers may still come, are left out.
    pub fn so_far(&self) -> ServingTimeline {
        ServingTimeline::new(self.start, self.lock().clone())
    }

    /// Returns the samples so far, as [`Self::so_far`] does, and forgets them. For samplers that run long.
    pub fn take(&self) -> ServingTimeline {
        ServingTimeline::new(self.start, std::mem::take(&mut *self.lock()))
    }

    /// Returns the hosts that answered the last complete sample, or `None` before the first one.
    pub fn latest(&self, kind: Kind) -> Option<Hosts> {
        self.lock().last().map(|sample| sample.answering(kind))
    }

    /// Waits until every sample that was taken before now is complete.
    pub fn settle() {
        thread::sleep(PATIENCE + 20 * PACE);
    }

    /// Stops the sampler after the last answers have had time to arrive, and returns the samples.
    pub fn finish(mut self) -> ServingTimeline {
        Self::settle();
        self.thread.finish();
        self.take()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn introduce(router: &Namespace, asker: Ipv4Addr, interface: &str) -> Result<()> {
    router.ip(&format!("neigh replace {asker} lladdr {ASKER_MAC} nud permanent dev {interface}")).map(drop)
}

/// The switch port of a router.
struct Place {
    socket: PortSocket,
    /// Its last bytes take the number of the sample.
    datagram: Vec<u8>,
}

struct Sampler {
    places: Vec<Place>,
    asker: Ipv4Addr,
    pace: Duration,
    /// The samples to which answers may still come, the oldest first.
    pending: VecDeque<Sample>,
    done: Arc<Mutex<Vec<Sample>>>,
}

impl Sampler {
    fn run(&mut self, start: Instant, stop: &AtomicBool) {
        let mut number: u32 = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = start + self.pace * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.collect();
            self.ask(number);
            // Samples that are overdue are left out, since each must describe its own moment.
            let passed = start.elapsed().as_nanos() / self.pace.as_nanos();
            number = u32::try_from(passed).unwrap_or(u32::MAX).max(number) + 1;
        }
    }

    fn ask(&mut self, number: u32) {
        let request = request(number, self.asker);
        let at = Instant::now();
        let mut unreachable = Hosts::default();
        for (host, place) in (0..).zip(&mut self.places) {
            let end = place.datagram.len() - size_of::<u64>();
            place.datagram[end..].copy_from_slice(&u64::from(number).to_be_bytes());
            // A port that is down refuses frames.
            if place.socket.send(&place.datagram).is_err() || place.socket.send(&request).is_err() {
                unreachable.insert(host);
            }
        }
        let asked = if at.elapsed() <= IN_TIME { Asked::InTime } else { Asked::Late };
        self.pending.push_back(Sample::new(number, at, asked, unreachable));
    }

    fn collect(&mut self) {
        for (host, place) in (0..).zip(&mut self.places) {
            while let Some((at, kind, number)) = place.socket.receive(answer) {
                let sample = self.pending.iter_mut().rev().find(|sample| sample.number == number);
                // The sample is gone if the answer took longer than `PATIENCE`.
                if let Some(sample) = sample {
                    let in_time = at.saturating_duration_since(sample.at) <= IN_TIME;
                    sample.answered(host, kind, in_time);
                }
            }
        }
        let complete = self.pending.iter().take_while(|sample| sample.at.elapsed() > PATIENCE).count();
        if complete > 0
            && let Ok(mut done) = self.done.lock()
        {
            done.extend(self.pending.drain(..complete));
        }
    }
}

/// Builds an ARP request for the virtual address.
fn request(number: u32, asker: Ipv4Addr) -> Vec<u8> {
    let [a, b] = NOBODY;
    let [c, d, e, f] = number.to_be_bytes();
    let request = Arp {
        operation: OPERATION_REQUEST,
        sender_mac: MacAddress([a, b, c, d, e, f]),
        sender: asker.octets(),
        target_mac: MacAddress::default(),
        target: VIP.octets(),
    };
    let ether_type = ethernet::TYPE_ARP.to_be_bytes();
    [&MacAddress::BROADCAST.0[..], &ASKER_MAC.0, &ether_type, &request.emit()].concat()
}

/// Builds a datagram to the service at the virtual address. Its last eight bytes are free.
fn datagram(destination: MacAddress, asker: Ipv4Addr) -> Vec<u8> {
    const LENGTH: u8 = 20 + 8 + 8;
    let ether_type = ethernet::TYPE_IPV4.to_be_bytes();
    let mut frame = [
        &destination.0[..],
        &ASKER_MAC.0,
        &ether_type,
        &[0x45, 0, 0, LENGTH, 0, 0, 0, 0, 64, 17, 0, 0],
        &asker.octets(),
        &VIP.octets(),
        &ASKER_PORT.to_be_bytes(),
        &PORT.to_be_bytes(),
        // No checksum (RFC 768).
        &[0, 16, 0, 0],
        &[0; 8],
    ]
    .concat();
    let checksum = Sum::of(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&checksum);
    frame
}

/// Returns which request a frame answers, and the number of the sample.
fn answer(frame: &[u8]) -> Option<(Kind, u32)> {
    const PAYLOAD: usize = ethernet::HEADER + 20 + 8;
    let ether_type = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    if ether_type == ethernet::TYPE_ARP {
        let arp = Arp::decode(frame, ethernet::HEADER).ok()??;
        let number = arp.target_mac.0.last_chunk()?;
        let answers = arp.operation == OPERATION_REPLY && arp.sender == VIP.octets();
        return answers.then(|| (Kind::Arp, u32::from_be_bytes(*number)));
    }
    let source = frame.get(ethernet::HEADER + 12..)?.first_chunk::<4>()?;
    let number = u64::from_be_bytes(*frame.get(PAYLOAD..)?.first_chunk()?);
    let answers = ether_type == ethernet::TYPE_IPV4 && *source == VIP.octets();
    answers.then(|| u32::try_from(number).ok().map(|number| (Kind::Udp, number)))?
}
