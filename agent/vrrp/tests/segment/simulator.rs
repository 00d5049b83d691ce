//! The segment: hosts, the frames between them, and virtual time, which jumps from one event to the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{ReceivedAdvert, RouterConfig};

use super::host::Host;
use super::random::Random;

/// How the segment treats frames.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss_percent: u8,
    /// Number of frames in a row that one host can miss.
    pub max_losses_in_a_row: u32,
    pub duplicate_percent: u8,
    pub max_delay: Interval,
    /// Whether a frame reaches all hosts at the same moment, as through a switch. Otherwise each copy has its own
    /// delay.
    pub simultaneous: bool,
}

impl Weather {
    pub const fn calm(max_delay: Interval) -> Self {
        Self { loss_percent: 0, max_losses_in_a_row: 0, duplicate_percent: 0, max_delay, simultaneous: true }
    }
}

/// Faults of a host, and their ends.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Start,
    /// The agent stops gracefully.
    Stop,
    /// The agent is killed, and leaves its role, its lease and its addresses behind.
    Kill,
    /// The host fails without any warning.
    Crash,
    /// Frames get lost behind a switch.
    Cut,
    Mend,
    /// The cable is pulled, so the interface loses its carrier.
    Unplug,
    Plug,
    /// An operator hands its role over.
    HandOver,
    TakeBack,
}

#[derive(Debug)]
pub struct Segment {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub weather: Weather,
    /// The longest time after which each agent handles an event or a timer.
    pub lateness: Vec<Interval>,
    wake_at: Vec<Option<Instant>>,
    losses_in_a_row: Vec<u32>,
    frames: BinaryHeap<Reverse<Frame>>,
    frames_sent: u64,
    random: Random,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    arrives_at: Instant,
    /// Gives frames that arrive at the same time an order that depends only on the seed.
    sequence: u64,
    to: usize,
    source: IpAddr,
    priority: Priority,
    interval: Interval,
}

impl Segment {
    pub fn new(configs: Vec<RouterConfig>, lateness: Vec<Interval>, weather: Weather, seed: u64) -> Self {
        assert_eq!(configs.len(), lateness.len());
        Self {
            now: Instant::from_nanos(1_000_000_000_000),
            wake_at: vec![None; configs.len()],
            losses_in_a_row: vec![0; configs.len()],
            hosts: configs.into_iter().map(Host::new).collect(),
            weather,
            lateness,
            frames: BinaryHeap::new(),
            frames_sent: 0,
            random: Random::new(seed),
        }
    }

    pub fn inject(&mut self, index: usize, fault: Fault) {
        let (now, host) = (self.now, &mut self.hosts[index]);
        let mut sent = Vec::new();
        match fault {
            Fault::Start => sent = host.start(now),
            Fault::Stop => sent = host.stop(now),
            Fault::Kill => host.kill(),
            Fault::Crash => host.crash(),
            Fault::Cut => host.cut = true,
            Fault::Mend => host.cut = false,
            Fault::Unplug => sent = host.set_carrier(false, now),
            Fault::Plug => sent = host.set_carrier(true, now),
            Fault::HandOver => sent = host.stand_by(true, now),
            Fault::TakeBack => sent = host.stand_by(false, now),
        }
        self.send(index, &sent);
        self.wake_at[index] = None;
        self.plan_to_wake(index);
    }

    /// Lets time pass until `end`. Calls `look` after every event.
    pub fn run_until(&mut self, end: Instant, mut look: impl FnMut(&Self)) {
        loop {
            let wake = (0..self.hosts.len()).filter_map(|index| Some((self.wake_at[index]?, index))).min();
            let arrival = self.frames.peek().map(|Reverse(frame)| frame.arrives_at);
            match (wake, arrival) {
                (Some((at, index)), _) if at <= end && arrival.is_none_or(|arrival| at < arrival) => {
                    self.now = at;
                    let sent = self.hosts[index].catch_up(at);
                    self.send(index, &sent);
                    self.wake_at[index] = None;
                    self.plan_to_wake(index);
                }
                (_, Some(at)) if at <= end => {
                    self.now = at;
                    self.deliver();
                }
                _ => break,
            }
            look(self);
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let Some(Reverse(frame)) = self.frames.pop() else {
            return;
        };
        let host = &mut self.hosts[frame.to];
        if host.carrier && !host.cut {
            let (source, priority, interval) = (frame.source, frame.priority, frame.interval);
            let advert = ReceivedAdvert { received_at: frame.arrives_at, source, priority, interval };
            if host.receive(advert) {
                self.plan_to_wake(frame.to);
            }
        }
    }

    fn send(&mut self, from: usize, priorities: &[Priority]) {
        let sender = &self.hosts[from];
        if sender.cut || !sender.carrier {
            return;
        }
        let (source, interval) = (sender.config.primary, sender.config.advert_interval);
        for &priority in priorities {
            let delay = self.random.interval(self.weather.max_delay);
            for to in (0..self.hosts.len()).filter(|&to| to != from) {
                let copies = if self.loses(to) {
                    0
                } else {
                    1 + usize::from(self.random.happens(self.weather.duplicate_percent))
                };
                for _ in 0..copies {
                    let own_delay = self.random.interval(self.weather.max_delay);
                    let arrives_at = self.now + if self.weather.simultaneous { delay } else { own_delay };
                    self.frames_sent += 1;
                    self.frames.push(Reverse(Frame {
                        arrives_at,
                        sequence: self.frames_sent,
                        to,
                        source,
                        priority,
                        interval,
                    }));
                }
            }
        }
    }

    fn loses(&mut self, to: usize) -> bool {
        let losses = &mut self.losses_in_a_row[to];
        let loses = *losses < self.weather.max_losses_in_a_row && self.random.happens(self.weather.loss_percent);
        *losses = if loses { *losses + 1 } else { 0 };
        loses
    }

    fn plan_to_wake(&mut self, index: usize) {
        let Some(due_at) = self.hosts[index].due_at(self.now) else {
            return;
        };
        let at = due_at.max(self.now) + self.random.interval(self.lateness[index]);
        self.wake_at[index] = Some(self.wake_at[index].map_or(at, |planned| planned.min(at)));
    }
}
