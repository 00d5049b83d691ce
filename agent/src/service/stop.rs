//! Stops a running agent, which either gives up every role or leaves all of them to a successor.

use std::sync::Arc;
use std::time::Duration;

use xvrrp_net::{Memberships, PacketSocket};

use super::{Service, supervisor};
use crate::addresses;
use crate::control::Successor;
use crate::election::{ElectionError, ElectionRequest, Ending};
use crate::notify::fifo::{FifoLeft, Fifos};
use crate::process::log_queue;
use crate::process::signals::Signals;
use crate::succession::departure::ExitRequest;
use crate::succession::reload::Reload;
use crate::succession::{Files, InheritedState, Rests};

/// Longest wait for the address thread to finish what it is doing.
const HOLD: Duration = Duration::from_millis(500);
/// How long to wait until the log is written, which says why the agent leaves.
const LOG: Duration = Duration::from_millis(100);

/// How the service has ended.
#[derive(Debug)]
pub enum End {
    /// Every role was given up.
    Stopped,
    /// Roles, leases and addresses are left to another process, or to this one if that process ends too soon.
    Succeeded(Continuation, Successor, Signals),
    /// Roles, leases and addresses are left to the agent that this process becomes.
    Reload(Continuation),
}

/// Everything with which this process can become the next agent.
#[derive(Debug)]
pub struct Continuation {
    pub reload: Arc<Reload>,
    pub state: InheritedState,
    pub files: Files,
}

impl Service<'_> {
    /// Ends the threads and tasks of the agent.
    ///
    /// With an `exit` the roles are left to a successor. Without one the election has ended already.
    ///
    /// # Errors
    /// The election has ended with this error.
    pub async fn stop(mut self, mut exit: Option<ExitRequest>) -> Result<End, ElectionError> {
        let checks = self.tracker.outcomes();
        if let Some(exit) = &mut exit {
            self.prepare(exit).await;
            self.threads.send_to_election(ElectionRequest::Succession);
        } else {
            self.tracker.stop().await;
            self.close_clients().await;
        }
        while let Some(report) = self.threads.report().await {
            self.reported(&report);
        }
        // The next agent compares with another configuration.
        self.notifications.report_removed();
        let fence = self.fence.take();
        let take_fence_off = async move {
            if let Some(fence) = fence {
                fence.stop().await;
            }
        };
        let Self { threads, mut notifications, .. } = self;
        let accounts = Arc::clone(&threads.addresses.accounts);
        let ending = threads.join(take_fence_off).await?;
        let (Ending::Succeeded, Some(exit)) = (ending, exit) else {
            notifications.report_stop();
            notifications.finish().await;
            return Ok(End::Stopped);
        };
        let ours = &self.config.text;
        let (configuration, renewed, before) = match &exit {
            ExitRequest::Reload(text) => (text.clone(), true, (text != ours).then(|| ours.clone())),
            ExitRequest::Restart | ExitRequest::Succession(_) => (ours.clone(), false, None),
        };
        let mut files = keep_open(&self.socket, &self.memberships);
        let left = keep_fifos(&mut files, notifications.fifos());
        let rests = self.plans.ready.iter().zip(&*accounts).map(|(plan, account)| Rests {
            name: plan.config.name.clone(),
            family: plan.family,
            rest: account.rest(),
        });
        let state = InheritedState {
            configuration: Some(configuration),
            renewed,
            waiting: self.waits,
            notified: notifications.programs.last_notified(),
            latest: notifications.latest(),
            fifos: left,
            before,
            checks,
            rests: rests.collect(),
            running: self.children.running(),
            delayed_until: self.plans.delayed_until,
            ..InheritedState::default()
        };
        if let ExitRequest::Succession(_) = exit {
            notifications.fifos().make_way();
        }
        let reload = self.departure.reload;
        Ok(match exit {
            ExitRequest::Succession(successor) => {
                End::Succeeded(Continuation { reload, state, files }, successor, self.signals)
            }
            ExitRequest::Reload(_) | ExitRequest::Restart => {
                files.control = self.server.leave();
                self.signals.send_again().await;
                End::Reload(Continuation { reload, state, files })
            }
        })
    }

    /// Does everything that can be done before adverts stop, so that the end of the process does not have to wait.
    async fn prepare(&mut self, exit: &mut ExitRequest) {
        self.notifications.flush().await;
        if let ExitRequest::Reload(_) | ExitRequest::Restart = exit {
            supervisor::notify_reloading();
            self.signals.leave();
        }
        self.tracker.stop().await;
        // The process cannot end or become another program while one of its threads waits for the kernel.
        if let Some(fence) = self.fence.take() {
            fence.park().await;
        }
        addresses::hold(&self.threads.addresses.requests, HOLD).await;
        self.close_clients().await;
        log_queue::drain(LOG).await;
        // A request of a client, which was promised meanwhile, takes precedence over a restart of the agent's own.
        if let ExitRequest::Restart = exit
            && let Ok(promised) = self.exit_requests.try_recv()
        {
            *exit = promised;
        }
    }

    /// Closes the connections of clients before a successor may open its own sockets. The control socket stays open.
    async fn close_clients(&mut self) {
        for client in self.clients.drain(..) {
            client.abort();
            let _ = client.await;
        }
    }
}

/// Keeps the FIFOs open, and returns which they are.
fn keep_fifos(files: &mut Files, fifos: &Fifos) -> Vec<FifoLeft> {
    let mut kept = Vec::new();
    for (left, file) in fifos.left() {
        match files.keep_fifo(&file) {
            Ok(()) => kept.push(left),
            Err(error) => {
                tracing::warn!(fifo = %left.path.display(), "cannot keep the FIFO open over the restart: {error}");
            }
        }
    }
    kept
}

/// Keeps those sockets open whose closing would delay the successor.
fn keep_open(socket: &PacketSocket, memberships: &[Memberships]) -> Files {
    let mut files = Files::default();
    let kept = files.keep(socket).and(memberships.iter().try_for_each(|joined| files.keep(joined)));
    if let Err(error) = kept {
        tracing::warn!("cannot keep all sockets open over the restart, which may take longer: {error}");
    }
    files
}
