//! What the service manager is told (sd_notify(3)). Without one, nobody is told anything.

use std::thread;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};

use crate::election::Command;

/// Every virtual router takes part in its election, but for those that wait for their interface.
pub fn notify_ready(virtual_routers: usize, waiting: usize) {
    let plural = if virtual_routers == 1 { "" } else { "s" };
    let mut status = format!("{virtual_routers} virtual router{plural}");
    if waiting > 0 {
        status += &format!(", {waiting} more without an interface");
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// From now until [`notify_ready`].
pub fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Where the manager wants to hear of us regularly, tells it as long as the election and the management side both answer: four
/// times as often as it must. By a thread of its own, since neither side may have to wait for the other.
/// Returns what the management side has to answer.
pub fn spawn_watchdog(election: mpsc::UnboundedSender<Command>) -> mpsc::UnboundedReceiver<oneshot::Sender<()>> {
    let (management, heartbeats) = mpsc::unbounded_channel();
    let Some(limit) = sd_notify::watchdog_enabled() else { return heartbeats };
    let watch = move || {
        let answers = |asked: bool, answer: oneshot::Receiver<()>| asked && answer.blocking_recv().is_ok();
        loop {
            let [(ask_one, one), (ask_other, other)] = [oneshot::channel(), oneshot::channel()];
            let asked = [election.send(Command::Answer(ask_one)).is_ok(), management.send(ask_other).is_ok()];
            if !answers(asked[0], one) || !answers(asked[1], other) {
                // One of them has ended, and so do we.
                return;
            }
            notify(&[NotifyState::Watchdog]);
            thread::sleep(limit / 4);
        }
    };
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        tracing::error!("the watchdog cannot be fed: {error}");
    }
    heartbeats
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("the service manager cannot be told how we are: {error}");
    }
}
