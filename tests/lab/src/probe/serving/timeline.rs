//! What the sampler saw.

use std::fmt;
use std::time::{Duration, Instant};

use super::PACE;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ARP request for the virtual address.
    Arp,
    /// A datagram to the service at the virtual address.
    Udp,
}

/// A set of routers, by their index in the lab.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hosts(u8);

impl Hosts {
    /// Maximum number of routers.
    pub const MAX: usize = 8;

    /// Returns the set of one host, whose index is below [`Self::MAX`].
    pub const fn one(host: usize) -> Self {
        Self(1 << host)
    }

    /// Adds a host, whose index is below [`Self::MAX`].
    pub fn insert(&mut self, host: usize) {
        self.0 |= Self::one(host).0;
    }

    /// Returns whether the host is in the set.
    pub const fn contains(self, host: usize) -> bool {
        self.0 & Self::one(host).0 != 0
    }

    /// Returns the hosts that are in at least one of the sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the number of hosts.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns whether no host is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..Self::MAX).filter(|&host| self.contains(host))).finish()
    }
}

/// Whether the sampler kept its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    InTime,
    /// The requests took so long that the answers do not describe one moment.
    Late,
}

/// The answers of all routers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Time at which it was due, in multiples of the pace after the start. If the sampler was late, numbers are left
    /// out.
    pub number: u32,
    /// Time at which the first request was sent.
    pub at: Instant,
    /// What the hosts were asked.
    pub asked: Asked,
    /// The routers that could not be asked because their ports were down.
    pub unreachable: Hosts,
    /// The routers that answered ARP in time.
    pub arp: Hosts,
    /// The routers that answered the datagram in time.
    pub udp: Hosts,
    /// The routers that answered ARP too late to prove that they served at this moment.
    pub arp_late: Hosts,
    /// The routers that answered the datagram too late to prove that they served at this moment.
    pub udp_late: Hosts,
}

impl Sample {
    /// Returns a sample without answers, of a sampler that kept its pace.
    pub fn unanswered(number: u32, at: Instant) -> Self {
        Self::new(number, at, Asked::InTime, Hosts::default())
    }

    pub(super) fn new(number: u32, at: Instant, asked: Asked, unreachable: Hosts) -> Self {
        let [arp, udp, arp_late, udp_late] = [Hosts::default(); 4];
        Self { number, at, asked, unreachable, arp, udp, arp_late, udp_late }
    }

    /// Records the answer of a host.
    pub fn answered(&mut self, host: usize, kind: Kind, in_time: bool) {
        let hosts = match (kind, in_time && self.asked == Asked::InTime) {
            (Kind::Arp, true) => &mut self.arp,
            (Kind::Arp, false) => &mut self.arp_late,
            (Kind::Udp, true) => &mut self.udp,
            (Kind::Udp, false) => &mut self.udp_late,
        };
        hosts.insert(host);
    }

    /// Returns the routers that certainly served at this moment, in either way.
    pub const fn serving(&self) -> Hosts {
        self.arp.or(self.udp)
    }

    /// Returns the routers that answered, in time or late.
    pub const fn answering(&self, kind: Kind) -> Hosts {
        match kind {
            Kind::Arp => self.arp.or(self.arp_late),
            Kind::Udp => self.udp.or(self.udp_late),
        }
    }

    /// Whether the sample proves nothing: neither that two routers served nor that they did not.
    pub fn is_late(&self) -> bool {
        self.asked == Asked::Late || !self.arp_late.or(self.udp_late).is_empty()
    }
}

/// A period in which no router answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last sample before it that was answered.
    pub from: Instant,
    /// The first sample after it that was answered.
    pub until: Instant,
}

impl Gap {
    /// Returns the length of the outage that a client experiences.
    pub fn length(&self) -> Duration {
        self.until - self.from
    }
}

/// A period in which the same hosts answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// The hosts that answered.
    pub hosts: Hosts,
    /// Time of the first sample.
    pub from: Instant,
    /// Time of the last sample.
    pub until: Instant,
}

/// Samples, the oldest first.
#[derive(Clone)]
pub struct ServingTimeline {
    start: Instant,
    samples: Vec<Sample>,
}

impl ServingTimeline {
    pub(super) fn new(start: Instant, samples: Vec<Sample>) -> Self {
        Self { start, samples }
    }

    /// Returns all samples, the oldest first.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Returns the samples from one moment to another.
    #[must_use]
    pub fn between(&self, from: Instant, until: Instant) -> Self {
        let samples = self.samples.iter().filter(|sample| (from..until).contains(&sample.at));
        Self { start: self.start, samples: samples.copied().collect() }
    }

    /// Returns the samples in which two or more hosts served.
    pub fn served_twice(&self) -> Vec<Sample> {
        self.samples.iter().filter(|sample| sample.serving().len() > 1).copied().collect()
    }

    /// Returns the periods between the first and the last answer in which no router answered, each with at least one
    /// unanswered sample.
    pub fn gaps(&self, kind: Kind) -> Vec<Gap> {
        let answered = |sample: &Sample| !sample.answering(kind).is_empty();
        let mut gaps = Vec::new();
        let mut before: Option<Instant> = None;
        let mut unanswered = false;
        for sample in &self.samples {
            if !answered(sample) {
                unanswered = true;
                continue;
            }
            if let Some(from) = before.filter(|_| unanswered) {
                gaps.push(Gap { from, until: sample.at });
            }
            before = Some(sample.at);
            unanswered = false;
        }
        gaps
    }

