//! The agent while it runs.
//!
//! [`Service::start`] brings it up in order, [`Service::run`] attends to whatever happens, and [`Service::stop`] gives up
//! every role or leaves all of them to a successor. [`agent`] calls the three, and undoes on the host what is left.

mod adoption;
pub mod agent;
mod attachment_watch;
pub mod check;
mod clients;
mod equipment;
mod fence_watch;
mod interface_watch;
mod links;
mod monitors;
mod run;
mod standby;
mod start;
mod stop;
mod supervisor;
mod threads;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Interval;
use xvrrp_config::Config;
use xvrrp_dataplane::Attachments;
use xvrrp_net::{Memberships, Netlink, PacketSocket};

use self::attachment_watch::AttachmentWatch;
use self::fence_watch::FenceWatch;
use self::interface_watch::InterfaceWatch;
use self::links::LinkWatch;
pub use self::start::Start;
pub use self::stop::{End, Legacy};
use self::threads::Threads;
use crate::control::Server;
use crate::notify::Notifications;
use crate::notify::log::Reporter;
use crate::plan::Plans;
use crate::plan::waits::Waits;
use crate::process::program::Children;
use crate::process::signals::Signals;
use crate::succession::departure::{Departure, ExitRequest};
use crate::tracking::Tracker;

/// The management side of a running agent, with the two threads that it looks after.
#[derive(Debug)]
pub struct Service<'a> {
    config: &'a Config,
    netlink: &'a Netlink,
    plans: Plans<'a>,
    /// The virtual routers that wait for their interface.
    waits: Vec<Waits>,
    threads: Threads,
    socket: Arc<PacketSocket>,
    memberships: Vec<Memberships>,

    /// There from the start on; the caller has them undone or left to a successor.
    attachments: &'a mut Option<Attachments>,
    attachment_watch: AttachmentWatch,
    /// Without it, the fence covers the interfaces that have a virtual router, and no others.
    fence: Option<FenceWatch>,

    links: LinkWatch,
    /// Until the kernel's notifications end.
    links_are_watched: bool,
    /// More links have changed than the kernel could notify of.
    links_were_missed: bool,
    interface_watch: InterfaceWatch,

    tracker: Tracker,
    notifications: Notifications,
    children: Children,
    reporter: Reporter,
    discard_check: Interval,

    signals: Signals,
    server: Arc<Server>,
    /// They answer clients of the control socket, and scrapes of the metrics.
    clients: Vec<JoinHandle<()>>,
    departure: Departure,
    exit_requests: mpsc::UnboundedReceiver<ExitRequest>,
    /// The watchdog asks whether this side still answers.
    heartbeats: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}
