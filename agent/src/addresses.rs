//! Puts the virtual addresses on the interface while a virtual router is Active, and takes off what it put there.
//!
//! On a thread of its own, behind the election and ahead of ordinary load: a service on a virtual address is out of
//! reach until the address is there, however busy the host is.

use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::net::{AddressOutcome, Netlink};
use crate::realtime;

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

/// One request after the other, so that the last word on a virtual router is the one that stands.
async fn serve(netlink: &Netlink, placements: Vec<Placement>, mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut routers: Vec<Router> = placements.into_iter().map(Router::new).collect();
    while let Some(request) = requests.recv().await {
        match request {
            Request::Install(index) => {
                if let Some(router) = routers.get_mut(index) {
                    router.install(netlink).await;
                }
            }
            Request::Remove(index) => {
                if let Some(router) = routers.get_mut(index) {
                    router.remove(netlink).await;
                }
            }
            Request::Settle(reply) => {
                let _ = reply.send(());
            }
            Request::Leave => return,
        }
    }
    // Nobody is left to say so: an election that ended as it should has had everything removed.
    for router in &mut routers {
        router.remove(netlink).await;
    }
}

struct Router {
    placement: Placement,
    /// What we, or the agent before us, have added, and nothing else: another's address is not ours to take away.
    added: Vec<(IpAddr, u8)>,
}

impl Router {
    fn new(placement: Placement) -> Self {
        Self { added: placement.installed.clone(), placement }
    }

    async fn install(&mut self, netlink: &Netlink) {
        let Placement { name, interface, ifindex, addresses, .. } = &self.placement;
        for &(address, prefix_length) in addresses {
            if self.added.contains(&(address, prefix_length)) {
                continue;
            }
            match netlink.add_address(interface, *ifindex, address, prefix_length).await {
                Ok(AddressOutcome::Added) => self.added.push((address, prefix_length)),
                Ok(AddressOutcome::Existed) => {
                    tracing::debug!(virtual_router = %name, "{address} is on {interface} already: left alone");
                }
                Err(error) => tracing::error!(virtual_router = %name, "{error}"),
            }
        }
    }

    async fn remove(&mut self, netlink: &Netlink) {
        let Placement { name, interface, ifindex, .. } = &self.placement;
        if self.added.is_empty() {
            return;
        }
        // What could not be removed is tried again with the next request, and at the end.
        match netlink.remove_addresses(interface, *ifindex, &self.added).await {
            Ok(failures) => {
                self.added.clear();
                for (address, error) in failures {
                    tracing::error!(virtual_router = %name, "{error}");
                    self.added.push(address);
                }
            }
            Err(error) => tracing::error!(virtual_router = %name, "{error}"),
        }
    }
}
