//! Answers the clients of the control socket, and scrapes of the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use xvrrp_config::Text;
use xvrrp_dataplane::namespace_cookie;

use super::monitors::{Monitors, Watch};
use super::standby::Switch;
use crate::control::{Answer, Client, Request, Server};
use crate::status::{Inspector, http, prometheus};
use crate::succession::departure::{Departure, ExitRequest};

/// The pause after a failure to accept a client, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What clients can have.
#[derive(Debug)]
pub struct Desk {
    pub inspector: Arc<Inspector>,
    pub switch: Switch,
    pub monitors: Monitors,
    pub departure: Departure,
}

/// What follows once a client has its answer.
enum Sequel {
    HandOver,
    Reload(Text),
    Monitor(Watch),
}

/// Answers until aborted, each client in a task of its own: a silent one holds nobody up. Serves metrics, too, if they have
/// an address.
pub fn serve(desk: Desk, server: Arc<Server>, metrics: Option<SocketAddr>) -> Vec<JoinHandle<()>> {
    let inspector = Arc::clone(&desk.inspector);
    let metrics = metrics.map(|address| serve_metrics(address, inspector));
    metrics.into_iter().chain([tokio::spawn(accept(Arc::new(desk), server))]).collect()
}

async fn accept(desk: Arc<Desk>, server: Arc<Server>) {
    loop {
        match server.accept().await {
            Ok(client) => drop(tokio::spawn(Arc::clone(&desk).attend(client))),
            Err(error) => {
                tracing::error!("the control socket fails: {error}");
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

impl Desk {
    async fn attend(self: Arc<Self>, client: Client) {
        let mut sequel = None;
        let client = client
            .serve(async |request| {
                let answered = self.answer(request).await;
                let (answer, next) = answered.unwrap_or_else(|error| (Answer::Refused { error }, None));
                sequel = next;
                answer
            })
            .await;
        // A client that has hung up does not follow us.
        let (Some(client), Some(sequel)) = (client, sequel) else { return };
        match sequel {
            Sequel::HandOver => self.departure.request(ExitRequest::HandOver(client.into_successor())),
            Sequel::Reload(text) => self.departure.request(ExitRequest::Reload(text)),
            Sequel::Monitor(watch) => self.monitors.stream(watch, client).await,
        }
    }

    /// What to answer and what is to follow, or why the request is refused.
    async fn answer(&self, request: Request) -> Result<(Answer, Option<Sequel>), String> {
        Ok(match request {
            Request::Status => (Answer::Status(self.inspector.status().await), None),
            Request::StandBy { name, on } => (self.switch.set(&name, on), None),
            Request::Monitor => {
                let watch = self.monitors.open()?;
                (Answer::Monitoring { monitoring: true }, Some(Sequel::Monitor(watch)))
            }
            Request::HandOver { namespace } => {
                if namespace.is_some_and(|namespace| !is_here(namespace)) {
                    return Err(
                        "it is another network namespace's agent, with the same agent.control; give each a path \
                                of its own"
                            .to_owned(),
                    );
                }
                self.departure.settle().await?;
                (Answer::HandingOver { handing_over: true }, Some(Sequel::HandOver))
            }
            Request::Reload => {
                let text = self.departure.check_reload().await?;
                (Answer::Reloading { started: self.inspector.started() }, Some(Sequel::Reload(text)))
            }
        })
    }
}

fn is_here(namespace: u64) -> bool {
    namespace_cookie().is_ok_and(|here| here == namespace)
}
