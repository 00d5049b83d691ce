//! The end of a running agent: every role is given up, or all of them are left to a successor.

use std::sync::Arc;
use std::time::Duration;

use xvrrp_net::{Memberships, PacketSocket};

use super::{Service, supervisor};
use crate::addresses;
use crate::control::Successor;
use crate::election::{Command, Ending};
use crate::process::signals::Signals;
use crate::succession::departure::ExitRequest;
use crate::succession::reload::Reload;
use crate::succession::{Files, InheritedState, Rests};

/// How long to wait until the address thread has finished what it is doing.
const HOLD: Duration = Duration::from_millis(500);

/// Why nothing is served any more.
#[derive(Debug)]
pub enum End {
    /// No role is left.
    Stopped,
    /// Roles, leases and addresses are left to another process; should that end too soon, to this one.
    HandedOver(Legacy, Successor, Signals),
    /// The same, but to the agent that this process becomes.
    Reload(Legacy),
}

/// What is left to the agent that this process becomes.
#[derive(Debug)]
pub struct Legacy {
    pub reload: Arc<Reload>,
    pub state: InheritedState,
    pub files: Files,
}

impl Service<'_> {
    /// Ends the threads and tasks of the agent. Without an `exit` the election has ended already; with one, it hands over.
    pub async fn stop(mut self, mut exit: Option<ExitRequest>) -> anyhow::Result<End> {
        let checks = self.tracker.outcomes();
        if let Some(exit) = &mut exit {
            self.prepare(exit).await;
            self.threads.command(Command::HandOver);
        } else {
            self.tracker.stop().await;
            self.close_clients().await;
        }
        while let Some(report) = self.threads.report().await {
            self.reported(&report);
        }
        let fence = self.fence.take();
        let take_fence_off = async move {
            if let Some(fence) = fence {
                fence.stop().await;
            }
        };
        let Self { threads, notifications, .. } = self;
        let accounts = Arc::clone(&threads.addresses.accounts);
        let ending = threads.join(take_fence_off).await?;
        let (Ending::HandedOver, Some(exit)) = (ending, exit) else {
            notifications.finish().await;
            return Ok(End::Stopped);
        };
        let (configuration, renewed) = match &exit {
            ExitRequest::Reload(text) => (text.clone(), true),
            ExitRequest::GoOn | ExitRequest::HandOver(_) => (self.config.text.clone(), false),
        };
        let rests = self.plans.ready.iter().zip(&*accounts).map(|(plan, account)| Rests {
            name: plan.config.name.clone(),
            family: plan.family,
            rest: account.rest(),
        });
        let state = InheritedState {
            configuration: Some(configuration),
            renewed,
            waiting: self.waits,
            told: notifications.programs.last_notified(),
            checks,
            rests: rests.collect(),
            running: self.children.running(),
            ..InheritedState::default()
        };
        let mut files = keep_open(&self.socket, &self.memberships);
        let reload = self.departure.reload;
        Ok(match exit {
            ExitRequest::HandOver(successor) => {
                End::HandedOver(Legacy { reload, state, files }, successor, self.signals)
            }
            ExitRequest::Reload(_) | ExitRequest::GoOn => {
                files.control = self.server.leave();
                self.signals.send_again().await;
                End::Reload(Legacy { reload, state, files })
            }
        })
    }

    /// Does whatever can be done before adverts cease, and leaves nothing that the end of the process would wait for.
    async fn prepare(&mut self, exit: &mut ExitRequest) {
        self.notifications.flush().await;
        if let ExitRequest::Reload(_) | ExitRequest::GoOn = exit {
            supervisor::notify_reloading();
            self.signals.leave();
        }
        self.tracker.stop().await;
        // The process may not end, or become another program, while a thread of it waits for the kernel.
        if let Some(fence) = self.fence.take() {
            fence.park().await;
        }
        addresses::hold(&self.threads.addresses.requests, HOLD).await;
        self.close_clients().await;
        // What a client was promised meanwhile comes before what the agent wants for itself.
        if let ExitRequest::GoOn = exit
            && let Ok(promised) = self.exit_requests.try_recv()
        {
            *exit = promised;
        }
    }

    /// Closes the sockets of clients, but for the control socket, before a successor may have its own.
    async fn close_clients(&mut self) {
        for client in self.clients.drain(..) {
            client.abort();
            let _ = client.await;
        }
    }
}

/// Keeps the sockets open that the successor would have to wait for, were they closed.
fn keep_open(socket: &PacketSocket, memberships: &[Memberships]) -> Files {
    let mut files = Files::default();
    let kept = files.keep(socket).and(memberships.iter().try_for_each(|joined| files.keep(joined)));
    if let Err(error) = kept {
        tracing::warn!("not all sockets stay open over the restart, which may take longer: {error}");
    }
    files
}
