//! The agent's start and end: brings it up in order, and takes it down again.
//!
//! Whatever it puts on the host it undoes on every way out of [`run`], unless a successor takes it over; what a crash left
//! is taken over or undone by the next start. What goes on in between is [`service`](crate::service)'s.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::unistd::{AccessFlags, User, access};

use crate::config::{Config, host, mail, surroundings};
use crate::control::{Server, Singleton};
use crate::dataplane::{Attachments, Capacity, Pins, Predecessor};
use crate::net::{LinkMonitor, Netlink};
use crate::plan::{self, Plans, facts};
use crate::reload::{Bequest, Reload};
use crate::service::{Doors, End, Host};
use crate::signals::Signals;
use crate::unicast_filters::UnicastFilters;
use crate::{handover, report};

/// Checks the configuration against the host, without touching it. What an operator should know although it can be used.
pub async fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    warnings(config, &Netlink::open()?).await
}

/// Whether an agent with this configuration can go on, without a failover, with what an agent leaves that runs now and has
/// this control socket.
pub fn check_succession(config: &Config, control: &Path) -> anyhow::Result<()> {
    const REMEDY: &str = "stop the agent and start it again, which is a failover";
    let file = config.file.display();
    if config.agent.control != control {
        bail!("{file}: agent: control: cannot be changed by a reload; {REMEDY}");
    }
    match Pins::below(&config.agent.bpffs)?.predecessor(capacity(config)?) {
        Predecessor::Compatible(_) => Ok(()),
        Predecessor::None => bail!("{file}: agent: bpffs: cannot be changed by a reload; {REMEDY}"),
        Predecessor::Incompatible(reason) => {
            bail!("{file}: the running agent's kernel half cannot be gone on with: {reason}; {REMEDY}")
        }
    }
}

/// Runs the agent until SIGTERM or SIGINT, or until a successor takes over from it; a reload does not return. With `replace`
/// it takes over itself, from the agent that runs, if one does. `bequest` is what this process has left to itself.
pub async fn run(config: &Config, replace: bool, bequest: Option<Bequest>) -> anyhow::Result<()> {
    let signals = Signals::hold_back().context("cannot listen for signals")?;
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkMonitor::open()?;
    // Who goes on with what ran has been told, and goes on wherever that is possible.
    if bequest.as_ref().is_none_or(|bequest| bequest.configuration.is_none()) {
        for warning in warnings(config, &netlink).await? {
            tracing::warn!("{warning}");
        }
    }
    let pins = Pins::below(&config.agent.bpffs)?;
    let singleton = if replace { handover::take_over(&config.agent.control).await? } else { Singleton::claim()? };
    // From here on a predecessor's things are ours.
    let mut attachments = None;
    let outcome = start_and_serve(config, &netlink, &pins, (links, signals), bequest, &mut attachments).await;
    if let Ok(End::HandedOver | End::Reload(..)) = outcome
        && let Some(attachments) = attachments.take()
    {
        attachments.leave();
    }
    let outcome = match outcome {
        Ok(End::HandedOver) => {
            tracing::info!("handed over to a successor");
            return Ok(());
        }
        Ok(End::Reload(reload, bequest)) => {
            let Err(error) = reload.become_successor(&singleton, &bequest);
            Err(anyhow::Error::new(error).context("cannot start anew"))
        }
        Ok(End::Stopped) => Ok(()),
        Err(error) => Err(error),
    };
    let undone = undo(config, &netlink, &pins).await;
    drop(attachments);
    outcome.and(undone)
}

async fn start_and_serve(
    config: &Config,
    netlink: &Netlink,
    pins: &Pins,
    (links, signals): (LinkMonitor, Signals),
    bequest: Option<Bequest>,
    attachments: &mut Option<Attachments>,
) -> anyhow::Result<End> {
    // Not before: the other agent may have changed them.
    let interfaces = netlink.interfaces().await?;
    let mut plans = Plans::new(config, &interfaces);
    let server = Server::open(&config.agent.control)?;
    let reload = Reload::new(config).context("cannot tell how this process was started")?;
    let mut filters = UnicastFilters::recover(netlink.clone(), &config.agent.control)?;
    let capacity = capacity(config)?;
    let predecessor = pins.predecessor(capacity);
    report::tell_of_predecessor(&predecessor);
    if let Predecessor::Incompatible(_) = predecessor {
        // Before the kernel half goes that drops ARP for them.
        remove_stale_addresses(netlink, &BTreeSet::new()).await?;
        pins.remove()?;
    }
    let host = Host { config, capacity, pins, predecessor, bequest, netlink, interfaces: &interfaces };
    host.serve(&mut plans, attachments, &mut filters, Doors { server, links, signals, reload: Arc::new(reload) }).await
}

/// Takes off the host what we, or agents before us, have put on it. What the kernel half guards stays behind it: as long as
/// addresses are left, it stays, too.
async fn undo(config: &Config, netlink: &Netlink, pins: &Pins) -> anyhow::Result<()> {
    remove_stale_addresses(netlink, &BTreeSet::new()).await?;
    pins.remove()?;
    let interfaces = netlink.interfaces().await?;
    Ok(UnicastFilters::recover(netlink.clone(), &config.agent.control)?.close_all(&interfaces).await?)
}

async fn warnings(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<String>> {
    let interfaces = netlink.interfaces().await?;
    let facts: Vec<_> = interfaces.iter().map(facts).collect();
    let survey = host::Survey::new(config, &facts);
    let is_executable = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let is_user = |name: &str| matches!(User::from_name(name), Ok(Some(_)));
    host::check(config, &survey, is_executable, is_user)?;
    mail::check_files(config, fault_of_file)?;
    let of_host =
        survey.warnings(config).into_iter().chain(surroundings::warnings(config, &plan::surroundings(&interfaces)));
    Ok(of_host.chain(config.warnings()).collect())
}

/// Who may not read a file, but may look at it, has no complaint: who runs the agent may read it, perhaps.
fn fault_of_file(path: &Path, secret: bool) -> Option<String> {
    match fs::metadata(path) {
        Err(error) => Some(format!("cannot be looked at: {error}; give the path of a file")),
        Ok(metadata) if !metadata.is_file() => Some("is no file; give the path of one".into()),
        Ok(metadata) if secret && metadata.permissions().mode() & 0o007 != 0 => {
            Some(format!("is for everybody to read or change; chmod o= {}", path.display()))
        }
        Ok(_) => None,
    }
}

fn capacity(config: &Config) -> anyhow::Result<Capacity> {
    let routers = &config.virtual_routers;
    let count = |numbers: &mut dyn Iterator<Item = usize>| u32::try_from(numbers.sum::<usize>());
    Ok(Capacity {
        routers: count(&mut routers.iter().map(|router| router.families().count()))?,
        // Each is found on its own interface, and from any other.
        vips: count(&mut routers.iter().map(|router| 2 * router.addresses.len()))?,
        sources: count(&mut routers.iter().map(|router| router.allowed_sources.len() + router.unicast_peers.len()))?,
    })
}

/// Removes addresses of an agent that did not end as it should, but for those to `keep`.
pub async fn remove_stale_addresses(netlink: &Netlink, keep: &BTreeSet<(u32, IpAddr)>) -> anyhow::Result<()> {
    let (removed, failures) = netlink.remove_stale_addresses(keep).await?;
    for address in removed {
        tracing::warn!("removed {address}, which an agent that did not end properly had left");
    }
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
}
