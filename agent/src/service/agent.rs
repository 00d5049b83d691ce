//! The agent's life: claims the host, serves, and undoes on every way out what it put there.
//!
//! What a successor takes over is left. What a crash left is taken over, or undone, by the next start.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, bail};
use xvrrp_config::Config;
use xvrrp_dataplane::{Attachments, Pins, Predecessor};
use xvrrp_net::{Netlink, PacketSocket};

use super::links::LinkWatch;
use super::{End, Legacy, Service, Start, check, start};
use crate::addresses::remove_stale;
use crate::addresses::unicast_filters::UnicastFilters;
use crate::control::{self, Incumbent, Server, Singleton, Successor};
use crate::notify::log;
use crate::process::clock;
use crate::process::signals::Signals;
use crate::succession::reload::Reload;
use crate::succession::{Files, InheritedState, take_over};

/// What has become of an agent that does not wait for its successor.
const LEFT_BEHIND: &str = "the agent that ran did not wait for this one: it goes on, or was stopped";

/// Runs the agent until SIGTERM or SIGINT, or until a successor has taken over from it; a reload does not return. With
/// `replace` it takes over itself, from the agent that runs, if one does. `inherited` is what this process has left to
/// itself.
///
/// # Errors
/// Why the agent cannot start, or has ended. What it put on the host has been taken off, unless the error says otherwise.
pub async fn run(config: &Config, replace: bool, mut inherited: Option<InheritedState>) -> anyhow::Result<()> {
    clock::check()?;
    // First of all files, see `PacketSocket`.
    let socket = Arc::new(PacketSocket::open().context("cannot open a packet socket")?);
    let files = inherited.as_mut().map(InheritedState::take_files).unwrap_or_default();
    if let Some(note) = inherited.as_ref().and_then(|inherited| inherited.note.as_ref()) {
        tracing::error!("{note}");
    }
    let signals = Signals::hold_back().context("cannot listen for signals")?;
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkWatch::start(config.agent.realtime_priority)?;
    // A process that was an agent before has had its configuration checked; see `report_warnings`.
    if inherited.is_none() {
        check::warnings(config, &netlink).await?.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let pins = Pins::below(&config.agent.bpffs)?;
    let (singleton, incumbent) = if replace {
        take_over::take_over(&config.agent.control, async || {
            check::check_remains(config)?;
            check::check_hooks(config, &netlink).await
        })
        .await?
    } else {
        (Singleton::claim(control::ENDING)?, None)
    };
    // From here on a predecessor's things are ours.
    let begun = replace || inherited.is_some();
    let host = Host { config, netlink: &netlink, pins: &pins };
    let mut held = Held { attachments: None, incumbent, begun };
    let tools = Tools { socket: Arc::clone(&socket), files, links, signals };
    let error = match host.serve(tools, inherited, &mut held).await {
        Ok(End::Stopped) => None,
        Ok(End::HandedOver(legacy, successor, signals)) => {
            held.leave();
            match wait_for(successor, &singleton, signals).await {
                Waited::Runs => {
                    tracing::info!("handed over to a successor");
                    return Ok(());
                }
                Waited::Stopped => return host.undo().await,
                Waited::Failed(note) => Some(go_on(legacy, &singleton, Some(note))),
            }
        }
        Ok(End::Reload(legacy)) => {
            held.leave();
            Some(go_on(legacy, &singleton, None))
        }
        Err(error) => match &held.incumbent {
            Some(incumbent) => {
                // It goes on as soon as it finds that we have ended, or has not waited for that.
                let fate = if incumbent.is_waiting() { "the agent that ran goes on" } else { LEFT_BEHIND };
                held.leave();
                // In this order, and before the packet socket, whose end takes its time.
                drop(singleton);
                drop(held);
                return Err(error.context(fate));
            }
            None => Some(error),
        },
    };
    let undone = if held.begun { host.undo().await } else { Ok(()) };
    drop(held);
    error.map_or(Ok(()), Err).and(undone)
}

/// What the agent works on.
#[derive(Clone, Copy)]
struct Host<'a> {
    config: &'a Config,
    netlink: &'a Netlink,
    pins: &'a Pins,
}

