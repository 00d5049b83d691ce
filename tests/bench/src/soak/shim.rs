//! A cable that delays, loses, duplicates or reorders adverts. The router's port is removed from the switch, and a
//! thread carries frames between that port and another one.
//!
//! The requests and answers of the sampler do not pass through this cable, because it uses the router's port directly.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::time::TimeSpec;
use xvrrp_common::wire::{ethernet, vrrp};

use super::judge::{Excuse, Judge};
use xvrrp_lab::Lab;
use xvrrp_lab::probe::Service;
use xvrrp_lab::probe::port::{self, Frames};
use xvrrp_lab::random::Random;

/// Impairment of adverts in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impairment {
    /// Delays each advert by this time.
    Delay { by: Duration },
    /// Loses this percentage of each virtual router's adverts, but never two in a row, which would be a partition.
    Loss { percent: u8 },
    /// Delivers this percentage of the adverts once more, that much later.
    Duplicate { percent: u8, later: Duration },
    /// Delays each advert by a random time up to this one.
    Reorder { within: Duration },
}

impl Impairment {
    /// Returns the longest delay of an advert.
    pub const fn latest(self) -> Duration {
        match self {
            Self::Delay { by: time } | Self::Reorder { within: time } | Self::Duplicate { later: time, .. } => time,
            Self::Loss { .. } => Duration::ZERO,
        }
    }
}

/// An impaired cable, in use until this is dropped.
#[derive(Debug)]
pub struct Shim {
    carrier: Service,
    router: usize,
    impairment: Impairment,
    since: Instant,
    affected: Arc<AtomicU32>,
}

impl Shim {
    /// Replaces the plain cable by an impaired one. The two must not be connected at the same time, or frames would
    /// circulate. In between, the router is cut off for as long as the kernel needs.
    pub fn insert(lab: &Lab, router: usize, impairment: Impairment, seed: u64, judge: &mut Judge) -> Result<Self> {
        let (near, far) = (format!("x{router}"), format!("y{router}"));
        lab.switch().sh(&format!(
            "ip link add {near} type veth peer name {far} && ip link set {near} up && ip link set {far} master br0 up"
        ))?;
        let open = |port: &str| port::open(lab.switch(), port, Frames::ToAnybodyElse);
        let sockets = [open(&Lab::port(router))?, open(&near)?];
        let since = Instant::now();
        lab.isolate(router)?;
        let affected = Arc::new(AtomicU32::new(0));
        let mut cable = Cable {
            sockets,
            impairment,
            chance: Random::new(seed),
            lost: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            carried: 0,
            affected: Arc::clone(&affected),
        };
        cable.forget();
        let carrier = Service::start(move |stop: &AtomicBool| {
            while !stop.load(Ordering::Relaxed) {
                cable.carry();
            }
        });
        judge.excuse(Excuse::Apart { router }, since, Instant::now());
        Ok(Self { carrier, router, impairment, since, affected })
    }

    /// Puts the plain cable back, and drops frames that are still under way. Returns the number of adverts that were
    /// impaired.
    pub fn remove(mut self, lab: &Lab, judge: &mut Judge) -> Result<u32> {
        let from = Instant::now();
        self.carrier.finish();
        lab.rejoin(self.router)?;
        judge.excuse(Excuse::Apart { router: self.router }, from, Instant::now());
        judge.excuse(Excuse::Impaired { latest: self.impairment.latest() }, self.since, Instant::now());
        lab.switch().ip(&format!("link del x{}", self.router))?;
        Ok(self.affected.load(Ordering::Relaxed))
    }
}

/// A frame under way: when it is due, its number, whether it goes to the switch, and its bytes.
type UnderWay = Reverse<(Instant, u64, bool, Vec<u8>)>;

struct Cable {
    /// Sockets at the router's end and at the switch's end.
    sockets: [OwnedFd; 2],
    impairment: Impairment,
    chance: Random,
    /// Whether the last advert was lost, by direction, source address and VRID.
    lost: BTreeMap<(bool, [u8; 4], u8), bool>,
    under_way: BinaryHeap<UnderWay>,
    carried: u64,
    affected: Arc<AtomicU32>,
}

impl Cable {
    /// Discards the frames that have arrived so far, because the plain cable has carried them.
    fn forget(&mut self) {
        for socket in &self.sockets {
            while recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok() {}
        }
    }

    fn carry(&mut self) {
        const LONGEST: Duration = Duration::from_millis(5);
        let next = self.under_way.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let wait = TimeSpec::from_duration(next.unwrap_or(LONGEST).min(LONGEST));
        let mut polled = self.sockets.each_ref().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        // The loop below finds out what has arrived.
        let _ = ppoll(&mut polled, Some(wait), None);
        for to_switch in [true, false] {
            let mut buffer = [0; 2048];
            let from = &self.sockets[usize::from(!to_switch)];
            while let Ok(length) = recv(from.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                let frame = buffer[..length].to_vec();
                for late in fate(&mut self.chance, &mut self.lost, self.impairment, to_switch, &frame, &self.affected) {
                    self.carried += 1;
                    self.under_way.push(Reverse((Instant::now() + late, self.carried, to_switch, frame.clone())));
                }
            }
        }
        while let Some(Reverse((due, ..))) = self.under_way.peek()
            && *due <= Instant::now()
            && let Some(Reverse((_, _, to_switch, frame))) = self.under_way.pop()
        {
            // Fails if the port is down. A plain cable would lose the frame too.
            let _ = send(self.sockets[usize::from(to_switch)].as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT);
        }
    }
}

/// Returns the delays after which a frame arrives: none if it is lost, two if it is duplicated.
fn fate(
    chance: &mut Random,
    lost: &mut BTreeMap<(bool, [u8; 4], u8), bool>,
    impairment: Impairment,
    to_switch: bool,
    frame: &[u8],
    affected: &AtomicU32,
) -> Vec<Duration> {
    let Some((source, vrid)) = sender_of_advert(frame) else { return vec![Duration::ZERO] };
    let fate = match impairment {
        Impairment::Delay { by } => vec![by],
        Impairment::Reorder { within } => vec![chance.up_to(within)],
        Impairment::Duplicate { percent, later } if chance.happens(percent) => vec![Duration::ZERO, later],
        Impairment::Loss { percent } => {
            let before = lost.entry((to_switch, source, vrid)).or_default();
            *before = !*before && chance.happens(percent);
            if *before { Vec::new() } else { vec![Duration::ZERO] }
        }
        Impairment::Duplicate { .. } => vec![Duration::ZERO],
    };
    affected.fetch_add(u32::from(fate != [Duration::ZERO]), Ordering::Relaxed);
    fate
}

/// Returns the source address and VRID of an advert.
fn sender_of_advert(frame: &[u8]) -> Option<([u8; 4], u8)> {
    /// Offset of the VRID, after an IPv4 header without options and the byte with version and type.
    const VRID: usize = 20 + 1;
    let ip = frame.get(ethernet::HEADER..)?;
    let is_advert = frame[12..14] == ethernet::TYPE_IPV4.to_be_bytes() && *ip.get(9)? == vrrp::PROTOCOL;
    is_advert.then(|| Some((ip.get(12..)?.first_chunk().copied()?, *ip.get(VRID)?)))?
}
