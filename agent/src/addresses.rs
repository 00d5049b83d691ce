//! Puts the virtual addresses on the interface while a virtual router is Active, and takes off what it put there.
//!
//! On a thread of its own, behind the election and ahead of ordinary load: a service on a virtual address is out of
//! reach until the address is there, however busy the host is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::net::{AddressOutcome, Netlink, Placed};
use crate::realtime;

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
}

/// What to do with the addresses of the virtual router with this number.
#[derive(Debug)]
pub enum Request {
    /// Put them on its interface.
    Install(usize),
    /// Take them off.
    Remove(usize),
    /// Put back those that have gone without us: the kernel takes them along with the host's own address of the same
    /// subnet, which somebody may take off and put back.
    Restore,
    /// Say so when everything before is done.
    Settle(oneshot::Sender<()>),
    /// Leave all that are there to a successor.
    Leave,
}

/// The thread that serves requests.
#[derive(Debug)]
pub struct Handle {
    pub requests: mpsc::UnboundedSender<Request>,
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

impl Handle {
    /// Waits until the last request is served, once every other sender is gone.
    pub fn join(self) {
        drop(self.requests);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Starts the thread. `realtime_priority` is the election's; 0 is ordinary scheduling.
pub fn spawn(placements: Vec<Placement>, realtime_priority: u8) -> anyhow::Result<Handle> {
    let (sender, requests) = mpsc::unbounded_channel();
    let (tell_ready, ready) = std::sync::mpsc::channel::<anyhow::Result<()>>();
    let thread = thread::Builder::new().name("addresses".to_owned()).spawn(move || {
        // Not permitted: the election thread says so, for both.
        let _ = realtime_priority.checked_sub(1).filter(|priority| *priority > 0).map(realtime::schedule_fifo);
        // Who waits for the word is there until it has come.
        match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime.block_on(async move {
                match Netlink::open() {
                    Ok(netlink) => {
                        let _ = tell_ready.send(Ok(()));
                        serve(&netlink, placements, requests).await;
                    }
                    Err(error) => drop(tell_ready.send(Err(error.into()))),
                }
            }),
            Err(error) => drop(tell_ready.send(Err(error.into()))),
        }
    })?;
    ready.recv().context("the address thread has ended")??;
    Ok(Handle { requests: sender, thread })
}

/// All requests that wait are taken at once. Of those for one virtual router the last one stands.
async fn serve(netlink: &Netlink, placements: Vec<Placement>, mut requests: mpsc::UnboundedReceiver<Request>) {
    let going_on = placements
        .iter()
        .flat_map(|placement| placement.installed.iter().map(move |&(address, _)| (placement.ifindex, address)));
    // Before any other: an address that is to come may be among them.
    if let Err(error) = remove_stale(netlink, &going_on.collect()).await {
        tracing::error!("addresses of an earlier agent are left: {error}");
    }
    let mut routers: Vec<Router> = placements.into_iter().map(Router::new).collect();
    let mut waiting = Vec::new();
    while requests.recv_many(&mut waiting, AT_ONCE).await > 0 {
        let (mut replies, mut restore, mut leave) = (Vec::new(), false, false);
        for request in waiting.drain(..) {
            let (index, installs) = match request {
                Request::Install(index) => (index, true),
                Request::Remove(index) => (index, false),
                Request::Restore => {
                    restore = true;
                    continue;
                }
                Request::Settle(reply) => {
                    replies.push(reply);
                    continue;
                }
                Request::Leave => {
                    leave = true;
                    break;
                }
            };
            if let Some(router) = routers.get_mut(index) {
                router.wanted = Some(installs);
                router.serves = installs;
            }
        }
        if restore {
            forget_lost(netlink, &mut routers).await;
        }
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for router in &mut routers {
            match router.wanted.take() {
                Some(true) => new.push(router),
                Some(false) => old.push(router),
                None => {}
            }
        }
        // First what clients wait for.
        install(netlink, new).await;
        remove(netlink, old).await;
        for reply in replies {
            let _ = reply.send(());
        }
        if leave {
            return;
        }
    }
    // Nobody is left to say so: an election that ended as it should has had everything removed.
    remove(netlink, routers.iter_mut().collect()).await;
}

/// Removes addresses of an agent that did not end as it should, but for those to `keep`.
pub async fn remove_stale(netlink: &Netlink, keep: &BTreeSet<(u32, IpAddr)>) -> anyhow::Result<()> {
    let (removed, failures) = netlink.remove_stale_addresses(keep).await?;
    for address in removed {
        tracing::warn!("removed {address}, which an agent that did not end properly had left");
    }
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}

struct Router {
    placement: Placement,
    /// What we, or the agent before us, have added, and nothing else: another's address is not ours to take away.
    added: Vec<(IpAddr, u8)>,
    /// Whether its addresses are to be on the interface; `None` once that is done.
    wanted: Option<bool>,
    /// The last that was asked for is to have them there.
    serves: bool,
}

impl Router {
    fn new(placement: Placement) -> Self {
        Self { added: placement.installed.clone(), placement, wanted: None, serves: false }
    }

