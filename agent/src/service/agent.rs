//! Runs the agent: claims the host, serves, and removes on every exit path what the agent has installed there.
//!
//! What a successor takes over stays in place. What a crash leaves behind is taken over or removed by the next start.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use xvrrp_config::Config;
use xvrrp_dataplane::{Attachments, Pins, Predecessor};
use xvrrp_import::Source;
use xvrrp_net::{Netlink, PacketSocket};

use super::links::LinkWatch;
use super::{Continuation, End, Service, Start, check, start};
use crate::addresses::unicast_filters::UnicastFilters;
use crate::addresses::{self, remove_stale};
use crate::control::{self, ControlError, Fate, Incumbent, Server, Singleton, Successor};
use crate::notify::log;
use crate::plan;
use crate::process::clock;
use crate::process::realtime::Haste;
use crate::process::signals::{self, Signals};
use crate::succession::reload::Reload;
use crate::succession::take_over::take_over;
use crate::succession::{Files, InheritedState};

/// Part of the error message when the previous agent waits for its successor and this start has failed.
const CONTINUES: &str = "the previous agent continues";
/// Part of the error message when the previous agent no longer waits for its successor.
const DID_NOT_WAIT: &str = "the previous agent did not wait for this one: it has continued, or was stopped; look at \
                            `xvrrp status`, find out what delays this host, and try again";

/// Runs the agent until SIGTERM or SIGINT, or until a successor has taken over from it. A reload does not return.
///
/// A reload reads the configuration from `source` again. With `replace`, the agent takes over from the running agent,
/// if there is one. `inherited` is the state that this process left to itself before a reload.
///
/// # Errors
/// The agent cannot start, or it has ended because of a failure. Whatever it had installed on the host has been
/// removed, unless the error says otherwise.
pub async fn run(
    config: &Config,
    source: &Source,
    replace: bool,
    mut inherited: Option<InheritedState>,
) -> anyhow::Result<()> {
    clock::check()?;
    // Ends once adverts are being sent and the previous agent no longer waits.
    let haste = Haste::begin(config.agent.realtime_priority);
    // This is the first file that is opened, for the reason given at `PacketSocket`.
    let socket = Arc::new(PacketSocket::open().context("cannot open a packet socket")?);
    let files = inherited.as_mut().map(InheritedState::take_files).unwrap_or_default();
    if let Some(note) = inherited.as_ref().and_then(|inherited| inherited.note.as_ref()) {
        tracing::error!("{note}");
    }
    let signals = Signals::hold_back().context("cannot listen for signals")?;
    let netlink = Netlink::open()?;
    // Opened before the interfaces are listed, so that no change after the listing is missed.
    let links = LinkWatch::start(config.agent.realtime_priority)?;
    // After a reload this check is not repeated here: the configuration was checked before, and `report_warnings` logs
    // the warnings later.
    if inherited.is_none() {
        check::log_warnings(config, &check::warnings(config, &netlink).await?);
    }
    let pins = Pins::below(&config.agent.bpffs)?;
    let (singleton, incumbent) =
        if replace { replace_running(config, &netlink).await? } else { (Singleton::claim(control::ENDING)?, None) };
    // From here on, whatever a predecessor has left on the host belongs to this agent.
    let begun = replace || inherited.is_some();
    let environment = Environment { config, source, netlink: &netlink, pins: &pins };
    let mut installed = Installed { attachments: None, incumbent, begun };
    let opened = Opened { socket: Arc::clone(&socket), files, links, signals, haste };
    let error = match environment.serve(opened, inherited, &mut installed).await {
        Ok(End::Stopped) => None,
        Ok(End::Succeeded(continuation, successor, signals)) => {
            installed.leave();
            match wait_for(successor, &singleton, signals).await {
                Waited::Runs => {
                    tracing::info!("left everything to a successor");
                    return Ok(());
                }
                Waited::Stopped(failure) => {
                    tracing::warn!("{failure}; this agent was stopped meanwhile, and removes what it has installed");
                    // A successor that was killed has left its file. Opening the socket makes sure that no agent
                    // answers there, and dropping it removes the file.
                    drop(Server::open(&config.agent.control).await);
                    return environment.undo().await;
                }
                Waited::Failed(note) => Some(become_next(continuation, &singleton, Some(note))),
            }
        }
        Ok(End::Reload(continuation)) => {
            installed.leave();
            Some(become_next(continuation, &singleton, None))
        }
        Err(error) => {
            let fate = installed.incumbent.as_ref().and_then(|incumbent| match incumbent.fate() {
                // A waiting agent continues as soon as it finds that this one has ended.
                Fate::Waits => Some(CONTINUES),
                Fate::Revoked if !incumbent.has_ended() => Some(DID_NOT_WAIT),
                // The previous agent has ended, so nothing is left to it.
                Fate::Revoked | Fate::Died => None,
            });
            if let Some(fate) = fate {
                installed.leave();
                // The order matters, and so does dropping both before the packet socket, which is slow to close.
                drop(singleton);
                drop(installed);
                return Err(error.context(fate));
            }
            Some(error)
        }
    };
    let undone = if installed.begun { environment.undo().await } else { Ok(()) };
    drop(installed);
    error.map_or(Ok(()), Err).and(undone)
}

