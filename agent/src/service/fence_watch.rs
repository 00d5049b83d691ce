//! Keeps the fence on every interface that has no virtual router, also on those that come later.
//!
//! A virtual address is on the host, not on one interface: Linux takes packets for it, and answers ARP for it, on all of them.
//! Attaching waits for the kernel, so a task of its own does it, one interface at a time, after adverts go out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use xvrrp_dataplane::Fence;
use xvrrp_net::{Interface, Netlink};

/// Interfaces come in groups.
const GROUP: Duration = Duration::from_millis(200);
/// Between two interfaces. The kernel's network lock is held while one waits; others want it too.
const PAUSE: Duration = Duration::from_millis(20);

/// Attaches the fence, and keeps it attached.
#[derive(Debug)]
pub struct FenceWatch {
    changed: Arc<Notify>,
    stop: Arc<Notify>,
    task: JoinHandle<Option<Fence>>,
}

impl FenceWatch {
    /// `ours` are the interfaces with a virtual router, where the XDP program has the same fence.
    pub fn start(fence: Fence, ours: BTreeSet<u32>, netlink: Netlink) -> Self {
        let (changed, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        changed.notify_one();
        let task = tokio::spawn(keep(fence, ours, netlink, Arc::clone(&changed), Arc::clone(&stop)));
        Self { changed, stop, task }
    }

    /// Something has happened to some interface.
    pub fn note(&self) {
        self.changed.notify_one();
    }

    /// Does nothing more, and leaves the fence where it is: the end of the process has to wait for nothing.
    pub async fn park(self) {
        self.stop.notify_one();
        let _ = self.task.await;
    }

    /// Takes the fence off every interface. Without this call it stays, for a successor.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Ok(Some(mut fence)) = self.task.await {
            fence.retain(&BTreeSet::new());
        }
    }
}

async fn keep(
    mut fence: Fence,
    ours: BTreeSet<u32>,
    netlink: Netlink,
    changed: Arc<Notify>,
    stop: Arc<Notify>,
) -> Option<Fence> {
    // A failure is logged once.
    let mut failed = BTreeSet::new();
    loop {
        tokio::select! {
            () = stop.notified() => return Some(fence),
            () = changed.notified() => {}
        }
        let Ok(interfaces) = netlink.interfaces().await else {
            sleep(GROUP).await;
            changed.notify_one();
            continue;
        };
        let wanted: Vec<_> = interfaces.into_iter().filter(|interface| is_fenced(interface, &ours)).collect();
        let indices: BTreeSet<u32> = wanted.iter().map(|interface| interface.ifindex).collect();
        failed.retain(|ifindex| indices.contains(ifindex));
        let retained = spawn_blocking(move || {
            fence.retain(&indices);
            fence
        });
        fence = retained.await.ok()?;
        for Interface { name, ifindex, .. } in wanted {
            let (attached, outcome);
            (fence, attached, outcome) = spawn_blocking(move || {
                let attached = fence.is_attached(ifindex);
                let outcome = if attached { Ok(()) } else { fence.attach(&name, ifindex) };
                (fence, attached, outcome)
            })
            .await
            .ok()?;
            match outcome {
                Ok(()) => _ = failed.remove(&ifindex),
                Err(error) if failed.insert(ifindex) => {
                    tracing::warn!("{error}: if this agent dies, its host may serve on through that interface")
                }
                Err(_) => {}
            }
            if !attached {
                tokio::select! {
                    () = stop.notified() => return Some(fence),
                    () = sleep(PAUSE) => {}
                }
            }
        }
        tokio::select! {
            () = stop.notified() => return Some(fence),
            () = sleep(GROUP) => {}
        }
    }
}

/// A port's frames arrive on its bridge or bond as well, where they are for this host.
fn is_fenced(interface: &Interface, ours: &BTreeSet<u32>) -> bool {
    !interface.loopback && !interface.port && !ours.contains(&interface.ifindex)
}
