//! Looks whether the kernel half is still attached and pinned, and attaches and pins it again.
//!
//! A router without it is deaf: a Backup would take over from a living Active router. So the look comes twice at least
//! within the shortest Active_Down_Interval.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use xvrrp_dataplane::{Attachments, RestoredPins};
use xvrrp_net::Netlink;

use super::links::LinkReports;
use crate::plan::Plan;

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// How often to look at the pins.
const PINS: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct AttachmentWatch {
    timer: tokio::time::Interval,
    links: LinkReports,
    pins_due: Instant,
    /// Why the kernel half is not pinned, if it is not.
    unpinned: watch::Sender<Option<String>>,
}

impl AttachmentWatch {
    /// Reports interfaces without the kernel half by `links`.
    pub fn new(plans: &[Plan<'_>], links: LinkReports) -> Self {
        // Active_Down_Interval is more than three advertisement intervals (RFC 9568 6.1).
        let shortest = plans.iter().map(|plan| Duration::from(plan.config.advert_interval)).min();
        let mut timer = tokio::time::interval(shortest.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { timer, links, pins_due: Instant::now(), unpinned: watch::Sender::new(None) }
    }

    /// Why the kernel half is not pinned, if it is not.
    pub fn unpinned(&self) -> watch::Receiver<Option<String>> {
        self.unpinned.subscribe()
    }

    /// Looks at the pins if it is time to. Returns whether the fence has to be attached again.
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
                        "programs and maps have been removed from the BPF file system, and cannot be pinned again: {error}. \
                         As long as this lasts, a restart of this agent is a failover"
                    );
                }
                false
            }
        }
    }

    /// The next moment for [`Self::check`].
    pub async fn tick(&mut self) {
        self.timer.tick().await;
    }

    /// Attaches the kernel half again where it is missing. An interface where that fails is as good as down.
    pub async fn check(&self, attachments: &mut Attachments, netlink: &Netlink) {
        // From one that is gone, everything is.
        let there = |(ifindex, interface): &(u32, String)| if_nametoindex(interface.as_str()) == Ok(*ifindex);
        let mut detached: BTreeMap<u32, String> = attachments.detached().into_iter().collect();
        detached.extend(self.links.lost());
        for (ifindex, interface) in detached.into_iter().filter(there) {
            match attachments.attach(&interface, ifindex, None) {
                Ok(mode) => {
                    tracing::warn!(%interface, xdp_mode = %mode, "the kernel half had been detached: attached it again");
                    if self.links.regain(ifindex) {
                        self.links.look(&[ifindex].into(), netlink).await;
                    }
                }
                Err(error) => {
                    if self.links.lose(ifindex, &interface) {
                        tracing::error!("the kernel half has been detached from {interface}: {error}");
                    }
                }
            }
        }
    }
}
