//! The running agent.
//!
//! [`Service::start`] starts its parts in order, [`Service::run`] handles events, and [`Service::stop`] gives up every
//! role or leaves all of them to a successor. [`agent`] calls these three functions and removes from the host whatever
//! remains.

mod adoption;
pub mod agent;
mod attachment_watch;
pub mod check;
mod clients;
mod equipment;
mod fence_watch;
mod handover;
mod interface_watch;
mod links;
mod monitors;
mod run;
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
pub use self::stop::{Continuation, End};
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

/// The management side of a running agent, with the two threads that it supervises.
#[derive(Debug)]
pub struct Service<'a> {
    config: &'a Config,
    netlink: &'a Netlink,
    plans: Plans<'a>,
    /// Virtual routers that wait for their interface.
    waits: Vec<Waits>,
    threads: Threads,
    socket: Arc<PacketSocket>,
    memberships: Vec<Memberships>,

    /// Set since the start. The caller detaches them or leaves them to a successor.
    attachments: &'a mut Option<Attachments>,
    attachment_watch: AttachmentWatch,
    /// Fence on the other interfaces. Without it, the fence covers only the interfaces that have a virtual router.
    fence: Option<FenceWatch>,

    links: LinkWatch,
    /// False once the kernel's notifications have ended.
    links_are_watched: bool,
    /// True if the kernel has dropped notifications, so that the links have to be listed.
    links_were_missed: bool,
    interface_watch: InterfaceWatch,

    tracker: Tracker,
    notifications: Notifications,
    children: Children,
    reporter: Reporter,
    discard_check: Interval,

    signals: Signals,
    server: Arc<Server>,
    /// Tasks that answer clients of the control socket and requests for the metrics.
    clients: Vec<JoinHandle<()>>,
    /// Resolves once virtual routers that are no longer configured have been given up.
    farewell: oneshot::Receiver<()>,
    departure: Departure,
    exit_requests: mpsc::UnboundedReceiver<ExitRequest>,
    /// Requests of the watchdog, which checks whether the management side still answers.
    heartbeats: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
}