/// Takes over from the running agent, if there is one. Checks before whether this process can continue with what that
/// agent will leave.
async fn replace_running(config: &Config, netlink: &Netlink) -> anyhow::Result<(Singleton, Option<Incumbent>)> {
    match Singleton::claim(Duration::ZERO) {
        Err(ControlError::AgentRuns) => {}
        claimed => return Ok((claimed?, None)),
    }
    check::check_replacement(config, netlink)
        .await
        .context("did not take over from the running agent, which continues")?;
    Ok(take_over(&config.agent.control)?)
}

/// The host that the agent works on, with the configuration for it.
#[derive(Clone, Copy)]
struct Environment<'a> {
    config: &'a Config,
    source: &'a Source,
    netlink: &'a Netlink,
    pins: &'a Pins,
}

/// Files and sockets that are opened before anything that belongs to a predecessor is touched.
struct Opened {
    socket: Arc<PacketSocket>,
    files: Files,
    links: LinkWatch,
    signals: Signals,
    haste: Option<Haste>,
}

/// What has to be undone at the end, or left to a successor.
struct Installed {
    attachments: Option<Attachments>,
    /// The agent that this one takes over from, until it is relieved.
    incumbent: Option<Incumbent>,
    /// Whether anything on the host belongs to this agent, including what a predecessor has left to it.
    begun: bool,
}

impl Installed {
    /// Leaves the kernel half attached, for a successor.
    fn leave(&mut self) {
        if let Some(attachments) = self.attachments.take() {
            attachments.leave();
        }
    }
}

