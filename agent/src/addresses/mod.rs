//! Puts the virtual addresses on the interface while a virtual router is Active, keeps them there, and takes off what it
//! put there. Also keeps the virtual MACs in the cards' filters.
//!
//! This happens on a thread of its own, behind the election and ahead of ordinary load: a service on a virtual address is
//! out of reach until the address is there, however busy the host is. The thread hears from the kernel of every deletion,
//! and looks at all addresses every few seconds ([`keeper`]).

mod keeper;
mod router;
mod tolerance;
pub mod unicast_filters;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use xvrrp_common::units::MacAddress;
use xvrrp_net::{DeletionMonitor, NetError, Netlink};

use crate::addresses::unicast_filters::Record;
use crate::identity::{PerRouter, RouterIndex};
use crate::process::realtime;
use keeper::Keeper;
pub use tolerance::RestLeft;

/// How many requests are taken at once.
const AT_ONCE: usize = 4096;

/// Where the virtual addresses of one virtual router go.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The virtual router's name, for the log.
    pub name: String,
    pub interface: String,
    pub ifindex: u32,
    /// Address and prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Those of them that a predecessor has put there, and that stay for now.
    pub installed: Vec<(IpAddr, u8)>,
    /// What the card's filter has to let in, whatever the role.
    pub virtual_mac: Option<MacAddress>,
    /// For how long an agent that this process was has given up the role.
    pub rest: RestLeft,
}

/// What to do with the addresses of a virtual router.
#[derive(Debug)]
pub enum Request {
    /// Put them on its interface.
    Install(RouterIndex),
    /// Take them off.
    Remove(RouterIndex),
    /// Look now whether everything is where it belongs.
    Restore,
    /// From now on, keep the virtual MACs in the cards' filters, which have been opened.
    KeepFilters(Record),
    /// From now on, do only what is asked for, and say so when everything before is done.
    Hold(oneshot::Sender<()>),
    /// Say so when everything before is done.
    Settle(oneshot::Sender<()>),
    /// Leave all that are there to a successor.
    Leave,
}

/// How a virtual router stands on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Whether everything that it needs there stays there, as far as is known.
    Kept { router: RouterIndex, kept: bool },
    /// Its addresses are off, as was asked.
    Removed { router: RouterIndex },
}

/// What has been put back for one virtual router, for the status.
#[derive(Debug, Default)]
pub struct Account {
    pub addresses: AtomicU64,
    pub filters: AtomicU64,
    /// Why its role is given up, and for how long, if it is.
    pub rest: Mutex<RestLeft>,
}

impl Account {
    fn new(placement: &Placement) -> Self {
        Self { rest: Mutex::new(placement.rest.clone()), ..Self::default() }
    }

