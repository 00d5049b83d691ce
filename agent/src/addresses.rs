//! Puts the virtual addresses on the interface while a virtual router is Active, and takes off what it put there.

use std::net::Ipv4Addr;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::net::{AddressOutcome, Netlink};

/// Where the virtual addresses of one virtual router go.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The virtual router's name, for the log.
    pub name: String,
    pub interface: String,
    pub ifindex: u32,
    /// Address and prefix length.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// Put the addresses of the virtual router with this number on its interface, or take them off.
pub type Request = (usize, bool);

/// Serves requests one after the other, until the sender is dropped and the last one is done.
pub fn spawn(netlink: Netlink, placements: Vec<Placement>) -> (mpsc::UnboundedSender<Request>, JoinHandle<()>) {
    let (sender, mut requests) = mpsc::unbounded_channel::<Request>();
    let task = tokio::spawn(async move {
        let mut routers: Vec<Router> = placements.into_iter().map(Router::new).collect();
        while let Some((index, install)) = requests.recv().await {
            let Some(router) = routers.get_mut(index) else { continue };
            if install {
                router.install(&netlink).await;
            } else {
                router.remove(&netlink).await;
            }
        }
    });
    (sender, task)
}

struct Router {
    placement: Placement,
    /// What this process has added, and nothing else: an address that was there before is not ours to take away.
    added: Vec<(Ipv4Addr, u8)>,
}

impl Router {
    fn new(placement: Placement) -> Self {
        Self {
            placement,
            added: Vec::new(),
        }
    }

    async fn install(&mut self, netlink: &Netlink) {
        let Placement {
            name,
            interface,
            ifindex,
            addresses,
        } = &self.placement;
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

    /// Goes on after a failure: what can be removed is.
    async fn remove(&mut self, netlink: &Netlink) {
        let Placement {
            name,
            interface,
            ifindex,
            ..
        } = &self.placement;
        // The last added goes first: the kernel then never has to promote one of ours.
        for (address, prefix_length) in self.added.drain(..).rev() {
            if let Err(error) = netlink
                .remove_address(interface, *ifindex, address, prefix_length)
                .await
            {
                tracing::error!(virtual_router = %name, "{error}");
            }
        }
    }
}
