//! A client that sends datagrams to the virtual address at a steady pace and records which host answered each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::echo::{BUFFER, PORT};
use super::service::Service;
use crate::{Namespace, eventually};

/// How long answers are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// A client that sends a numbered datagram every `interval`. A late datagram does not delay the later ones.
#[derive(Debug)]
pub struct UdpProbe {
    sender: Service,
    receiver: Service,
    seen: Arc<Mutex<Seen>>,
    start: Instant,
    interval: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    /// Time of the answer to each datagram, and the host that it came from.
    answers: BTreeMap<u64, (Instant, u8)>,
}

impl UdpProbe {
    /// Starts to send a datagram to the target in each interval.
    pub fn start(client: &Namespace, target: impl Into<IpAddr>, interval: Duration) -> Result<Self> {
        let target = SocketAddr::new(target.into(), PORT);
        let unspecified: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = client.run(|| UdpSocket::bind((unspecified, 0)))??;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let start = Instant::now();
        let sender = {
            let (socket, seen) = (socket.try_clone()?, Arc::clone(&seen));
            Service::start(move |stop| send(&socket, target, interval, start, &seen, stop))
        };
        let receiver = {
            let seen = Arc::clone(&seen);
            Service::start(move |stop| receive(&socket, &seen, stop))
        };
        Ok(Self { sender, receiver, seen, start, interval })
    }

    /// Waits until a host has answered a datagram that is sent from now on.
    pub fn wait_for_answer_from(&self, host: u8, within: Duration) -> Result<()> {
        let from = self.lock().sent;
        eventually(&format!("host {host} answers the client"), within, || {
            let seen = self.lock();
            let answered = seen.answers.range(from..).any(|(_, (_, answering))| *answering == host);
            let latest = seen.answers.last_key_value().map(|(number, (_, host))| (number, host));
            ensure!(answered, "{} sent, of which {from} before; latest answer (number, host): {latest:?}", seen.sent);
            Ok(())
        })
    }

    /// Stops the probe after the last answers have had time to arrive.
    pub fn finish(mut self) -> Timeline {
        self.sender.finish();
        thread::sleep(LAST_ANSWERS);
        let last = self.lock().sent.checked_sub(1);
        // On a busy machine the last answers may take longer. If no host serves, there is no answer to the last
        // datagram.
        let deadline = Instant::now() + 10 * LAST_ANSWERS;
        while last.is_some_and(|last| !self.lock().answers.contains_key(&last)) && Instant::now() < deadline {
            thread::sleep(LAST_ANSWERS / 10);
        }
        self.receiver.finish();
        let seen = std::mem::take(&mut *self.lock());
        Timeline { start: self.start, interval: self.interval, sent: seen.sent, answers: seen.answers }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn send(
    socket: &UdpSocket,
    target: SocketAddr,
    interval: Duration,
    start: Instant,
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) {
    for number in 0_u64.. {
        let due = start + interval * u32::try_from(number).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // An error shows that no host serves the address, which is what is being measured.
        let _ = socket.send_to(&number.to_be_bytes(), target);
        if let Ok(mut seen) = seen.lock() {
            seen.sent = number + 1;
        }
    }
}

fn receive(socket: &UdpSocket, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let now = Instant::now();
        if let Some((number, [host])) = buffer[..length].split_first_chunk::<8>()
            && let Ok(mut seen) = seen.lock()
        {
            seen.answers.insert(u64::from_be_bytes(*number), (now, *host));
        }
    }
}

/// What the probe saw.
#[derive(Debug)]
pub struct Timeline {
    /// Time of the first datagram.
    pub start: Instant,
    interval: Duration,
    /// Number of datagrams.
    pub sent: u64,
    answers: BTreeMap<u64, (Instant, u8)>,
}

impl Timeline {
    /// Returns how many datagrams were never answered.
    pub fn lost(&self) -> u64 {
        self.sent - self.answers.len() as u64
    }

    /// Returns the longest time between two answers, which is the longest outage that a client experiences: when the
    /// answer before the gap came, and the length of the gap.
    pub fn longest_gap(&self) -> Option<(Instant, Duration)> {
        self.gaps().max_by_key(|(_, gap)| *gap)
    }

    /// Returns the longest of the gaps that end between `from` and `until`.
    pub fn longest_gap_between(&self, from: Instant, until: Instant) -> Option<(Instant, Duration)> {
        let gaps = self.gaps().filter(|(before, gap)| (from..until).contains(&(*before + *gap)));
        gaps.max_by_key(|(_, gap)| *gap)
    }

    fn gaps(&self) -> impl Iterator<Item = (Instant, Duration)> {
        let mut times: Vec<Instant> = self.answers.values().map(|(at, _)| *at).collect();
        times.sort();
        times
            .into_iter()
            .scan(None, |last: &mut Option<Instant>, at| {
                let gap = last.map(|last| (last, at - last));
                *last = Some(at);
                Some(gap)
            })
            .flatten()
    }

    /// Returns which host served from when to when, in the order of the datagrams: host, first and last answer.
    pub fn reigns(&self) -> Vec<(u8, Instant, Instant)> {
        let mut reigns: Vec<(u8, Instant, Instant)> = Vec::new();
        for &(at, host) in self.answers.values() {
            match reigns.last_mut() {
                Some((same, _, until)) if *same == host => *until = at,
                _ => reigns.push((host, at, at)),
            }
        }
        reigns
    }

    /// Returns the hosts that answered, in order.
    pub fn hosts(&self) -> Vec<u8> {
        self.reigns().into_iter().map(|(host, _, _)| host).collect()
    }

    /// Returns the time between two datagrams.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns when the first answer of a host came.
    pub fn first_answer_of(&self, host: u8) -> Result<Instant> {
        let first = self.answers.values().find(|(_, answering)| *answering == host);
        first.map(|(at, _)| *at).with_context(|| format!("host {host} never answered"))
    }
}
