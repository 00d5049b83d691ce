//! Notifies the service manager (sd_notify(3)). Without a service manager, these functions do nothing.

use std::thread;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};

use crate::election::ElectionRequest;

/// Reports that every virtual router takes part in its election, except those that wait for their interface.
pub fn notify_ready(virtual_routers: usize, waiting: usize) {
    let plural = if virtual_routers == 1 { "" } else { "s" };
    let mut status = format!("{virtual_routers} virtual router{plural}");
    if waiting > 0 {
        status += &format!(", {waiting} more without an interface");
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reports that the agent reloads, from now until [`notify_ready`].
pub fn notify_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Reports that the agent is stopping.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog of the service manager, if it has one, as long as the election and the management side both
/// answer.
///
/// The watchdog is fed four times as often as required. This happens on a separate thread, because neither side may
/// have to wait for the other.
///
/// Returns the requests that the management side has to answer.
pub fn spawn_watchdog(
    election: mpsc::UnboundedSender<ElectionRequest>,
) -> mpsc::UnboundedReceiver<oneshot::Sender<()>> {
    let (management, heartbeats) = mpsc::unbounded_channel();
    let Some(limit) = sd_notify::watchdog_enabled() else { return heartbeats };
    let watch = move || {
        let answers = |asked: bool, answer: oneshot::Receiver<()>| asked && answer.blocking_recv().is_ok();
        loop {
            let [(ask_one, one), (ask_other, other)] = [oneshot::channel(), oneshot::channel()];
            let asked = [election.send(ElectionRequest::Answer(ask_one)).is_ok(), management.send(ask_other).is_ok()];
            if !answers(asked[0], one) || !answers(asked[1], other) {
                // The election or the management side has ended, so this thread ends too.
                return;
            }
            notify(&[NotifyState::Watchdog]);
            thread::sleep(limit / 4);
        }
    };
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        tracing::error!("cannot start the thread that feeds the watchdog, which may end this agent: {error}");
    }
    heartbeats
}

fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}