    /// Returns the longest of the [`Self::gaps`], or `None` if there is none.
    pub fn longest_gap(&self, kind: Kind) -> Option<Gap> {
        self.gaps(kind).into_iter().max_by_key(Gap::length)
    }

    /// Returns since when the same single host has answered everything, or `None` if that is not the case at the end.
    pub fn sole_server_since(&self) -> Option<Instant> {
        let host = |sample: &Sample| {
            let [arp, udp] = [Kind::Arp, Kind::Udp].map(|kind| sample.answering(kind));
            (arp == udp && arp.len() == 1).then_some(arp)
        };
        let last = host(self.samples.last()?)?;
        let alone = self.samples.iter().rev().take_while(|sample| host(sample) == Some(last));
        alone.last().map(|sample| sample.at)
    }

    /// Returns the host that alone answered requests of this kind at the end, if it did so for at least this long.
    pub fn sole_server_for(&self, kind: Kind, long: Duration) -> Option<Hosts> {
        let last = self.reigns(kind).pop()?;
        (last.hosts.len() == 1 && last.until - last.from >= long).then_some(last.hosts)
    }

    /// Returns which hosts answered from when to when. Periods in which no host answered are included.
    pub fn reigns(&self, kind: Kind) -> Vec<Reign> {
        let mut reigns: Vec<Reign> = Vec::new();
        for sample in &self.samples {
            let hosts = sample.answering(kind);
            match reigns.last_mut() {
                Some(reign) if reign.hosts == hosts => reign.until = sample.at,
                _ => reigns.push(Reign { hosts, from: sample.at, until: sample.at }),
            }
        }
        reigns
    }

    /// Returns the hosts that answered, in order. Periods in which no host answered are left out.
    pub fn hosts(&self, kind: Kind) -> Vec<Hosts> {
        let mut hosts: Vec<_> = self.reigns(kind).into_iter().map(|reign| reign.hosts).collect();
        hosts.retain(|hosts| !hosts.is_empty());
        hosts.dedup();
        hosts
    }

    /// Returns how many samples were due, and how many of them prove something, being neither left out nor late.
    pub fn moments(&self) -> (u32, u32) {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return (0, 0) };
        let certain = (0..).zip(self.samples.iter().filter(|sample| !sample.is_late())).last();
        (last.number - first.number + 1, certain.map_or(0, |(count, _)| count + 1))
    }

    /// Returns the share of the samples that prove something, from 0 to 1.
    pub fn certainty(&self) -> f64 {
        let (due, certain) = self.moments();
        f64::from(certain) / f64::from(due.max(1))
    }

    /// Returns by how much the longest time between two samples exceeds the pace.
    pub fn longest_pause(&self) -> Duration {
        let pauses = self.samples.windows(2).map(|pair| pair[1].at - pair[0].at);
        pauses.max().unwrap_or_default().saturating_sub(PACE)
    }
}

/// Writes which hosts answered what and when, in milliseconds since the start of the sampler.
impl fmt::Debug for ServingTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: Instant| (at - self.start).as_secs_f64() * 1000.0;
        writeln!(
            f,
            "{} samples, {:.1} % certain, longest pause {:?}",
            self.samples.len(),
            self.certainty() * 100.0,
            self.longest_pause()
        )?;
        for kind in [Kind::Arp, Kind::Udp] {
            for Reign { hosts, from, until } in self.reigns(kind) {
                writeln!(f, "{kind:?} {:>10.1} to {:>10.1} ms: {hosts:?}", ms(from), ms(until))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a sample of each character: the host that served, `b` for both, `.` for none, `l` for both but late.
    fn timeline(picture: &str) -> ServingTimeline {
        let start = Instant::now();
        let samples = picture.chars().zip(0..).map(|(who, number)| {
            let mut sample = Sample::unanswered(number, start + PACE * number);
            let hosts: &[usize] = match who {
                '0' => &[0],
                '1' => &[1],
                'b' | 'l' => &[0, 1],
                _ => &[],
            };
            for &host in hosts {
                sample.answered(host, Kind::Udp, who != 'l');
            }
            sample
        });
        ServingTimeline::new(start, samples.collect())
    }

    #[test]
    fn a_sample_in_which_two_hosts_served_is_found_unless_it_was_late() {
        let seen = timeline("000bb11l1");
        let numbers: Vec<_> = seen.served_twice().iter().map(|sample| sample.number).collect();
        assert_eq!(numbers, [3, 4]);
        assert!((seen.certainty() - 8.0 / 9.0).abs() < 1e-9, "{seen:?}");
    }

    #[test]
    fn a_gap_lasts_from_the_last_answer_before_it_to_the_first_one_after_it() {
        let seen = timeline("..00...11.1...");
        let gaps: Vec<_> = seen.gaps(Kind::Udp).iter().map(Gap::length).collect();
        assert_eq!(gaps, [4 * PACE, 2 * PACE]);
        assert!(seen.gaps(Kind::Arp).is_empty());
    }

    #[test]
    fn missing_samples_are_no_gap_but_reduce_the_certainty() {
        let mut seen = timeline("0000000000");
        seen.samples.drain(3..8);
        assert_eq!(seen.longest_gap(Kind::Udp), None);
        assert_eq!(seen.longest_pause(), 5 * PACE);
        assert!((seen.certainty() - 0.5).abs() < 1e-9);
    }
}
