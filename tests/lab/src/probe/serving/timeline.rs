//! What the sampler saw.

use std::fmt;
use std::time::{Duration, Instant};

use super::PACE;

/// What a host was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where the virtual address is.
    Arp,
    /// For the service at the virtual address.
    Udp,
}

/// A set of routers, by their index in the lab.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hosts(u8);

impl Hosts {
    /// As many as it has room for.
    pub const MOST: usize = 8;

    /// One host, below [`Self::MOST`].
    pub const fn one(host: usize) -> Self {
        Self(1 << host)
    }

    pub fn insert(&mut self, host: usize) {
        self.0 |= Self::one(host).0;
    }

    pub const fn contains(self, host: usize) -> bool {
        self.0 & Self::one(host).0 != 0
    }

    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..Self::MOST).filter(|&host| self.contains(host))).finish()
    }
}

/// Whether the sampler itself kept up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    InTime,
    /// So slowly that the answers do not speak of one moment.
    Late,
}

/// What everybody said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds after the start at which it was due; some are left out if the sampler was late.
    pub number: u32,
    /// When the first request went out.
    pub at: Instant,
    pub asked: Asked,
    /// Could not be asked, since its port is down.
    pub unreachable: Hosts,
    /// Said in time that the address is theirs.
    pub arp: Hosts,
    /// Served a datagram in time.
    pub udp: Hosts,
    /// The same, too late to be evidence of who served at this moment.
    pub arp_late: Hosts,
    pub udp_late: Hosts,
}

impl Sample {
    /// One that nobody has answered yet, of a sampler that keeps up.
    pub fn unanswered(number: u32, at: Instant) -> Self {
        Self::new(number, at, Asked::InTime, Hosts::default())
    }

    pub(super) fn new(number: u32, at: Instant, asked: Asked, unreachable: Hosts) -> Self {
        let [arp, udp, arp_late, udp_late] = [Hosts::default(); 4];
        Self { number, at, asked, unreachable, arp, udp, arp_late, udp_late }
    }

    /// A host has answered.
    pub fn answered(&mut self, host: usize, kind: Kind, in_time: bool) {
        let hosts = match (kind, in_time && self.asked == Asked::InTime) {
            (Kind::Arp, true) => &mut self.arp,
            (Kind::Arp, false) => &mut self.arp_late,
            (Kind::Udp, true) => &mut self.udp,
            (Kind::Udp, false) => &mut self.udp_late,
        };
        hosts.insert(host);
    }

    /// Served in one way or the other, at this moment.
    pub const fn serving(&self) -> Hosts {
        self.arp.or(self.udp)
    }

    /// Answered what was asked at this moment, however late.
    pub const fn answering(&self, kind: Kind) -> Hosts {
        match kind {
            Kind::Arp => self.arp.or(self.arp_late),
            Kind::Udp => self.udp.or(self.udp_late),
        }
    }

    /// Whether it says nothing certain: neither that two served nor that they did not.
    pub fn is_late(&self) -> bool {
        self.asked == Asked::Late || !self.arp_late.or(self.udp_late).is_empty()
    }
}

/// A time in which nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last sample before it that was answered.
    pub from: Instant,
    /// The first sample after it that was answered.
    pub until: Instant,
}

impl Gap {
    /// As the client lives through it.
    pub fn length(&self) -> Duration {
        self.until - self.from
    }
}

