//! Who serves the virtual address, asked of every host by itself: whatever the switch has learned, and at the same moment.
//!
//! Every millisecond each router gets, on its own switch port, an ARP request for the virtual address and a datagram to
//! it, from a client that is not there; what comes back out of that port is that router's. The switch keeps what it has
//! learned of the virtual MAC up to date by these answers, as it does by those to any client.
//!
//! Another sampler asks at each router's second interface, on a cable that leads to that router only: there no virtual MAC
//! is, and the host answers for all of its addresses.

mod seat;
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

use self::seat::Seat;
pub use self::timeline::{Asked, Gap, Hosts, Kind, Reign, Sample, ServingTimeline};
use super::echo::PORT;
use super::port::NOBODY;
use super::service::Service;
use crate::{INTERFACE, Lab, Namespace, UPSTREAM, VIP};

/// How often everybody is asked.
pub const PACE: Duration = Duration::from_millis(1);
/// An answer that comes later after the first request of its sample is no evidence of who served at that moment.
const IN_TIME: Duration = Duration::from_millis(1);
/// How long an answer may take at all.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often at the second interfaces.
const PACE_BEHIND: Duration = Duration::from_millis(4);
/// The client that is not there. A service on a router knows its MAC, see [`Serving::introduce`].
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
/// The one behind the second interfaces.
const ASKER_BEHIND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 250);
/// Its MAC address; in the body of an ARP request it ends with the number of the sample.
const ASKER_MAC: MacAddress = MacAddress([NOBODY[0], NOBODY[1], 0, 0, 0, 0]);
/// The port of its datagrams.
const ASKER_PORT: u16 = 7008;

/// Where datagrams for the virtual address are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The virtual MAC of this VRID (RFC 9568 7.3).
    VirtualMac(u8),
    /// Each host's own MAC address, as it is when the sampler starts.
    OwnMac,
}

/// The sampler. It ends with this.
#[derive(Debug)]
pub struct Serving {
    thread: Service,
    done: Arc<Mutex<Vec<Sample>>>,
    start: Instant,
}

impl Serving {
    /// Asks every router of the lab, which should run [`super::UdpEcho`].
    pub fn start(lab: &Lab, destination: Destination) -> Result<Self> {
        ensure!(lab.routers.len() <= Hosts::MOST, "at most {} routers", Hosts::MOST);
        let mut places = Vec::with_capacity(lab.routers.len());
        for (index, router) in lab.routers.iter().enumerate() {
            Self::introduce(router)?;
            let mac = match destination {
                Destination::VirtualMac(vrid) => {
                    Vrid::new(vrid).map_or(MacAddress::BROADCAST, MacAddress::virtual_ipv4)
                }
                Destination::OwnMac => router.mac(INTERFACE)?,
            };
            places.push(Place { seat: Seat::at(lab.switch(), &Lab::port(index))?, datagram: datagram(mac, ASKER) });
        }
        // Answers end in the switch, which otherwise would send them to everybody.
        lab.switch().sh(&format!("bridge fdb replace {ASKER_MAC} dev br0 self local"))?;
        Ok(Self::run(places, ASKER, PACE))
    }

    /// Asks every router of a lab with second interfaces at these.
    pub fn start_behind(lab: &Lab) -> Result<Self> {
        ensure!(lab.routers.len() <= Hosts::MOST, "at most {} routers", Hosts::MOST);
        let mut places = Vec::with_capacity(lab.routers.len());
        for (index, router) in lab.routers.iter().enumerate() {
            introduce(router, ASKER_BEHIND, UPSTREAM)?;
            let datagram = datagram(router.mac(UPSTREAM)?, ASKER_BEHIND);
            places.push(Place { seat: Seat::at(lab.switch(), &Lab::second_port(index))?, datagram });
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

    /// Lets a service on the router know where the client is. To be done anew whenever the router's interface was down,
    /// has got another MAC address, or has had no address at all.
    pub fn introduce(router: &Namespace) -> Result<()> {
        introduce(router, ASKER, INTERFACE)
    }

    /// What is known for certain so far: the last samples, which may still be answered, are left out.
    pub fn so_far(&self) -> ServingTimeline {
        ServingTimeline::new(self.start, self.lock().clone())
    }

    /// The same, and forgets it; of a sampler that runs for long.
    pub fn take(&self) -> ServingTimeline {
        ServingTimeline::new(self.start, std::mem::take(&mut *self.lock()))
    }

    /// Who answered the last request that is known of for certain; `None` before the first.
    pub fn latest(&self, kind: Kind) -> Option<Hosts> {
        self.lock().last().map(|sample| sample.answering(kind))
    }

    /// Waits until every sample that was asked before now is known for certain.
    pub fn settle() {
        thread::sleep(PATIENCE + 20 * PACE);
    }

    /// Ends the sampler, after the last answers have had time to come.
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

/// A router, as seen from its switch port.
struct Place {
    seat: Seat,
    /// To be completed by the number of the sample.
    datagram: Vec<u8>,
}

struct Sampler {
    places: Vec<Place>,
    asker: Ipv4Addr,
    pace: Duration,
    /// Asked and perhaps not answered yet; the oldest first.
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
            // What was missed is left out, not made up for: each sample speaks of its own moment.
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
            // A port that is down takes nothing.
            if place.seat.send(&place.datagram).is_err() || place.seat.send(&request).is_err() {
                unreachable.insert(host);
            }
        }
        let asked = if at.elapsed() <= IN_TIME { Asked::InTime } else { Asked::Late };
        self.pending.push_back(Sample::new(number, at, asked, unreachable));
    }

    fn collect(&mut self) {
        for (host, place) in (0..).zip(&mut self.places) {
            while let Some((at, kind, number)) = place.seat.receive(answer) {
                let sample = self.pending.iter_mut().rev().find(|sample| sample.number == number);
                // One that comes later than anybody would wait for it counts for nothing.
                if let Some(sample) = sample {
                    let in_time = at.saturating_duration_since(sample.at) <= IN_TIME;
                    sample.answered(host, kind, in_time);
                }
            }
        }
        let certain = self.pending.iter().take_while(|sample| sample.at.elapsed() > PATIENCE).count();
        if certain > 0
            && let Ok(mut done) = self.done.lock()
        {
            done.extend(self.pending.drain(..certain));
        }
    }
}

/// An ARP request for the virtual address.
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

/// A datagram to the virtual address, for the service there; the last eight bytes are free.
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

/// What a frame answers, and the number of the sample.
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
