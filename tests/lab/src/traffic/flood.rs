//! Sends floods of frames, as fast as one processor hands them over or at a given rate, and counts them exactly.
//!
//! On veth, the processor that hands over a frame also receives it. If more frames than `net.core.netdev_max_backlog`
//! wait there, the frame is lost, and the interface that sent it counts that ([`dropped`]). The frames that a receiver
//! counts and those that were lost add up to those that were handed over.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;

use crate::Namespace;
use crate::traffic::packet_socket;

/// Number of frames that one system call hands over.
const BATCH: usize = 64;
/// How often a flood with a rate hands over the frames that are due.
const TICK: Duration = Duration::from_millis(1);
/// Defined in `linux/if_packet.h`.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// How many frames were handed over, and in what time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handed {
    /// Number of frames.
    pub frames: u64,
    /// Time that handing them over took.
    pub took: Duration,
}

impl Handed {
    /// Returns the number of frames per second.
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64()
    }
}

/// Frames that are sent in order, over and over.
#[derive(Clone, Debug)]
pub struct Flood {
    frames: Vec<Vec<u8>>,
    per_second: Option<u32>,
}

impl Flood {
    /// Creates a flood of at least one frame that is sent as fast as possible.
    pub fn of(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { frames: frames.into_iter().collect(), per_second: None }
    }

    /// Limits the flood to this many frames per second.
    #[must_use]
    pub fn at(mut self, per_second: u32) -> Self {
        self.per_second = Some(per_second);
        self
    }

    /// Sends the flood out of an interface for `length`.
    pub fn send(&self, namespace: &Namespace, interface: &str, length: Duration) -> Result<Handed> {
        let mut sender = Sender::open(namespace, interface, &self.frames)?;
        let start = Instant::now();
        let mut frames = 0;
        loop {
            let passed = start.elapsed();
            if passed >= length {
                return Ok(Handed { frames, took: passed });
            }
            let due = match self.per_second {
                None => u64::MAX,
                Some(per_second) => u64::try_from(passed.as_micros() * u128::from(per_second) / 1_000_000)?,
            };
            match usize::try_from(due.saturating_sub(frames)).unwrap_or(BATCH) {
                0 => std::thread::sleep(TICK),
                due => frames += sender.send(due.min(BATCH))?,
            }
        }
    }
}

/// Returns how many frames an interface could not deliver: on veth, because the receiver's backlog was full.
pub fn dropped(namespace: &Namespace, interface: &str) -> Result<u64> {
    let links = namespace.ip(&format!("-json -statistics link show dev {interface}"))?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    links[0]["stats64"]["tx"]["dropped"].as_u64().with_context(|| format!("no counter in {links}"))
}

/// A packet socket with the messages for its system calls.
struct Sender {
    socket: OwnedFd,
    /// They point to `_parts`, which point to `_frames`. The frames are repeated a whole number of times, so that a
    /// batch may start anywhere.
    messages: Vec<libc::mmsghdr>,
    _parts: Vec<libc::iovec>,
    _frames: Vec<Vec<u8>>,
    next: usize,
}

impl Sender {
    fn open(namespace: &Namespace, interface: &str, frames: &[Vec<u8>]) -> Result<Self> {
        ensure!(!frames.is_empty(), "a flood needs at least one frame");
        let bypass: libc::c_int = 1;
        let socket = packet_socket::open(namespace, interface, packet_socket::NOTHING, |socket| {
            packet_socket::set(socket, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &bypass)
        })?;
        let mut frames = frames.to_vec();
        let mut parts: Vec<_> = frames
            .iter_mut()
            .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
            .collect();
        let rounds = BATCH.div_ceil(parts.len());
        let message = |part: &mut libc::iovec| {
            // SAFETY: all zeros are a valid `mmsghdr`: null pointers with lengths of zero.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = (0..rounds).flat_map(|_| parts.iter_mut().map(message).collect::<Vec<_>>()).collect();
        Ok(Self { socket, messages, _parts: parts, _frames: frames, next: 0 })
    }

    /// Hands over at most `max` frames, and returns their number.
    fn send(&mut self, max: usize) -> Result<u64> {
        let messages = &mut self.messages[self.next..];
        let count = libc::c_uint::try_from(messages.len().min(max))?;
        // SAFETY: `count` messages exist; what they point to lives in `self` and is not moved.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        let Ok(sent) = usize::try_from(sent) else {
            return match io::Error::last_os_error() {
                // The first frame of this batch was refused because the queue or the buffer is full.
                error if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN | libc::EINTR)) => Ok(0),
                error => Err(error).context("cannot send"),
            };
        };
        self.next = (self.next + sent) % self.messages.len();
        Ok(u64::try_from(sent)?)
    }
}

#[cfg(test)]
mod tests {
    use xvrrp_common::units::MacAddress;

    use super::*;
    use crate::{CLIENT, INTERFACE, Lab, PATIENCE, eventually};

    /// Returns how many frames the first router has received.
    fn received(lab: &Lab) -> Result<u64> {
        let links: serde_json::Value =
            serde_json::from_str(&lab.routers[0].ip(&format!("-json -statistics link show dev {INTERFACE}"))?)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no counter")
    }

    /// Returns frames to a MAC that no host has.
    fn frames(count: u8) -> Vec<Vec<u8>> {
        let frame =
            |last| crate::traffic::frames::ipv4(MacAddress([2, 0, 0, 0, 1, last]), 64, 17, CLIENT.octets(), &[0; 8]);
        (0..count).map(frame).collect()
    }

    fn assert_adds_up(flood: &Flood) -> Result<Handed> {
        let lab = Lab::new(1)?;
        let port = Lab::port(0);
        let before = received(&lab)?;
        let handed = flood.send(lab.switch(), &port, Duration::from_millis(300))?;
        eventually("the frames that arrived and those that were dropped are all", PATIENCE, || {
            let (arrived, lost) = (received(&lab)? - before, dropped(lab.switch(), &port)?);
            ensure!(arrived + lost == handed.frames, "{arrived} arrived, {lost} were dropped, of {handed:?}");
            Ok(())
        })?;
        Ok(handed)
    }

    #[test]
    fn every_frame_that_is_handed_over_arrives_or_is_counted_as_dropped() -> Result<()> {
        let handed = assert_adds_up(&Flood::of(frames(100)))?;
        assert!(handed.rate() > 20_000.0, "{handed:?}");
        Ok(())
    }

    #[test]
    fn a_flood_keeps_to_its_rate() -> Result<()> {
        let handed = assert_adds_up(&Flood::of(frames(1)).at(2_000))?;
        assert!(handed.rate() < 2_100.0 && handed.rate() > 1_000.0, "{handed:?}");
        Ok(())
    }
}
