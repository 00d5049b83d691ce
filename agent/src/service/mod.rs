//! The agent's start and end: brings it up in order, and takes it down again.
//!
//! Whatever it puts on the host it undoes on every way out of [`run`], unless a successor takes it over; what a crash left
//! is taken over or undone by the next start. What goes on in between is [`service`](crate::service::serve)'s.

mod adoption;
mod attachment_watch;
pub mod check;
#[expect(clippy::excessive_nesting, reason = "one function accepts, answers and follows every request")]
mod clients;
mod equipment;
mod fence_watch;
mod interface_watch;
mod monitors;
#[expect(clippy::too_many_lines, reason = "one function starts, runs and stops the agent")]
mod serve;
pub mod standby;
mod supervisor;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use xvrrp_config::Config;
use xvrrp_dataplane::{Attachments, Pins, Predecessor};
use xvrrp_net::{LinkMonitor, Netlink, PacketSocket};

use crate::addresses::remove_stale;
use crate::addresses::unicast_filters::UnicastFilters;
use crate::control::{self, Incumbent, Server, Singleton};
use crate::notify::log;
use crate::plan::Plans;
use crate::process::clock;
use crate::process::signals::Signals;
use crate::service::serve::{Doors, End, Host};
use crate::succession::reload::Reload;
use crate::succession::take_over;
use crate::succession::{Files, InheritedState};

/// Runs the agent until SIGTERM or SIGINT, or until a successor takes over from it; a reload does not return. With `replace`
/// it takes over itself, from the agent that runs, if one does. `bequest` is what this process has left to itself.
pub async fn run(config: &Config, replace: bool, mut bequest: Option<InheritedState>) -> anyhow::Result<()> {
    clock::check()?;
    // First of all files, see there.
    let socket = Arc::new(PacketSocket::open().context("cannot open a packet socket")?);
    let files = bequest.as_mut().map(InheritedState::take_files).unwrap_or_default();
    if let Some(note) = bequest.as_ref().and_then(|bequest| bequest.note.as_ref()) {
        tracing::error!("{note}");
    }
    let signals = Signals::hold_back().context("cannot listen for signals")?;
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkMonitor::open()?;
    // What a process goes on with that was an agent before has been checked; see `report_warnings`.
    if bequest.is_none() {
        check::warnings(config, &netlink).await?.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let pins = Pins::below(&config.agent.bpffs)?;
    let (singleton, mut incumbent) = if replace {
        take_over::take_over(&config.agent.control, async || {
            check::check_remains(config)?;
            check::check_hooks(config, &netlink).await
        })
        .await?
    } else {
        (Singleton::claim(control::ENDING)?, None)
    };
    // From here on a predecessor's things are ours.
    let mut attachments = None;
    // Whether there is anything to undo: whom we replace, or were ourselves, has left its things to us.
    let mut begun = replace || bequest.is_some();
    let socket = Arc::clone(&socket);
    let begin = Begin { netlink: &netlink, pins: &pins, links, signals, socket, bequest, files };
    let outcome = start_and_serve(config, begin, &mut incumbent, (&mut attachments, &mut begun)).await;
    let error = match outcome {
        Ok(End::Stopped) => None,
        Ok(End::HandedOver(mut legacy, successor, mut signals)) => {
            leave(attachments.take());
            // Where that fails, it waits in vain, and ends.
            let passed = successor.pass(&singleton);
            let mut running = pin!(successor.comes_up());
            let is_running = loop {
                tokio::select! {
                    is_running = &mut running => break is_running,
                    // Whom we have waited for finds that we have gone, and ends.
                    told = signals.next() => if told.stop { return undo(config, &netlink, &pins).await },
                }
            };
            if is_running {
                tracing::info!("handed over to a successor");
                return Ok(());
            }
            signals.leave();
            let reason = passed.err().map(|error| format!(" ({error})")).unwrap_or_default();
            legacy.bequest.note = Some(format!("the successor has ended before it advertised{reason}: going on"));
            let Err(error) = legacy.reload.become_successor(&singleton, legacy.bequest, &legacy.files);
            Some(anyhow::Error::new(error).context("cannot start again"))
        }
        Ok(End::Reload(legacy)) => {
            leave(attachments.take());
            let Err(error) = legacy.reload.become_successor(&singleton, legacy.bequest, &legacy.files);
            Some(anyhow::Error::new(error).context("cannot start again"))
        }
        // The agent before goes on as soon as it finds that we have ended.
        Err(error) if incumbent.is_some() => {
            leave(attachments.take());
            // In this order, and before the packet socket, whose end takes its time.
            drop(singleton);
            drop(incumbent);
            return Err(error.context("the agent that ran goes on"));
        }
        Err(error) => Some(error),
    };
    let undone = if begun { undo(config, &netlink, &pins).await } else { Ok(()) };
    drop(attachments);
    error.map_or(Ok(()), Err).and(undone)
}

fn leave(attachments: Option<Attachments>) {
    if let Some(attachments) = attachments {
        attachments.leave();
    }
}

/// What there is at the start.
struct Begin<'a> {
    netlink: &'a Netlink,
    pins: &'a Pins,
    links: LinkMonitor,
    signals: Signals,
    socket: Arc<PacketSocket>,
    bequest: Option<InheritedState>,
    files: Files,
}

async fn start_and_serve(
    config: &Config,
    begin: Begin<'_>,
    incumbent: &mut Option<Incumbent>,
    (attachments, begun): (&mut Option<Attachments>, &mut bool),
) -> anyhow::Result<End> {
    let Begin { netlink, pins, links, signals, socket, bequest, mut files } = begin;
    // Not before: the other agent may have changed them.
    let interfaces = netlink.interfaces().await?;
    let mut plans = Plans::new(config, &interfaces);
    let capacity = check::capacity(config)?;
    pins.follow_interfaces();
    let predecessor = pins.predecessor(capacity);
    log::tell_of_predecessor(&predecessor);
    let host = Host { config, capacity, pins, predecessor, bequest, netlink, interfaces: &interfaces, socket };
    let path = &config.agent.control;
    let server = match files.control.take().and_then(|left| Server::inherit(left, path)) {
        Some(server) => server,
        None if host.goes_on() => Server::open_or_retry(path),
        None => Server::open(path).await?,
    };
    *begun = true;
    let reload = Reload::new(config).context("cannot tell how this process was started")?;
    let mut filters = UnicastFilters::recover(netlink.clone(), path)?;
    if let Predecessor::Incompatible(_) = host.predecessor {
        // Before the kernel half goes that drops ARP for them.
        remove_stale(netlink, &BTreeSet::new()).await?;
        pins.remove()?;
    }
    let doors = Doors { server: Arc::new(server), links, signals, reload: Arc::new(reload), incumbent, files };
    host.serve(&mut plans, attachments, &mut filters, doors).await
}

/// Takes off the host what we, or agents before us, have put on it. What the kernel half guards stays behind it: as long as
/// addresses are left, it stays, too.
async fn undo(config: &Config, netlink: &Netlink, pins: &Pins) -> anyhow::Result<()> {
    remove_stale(netlink, &BTreeSet::new()).await?;
    pins.remove()?;
    let interfaces = netlink.interfaces().await?;
    Ok(UnicastFilters::recover(netlink.clone(), &config.agent.control)?.close_all(&interfaces).await?)
}