    fn placed(&self, (address, prefix_length): (IpAddr, u8)) -> Placed {
        (self.placement.ifindex, address, prefix_length)
    }

    fn missing(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        self.placement.addresses.iter().copied().filter(|address| !self.added.contains(address))
    }
}

/// Has those installed again that are no longer where we have put them, and should be.
async fn forget_lost(netlink: &Netlink, routers: &mut [Router]) {
    let mut serving: Vec<_> = routers.iter_mut().filter(|it| it.serves && !it.added.is_empty()).collect();
    if serving.is_empty() {
        return;
    }
    let there = match netlink.placed().await {
        Ok(there) => there,
        Err(error) => return tracing::error!("virtual addresses may be missing: {error}"),
    };
    for router in &mut serving {
        let Router { placement: Placement { name, interface, ifindex, .. }, added, wanted, .. } = &mut **router;
        added.retain(|&(address, prefix_length)| {
            let is_there = there.contains(&(*ifindex, address, prefix_length));
            if !is_there {
                tracing::warn!(virtual_router = %name, "{address} has been taken off {interface}: putting it back");
                *wanted = Some(true);
            }
            is_there
        });
    }
}

async fn install(netlink: &Netlink, routers: Vec<&mut Router>) {
    let missing = routers.iter().flat_map(|router| {
        router.missing().map(|address| (router.placed(address), router.placement.interface.as_str()))
    });
    let mut outcomes = netlink.add_addresses(missing).await.into_iter();
    for router in routers {
        let missing: Vec<_> = router.missing().collect();
        let Router { placement: Placement { name, interface, .. }, added, .. } = router;
        for (address, outcome) in missing.into_iter().zip(&mut outcomes) {
            match outcome {
                Ok(AddressOutcome::Added) => added.push(address),
                Ok(AddressOutcome::Existed) => {
                    tracing::debug!(virtual_router = %name, "{} is on {interface} already: left alone", address.0);
                }
                Err(error) => tracing::error!(virtual_router = %name, "{error}"),
            }
        }
    }
}

/// What could not be removed is tried again with the next request, and at the end.
async fn remove(netlink: &Netlink, mut routers: Vec<&mut Router>) {
    routers.retain(|router| !router.added.is_empty());
    if routers.is_empty() {
        return;
    }
    let added = routers.iter().flat_map(|router| {
        router.added.iter().map(|&address| (router.placed(address), router.placement.interface.as_str()))
    });
    let outcome = netlink.remove_addresses(&added.collect()).await;
    for router in routers {
        let name = &router.placement.name;
        match &outcome {
            Ok(failures) => {
                let ifindex = router.placement.ifindex;
                router.added.retain(|&(address, prefix_length)| {
                    let failure = failures.get(&(ifindex, address, prefix_length));
                    if let Some(error) = failure {
                        tracing::error!(virtual_router = %name, "{error}");
                    }
                    failure.is_some()
                });
            }
            Err(error) => tracing::error!(virtual_router = %name, "{error}"),
        }
    }
}
