//! Checks whether the kernel half is still attached and pinned, and attaches and pins it again if it is not.
//!
//! A router without the kernel half receives no adverts, so a Backup would take over from a living Active router. The
//! check therefore runs at least twice within the shortest Active_Down_Interval.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use xvrrp_common::units::IfIndex;
use xvrrp_dataplane::{Attachments, RestoredPins};
use xvrrp_net::Netlink;

use super::links::LinkReports;
use crate::plan::Plan;

/// Shortest interval between two checks.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longest interval between two checks.
const LONGEST: Duration = Duration::from_secs(1);
/// Interval between two checks of the pins.
const PINS: Duration = Duration::from_secs(1);

/// Keeps the kernel half attached and pinned.
#[derive(Debug)]
pub struct AttachmentWatch {
    timer: tokio::time::Interval,
    links: LinkReports,
    pins_due: Instant,
    /// The reason why the kernel half is not pinned; `None` if it is pinned.
    unpinned: watch::Sender<Option<String>>,
}

impl AttachmentWatch {
    /// Creates the watch. It reports interfaces without the kernel half by `links`.
    pub fn new(plans: &[Plan<'_>], links: LinkReports) -> Self {
        // Active_Down_Interval is more than two advertisement intervals (RFC 9568 6.1 has three).
        let shortest = plans.iter().map(|plan| Duration::from(plan.config.advert_interval)).min();
        let mut timer = tokio::time::interval(shortest.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { timer, links, pins_due: Instant::now(), unpinned: watch::Sender::new(None) }
    }

    /// Returns a channel with the reason why the kernel half is not pinned; `None` if it is pinned.
    pub fn unpinned(&self) -> watch::Receiver<Option<String>> {
        self.unpinned.subscribe()
    }

    /// Checks the pins if a check is due. Returns whether the fence has to be attached again.
    pub fn check_pins(&mut self, attachments: &mut Attachments) -> bool {
        let now = Instant::now();
        if now < self.pins_due {
            return false;
        }
        self.pins_due = now + PINS;
        match attachments.restore_pins() {
            Ok(RestoredPins { count, fence }) => {
                if count > 0 {
                    tracing::warn!(
                        "{count} programs and maps had been removed from the BPF file system: pinned them again"
                    );
                }
                self.unpinned.send_replace(None);
                fence
            }
            Err(error) => {
                let before = self.unpinned.send_replace(Some(error.to_string()));
                if before.is_none() {
                    tracing::error!(
                        "programs and maps have been removed from the BPF file system, and cannot be pinned again: \
                         {error}. As long as this lasts, a restart of this agent is a failover"
                    );
                }
                false
            }
        }
    }

    /// Waits until the next [`Self::check`] is due.
    pub async fn tick(&mut self) {
        self.timer.tick().await;
    }

    /// Attaches the kernel half again wherever it is missing.
    ///
    /// Reports an interface to the election as down if the kernel half cannot be attached, and reports the true state
    /// of the link once it is attached.
    /// Returns false if that state cannot be found out now.
    pub async fn check(&self, attachments: &mut Attachments, netlink: &Netlink) -> bool {
        let mut reported = true;
        // An interface that no longer exists has lost everything that was attached to it.
        let there = |(ifindex, interface): &(IfIndex, String)| if_nametoindex(interface.as_str()) == Ok(ifindex.get());
        let mut detached: BTreeMap<IfIndex, String> = attachments.detached().into_iter().collect();
        detached.extend(self.links.lost());
        for (ifindex, interface) in detached.into_iter().filter(there) {
            match attachments.attach(&interface, ifindex, None) {
                Ok(mode) => {
                    tracing::warn!(
                        %interface,
                        xdp_mode = %mode,
                        "the kernel half had been detached: attached it again",
                    );
                    if self.links.regain(ifindex) {
                        reported &= self.links.look(&[ifindex].into(), netlink).await;
                    }
                }
                Err(error) => {
                    if self.links.lose(ifindex, &interface) {
                        tracing::error!(
                            "the kernel half has been detached from {interface} and cannot be attached again: {error}"
                        );
                    }
                }
            }
        }
        reported
    }
}
