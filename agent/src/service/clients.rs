//! Who asks the agent by its control socket, and who scrapes its metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use xvrrp_config::Text;
use xvrrp_dataplane::namespace_cookie;

use crate::control::{Answer, Request, Server};
use crate::service::monitors::Monitors;
use crate::service::standby::Switch;
use crate::status::Inspector;
use crate::status::http;
use crate::status::prometheus;
use crate::succession::departure::{Departure, Wish};

/// After a failure to accept a client, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

fn is_here(namespace: u64) -> bool {
    namespace_cookie().is_ok_and(|here| here == namespace)
}

/// What has been asked for, and is done once the client has its answer.
enum Leaving {
    ToProcess,
    ToItself(Text),
}

/// Answers clients until aborted, each in a task of its own: a silent one holds nobody up.
pub fn serve(
    server: Arc<Server>,
    inspector: Arc<Inspector>,
    switch: Arc<Switch>,
    monitors: Arc<Monitors>,
    departure: Departure,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match server.accept().await {
                Ok(client) => {
                    let (inspector, switch) = (Arc::clone(&inspector), Arc::clone(&switch));
                    let (monitors, departure) = (Arc::clone(&monitors), departure.clone());
                    tokio::spawn(async move {
                        let (mut leaving, mut watch) = (None, None);
                        let client = client
                            .serve(async |request| match request {
                                Request::Status => Answer::Status(inspector.status().await),
                                Request::StandBy { name, on } => switch.set(&name, on),
                                Request::Monitor => match monitors.open() {
                                    Ok(opened) => {
                                        watch = Some(opened);
                                        Answer::Monitoring { monitoring: true }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                                Request::HandOver { namespace: Some(namespace) } if !is_here(namespace) => {
                                    let error = "it is another network namespace's agent, with the same agent.control; \
                                                 give each a path of its own";
                                    Answer::Refused { error: error.to_owned() }
                                }
                                Request::HandOver { .. } => match departure.settle().await {
                                    Ok(()) => {
                                        leaving = Some(Leaving::ToProcess);
                                        Answer::HandingOver { handing_over: true }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                                Request::Reload => match departure.check_reload().await {
                                    Ok(text) => {
                                        leaving = Some(Leaving::ToItself(text));
                                        Answer::Reloading { started: inspector.started() }
                                    }
                                    Err(error) => Answer::Refused { error },
                                },
                            })
                            .await;
                        // Whoever has gone in the meantime will not follow us.
                        let Some(client) = client else { return };
                        match leaving {
                            Some(Leaving::ToProcess) => departure.wish(Wish::HandOver(client.into_successor())),
                            Some(Leaving::ToItself(text)) => departure.wish(Wish::Reload(text)),
                            None => {
                                if let Some(watch) = watch {
                                    monitors.stream(watch, client).await;
                                }
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::error!("the control socket fails: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// Has metrics of what the inspector knows, until aborted.
pub fn serve_metrics(address: SocketAddr, inspector: Arc<Inspector>) -> JoinHandle<()> {
    let write = move || {
        let inspector = Arc::clone(&inspector);
        async move { prometheus::page(inspector.status().await) }.boxed()
    };
    tokio::spawn(http::serve(address, Arc::new(write)))
}
