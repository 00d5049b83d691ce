//! Frames in a flood: as fast as one processor hands them over, or at a pace, and counted exactly.
//!
//! On veth a frame that was handed over is at once received on the same processor, unless that processor has more waiting
//! than `net.core.netdev_max_backlog`; then it is lost, and counted by the interface that sent it
//! ([`dropped`]). What a receiver counts, and what was lost on the way, add up to what was handed over.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::libc;

use crate::Namespace;
use crate::traffic::packet_socket;

/// How many frames one system call hands over.
const BATCH: usize = 64;
/// A paced flood hands over what is due this often.
const TICK: Duration = Duration::from_millis(1);
/// `linux/if_packet.h`
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// What was handed over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handed {
    pub frames: u64,
    pub took: Duration,
}

impl Handed {
    /// Frames in a second.
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.took.as_secs_f64()
    }
}

/// Frames to be sent over and over, one after the other.
#[derive(Clone, Debug)]
pub struct Flood {
    frames: Vec<Vec<u8>>,
    per_second: Option<u32>,
}

impl Flood {
    /// As fast as it goes. At least one frame.
    pub fn of(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { frames: frames.into_iter().collect(), per_second: None }
    }

    /// At this many frames a second, or fewer if it does not go as fast.
    #[must_use]
    pub fn at(mut self, per_second: u32) -> Self {
        self.per_second = Some(per_second);
        self
    }

    /// Sends out of an interface for so long.
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

/// How many frames an interface had to send and could not deliver: on veth, because the receiver's backlog was full.
pub fn dropped(namespace: &Namespace, interface: &str) -> Result<u64> {
    let links = namespace.ip(&format!("-json -statistics link show dev {interface}"))?;
    let links: serde_json::Value = serde_json::from_str(&links)?;
    links[0]["stats64"]["tx"]["dropped"].as_u64().with_context(|| format!("no counter in {links}"))
}

/// A packet socket with its frames made ready.
struct Sender {
    socket: OwnedFd,
    /// Points into `parts`, which point into the frames; a whole number of rounds, so that a batch may start anywhere.
    messages: Vec<libc::mmsghdr>,
    _parts: Vec<libc::iovec>,
    _frames: Vec<Vec<u8>>,
    next: usize,
}

impl Sender {
    fn open(namespace: &Namespace, interface: &str, frames: &[Vec<u8>]) -> Result<Self> {
        ensure!(!frames.is_empty(), "a flood of nothing");
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

    /// Hands over at most so many frames; how many it were.
    fn send(&mut self, most: usize) -> Result<u64> {
        let messages = &mut self.messages[self.next..];
        let count = libc::c_uint::try_from(messages.len().min(most))?;
        // SAFETY: so many messages are there; what they point to lives in `self` and is not moved.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        let Ok(sent) = usize::try_from(sent) else {
            return match io::Error::last_os_error() {
                // The first frame of this batch was not taken: the queue is full, or the buffer is.
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

    /// Frames that the first router has received.
    fn received(lab: &Lab) -> Result<u64> {
        let links: serde_json::Value =
            serde_json::from_str(&lab.routers[0].ip(&format!("-json -statistics link show dev {INTERFACE}"))?)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no counter")
    }

    /// To a MAC that nobody has.
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
        eventually("every frame has arrived or was dropped", PATIENCE, || {
            let (arrived, lost) = (received(&lab)? - before, dropped(lab.switch(), &port)?);
            ensure!(arrived + lost == handed.frames, "{arrived} arrived, {lost} were dropped, of {handed:?}");
            Ok(())
        })?;
        Ok(handed)
    }

    #[test]
    fn what_was_handed_over_has_arrived_or_was_dropped() -> Result<()> {
        let handed = assert_adds_up(&Flood::of(frames(100)))?;
        assert!(handed.rate() > 20_000.0, "{handed:?}");
        Ok(())
    }

    #[test]
    fn a_pace_is_kept() -> Result<()> {
        let handed = assert_adds_up(&Flood::of(frames(1)).at(2_000))?;
        assert!(handed.rate() < 2_100.0 && handed.rate() > 1_000.0, "{handed:?}");
        Ok(())
    }
}