/// A time in which the same hosts answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    pub hosts: Hosts,
    pub from: Instant,
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

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples from one moment to another.
    #[must_use]
    pub fn between(&self, from: Instant, until: Instant) -> Self {
        let samples = self.samples.iter().filter(|sample| (from..until).contains(&sample.at));
        Self { start: self.start, samples: samples.copied().collect() }
    }

    /// Those in which two hosts or more served.
    pub fn served_twice(&self) -> Vec<Sample> {
        self.samples.iter().filter(|sample| sample.serving().len() > 1).copied().collect()
    }

    /// How long nobody answered, each time that at least one sample in a row was answered by nobody; neither before the
    /// first answer nor after the last.
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

    pub fn longest_gap(&self, kind: Kind) -> Option<Gap> {
        self.gaps(kind).into_iter().max_by_key(Gap::length)
    }

    /// Since when one host, and always the same, has answered everything; `None` if that is not so at the end.
    pub fn sole_server_since(&self) -> Option<Instant> {
        let host = |sample: &Sample| {
            let [arp, udp] = [Kind::Arp, Kind::Udp].map(|kind| sample.answering(kind));
            (arp == udp && arp.len() == 1).then_some(arp)
        };
        let last = host(self.samples.last()?)?;
        let alone = self.samples.iter().rev().take_while(|sample| host(sample) == Some(last));
        alone.last().map(|sample| sample.at)
    }

    /// Who alone answered in one way, at the end and for at least so long before.
    pub fn sole_server_for(&self, kind: Kind, long: Duration) -> Option<Hosts> {
        let last = self.reigns(kind).pop()?;
        (last.hosts.len() == 1 && last.until - last.from >= long).then_some(last.hosts)
    }

    /// Who answered from when to when, nobody included.
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

    /// Who answered, one after the other, times in which nobody did left out.
    pub fn hosts(&self, kind: Kind) -> Vec<Hosts> {
        let mut hosts: Vec<_> = self.reigns(kind).into_iter().map(|reign| reign.hosts).collect();
        hosts.retain(|hosts| !hosts.is_empty());
        hosts.dedup();
        hosts
    }

    /// Of how many moments it should say something, and of how many it does for certain: neither left out nor late.
    pub fn moments(&self) -> (u32, u32) {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return (0, 0) };
        let certain = (0..).zip(self.samples.iter().filter(|sample| !sample.is_late())).last();
        (last.number - first.number + 1, certain.map_or(0, |(count, _)| count + 1))
    }

    /// The share of the moments of which it says something certain. From 0 to 1.
    pub fn certainty(&self) -> f64 {
        let (due, certain) = self.moments();
        f64::from(certain) / f64::from(due.max(1))
    }

    /// The longest time without a sample.
    pub fn longest_pause(&self) -> Duration {
        let pauses = self.samples.windows(2).map(|pair| pair[1].at - pair[0].at);
        pauses.max().unwrap_or_default().saturating_sub(PACE)
    }
}

/// Who answered what and when, in milliseconds since the sampler's start.
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

    /// A sample for each character: the host that served, `b` for both, `.` for nobody, `l` for both but late.
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
            hosts.iter().for_each(|&host| sample.answered(host, Kind::Udp, who != 'l'));
            sample
        });
        ServingTimeline::new(start, samples.collect())
    }

    #[test]
    fn two_hosts_in_one_sample_are_found_unless_it_was_late() {
        let seen = timeline("000bb11l1");
        let numbers: Vec<_> = seen.served_twice().iter().map(|sample| sample.number).collect();
        assert_eq!(numbers, [3, 4]);
        assert!((seen.certainty() - 8.0 / 9.0).abs() < 1e-9, "{seen:?}");
    }

    #[test]
    fn a_gap_lasts_from_the_last_answer_to_the_next() {
        let seen = timeline("..00...11.1...");
        let gaps: Vec<_> = seen.gaps(Kind::Udp).iter().map(Gap::length).collect();
        assert_eq!(gaps, [4 * PACE, 2 * PACE]);
        assert!(seen.gaps(Kind::Arp).is_empty());
    }

    #[test]
    fn moments_left_out_are_no_gap_but_cost_certainty() {
        let mut seen = timeline("0000000000");
        seen.samples.drain(3..8);
        assert_eq!(seen.longest_gap(Kind::Udp), None);
        assert_eq!(seen.longest_pause(), 5 * PACE);
        assert!((seen.certainty() - 0.5).abs() < 1e-9);
    }
}
