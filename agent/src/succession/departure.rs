//! Leaves everything to a successor, which is either another process or the agent that this process becomes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use xvrrp_config::{Text, files};

use crate::addresses;
use crate::control::Successor;
use crate::succession::InheritedState;
use crate::succession::reload::{Reload, ReloadError};

/// Longest wait of a successor for addresses that are being installed or removed.
const SETTLE: Duration = Duration::from_secs(1);

/// Pause between two checks of whether a file system still has to answer.
const LOOK: Duration = Duration::from_millis(1);

/// Why this agent does not leave everything to a successor. Displays as the answer to the client that asks, and in the
/// log.
#[derive(Debug, thiserror::Error)]
pub enum DepartureError {
    /// The address thread has not finished what it was asked to do.
    #[error("addresses are still being put on interfaces or removed from them; try again later")]
    Unsettled,
    /// A thread of this process waits for a file system.
    #[error(
        "a file system with the configuration or with a file of a check does not answer: repair or unmount it and \
         reload again, or start a successor with `xvrrp run --replace`, which does not wait for it"
    )]
    FileSystem,
    /// The next agent could not use the configuration.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

/// A request that ends this agent and leaves everything to a successor.
#[derive(Debug)]
pub enum ExitRequest {
    /// Leave everything to the process that asks.
    Succession(Successor),
    /// Reload with this configuration, which has been checked.
    Reload(Text),
    /// Reload with the running configuration, because the interfaces have changed.
    Restart,
}

/// Checks and requests the end of this agent in favour of a successor.
#[derive(Clone, Debug)]
pub struct Departure {
    pub reload: Arc<Reload>,
    /// Requests to the address thread. The reference is weak, because that thread ends when the last sender is dropped.
    addresses: mpsc::WeakUnboundedSender<addresses::AddressRequest>,
    requests: mpsc::UnboundedSender<ExitRequest>,
}

impl Departure {
    /// Also returns the receiver of the requests.
    pub fn new(
        reload: Arc<Reload>,
        addresses: mpsc::WeakUnboundedSender<addresses::AddressRequest>,
    ) -> (Self, mpsc::UnboundedReceiver<ExitRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { reload, addresses, requests }, receiver)
    }

    /// Waits until the address thread has nothing left to do. Adverts stop when the election ends, and nothing may
    /// delay the successor from then on.
    ///
    /// # Errors
    /// Addresses are still being installed or removed after a second.
    pub async fn settle(&self) -> Result<(), DepartureError> {
        if addresses::settle(&self.addresses, SETTLE).await { Ok(()) } else { Err(DepartureError::Unsettled) }
    }

    /// Checks whether a reload is possible with the configuration file as it is now. Returns the text of the file.
    ///
    /// # Errors
    /// The file cannot be read, the configuration cannot be used, or addresses are still being installed or removed.
    pub async fn check_reload(&self) -> Result<Text, DepartureError> {
        let text = self.reload.read_configuration().await?;
        self.check(text.clone(), true).await?;
        Ok(text)
    }

    async fn check(&self, configuration: Text, renewed: bool) -> Result<(), DepartureError> {
        let state = InheritedState { configuration: Some(configuration), renewed, ..InheritedState::default() };
        self.reload.check(&state).await?;
        // The agent becomes another program only once all its threads have ended, and one that reads from this file
        // system cannot end. Adverts would have ceased by then, so this is checked before. A read that begins after
        // this check is not noticed. A successor in another process does not wait for these threads.
        if !files_settle(SETTLE).await {
            return Err(DepartureError::FileSystem);
        }
        self.settle().await
    }

    /// Restarts the agent with the running configuration, and logs this reason.
    pub async fn restart(self, reason: String, configuration: Text) {
        match self.check(configuration, false).await {
            Ok(()) => {
                tracing::info!("{reason}: restarting this agent with the running configuration");
                self.request(ExitRequest::Restart);
            }
            Err(error) => {
                tracing::error!("{reason}: but this agent cannot restart, and continues as it is for now: {error}");
            }
        }
    }

    /// Reloads the agent after SIGHUP. Logs why if that is impossible.
    pub async fn reload_on_signal(self) {
        tracing::info!("SIGHUP: reloading");
        match self.check_reload().await {
            Ok(text) => self.request(ExitRequest::Reload(text)),
            Err(error) => tracing::error!("not reloaded, everything stays as it was: {error}"),
        }
    }

    /// Asks the service to end.
    pub fn request(&self, request: ExitRequest) {
        // Sending fails only if the service has ended already.
        let _ = self.requests.send(request);
    }
}

/// Waits until no thread of this process is asking a file system. Returns false if that takes longer than `patience`.
async fn files_settle(patience: Duration) -> bool {
    let settled = async {
        while files::is_asking() {
            sleep(LOOK).await;
        }
    };
    timeout(patience, settled).await.is_ok()
}
