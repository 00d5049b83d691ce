//! Keeps the fence on every interface that has no virtual router, including interfaces that appear later.
//!
//! A virtual address belongs to the host, not to one interface: Linux accepts packets for it, and answers ARP requests
//! for it, on all interfaces. Attaching the fence waits for the kernel. A separate task therefore does it, one
//! interface at a time, once adverts are being sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use xvrrp_common::units::IfIndex;
use xvrrp_dataplane::Fence;
use xvrrp_net::{Interface, Netlink};

/// Time over which changes of interfaces are collected, because they come in groups.
const GROUP: Duration = Duration::from_millis(200);
/// Pause between two interfaces. The kernel holds its network lock while it attaches a program, and other processes
/// need that lock too.
const PAUSE: Duration = Duration::from_millis(20);

/// Attaches the fence and keeps it attached.
#[derive(Debug)]
pub struct FenceWatch {
    changed: Arc<Notify>,
    stop: Arc<Notify>,
    task: JoinHandle<Option<Fence>>,
}

impl FenceWatch {
    /// Starts the task. `ours` are the interfaces with a virtual router, where the XDP program contains the same fence.
    pub fn start(fence: Fence, ours: BTreeSet<IfIndex>, netlink: Netlink) -> Self {
        let (changed, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        changed.notify_one();
        let task = tokio::spawn(keep(fence, ours, netlink, Arc::clone(&changed), Arc::clone(&stop)));
        Self { changed, stop, task }
    }

    /// Notes that some interface has changed.
    pub fn note(&self) {
        self.changed.notify_one();
    }

    /// Ends the task and leaves the fence attached, so that the end of the process does not have to wait.
    pub async fn park(self) {
        self.stop.notify_one();
        let _ = self.task.await;
    }

    /// Ends the task and detaches the fence from every interface. Without this call the fence stays, for a successor.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Ok(Some(mut fence)) = self.task.await {
            fence.retain(&BTreeSet::new());
        }
    }
}

async fn keep(
    mut fence: Fence,
    ours: BTreeSet<IfIndex>,
    netlink: Netlink,
    changed: Arc<Notify>,
    stop: Arc<Notify>,
) -> Option<Fence> {
    // Interfaces whose failure has been logged. Each failure is logged once.
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
        let indices: BTreeSet<IfIndex> = wanted.iter().map(|interface| interface.ifindex).collect();
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
                    tracing::warn!("{error}: if this agent dies, its host may keep serving through that interface");
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

/// Returns whether the fence belongs on this interface.
///
/// Ports are left out: the frames of a port that are for this host also arrive on its bridge or bond.
fn is_fenced(interface: &Interface, ours: &BTreeSet<IfIndex>) -> bool {
    !interface.loopback && !interface.port && !ours.contains(&interface.ifindex)
}
