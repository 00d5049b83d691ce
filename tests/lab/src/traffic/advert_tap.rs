//! Records when adverts passed a point of the lab, by the kernel's time stamps. It works the same for every
//! implementation.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use xvrrp_common::wire::ethernet;

use crate::Namespace;
use crate::probe::Service;
use crate::traffic::packet_socket;

/// Offset of the IPv4 header's protocol in an untagged frame (RFC 9568 5.1).
const PROTOCOL: usize = 14 + 9;
/// Offset of the IPv4 header's source.
const SOURCE: usize = 14 + 12;
/// Offset of the VRID of an advert (RFC 9568 5.2.3).
const VRID: usize = 14 + 20 + 1;
/// VRRP's protocol number (RFC 9568 5.1.1.4).
const VRRP: u8 = 112;

/// The record of an advert.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    at: Instant,
    /// Index of the interface among the tapped ones.
    interface: usize,
    source: Ipv4Addr,
    vrid: u8,
}

/// A virtual router and the host that should advertise it: the index of the interface among the tapped ones, the VRID,
/// and the source of the adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advertiser {
    /// Index of the interface.
    pub interface: usize,
    /// VRID in the adverts.
    pub vrid: u8,
    /// Source of the adverts.
    pub source: Ipv4Addr,
}

/// Records every advert over IPv4 that an interface receives or sends.
#[derive(Debug)]
pub struct AdvertTap {
    service: Service,
    stamps: Arc<Mutex<Vec<Stamp>>>,
}

