//! Answers the clients of the control socket and requests for the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use xvrrp_config::Text;
use xvrrp_dataplane::namespace_cookie;

use super::handover::Handovers;
use super::monitors::{Monitors, Watch, WatchError};
use crate::control::{Answer, Client, Request, Server};
use crate::status::{Inspector, http, prometheus};
use crate::succession::departure::{Departure, DepartureError, ExitRequest};

/// Pause after a failure to accept a client, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Handles the requests of clients.
#[derive(Debug)]
pub struct RequestHandler {
    pub inspector: Arc<Inspector>,
    pub handovers: Handovers,
    pub monitors: Monitors,
    pub departure: Departure,
}

/// What the agent does after it has answered a client.
enum FollowUp {
    Succession,
    Reload(Text),
    Monitor(Watch),
}

/// Why the agent refuses a request. Displays as the client reads it ([`Answer::Refused`]).
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it belongs to another network namespace but has the same agent.control; give each agent its own path")]
    OtherNamespace,
    #[error(transparent)]
    Monitor(#[from] WatchError),
    #[error(transparent)]
    Departure(#[from] DepartureError),
}

/// Starts tasks that answer clients until they are aborted. Returns these tasks.
///
/// Each client has its own task, so a silent client delays no other. Metrics are served too if `metrics` has an
/// address.
pub fn serve(handler: RequestHandler, server: Arc<Server>, metrics: Option<SocketAddr>) -> Vec<JoinHandle<()>> {
    let inspector = Arc::clone(&handler.inspector);
    let metrics = metrics.map(|address| serve_metrics(address, inspector));
    metrics.into_iter().chain([tokio::spawn(accept(Arc::new(handler), server))]).collect()
}

async fn accept(handler: Arc<RequestHandler>, server: Arc<Server>) {
    loop {
        match server.accept().await {
            Ok(client) => drop(tokio::spawn(Arc::clone(&handler).attend(client))),
            Err(error) => {
                tracing::error!("cannot accept a client on the control socket: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve_metrics(address: SocketAddr, inspector: Arc<Inspector>) -> JoinHandle<()> {
    let write = move || {
        let inspector = Arc::clone(&inspector);
        async move { prometheus::page(inspector.status().await) }.boxed()
    };
    tokio::spawn(http::serve(address, Arc::new(write)))
}

impl RequestHandler {
    async fn attend(self: Arc<Self>, client: Client) {
        let mut follow_up = None;
        let client = client
            .serve(async |request| {
                let answered = self.answer(request).await;
                let (answer, next) =
                    answered.unwrap_or_else(|refusal| (Answer::Refused { error: refusal.to_string() }, None));
                follow_up = next;
                answer
            })
            .await;
        // Nothing more is done for a client that has hung up.
        let (Some(client), Some(follow_up)) = (client, follow_up) else { return };
        match follow_up {
            FollowUp::Succession => self.departure.request(ExitRequest::Succession(client.into_successor())),
            FollowUp::Reload(text) => self.departure.request(ExitRequest::Reload(text)),
            FollowUp::Monitor(watch) => self.monitors.stream(watch, client).await,
        }
    }

    /// Returns the answer and what the agent does after it, or the reason why it refuses the request.
    async fn answer(&self, request: Request) -> Result<(Answer, Option<FollowUp>), Refusal> {
        Ok(match request {
            Request::Status => (Answer::Status(self.inspector.status().await), None),
            Request::StandBy { name, on } => (self.handovers.set(&name, on), None),
            Request::Monitor => {
                let watch = self.monitors.open()?;
                (Answer::Monitoring { monitoring: true }, Some(FollowUp::Monitor(watch)))
            }
            Request::Succeed { namespace } => {
                if namespace.is_some_and(|namespace| !is_here(namespace)) {
                    return Err(Refusal::OtherNamespace);
                }
                self.departure.settle().await?;
                (Answer::Succession { accepted: true }, Some(FollowUp::Succession))
            }
            Request::Reload => {
                let text = self.departure.check_reload().await?;
                (Answer::Reloading { started: self.inspector.started() }, Some(FollowUp::Reload(text)))
            }
        })
    }
}

/// Returns whether the agent runs in the network namespace with this cookie.
fn is_here(namespace: u64) -> bool {
    namespace_cookie().is_ok_and(|here| here == namespace)
}
