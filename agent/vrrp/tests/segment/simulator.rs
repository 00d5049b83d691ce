//! The segment: hosts, the frames between them, and time that jumps from one happening to the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use xvrrp_common::units::{Instant, Interval, Priority};
use xvrrp_vrrp::{Config, ReceivedAdvert};

use super::host::Host;
use super::random::Random;

/// What becomes of frames on their way.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss_percent: u8,
    /// How many frames in a row one host can miss.
    pub most_losses_in_a_row: u32,
    pub duplicate_percent: u8,
    pub most_delay: Interval,
    /// A frame reaches all hosts at the same moment, as a switch forwards it; otherwise each when it will.
    pub simultaneous: bool,
}

impl Weather {
    pub const fn calm(most_delay: Interval) -> Self {
        Self { loss_percent: 0, most_losses_in_a_row: 0, duplicate_percent: 0, most_delay, simultaneous: true }
    }
}

/// What may befall a host.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Start,
    /// Gracefully.
    Stop,
    /// The agent is gone, and leaves its role, its lease and its addresses behind.
    Kill,
    /// The host is gone from one moment to the next.
    Crash,
    /// Frames get lost behind a switch.
    Cut,
    Mend,
    /// The cable is pulled: the carrier is lost.
    Unplug,
    Plug,
    /// An operator gives its role to others, and wants it back.
    HandOver,
    TakeBack,
}

#[derive(Debug)]
pub struct Segment {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub weather: Weather,
    /// How late an agent gets round to things, at most.
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
    /// Makes the order of frames that arrive together a matter of the seed alone.
    sequence: u64,
    to: usize,
    source: IpAddr,
    priority: Priority,
    interval: Interval,
}

impl Segment {
    pub fn new(configs: Vec<Config>, lateness: Vec<Interval>, weather: Weather, seed: u64) -> Self {
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

    pub fn befall(&mut self, index: usize, fault: Fault) {
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

    /// Lets time pass until `end`, with a look after every happening.
    pub fn run_until(&mut self, end: Instant, mut look: impl FnMut(&Self)) {
        loop {
            let wake = (0..self.hosts.len()).filter_map(|index| Some((self.wake_at[index]?, index))).min();
            let arrival = self.frames.peek().map(|Reverse(frame)| frame.arrives_at);
            match (wake, arrival) {
                (Some((at, index)), _) if at <= end && arrival.is_none_or(|arrival| at < arrival) => {
                    self.now = at;
                    let sent = self.hosts[index].attend(at);
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
            let delay = self.random.interval(self.weather.most_delay);
            for to in (0..self.hosts.len()).filter(|&to| to != from) {
                let copies = if self.loses(to) {
                    0
                } else {
                    1 + usize::from(self.random.happens(self.weather.duplicate_percent))
                };
                for _ in 0..copies {
                    let own_delay = self.random.interval(self.weather.most_delay);
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
        let loses = *losses < self.weather.most_losses_in_a_row && self.random.happens(self.weather.loss_percent);
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
