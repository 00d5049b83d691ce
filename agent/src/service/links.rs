//! Reports the links to the election, on a thread of its own.
//!
//! A cable that is pulled must be noticed while the agent still loads its programs, and however long ordinary load
//! keeps the management side waiting: an Active router that did not notice would serve beside another one for up to an
//! interval once the cable is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use tokio::sync::mpsc;
use xvrrp_common::units::IfIndex;
use xvrrp_net::{Interface, LinkChange, LinkMonitor, LinkNews, LinkState, Netlink};

use crate::election::ElectionRequest;
use crate::process::runtime_thread;

/// How many notifications wait for the management side. If more arrive, it looks at all interfaces instead.
const WAITING: usize = 1024;

/// The kernel's notifications, after the election has heard of them.
#[derive(Debug)]
pub struct LinkWatch {
    news: mpsc::Receiver<LinkNews>,
    /// There were more than could wait.
    missed: Arc<AtomicBool>,
    reports: LinkReports,
}

/// Link changes that were or will be reported to the election.
#[derive(Clone, Debug, Default)]
pub struct LinkReports(Arc<Mutex<ReportState>>);

#[derive(Debug, Default)]
struct ReportState {
    /// The election; `None` before it runs.
    election: Option<mpsc::UnboundedSender<ElectionRequest>>,
    /// The changes before it ran.
    early: Vec<LinkChange>,
    /// Interfaces whose virtual routers have not started yet: nothing is reported of them.
    held: BTreeSet<IfIndex>,
    /// Interfaces without the kernel half, by name: as good as down.
    lost: BTreeMap<IfIndex, String>,
    /// The interfaces that have changed while they were being listed.
    changed: Option<BTreeSet<IfIndex>>,
}

impl LinkWatch {
    /// Subscribes to the kernel's notifications. `realtime_priority` is the election's; 0 is ordinary scheduling.
    ///
    /// # Errors
    /// The thread cannot be started, or the kernel refuses the subscription.
    pub fn start(realtime_priority: u8) -> anyhow::Result<Self> {
        let (sender, news) = mpsc::channel(WAITING);
        let watch = Self { news, missed: Arc::default(), reports: LinkReports::default() };
        let (missed, reports) = (Arc::clone(&watch.missed), watch.reports.clone());
        let serve = async move |mut links: LinkMonitor| {
            while let Some(news) = links.next().await {
                if let LinkNews::Change(change) = news {
                    reports.report(change);
                }
                match sender.try_send(news) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => missed.store(true, Ordering::Relaxed),
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
        };
        runtime_thread::spawn("links", realtime_priority, LinkMonitor::open, serve)
            .context("cannot start the thread for links")?;
        Ok(watch)
    }

    /// The next notification; `None` once the subscription has ended.
    pub async fn next(&mut self) -> Option<LinkNews> {
        let news = self.news.recv().await?;
        Some(if self.missed.swap(false, Ordering::Relaxed) { LinkNews::Missed } else { news })
    }

    /// Returns the handle by which links are reported to the election.
    pub fn reports(&self) -> LinkReports {
        self.reports.clone()
    }
}

impl LinkReports {
    /// Connects the election, and reports what has changed before. Nothing is reported of interfaces that are `held`.
    pub fn connect(&self, election: mpsc::UnboundedSender<ElectionRequest>, held: BTreeSet<IfIndex>) {
        let mut state = self.lock();
        state.election = Some(election);
        state.held = held;
        for change in std::mem::take(&mut state.early) {
            state.report(change);
        }
    }

    /// Reports the present state of all interfaces that were held, and of those whose kernel half is `lost`. Returns
    /// false if that cannot be found out now.
    pub async fn release(&self, lost: BTreeMap<IfIndex, String>, netlink: &Netlink) -> bool {
        let ifindices = {
            let mut state = self.lock();
            let mut ifindices = std::mem::take(&mut state.held);
            ifindices.extend(lost.keys());
            state.lost = lost;
            ifindices
        };
        self.look(&ifindices, netlink).await
    }

    /// Reports the present state of these interfaces, whatever was reported before. Returns false if that cannot be
    /// found out now.
    pub async fn look(&self, ifindices: &BTreeSet<IfIndex>, netlink: &Netlink) -> bool {
        self.begin_look();
        let listed = netlink.interfaces().await;
        self.end_look(ifindices, listed.ok())
    }

    /// Notes from now on which links change.
    fn begin_look(&self) {
        self.lock().changed = Some(BTreeSet::new());
    }