    pub fn rest(&self) -> RestLeft {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread that serves requests.
#[derive(Debug)]
pub struct Handle {
    pub requests: mpsc::UnboundedSender<Request>,
    pub accounts: Arc<PerRouter<Account>>,
    thread: JoinHandle<()>,
}

/// Waits until all that has been asked for is done; false if that takes too long.
pub async fn settle(requests: &mpsc::WeakUnboundedSender<Request>, patience: Duration) -> bool {
    let (reply, settled) = oneshot::channel();
    if let Some(requests) = requests.upgrade() {
        let _ = requests.send(Request::Settle(reply));
    }
    tokio::time::timeout(patience, settled).await.is_ok()
}

/// Has the thread do nothing of its own accord any more, so that its end is not waited for.
pub async fn hold(requests: &mpsc::UnboundedSender<Request>, patience: Duration) {
    let (reply, held) = oneshot::channel();
    let _ = requests.send(Request::Hold(reply));
    let _ = tokio::time::timeout(patience, held).await;
}

impl Handle {
    /// Waits until the last request is served, once every other sender is gone.
    pub fn join(self) {
        drop(self.requests);
        if self.thread.join().is_err() {
            // The election has ended for it, unless it had ended before. What is left is taken off like a crash's.
            tracing::error!("the address thread panicked; the message stands above");
        }
    }
}

/// Starts the thread. `realtime_priority` is the election's; 0 is ordinary scheduling. The receiver hears of changes only;
/// it is closed when the thread ends, for whatever reason.
pub fn spawn(
    placements: PerRouter<Placement>,
    realtime_priority: u8,
) -> anyhow::Result<(Handle, mpsc::UnboundedReceiver<Standing>)> {
    let (sender, requests) = mpsc::unbounded_channel();
    let (standings, standing_receiver) = mpsc::unbounded_channel();
    let (tell_ready, ready) = std::sync::mpsc::channel::<anyhow::Result<()>>();
    let accounts: Arc<PerRouter<Account>> = Arc::new(placements.iter().map(Account::new).collect());
    let (name, shared) = ("addresses".to_owned(), Arc::clone(&accounts));
    let thread = thread::Builder::new().name(name).spawn(move || {
        // Not permitted: the election thread says so, for both.
        let _ = realtime_priority.checked_sub(1).filter(|priority| *priority > 0).map(realtime::schedule_fifo);
        if realtime_priority > 0 {
            realtime::touch_memory();
        }
        // Who waits for the word is there until it has come.
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime.block_on(async move {
                match open() {
                    Ok((netlink, deletions)) => {
                        let _ = tell_ready.send(Ok(()));
                        // Before anything else: an address that is to come may be among them.
                        match remove_stale(&netlink, &going_on(&placements)).await {
                            Ok(()) => report_clean(&placements, &standings),
                            Err(error) => tracing::error!("addresses of an earlier agent are left: {error}"),
                        }
                        serve(Keeper::new(netlink, placements, standings, shared), deletions, requests).await;
                    }
                    Err(error) => drop(tell_ready.send(Err(error.into()))),
                }
            }),
            Err(error) => drop(tell_ready.send(Err(error.into()))),
        }
    })?;
    ready.recv().context("the address thread has ended")??;
    Ok((Handle { requests: sender, accounts, thread }, standing_receiver))
}

fn open() -> Result<(Netlink, DeletionMonitor), NetError> {
    // The monitor first: nothing that is put on an interface is taken off unnoticed.
    let deletions = DeletionMonitor::open()?;
    Ok((Netlink::open()?, deletions))
}

/// Those that a predecessor has put there, and that stay for now.
fn going_on(placements: &PerRouter<Placement>) -> BTreeSet<(u32, IpAddr)> {
    let of = |placement: &Placement| -> Vec<_> {
        placement.installed.iter().map(|&(address, _)| (placement.ifindex, address)).collect()
    };
    placements.iter().flat_map(of).collect()
}

/// Reports those of which no address is on the host.
fn report_clean(placements: &PerRouter<Placement>, standings: &mpsc::UnboundedSender<Standing>) {
    for (router, _) in placements.enumerate().filter(|(_, placement)| placement.installed.is_empty()) {
        // The election outlives this thread, but for the last moments of a stop.
        let _ = standings.send(Standing::Removed { router });
    }
}

/// Removes addresses of an agent that did not end as it should, but for those to `keep`.
pub async fn remove_stale(netlink: &Netlink, keep: &BTreeSet<(u32, IpAddr)>) -> anyhow::Result<()> {
    let (removed, failures) = netlink.remove_stale_addresses(keep).await?;
    for address in removed {
        tracing::warn!("removed {address}, which an earlier agent had left");
    }
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}

/// All requests that wait are taken at once. Of those for one virtual router the last one stands.
async fn serve(mut keeper: Keeper, mut deletions: DeletionMonitor, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut waiting = Vec::new();
    loop {
        let due = keeper.due();
        tokio::select! {
            // First what clients wait for. A look comes after all deletions that are known: one for all of them.
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
                if let Err(error) = keeper.look().await {
                    return tracing::error!("cannot tell whether virtual addresses are where they belong: {error}");
                }
            }
        }
    }
    // Nobody is left to say so: an election that ended as it should has had everything removed.
    keeper.remove_all().await;
}

/// The timer alone rounds up to the next millisecond.
async fn wait_until(due: Option<Instant>) {
    let Some(due) = due else { return std::future::pending().await };
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

/// Whether the thread has to leave everything as it is.
async fn serve_requests(keeper: &mut Keeper, waiting: &mut Vec<Request>) -> bool {
    let (mut replies, mut leave) = (Vec::new(), false);
    for request in waiting.drain(..) {
        match request {
            Request::Install(router) => keeper.want(router, true),
            Request::Remove(router) => keeper.want(router, false),
            Request::Restore => keeper.look_soon(),
            Request::KeepFilters(record) => keeper.keep_filters(record),
            Request::Hold(reply) => {
                keeper.hold();
                replies.push(reply);
            }
            Request::Settle(reply) => replies.push(reply),
            Request::Leave => {
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
