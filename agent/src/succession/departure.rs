//! How the agent leaves everything to a successor: another process, or itself anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use xvrrp_config::{Text, files};

use crate::addresses;
use crate::control::Successor;
use crate::succession::InheritedState;
use crate::succession::reload::Reload;

/// How long a successor may have to wait for addresses that come or go.
const SETTLE: Duration = Duration::from_secs(1);

/// How often to look whether a file system still has to answer.
const LOOK: Duration = Duration::from_millis(1);

const UNREAD: &str = "a file that the agent reads (of a check, or its configuration) is on a file system that does not answer, and \
                      the agent could not become another program before it does; mend or unmount the file system, or take over \
                      with `xvrrp run --replace`";

/// A request that ends this agent and leaves everything to a successor.
#[derive(Debug)]
pub enum ExitRequest {
    /// To leave everything to the process that asks.
    HandOver(Successor),
    /// To reload with this configuration, which has been checked.
    Reload(Text),
    /// To reload with the configuration that it has, for the sake of its interfaces.
    GoOn,
}

/// What must hold before everything is left to a successor.
#[derive(Clone, Debug)]
pub struct Departure {
    pub reload: Arc<Reload>,
    /// Of the address thread, which ends when nobody can ask it for anything any more.
    pub addresses: mpsc::WeakUnboundedSender<addresses::Request>,
    pub requests: mpsc::UnboundedSender<ExitRequest>,
}

impl Departure {
    /// Adverts cease when the election ends: nothing may be left to wait for then.
    pub async fn settle(&self) -> Result<(), String> {
        if addresses::settle(&self.addresses, SETTLE).await {
            return Ok(());
        }
        Err("addresses are still being put on interfaces, or taken off; try again later".to_owned())
    }

    /// Whether a reload is possible with the configuration's file as it is now, and what stands there.
    pub async fn check_reload(&self) -> Result<Text, String> {
        let text = self.reload.read_configuration().await?;
        self.check(text.clone(), true).await?;
        Ok(text)
    }

    async fn check(&self, configuration: Text, renewed: bool) -> Result<(), String> {
        let bequest = InheritedState { configuration: Some(configuration), renewed, ..InheritedState::default() };
        self.reload.check(&bequest).await?;
        // Before adverts cease; what begins in the moments until then is not seen. A successor in another process has no need of it.
        if !files_settle(SETTLE).await {
            return Err(UNREAD.to_owned());
        }
        self.settle().await
    }

    /// Starts anew for this reason, with the configuration that runs.
    pub async fn go_on(self, reason: String, configuration: Text) {
        match self.check(configuration, false).await {
            Ok(()) => {
                tracing::info!("{reason}: starting again, with the configuration that runs");
                self.request(ExitRequest::GoOn);
            }
            Err(error) => tracing::error!("{reason}: but the agent cannot start again, and goes on for now: {error}"),
        }
    }

    pub async fn reload_on_signal(self) {
        tracing::info!("SIGHUP: reloading");
        match self.check_reload().await {
            Ok(text) => self.request(ExitRequest::Reload(text)),
            Err(error) => tracing::error!("not reloaded, everything stays as it was: {error}"),
        }
    }

    pub fn request(&self, request: ExitRequest) {
        // Whoever carries it out has gone only if nothing is served any more.
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
