//! A lab in which one router takes over from the other, again and again: how long a client is without an answer, and
//! how much of that is not the protocol's own waiting.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Samples;
use super::routers::active_down_interval;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::AdvertTap;
use xvrrp_lab::{Lab, PATIENCE, VIP};

/// How far apart the client's probes are: the resolution of what is measured.
pub const PROBE: Duration = Duration::from_micros(250);

/// What a client sees of one takeover.
#[derive(Clone, Copy, Debug)]
pub struct Takeover {
    /// Time from the last answer before it to the first one after it.
    pub outage: Duration,
    /// Time from the end of the protocol's own wait to the first answer, in milliseconds. Negative if the answer comes
    /// first.
    pub excess: f64,
}

/// Times of some takeovers.
#[derive(Debug)]
pub struct Takeovers {
    pub outages: Samples,
    pub excesses: Samples,
}

impl Takeovers {
    pub fn of(takeovers: &[Takeover]) -> Result<Self> {
        Ok(Self {
            outages: Samples::milliseconds(takeovers.iter().map(|takeover| takeover.outage))?,
            excesses: Samples::of(takeovers.iter().map(|takeover| takeover.excess))?,
        })
    }
}

/// Places for two routers, each with a service on the virtual address, and a client.
#[derive(Debug)]
pub struct TakeoverLab {
    tap: AdvertTap,
    _echoes: [UdpEcho; 2],
    interval: Duration,
    pub lab: Lab,
}

impl TakeoverLab {
    /// The routers are started afterwards, with this advertisement interval: the last advert before a cut may be the
    /// first that there was.
    pub fn new(interval: Duration) -> Result<Self> {
        let lab = Lab::new(2)?;
        let echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
        let tap = AdvertTap::start(lab.switch(), &Lab::port(1))?;
        Ok(Self { tap, _echoes: echoes, interval, lab })
    }

    /// Waits until the first router serves and the segment is quiet, and a little longer each time, so that the cuts
    /// fall on all phases of an interval.
    pub fn settle(&self, run: usize) -> Result<UdpProbe> {
        let client = UdpProbe::start(&self.lab.client, VIP, PROBE)?;
        client.wait_for_answer_from(0, PATIENCE)?;
        let share = u32::try_from(run)? * 37 % 100;
        thread::sleep(Duration::from_millis(500) + self.interval * share / 100);
        Ok(client)
    }

    /// Pulls the first router's cable until the second one serves.
    pub fn take_over(&self, client: UdpProbe) -> Result<Takeover> {
        let cut = Instant::now();
        self.lab.pull(0)?;
        client.wait_for_answer_from(1, PATIENCE)?;
        let seen = client.finish();
        let (before, outage) = seen.longest_gap_between(cut, Instant::now()).context("the client got no answers")?;
        let back = before + outage;
        let deadline = self.tap.last_before(Lab::address(0), back)? + active_down_interval(self.interval);
        self.tap.forget();
        self.lab.plug(0)?;
        Ok(Takeover { outage, excess: milliseconds_after(deadline, back) })
    }
}

/// Negative if it is before.
fn milliseconds_after(deadline: Instant, at: Instant) -> f64 {
    let after = at.saturating_duration_since(deadline).as_secs_f64();
    (after - deadline.saturating_duration_since(at).as_secs_f64()) * 1e3
}
