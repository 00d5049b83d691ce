//! Installs the virtual addresses on the interface while a virtual router is Active, keeps them there, and removes what
//! it has installed. Also keeps the virtual MACs in the unicast filters of the network cards.
//!
//! This happens on a separate thread, which is scheduled behind the election and ahead of ordinary load: however busy
//! the host is, a service on a virtual address cannot be reached until the address is installed. The kernel notifies
//! the thread of every deletion, and the thread checks all addresses every few seconds (`keeper.rs`).

mod keeper;
mod placement;
mod report;
mod router;
mod tolerance;
pub(crate) mod unicast_filters;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use xvrrp_common::units::IfIndex;
use xvrrp_net::{DeletionMonitor, NetError, Netlink};

use crate::addresses::unicast_filters::Record;
use crate::identity::{PerRouter, RouterIndex};
use crate::process::realtime;
use crate::process::runtime_thread::{self, StartError};
use keeper::Keeper;
pub use placement::Placement;
pub use report::{Account, AddressReport};
pub use tolerance::RestLeft;

/// Largest number of requests that are handled together.
const AT_ONCE: usize = 4096;

/// Request to the address thread. Numbers are those of virtual routers.
#[derive(Debug)]
pub enum AddressRequest {
    /// Install the addresses of this virtual router.
    Install(RouterIndex),
    /// Remove the addresses of this virtual router.
    Remove(RouterIndex),
    /// Check now whether everything is in place.
    Restore,
    /// From now on, keep the virtual MACs in the cards' filters, which have been opened.
    KeepFilters(Record),
    /// From now on, do only what is requested. Reply once all earlier requests are done.
    Hold(oneshot::Sender<()>),
    /// Reply once all earlier requests are done.
    Settle(oneshot::Sender<()>),
    /// End the thread and leave all addresses to a successor.
    Leave,
}

/// Handle of the address thread.
#[derive(Debug)]
pub struct AddressThread {
    /// Queue of the thread. The thread ends when the last sender is dropped.
    pub requests: mpsc::UnboundedSender<AddressRequest>,
    /// Accounts in the order of the virtual routers' numbers.
    pub accounts: Arc<PerRouter<Account>>,
    thread: JoinHandle<()>,
}

/// Waits until all earlier requests are done. Returns false if that takes longer than `patience`.
pub async fn settle(requests: &mpsc::WeakUnboundedSender<AddressRequest>, patience: Duration) -> bool {
    let (reply, settled) = oneshot::channel();
    if let Some(requests) = requests.upgrade() {
        let _ = requests.send(AddressRequest::Settle(reply));
    }
    tokio::time::timeout(patience, settled).await.is_ok()
}

/// Makes the thread do only what is requested from now on, so that nothing has to wait for its end. Waits for this at
/// most for `patience`.
pub async fn hold(requests: &mpsc::UnboundedSender<AddressRequest>, patience: Duration) {
    let (reply, held) = oneshot::channel();
    let _ = requests.send(AddressRequest::Hold(reply));
    let _ = tokio::time::timeout(patience, held).await;
}

impl AddressThread {
    /// Drops this sender and waits until the thread has ended, which it does once every other sender is gone.
    pub fn join(self) {
        drop(self.requests);
        if self.thread.join().is_err() {
            // The election ends when the address thread ends. The addresses that are left are removed as after a crash.
            tracing::error!("the address thread panicked; its message is above");
        }
    }
}

/// Starts the address thread. Returns its handle and the receiver of its reports.
///
/// `realtime_priority` is the priority of the election thread; 0 stands for ordinary scheduling. Only changes are
/// reported. The channel is closed when the thread ends, for whatever reason.
///
/// # Errors
/// The thread cannot be started, or the kernel refuses a netlink socket.
pub fn spawn(
    placements: PerRouter<Placement>,
    realtime_priority: u8,
) -> Result<(AddressThread, mpsc::UnboundedReceiver<AddressReport>), StartError<NetError>> {
    let (sender, requests) = mpsc::unbounded_channel();
    let (reports, report_receiver) = mpsc::unbounded_channel();
    let accounts: Arc<PerRouter<Account>> = Arc::new(placements.iter().map(Account::new).collect());
    let shared = Arc::clone(&accounts);
    let open = move || {
        if realtime_priority > 0 {
            realtime::touch_memory();
        }
        open()
    };
    let thread = runtime_thread::spawn("addresses", realtime_priority, open, async move |(netlink, deletions)| {
        // Stale addresses are removed first, because one of them may have to be installed afterwards.
        match remove_stale(&netlink, &kept_addresses(&placements)).await {
            Ok(()) => report_clean(&placements, &reports),
            Err(error) => tracing::error!("cannot remove the addresses of an earlier agent: {error}"),
        }
        serve(Keeper::new(netlink, placements, reports, shared), deletions, requests).await;
    })?;
    Ok((AddressThread { requests: sender, accounts, thread }, report_receiver))
}

