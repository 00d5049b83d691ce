//! Looks whether the kernel half is still attached, and attaches it again.
//!
//! A router without it is deaf: a Backup would take over from a living Active router. So the look comes twice at least
//! within the shortest Active_Down_Interval.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use xvrrp_dataplane::Attachments;
use xvrrp_net::{Interface, LinkChange, Netlink};

use crate::election::Command;
use crate::plan::Plan;

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct AttachmentWatch {
    timer: tokio::time::Interval,
    /// Where it could not be attached, which was told, by name.
    lost: BTreeMap<u32, String>,
}

impl AttachmentWatch {
    /// `lost` are the interfaces where it could not be attached at the start.
    pub fn new(plans: &[Plan<'_>], lost: BTreeMap<u32, String>) -> Self {
        // Active_Down_Interval is more than three advertisement intervals (RFC 9568 6.1).
        let shortest = plans.iter().map(|plan| Duration::from(plan.config.advert_interval)).min();
        let mut timer = tokio::time::interval(shortest.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST));
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { timer, lost }
    }

    /// The next moment for [`Self::check`].
    pub async fn tick(&mut self) {
        self.timer.tick().await;
    }

    pub async fn check(
        &mut self,
        attachments: &mut Attachments,
        netlink: &Netlink,
        election: &mpsc::UnboundedSender<Command>,
    ) {
        // From one that is gone, everything is.
        let there = |(ifindex, interface): &(u32, String)| if_nametoindex(interface.as_str()) == Ok(*ifindex);
        let mut detached: BTreeMap<u32, String> = attachments.detached().into_iter().collect();
        detached.extend(self.lost.iter().map(|(ifindex, interface)| (*ifindex, interface.clone())));
        for (ifindex, interface) in detached.into_iter().filter(there) {
            match attachments.attach(&interface, ifindex, None) {
                Ok(mode) => {
                    tracing::warn!(%interface, xdp_mode = %mode, "the kernel half had been detached: attached it again");
                    if self.lost.remove(&ifindex).is_some() {
                        self.look_at_links(&[ifindex].into(), netlink, election).await;
                    }
                }
                Err(error) => {
                    if self.lost.insert(ifindex, interface.clone()).is_none() {
                        tracing::error!("the kernel half has been detached from {interface}: {error}");
                        let _ = election.send(Command::Interface { ifindex, running: false, mac: None });
                    }
                }
            }
        }
    }

    /// Tells how the interfaces are, whatever was told of them before; false if that is not to be had now.
    pub async fn look_at_links(
        &self,
        ifindices: &BTreeSet<u32>,
        netlink: &Netlink,
        election: &mpsc::UnboundedSender<Command>,
    ) -> bool {
        let Ok(interfaces) = netlink.interfaces().await else { return false };
        for &ifindex in ifindices {
            let found = interfaces.iter().find(|interface| interface.ifindex == ifindex);
            let gone = LinkChange { ifindex, running: false, mac: None };
            self.report_link(found.map_or(gone, Interface::link), election);
        }
        true
    }

    /// Tells of an interface, which without the kernel half is as good as down.
    pub fn report_link(&self, change: LinkChange, election: &mpsc::UnboundedSender<Command>) {
        let LinkChange { ifindex, running, mac } = change;
        let running = running && !self.lost.contains_key(&ifindex);
        let _ = election.send(Command::Interface { ifindex, running, mac });
    }
}