/// What has been opened before anything of a predecessor was touched.
struct Tools {
    socket: Arc<PacketSocket>,
    files: Files,
    links: LinkWatch,
    signals: Signals,
}

/// What there is to undo, or to leave.
struct Held {
    attachments: Option<Attachments>,
    /// The agent that this one takes over from, until it is relieved.
    incumbent: Option<Incumbent>,
    /// Whether anything on the host is this agent's. A predecessor leaves its things to it.
    begun: bool,
}

impl Held {
    /// Leaves the kernel half to a successor.
    fn leave(&mut self) {
        if let Some(attachments) = self.attachments.take() {
            attachments.leave();
        }
    }
}

impl Host<'_> {
    /// Starts the service, and runs it to its end.
    async fn serve(&self, tools: Tools, inherited: Option<InheritedState>, held: &mut Held) -> anyhow::Result<End> {
        let Self { config, netlink, pins } = *self;
        let Tools { socket, mut files, links, signals } = tools;
        // Not before: the other agent may have changed them.
        let interfaces = netlink.interfaces().await?;
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
        held.begun = true;
        let reload = Arc::new(Reload::new(config).context("cannot tell how this process was started")?);
        let filters = UnicastFilters::recover(netlink.clone(), path, pins.exist())?;
        if let Predecessor::Incompatible(_) = predecessor {
            // Before the kernel half goes that drops ARP for them.
            remove_stale(netlink, &BTreeSet::new()).await?;
            pins.remove()?;
        }
        // Before anything of its is touched: it may have been stopped, and has taken everything off the host then.
        if held.incumbent.as_ref().is_some_and(|incumbent| !incumbent.is_waiting()) {
            bail!("this agent was not ready in time");
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
            incumbent: &mut held.incumbent,
            attachments: &mut held.attachments,
            server: Arc::new(server),
            links,
            signals,
            reload,
        })
        .await?;
        let exit = service.run().await;
        service.stop(exit).await
    }

    /// Takes off the host what this agent, or agents before it, have put there. The kernel half goes last: as long as
    /// addresses are left, it guards them.
    async fn undo(&self) -> anyhow::Result<()> {
        remove_stale(self.netlink, &BTreeSet::new()).await?;
        self.pins.remove()?;
        let interfaces = self.netlink.interfaces().await?;
        // A record of an earlier version was replaced when the filters were opened. One that is left is not this
        // namespace's, although this agent had pins.
        let mut filters = UnicastFilters::recover(self.netlink.clone(), &self.config.agent.control, false)?;
        Ok(filters.close_all(&interfaces).await?)
    }
}

/// What has become of a successor.
enum Waited {
    Runs,
    /// It has ended, or did not run in time: what the next agent is to log.
    Failed(String),
    /// Somebody has asked this process to stop.
    Stopped,
}

/// Passes the singleton on, and waits until the successor runs.
async fn wait_for(successor: Successor, singleton: &Singleton, mut signals: Signals) -> Waited {
    // Where that fails, the successor waits in vain, and ends.
    let passed = successor.pass(singleton);
    let mut running = pin!(successor.comes_up());
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            // The successor finds that its predecessor has gone, and ends.
            received = signals.next() => if received.stop { return Waited::Stopped },
        }
    };
    let Err(failure) = outcome else { return Waited::Runs };
    signals.leave();
    let reason = passed.err().map(|error| format!(" ({error})")).unwrap_or_default();
    Waited::Failed(format!("{failure}{reason}: going on"))
}

/// Becomes the agent that goes on with what this one leaves. Returns why that is impossible.
fn go_on(mut legacy: Legacy, singleton: &Singleton, note: Option<String>) -> anyhow::Error {
    legacy.state.note = note;
    let Err(error) = legacy.reload.become_successor(singleton, legacy.state, &legacy.files);
    anyhow::Error::new(error).context("cannot start again")
}