impl Environment<'_> {
    /// Starts the service and runs it until it ends.
    async fn serve(
        &self,
        opened: Opened,
        inherited: Option<InheritedState>,
        installed: &mut Installed,
    ) -> anyhow::Result<End> {
        let Self { config, source, netlink, pins } = *self;
        let Opened { socket, mut files, links, signals, haste } = opened;
        // Listed only now, because the previous agent may have changed the interfaces until now.
        let mut interfaces = netlink.interfaces().await?;
        // Checked before anything that belongs to the previous agent is touched. An agent that no longer waits kills
        // this one, if it can.
        if installed.incumbent.as_ref().is_some_and(|incumbent| incumbent.fate() == Fate::Revoked) {
            bail!("this agent was not ready in time");
        }
        let capacity = check::capacity(config)?;
        pins.follow_interfaces();
        let predecessor = pins.predecessor(capacity);
        log::predecessor(&predecessor);
        let path = &config.agent.control;
        let server = match files.control.take().and_then(|left| Server::inherit(left, path)) {
            Some(server) => server,
            None if start::may_resume(inherited.as_ref(), &predecessor) => Server::open_or_retry(path),
            None => Server::open(path).await?,
        };
        installed.begun = true;
        // Adverts may leave from a static address.
        let statics = &config.agent.statics;
        if plan::present_statics(config, &interfaces).len() < statics.addresses.len() {
            addresses::add_static_addresses(statics)?;
            interfaces = netlink.interfaces().await?;
        }
        let reload =
            Arc::new(Reload::new(config, source.clone()).context("cannot determine how this process was started")?);
        let filters = UnicastFilters::recover(netlink.clone(), path, pins.exist())?;
        if let Predecessor::Incompatible(_) = predecessor {
            // The addresses are removed before the kernel half, which drops ARP requests for them.
            remove_stale(netlink, &BTreeSet::new()).await?;
            pins.remove()?;
        }
        let mut service = Service::start(Start {
            config,
            capacity,
            netlink,
            interfaces: &interfaces,
            socket,
            filters,
            pins,
            predecessor,
            inherited,
            files,
            incumbent: &mut installed.incumbent,
            attachments: &mut installed.attachments,
            server: Arc::new(server),
            links,
            signals,
            reload,
            haste,
        })
        .await?;
        let exit = service.run().await;
        Ok(service.stop(exit).await?)
    }

    /// Removes from the host what this agent and its predecessors have installed there.
    ///
    /// The kernel half is removed after the addresses, because it guards them as long as they are there.
    async fn undo(&self) -> anyhow::Result<()> {
        let routing = addresses::remove_leftovers();
        remove_stale(self.netlink, &BTreeSet::new()).await?;
        self.pins.remove()?;
        routing?;
        let interfaces = self.netlink.interfaces().await?;
        // A record of an earlier version was replaced when the filters were opened. One that is left is not this
        // namespace's, although this agent had pins.
        let mut filters = UnicastFilters::recover(self.netlink.clone(), &self.config.agent.control, false)?;
        Ok(filters.close_all(&interfaces).await?)
    }
}

/// Outcome of waiting for a successor.
enum Waited {
    Runs,
    /// The successor ended, or did not run in time. Holds the line that the next agent is to log.
    Failed(String),
    /// The same, and this process was asked to stop. Holds what became of the successor.
    Stopped(String),
}

/// Passes the singleton on to the successor and waits until the successor runs.
///
/// A stop that arrives meanwhile has the same effect as one just afterwards: the successor serves and this agent ends.
/// Only if the successor fails does the stop mean that nobody serves.
async fn wait_for(successor: Successor, singleton: &Singleton, mut signals: Signals) -> Waited {
    // If this fails, the successor does not receive the singleton, and ends.
    let passed = successor.pass(singleton);
    let mut running = pin!(successor.comes_up());
    let (mut stop, mut hangup) = (false, false);
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            received = signals.next() => if received.stop { stop = true } else { hangup = true },
        }
    };
    let Err(failure) = outcome else { return Waited::Runs };
    let reason = passed.err().map(|error| format!(" ({error})")).unwrap_or_default();
    let failure = format!("{failure}{reason}");
    if stop {
        return Waited::Stopped(failure);
    }
    // What has arrived meanwhile is for the agent that continues.
    signals.leave();
    signals.send_again().await;
    if hangup {
        signals::reload_later();
    }
    Waited::Failed(format!("{failure}: this agent continues"))
}

/// Replaces this process by the agent that continues with what this one leaves. Returns only on failure, with the
/// reason.
fn become_next(continuation: Continuation, singleton: &Singleton, note: Option<String>) -> anyhow::Error {
    let Continuation { reload, mut state, files } = continuation;
    state.note = note;
    let Err(error) = reload.become_successor(singleton, state, &files);
    anyhow::Error::new(error).context("cannot restart this agent")
}