impl AdvertTap {
    /// Taps one interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        Self::start_on(namespace, &[interface.to_owned()])
    }

    /// Taps several interfaces at once.
    pub fn start_on(namespace: &Namespace, interfaces: &[String]) -> Result<Self> {
        let sockets = interfaces.iter().map(|interface| open(namespace, interface)).collect::<Result<Vec<_>>>()?;
        let stamps = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&stamps);
        let service = Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                wait(&sockets);
                let mut new = Vec::new();
                for (interface, socket) in sockets.iter().enumerate() {
                    while let Ok(stamp) = receive(socket, interface) {
                        new.extend(stamp);
                    }
                }
                collected.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
            }
        });
        Ok(Self { service, stamps })
    }

    /// Returns when the last advert from this source before `until` passed.
    pub fn last_before(&self, source: Ipv4Addr, until: Instant) -> Result<Instant> {
        let stamps = self.lock();
        let mut ours = stamps.iter().filter(|stamp| stamp.source == source && stamp.at < until);
        ours.next_back().map(|stamp| stamp.at).with_context(|| format!("no advert from {source} passed before"))
    }

    /// Returns when the first advert from this source after `from` passed.
    pub fn first_after(&self, source: Ipv4Addr, from: Instant) -> Result<Instant> {
        let stamps = self.lock();
        let mut ours = stamps.iter().filter(|stamp| stamp.source == source && stamp.at > from);
        ours.next().map(|stamp| stamp.at).with_context(|| format!("no advert from {source} passed afterwards"))
    }

    /// Returns the longest time between two moments in which no advert from this source passed: all of it if there was
    /// none.
    pub fn longest_pause(&self, source: Ipv4Addr, from: Instant, until: Instant) -> Duration {
        let stamps = self.lock();
        let ours = stamps.iter().filter(|stamp| stamp.source == source && (from..until).contains(&stamp.at));
        let mut moments: Vec<_> = ours.map(|stamp| stamp.at).chain([from, until]).collect();
        moments.sort();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Returns the longest time between two adverts of any of these virtual routers that ended between two moments, or
    /// had not ended at the second one. It counts from the last advert before the first moment, if that was recorded.
    pub fn longest_gap(&self, of: &[Advertiser], from: Instant, until: Instant) -> Duration {
        let mut moments: BTreeMap<Advertiser, (Instant, Duration)> =
            of.iter().map(|advertiser| (*advertiser, (from, Duration::ZERO))).collect();
        let mut stamps: Vec<_> = self.lock().iter().filter(|stamp| stamp.at < until).copied().collect();
        // Adverts on different interfaces were not fetched in order.
        stamps.sort_by_key(|stamp| stamp.at);
        for Stamp { at, interface, source, vrid } in stamps {
            let Some((last, longest)) = moments.get_mut(&Advertiser { interface, vrid, source }) else { continue };
            if at >= from {
                *longest = (*longest).max(at - *last);
            }
            *last = at;
        }
        moments.into_values().map(|(last, longest)| longest.max(until - last)).max().unwrap_or_default()
    }

    /// Forgets all records.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Forgets the records of before a moment.
    pub fn forget_before(&self, moment: Instant) {
        self.lock().retain(|stamp| stamp.at >= moment);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stamp>> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AdvertTap {
    fn drop(&mut self) {
        self.service.finish();
    }
}

/// Waits at most 20 ms for a frame on any of the sockets.
fn wait(sockets: &[OwnedFd]) {
    const LONGEST: TimeSpec = TimeSpec::from_duration(Duration::from_millis(20));
    let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    // Whether a frame has come shows when it is received.
    let _ = ppoll(&mut polled, Some(LONGEST), None);
}

/// Receives the next frame, if there is one. Returns `None` if it is not an advert.
fn receive(socket: &OwnedFd, interface: usize) -> nix::Result<Option<Stamp>> {
    let mut buffer = [0; 128];
    let mut control = nix::cmsg_space!(TimeSpec);
    let (length, stamp) = {
        let mut parts = [io::IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        (message.bytes, stamp)
    };
    let understand = |frame: &[u8]| {
        let is_advert = frame.get(12..14)? == ethernet::TYPE_IPV4.to_be_bytes() && *frame.get(PROTOCOL)? == VRRP;
        let source: [u8; 4] = frame.get(SOURCE..SOURCE + 4)?.try_into().ok()?;
        let vrid = *frame.get(VRID)?;
        is_advert.then_some(Stamp { at: on_our_clock(stamp?), interface, source: source.into(), vrid })
    };
    Ok(understand(&buffer[..length]))
}

/// Converts the kernel's time stamp, which is in wall-clock time, to the monotonic clock. Both clocks are read now,
/// shortly after the packet, so that only a step of the wall clock in between falsifies the result.
fn on_our_clock(stamp: Duration) -> Instant {
    let (wall_clock, now) = (SystemTime::now(), Instant::now());
    let age = wall_clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(stamp);
    now - age
}

/// Opens a packet socket for adverts in both directions, with the kernel's time stamps.
fn open(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    packet_socket::open(namespace, interface, packet_socket::EVERYTHING, |socket| {
        only_adverts(socket)?;
        Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
    })
}

/// Attaches a filter for adverts. Otherwise the client's probes, thousands a second, would wake the thread.
fn only_adverts(fd: &OwnedFd) -> Result<()> {
    /// Instructions of linux/bpf_common.h: load a half-word, load a byte, jump if equal, return.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let filter = [
        socket2::SockFilter::new(LOAD_HALF, 0, 0, 12),
        socket2::SockFilter::new(JUMP_EQUAL, 0, 3, ethernet::TYPE_IPV4.into()),
        socket2::SockFilter::new(LOAD_BYTE, 0, 0, u32::try_from(PROTOCOL)?),
        socket2::SockFilter::new(JUMP_EQUAL, 0, 1, VRRP.into()),
        socket2::SockFilter::new(RETURN, 0, 0, u32::MAX),
        socket2::SockFilter::new(RETURN, 0, 0, 0),
    ];
    Ok(socket2::SockRef::from(fd).attach_filter(&filter)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lab, PATIENCE, eventually};

    #[test]
    fn an_advert_is_recorded_with_the_time_at_which_it_was_sent() {
        let lab = Lab::new(2).expect("a lab");
        let tap = AdvertTap::start(lab.switch(), "p1").expect("a tap");
        let before = Instant::now();
        let advert = crate::traffic::frames::emit(&crate::traffic::frames::advert());
        let sender = open(&lab.routers[0], "eth0").expect("a socket");
        nix::sys::socket::send(sender.as_raw_fd(), &advert, MsgFlags::empty()).expect("it is sent");
        let after = Instant::now();
        let at = eventually("the advert is recorded", PATIENCE, || {
            tap.last_before(Ipv4Addr::new(192, 0, 2, 2), Instant::now())
        });
        let at = at.expect("a stamp");
        let margin = Duration::from_millis(1);
        assert!(
            at + margin > before && at < after + margin,
            "sent between {before:?} and {after:?}, recorded at {at:?}"
        );
    }

    #[test]
    fn the_longest_gap_is_that_of_the_virtual_router_that_missed_adverts() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let source = Lab::address(0);
        let stamps = (0..10).flat_map(|number| {
            // VRID 2 misses three of its adverts. Those of the other router do not count instead.
            let silent = (4..7).contains(&number);
            let second = if silent { Lab::address(1) } else { source };
            [(1, source), (2, second)].map(|(vrid, source)| Stamp { at: at(number * 10), interface: 0, source, vrid })
        });
        let tap = AdvertTap { service: Service::start(|_| ()), stamps: Arc::new(Mutex::new(stamps.collect())) };
        let of = [1, 2].map(|vrid| Advertiser { interface: 0, vrid, source });
        let gap = |of: &[Advertiser], from, until| tap.longest_gap(of, at(from), at(until)).as_millis();
        assert_eq!(gap(&of, 35, 95), 40, "from the advert at 30 ms to the one at 70 ms");
        assert_eq!(gap(&of[..1], 35, 95), 10);
        assert_eq!(gap(&of, 35, 65), 35, "the gap has not ended yet");
        assert_eq!(gap(&of, 75, 95), 10);
    }
}
