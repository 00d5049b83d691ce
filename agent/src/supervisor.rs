//! What the service manager is told (sd_notify(3)). Without one, nobody is told anything.

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::election::Command;

/// Every virtual router takes part in its election.
pub fn tell_ready(virtual_routers: usize) {
    let plural = if virtual_routers == 1 { "" } else { "s" };
    let status = format!("{virtual_routers} virtual router{plural}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// From now until [`tell_ready`].
pub fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Where the manager wants to hear of us regularly, tells it as long as the election thread answers: twice as often as it
/// must. With either of the two hanging it restarts us.
pub fn spawn_watchdog(election: mpsc::UnboundedSender<Command>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        let mut timer = tokio::time::interval(limit / 2);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            let (reply, answer) = oneshot::channel();
            if election.send(Command::Answer(reply)).is_err() || answer.await.is_err() {
                // It has ended, and so do we.
                return;
            }
            tell(&[NotifyState::Watchdog]);
        }
    });
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("the service manager cannot be told how we are: {error}");
    }
}
