//! When adverts passed a point of the lab, by the kernel's own clock readings: whoever is measured, the same way.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeVal};
use xvrrp_common::wire::ethernet;

use crate::lab::Namespace;
use crate::packet_socket;
use crate::probe::Service;

/// Where an untagged frame's IPv4 header has protocol and source.
const PROTOCOL: usize = 14 + 9;
const SOURCE: usize = 14 + 12;
/// VRRP's protocol number (RFC 9568 5.1.1.4).
const VRRP: u8 = 112;

/// Stamps every advert over IPv4 that an interface receives or sends.
#[derive(Debug)]
pub struct AdvertTap {
    service: Service,
    stamps: Arc<Mutex<Vec<(Instant, Ipv4Addr)>>>,
}

impl AdvertTap {
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = open(namespace, interface)?;
        let stamps = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&stamps);
        let service = Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                if let Some(stamp) = receive(&socket)
                    && let Ok(mut collected) = collected.lock()
                {
                    collected.push(stamp);
                }
            }
        });
        Ok(Self { service, stamps })
    }

    /// When the last advert from this source passed before `until`.
    pub fn last_before(&self, source: Ipv4Addr, until: Instant) -> Result<Instant> {
        let stamps = self.stamps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ours = stamps.iter().filter(|(at, from)| *from == source && *at < until);
        ours.next_back().map(|(at, _)| *at).with_context(|| format!("no advert from {source} was seen"))
    }

    /// When the first one passed after `from`.
    pub fn first_after(&self, source: Ipv4Addr, from: Instant) -> Result<Instant> {
        let stamps = self.stamps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ours = stamps.iter().filter(|(at, sender)| *sender == source && *at > from);
        ours.next().map(|(at, _)| *at).with_context(|| format!("no advert from {source} was seen"))
    }

    /// How long no advert from this source passed, at the most, between two moments; from the first moment to the last
    /// if there was none.
    pub fn longest_pause(&self, source: Ipv4Addr, from: Instant, until: Instant) -> Duration {
        let stamps = self.stamps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ours = stamps.iter().filter(|(at, sender)| *sender == source && (from..until).contains(at));
        let mut moments: Vec<_> = ours.map(|(at, _)| *at).chain([from, until]).collect();
        moments.sort();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Forgets what it has seen.
    pub fn forget(&self) {
        self.stamps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

impl Drop for AdvertTap {
    fn drop(&mut self) {
        self.service.finish();
    }
}

fn receive(socket: &OwnedFd) -> Option<(Instant, Ipv4Addr)> {
    let mut buffer = [0; 128];
    let mut control = nix::cmsg_space!(TimeSpec);
    let (length, stamp) = {
        let mut parts = [io::IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
        let stamp = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        (message.bytes, stamp?)
    };
    let frame = &buffer[..length];
    let is_advert = frame.get(12..14)? == ethernet::TYPE_IPV4.to_be_bytes() && *frame.get(PROTOCOL)? == VRRP;
    let source: [u8; 4] = frame.get(SOURCE..SOURCE + 4)?.try_into().ok()?;
    is_advert.then(|| (on_our_clock(stamp), source.into()))
}

/// The kernel stamps packets by the time of day; everything else here goes by the steady clock. Both are read now, a
/// moment after the packet, so that a step of the time of day in between is all that could falsify the stamp.
fn on_our_clock(stamp: Duration) -> Instant {
    let (time_of_day, now) = (SystemTime::now(), Instant::now());
    let age = time_of_day.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(stamp);
    now - age
}

/// A packet socket for adverts, in both directions, with the kernel's time of each; it waits at most 20 ms.
fn open(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    packet_socket::open(namespace, interface, packet_socket::EVERYTHING, |socket| {
        only_adverts(socket)?;
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000))?)
    })
}

/// The client's probes, thousands a second, need not wake us.
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
    use crate::lab::{Lab, PATIENCE, eventually};

    #[test]
    fn an_advert_that_is_sent_to_a_port_is_stamped_with_the_moment_at_which_it_was_sent() {
        let lab = Lab::new(2).expect("a lab");
        let tap = AdvertTap::start(lab.switch(), "p1").expect("a tap");
        let before = Instant::now();
        let advert = crate::frames::emit(&crate::frames::advert());
        let sender = open(&lab.routers[0], "eth0").expect("a socket");
        nix::sys::socket::send(sender.as_raw_fd(), &advert, MsgFlags::empty()).expect("it is sent");
        let after = Instant::now();
        let at = eventually("the advert is stamped", PATIENCE, || {
            tap.last_before(Ipv4Addr::new(192, 0, 2, 2), Instant::now())
        });
        let at = at.expect("a stamp");
        let margin = Duration::from_millis(1);
        assert!(at + margin > before && at < after + margin, "{before:?} {at:?} {after:?}");
    }
}
