//! Installs the virtual addresses on the interface while a virtual router is Active, keeps them there, and removes what
//! it has installed. Also keeps the virtual MACs in the unicast filters of the network cards.
//!
//! With the addresses come and go the routes and rules of the virtual router (`routing/`).
//!
//! This happens on a separate thread, which is scheduled behind the election and ahead of ordinary load: however busy
//! the host is, a service on a virtual address cannot be reached until the address is installed. The kernel notifies
//! the thread of every deletion, and the thread checks all addresses every few seconds (`keeper.rs`).

mod keeper;
mod placement;
mod report;
mod router;
mod routing;
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
use xvrrp_config::StaticConfig;
use xvrrp_net::{DeletionMonitor, NetError, Netlink};

use crate::addresses::unicast_filters::Record;
use crate::identity::{PerRouter, RouterIndex};
use crate::process::realtime;
use crate::process::runtime_thread::{self, StartError};
use keeper::Keeper;
pub use placement::{PlacedAddress, Placement};
pub use report::{Account, AddressReport, RoutingAccount};
pub use routing::{Leftovers, LeftoversError, add_static_addresses, host_address, remove_leftovers};
use routing::{RoutingKeeper, Turn};
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
    /// Account of what is on the host whatever the roles are.
    pub statics: Arc<Account>,
    thread: JoinHandle<()>,
}

/// What is on the host whatever the roles are.
#[derive(Debug, Default)]
pub struct Statics {
    /// What the configuration lists.
    pub config: Arc<StaticConfig>,
    /// The addresses among it that are on an interface now.
    pub addresses: BTreeSet<(IfIndex, IpAddr)>,
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
    statics: Statics,
    realtime_priority: u8,
) -> Result<(AddressThread, mpsc::UnboundedReceiver<AddressReport>), StartError<NetError>> {
    let (sender, requests) = mpsc::unbounded_channel();
    let (reports, report_receiver) = mpsc::unbounded_channel();
    let accounts: Arc<PerRouter<Account>> = Arc::new(placements.iter().map(Account::new).collect());
    let account_of_statics = Arc::<Account>::default();
    let (shared, of_statics) = (Arc::clone(&accounts), Arc::clone(&account_of_statics));
    let Statics { config, addresses } = statics;
    let by_router = placements.iter().map(|placement| Arc::clone(&placement.routing)).collect();
    let open = move || -> Result<_, NetError> {
        if realtime_priority > 0 {
            realtime::touch_memory();
        }
        // The monitor is opened first, so that no removal of an installed address goes unnoticed.
        let deletions = DeletionMonitor::open()?;
        let routing = RoutingKeeper::open(config, by_router, Arc::clone(&shared), of_statics)?;
        Ok((Netlink::open()?, deletions, routing, shared))
    };
    let serve = async move |(netlink, deletions, routing, shared): (Netlink, _, _, _)| {
        // Stale addresses are removed first, because one of them may have to be installed afterwards.
        let mut kept = kept_addresses(&placements);
        kept.extend(addresses);
        match remove_stale(&netlink, &kept).await {
            Ok(()) => report_clean(&placements, &reports),
            Err(error) => tracing::error!("cannot remove the addresses of an earlier agent: {error}"),
        }
        serve(Keeper::new(netlink, placements, reports, shared), routing, deletions, requests).await;
    };
    let thread = runtime_thread::spawn("addresses", realtime_priority, open, serve)?;
    Ok((AddressThread { requests: sender, accounts, statics: account_of_statics, thread }, report_receiver))
}

/// Returns the addresses that a predecessor has installed and that stay for now.
fn kept_addresses(placements: &PerRouter<Placement>) -> BTreeSet<(IfIndex, IpAddr)> {
    let installed = |placement: &Placement| -> Vec<_> {
        let installed = placement.addresses.iter().filter(|address| address.installed);
        installed.map(|PlacedAddress { placed: (ifindex, address, _), .. }| (*ifindex, *address)).collect()
    };
    placements.iter().flat_map(installed).collect()
}

/// Reports the virtual routers that have no address on the host.
fn report_clean(placements: &PerRouter<Placement>, reports: &mpsc::UnboundedSender<AddressReport>) {
    for (router, _) in placements.enumerate().filter(|(_, placement)| !placement.has_installed()) {
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
    mut routing: RoutingKeeper,
    mut deletions: DeletionMonitor,
    mut requests: mpsc::UnboundedReceiver<AddressRequest>,
) {
    let (mut waiting, mut replies) = (Vec::new(), Vec::new());
    loop {
        let due = keeper.due();
        tokio::select! {
            // Requests come first, because clients wait for them. A check comes after all known deletions, so that one
            // check covers all of them. Routes come last, in steps, because there may be thousands of them.
            biased;
            count = requests.recv_many(&mut waiting, AT_ONCE) => {
                if count == 0 {
                    break;
                }
                if serve_requests(&mut keeper, &mut routing, &mut waiting, &mut replies).await {
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
            turn = routing.turn() => match turn {
                Turn::News(news) => routing.note(news),
                Turn::Step => routing.step(),
                Turn::Listed(listed) => routing.note_listed(listed),
            },
        }
        if keeper.is_asked() && !routing.is_removing() {
            keeper.carry_out(true).await;
        }
        if routing.is_settled() && !keeper.is_asked() {
            for reply in replies.drain(..) {
                let _ = oneshot::Sender::send(reply, ());
            }
        }
    }
    // No sender is left. An election that ended properly has requested all removals; otherwise they are made up for
    // here.
    routing.remove_all().await;
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

/// Serves the waiting requests. Returns true if the thread has to end and leave everything in place. Adds to `replies`
/// those to whom to reply once everything is done.
async fn serve_requests(
    keeper: &mut Keeper,
    routing: &mut RoutingKeeper,
    waiting: &mut Vec<AddressRequest>,
    replies: &mut Vec<oneshot::Sender<()>>,
) -> bool {
    let mut leave = false;
    for request in waiting.drain(..) {
        match request {
            AddressRequest::Install(router) => {
                keeper.want(router, true);
                routing.want(router, true);
            }
            AddressRequest::Remove(router) => {
                keeper.want(router, false);
                routing.want(router, false);
            }
            AddressRequest::Restore => {
                keeper.check_soon();
                routing.look_soon();
            }
            AddressRequest::KeepFilters(record) => keeper.keep_filters(record),
            AddressRequest::Hold(reply) => {
                keeper.hold();
                routing.hold();
                replies.push(reply);
            }
            AddressRequest::Settle(reply) => replies.push(reply),
            AddressRequest::Leave => {
                leave = true;
                break;
            }
        }
    }
    keeper.carry_out(!routing.is_removing()).await;
    leave
}