fn open() -> Result<(Netlink, DeletionMonitor), NetError> {
    // The monitor is opened first, so that no removal of an installed address goes unnoticed.
    let deletions = DeletionMonitor::open()?;
    Ok((Netlink::open()?, deletions))
}

/// Returns the addresses that a predecessor has installed and that stay for now.
fn kept_addresses(placements: &PerRouter<Placement>) -> BTreeSet<(IfIndex, IpAddr)> {
    let installed = |placement: &Placement| -> Vec<_> {
        placement.installed.iter().map(|&(address, _)| (placement.ifindex, address)).collect()
    };
    placements.iter().flat_map(installed).collect()
}

/// Reports the virtual routers that have no address on the host.
fn report_clean(placements: &PerRouter<Placement>, reports: &mpsc::UnboundedSender<AddressReport>) {
    for (router, _) in placements.enumerate().filter(|(_, placement)| placement.installed.is_empty()) {
        // Sending fails only in the last moments of a stop: until then, the election outlives this thread.
        let _ = reports.send(AddressReport::Removed { router });
    }
}

/// Removes the addresses that an agent has left without a clean stop, except those in `keep`.
///
/// # Errors
/// The addresses cannot be listed, or one of them cannot be removed. All others are removed even then.
pub async fn remove_stale(netlink: &Netlink, keep: &BTreeSet<(IfIndex, IpAddr)>) -> Result<(), NetError> {
    let (removed, failures) = netlink.remove_stale_addresses(keep).await?;
    for address in removed {
        tracing::warn!("removed {address}, which an earlier agent had left");
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Serves requests until `Leave`, or until every sender is gone.
///
/// All waiting requests are handled together. Of several requests for one virtual router, only the last one counts.
async fn serve(
    mut keeper: Keeper,
    mut deletions: DeletionMonitor,
    mut requests: mpsc::UnboundedReceiver<AddressRequest>,
) {
    let mut waiting = Vec::new();
    loop {
        let due = keeper.due();
        tokio::select! {
            // Requests come first, because clients wait for them. A check comes after all known deletions, so that one
            // check covers all of them.
            biased;
            count = requests.recv_many(&mut waiting, AT_ONCE) => {
                if count == 0 {
                    break;
                }
                if serve_requests(&mut keeper, &mut waiting).await {
                    return;
                }
            }
            deletion = deletions.next() => match deletion {
                Some(deletion) => keeper.note(deletion),
                None => return tracing::error!("the kernel's notifications of deleted addresses have ended"),
            },
            () = wait_until(due) => {
                if let Err(error) = keeper.check().await {
                    return tracing::error!("cannot check whether virtual addresses are where they belong: {error}");
                }
            }
        }
    }
    // No sender is left. An election that ended properly has requested all removals; otherwise they are made up for
    // here.
    keeper.remove_all().await;
}

/// Waits until this time. Never returns without one.
///
/// A time that has passed is checked separately, because the timer rounds up to the next millisecond.
async fn wait_until(due: Option<Instant>) {
    let Some(due) = due else { return std::future::pending().await };
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

/// Serves the waiting requests. Returns true if the thread has to end and leave everything in place.
async fn serve_requests(keeper: &mut Keeper, waiting: &mut Vec<AddressRequest>) -> bool {
    let (mut replies, mut leave) = (Vec::new(), false);
    for request in waiting.drain(..) {
        match request {
            AddressRequest::Install(router) => keeper.want(router, true),
            AddressRequest::Remove(router) => keeper.want(router, false),
            AddressRequest::Restore => keeper.check_soon(),
            AddressRequest::KeepFilters(record) => keeper.keep_filters(record),
            AddressRequest::Hold(reply) => {
                keeper.hold();
                replies.push(reply);
            }
            AddressRequest::Settle(reply) => replies.push(reply),
            AddressRequest::Leave => {
                leave = true;
                break;
            }
        }
    }
    keeper.carry_out().await;
    for reply in replies {
        let _ = reply.send(());
    }
    leave
}