    /// Reports what was `listed` after [`Self::begin_look`]. Of a link that has changed since, the notification is at
    /// least as new, or a newer one follows it.
    fn end_look(&self, ifindices: &BTreeSet<IfIndex>, listed: Option<Vec<Interface>>) -> bool {
        let mut state = self.lock();
        let changed = state.changed.take().unwrap_or_default();
        let Some(interfaces) = listed else { return false };
        for &ifindex in ifindices.difference(&changed) {
            let found = interfaces.iter().find(|interface| interface.ifindex == ifindex);
            let gone = LinkChange { ifindex, link: LinkState::Down, mac: None };
            state.report(found.map_or(gone, Interface::change));
        }
        true
    }

    /// Notes that an interface has lost its kernel half, and reports it as down. Returns false if that is known.
    pub fn lose(&self, ifindex: IfIndex, interface: &str) -> bool {
        let mut state = self.lock();
        let is_new = state.lost.insert(ifindex, interface.to_owned()).is_none();
        if is_new {
            state.report(LinkChange { ifindex, link: LinkState::Down, mac: None });
        }
        is_new
    }

    /// Notes that an interface has its kernel half again. Returns whether it had lost it.
    pub fn regain(&self, ifindex: IfIndex) -> bool {
        self.lock().lost.remove(&ifindex).is_some()
    }

    /// The interfaces without the kernel half, by name.
    pub fn lost(&self) -> BTreeMap<IfIndex, String> {
        self.lock().lost.clone()
    }

    /// Reports what the kernel notifies of.
    fn report(&self, change: LinkChange) {
        let mut state = self.lock();
        if let Some(changed) = &mut state.changed {
            changed.insert(change.ifindex);
        }
        state.report(change);
    }

    /// Held while a request is sent, so that the election hears of everything in its order.
    fn lock(&self) -> MutexGuard<'_, ReportState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReportState {
    fn report(&mut self, change: LinkChange) {
        let LinkChange { ifindex, link, mac } = change;
        let Some(election) = &self.election else { return self.early.push(change) };
        if !self.held.contains(&ifindex) {
            let link = if self.lost.contains_key(&ifindex) { LinkState::Down } else { link };
            // An election that has ended needs no reports.
            let _ = election.send(ElectionRequest::Interface { ifindex, link, mac });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: IfIndex = IfIndex::new(2);
    const ETH1: IfIndex = IfIndex::new(3);

    fn change(ifindex: IfIndex, running: bool) -> LinkChange {
        let link = if running { LinkState::Running } else { LinkState::NoCarrier };
        LinkChange { ifindex, link, mac: None }
    }

    fn heard(requests: &mut mpsc::UnboundedReceiver<ElectionRequest>) -> Vec<(IfIndex, bool)> {
        let mut heard = Vec::new();
        while let Ok(request) = requests.try_recv() {
            if let ElectionRequest::Interface { ifindex, link, .. } = request {
                heard.push((ifindex, link == LinkState::Running));
            }
        }
        heard
    }

    #[test]
    fn earlier_changes_reach_the_election_in_order_except_on_held_interfaces() {
        let reports = LinkReports::default();
        for (ifindex, running) in [(ETH0, false), (ETH1, false), (ETH0, true)] {
            reports.report(change(ifindex, running));
        }
        let (election, mut requests) = mpsc::unbounded_channel();
        reports.connect(election, [ETH1].into());
        reports.report(change(ETH1, true));
        reports.report(change(ETH0, false));
        assert_eq!(heard(&mut requests), [(ETH0, false), (ETH0, true), (ETH0, false)]);
    }

    #[test]
    fn an_interface_without_the_kernel_half_is_down_until_it_has_it_again() {
        let reports = LinkReports::default();
        let (election, mut requests) = mpsc::unbounded_channel();
        reports.connect(election, BTreeSet::new());
        assert!(reports.lose(ETH0, "eth0") && !reports.lose(ETH0, "eth0"));
        reports.report(change(ETH0, true));
        assert_eq!(heard(&mut requests), [(ETH0, false), (ETH0, false)]);
        assert!(reports.regain(ETH0) && !reports.regain(ETH0));
        reports.report(change(ETH0, true));
        assert_eq!(heard(&mut requests), [(ETH0, true)]);
    }

    #[test]
    fn a_change_that_comes_while_the_interfaces_are_listed_is_not_undone_by_the_list() {
        let reports = LinkReports::default();
        let (election, mut requests) = mpsc::unbounded_channel();
        reports.connect(election, BTreeSet::new());
        reports.begin_look();
        reports.report(change(ETH0, true));
        // In the list neither is there yet.
        assert!(reports.end_look(&[ETH0, ETH1].into(), Some(Vec::new())));
        assert_eq!(heard(&mut requests), [(ETH0, true), (ETH1, false)]);

        reports.begin_look();
        assert!(!reports.end_look(&[ETH0].into(), None));
        assert!(reports.end_look(&[ETH0].into(), Some(Vec::new())), "an earlier change does not count");
        assert_eq!(heard(&mut requests), [(ETH0, false)]);
    }
}
