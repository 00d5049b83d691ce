//! The agent's start and end: brings it up in order, and takes it down again.
//!
//! Whatever it puts on the host it undoes on every way out of [`run`], unless a successor takes it over; what a crash left
//! is taken over or undone by the next start. What goes on in between is [`service`](crate::service)'s.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::{AccessFlags, User, access};

use crate::addresses::remove_stale;
use crate::aside::Aside;
use crate::config::{self, Config, host, mail, surroundings};
use crate::control::{self, Incumbent, Server, Singleton};
use crate::dataplane::{Attachments, Capacity, DataplaneError, Pins, Predecessor};
use crate::files::Asking;
use crate::net::{Interface, LinkMonitor, Netlink, PacketSocket};
use crate::plan::{self, Plans, facts};
use crate::reload::{Bequest, Files, Reload};
use crate::service::{Doors, End, Host};
use crate::signals::Signals;
use crate::unicast_filters::UnicastFilters;
use crate::{clock, handover, report};

/// How long the host may take to answer what a configuration needs to know of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has become of an agent that does not wait for its successor.
const LEFT_BEHIND: &str = "the agent that ran did not wait for this one: it goes on, or was stopped";

/// Checks the configuration against the host, without touching it. What an operator should know although it can be used.
pub async fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    clock::check()?;
    warnings(config, &Netlink::open()?).await
}

/// Whether an agent with this configuration can go on, without a failover, with what an agent leaves that runs now and has
/// this control socket. With `same_configuration` it goes on wherever it can, whatever has become of the interfaces.
pub async fn check_succession(config: &Config, control: &Path, same_configuration: bool) -> anyhow::Result<()> {
    if config.agent.control != control {
        bail!("{}: agent: control: cannot be changed by a reload; {RESTART}", config.file.display());
    }
    check_remains(config)?;
    if same_configuration { Ok(()) } else { check_hooks(config, &Netlink::open()?).await }
}

/// What to do about a change that only a restart can make.
const RESTART: &str = "stop the agent and start it again, which is a failover";

/// Whether an agent with this configuration can go on with the programs and maps of the one that runs.
fn check_remains(config: &Config) -> anyhow::Result<()> {
    let file = config.file.display();
    match Pins::below(&config.agent.bpffs)?.predecessor(capacity(config)?) {
        Predecessor::Compatible(_) => Ok(()),
        Predecessor::None => bail!("{file}: agent: bpffs: is not that of the agent that runs; {RESTART}"),
        Predecessor::Incompatible(reason) => {
            bail!("{file}: cannot go on with the programs and maps of the agent that runs: {reason}; {RESTART}")
        }
    }
}

/// Whether the hooks are free that no agent's programs are on yet.
async fn check_hooks(config: &Config, netlink: &Netlink) -> anyhow::Result<()> {
    let pins = Pins::below(&config.agent.bpffs)?;
    let interfaces = netlink.interfaces().await?;
    for Interface { name, ifindex, xdp, .. } in Plans::new(config, &interfaces).interfaces() {
        if let Some(occupant) = xdp.filter(|_| !pins.hold_hook(*ifindex)) {
            return Err(DataplaneError::hook_taken(name, occupant).into());
        }
    }
    Ok(())
}

/// Runs the agent until SIGTERM or SIGINT, or until a successor takes over from it; a reload does not return. With `replace`
/// it takes over itself, from the agent that runs, if one does. `bequest` is what this process has left to itself.
pub async fn run(config: &Config, replace: bool, mut bequest: Option<Bequest>) -> anyhow::Result<()> {
    clock::check()?;
    // First of all files, see there.
    let socket = Arc::new(PacketSocket::open().context("cannot open a packet socket")?);
    let files = bequest.as_mut().map(Bequest::take_files).unwrap_or_default();
    if let Some(note) = bequest.as_ref().and_then(|bequest| bequest.note.as_ref()) {
        tracing::error!("{note}");
    }
    let signals = Signals::hold_back().context("cannot listen for signals")?;
    let netlink = Netlink::open()?;
    // Before the interfaces are looked at: no change after that look is missed.
    let links = LinkMonitor::open()?;
    // What a process goes on with that was an agent before has been checked; see `report_warnings`.
    if bequest.is_none() {
        warnings(config, &netlink).await?.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let pins = Pins::below(&config.agent.bpffs)?;
    let (singleton, mut incumbent) = if replace {
        handover::take_over(&config.agent.control, async || {
            check_remains(config)?;
            check_hooks(config, &netlink).await
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
            let outcome = loop {
                tokio::select! {
                    outcome = &mut running => break outcome,
                    // Whom we have waited for finds that we have gone, and ends.
                    told = signals.next() => if told.stop { return undo(config, &netlink, &pins).await },
                }
            };
            let Err(failure) = outcome else {
                tracing::info!("handed over to a successor");
                return Ok(());
            };
            signals.leave();
            let reason = passed.err().map(|error| format!(" ({error})")).unwrap_or_default();
            legacy.bequest.note = Some(format!("{failure}{reason}: going on"));
            let Err(error) = legacy.reload.become_successor(&singleton, legacy.bequest, &legacy.files);
            Some(anyhow::Error::new(error).context("cannot start again"))
        }
        Ok(End::Reload(legacy)) => {
            leave(attachments.take());
            let Err(error) = legacy.reload.become_successor(&singleton, legacy.bequest, &legacy.files);
            Some(anyhow::Error::new(error).context("cannot start again"))
        }
        Err(error) => match incumbent {
            Some(incumbent) => {
                leave(attachments.take());
                // It goes on as soon as it finds that we have ended, or has not waited for that.
                let waits = incumbent.is_waiting();
                // In this order, and before the packet socket, whose end takes its time.
                drop(singleton);
                drop(incumbent);
                return Err(error.context(if waits { "the agent that ran goes on" } else { LEFT_BEHIND }));
            }
            None => Some(error),
        },
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
    bequest: Option<Bequest>,
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
    let capacity = capacity(config)?;
    pins.follow_interfaces();
    let predecessor = pins.predecessor(capacity);
    report::tell_of_predecessor(&predecessor);
    let host = Host { config, capacity, pins, predecessor, bequest, netlink, interfaces: &interfaces, socket };
    let path = &config.agent.control;
    let server = match files.control.take().and_then(|left| Server::inherit(left, path)) {
        Some(server) => server,
        None if host.goes_on() => Server::open_or_retry(path),
        None => Server::open(path).await?,
    };
    *begun = true;
    let reload = Reload::new(config).context("cannot tell how this process was started")?;
    let mut filters = UnicastFilters::recover(netlink.clone(), path, pins.exist())?;
    if let Predecessor::Incompatible(_) = host.predecessor {
        // Before the kernel half goes that drops ARP for them.
        remove_stale(netlink, &BTreeSet::new()).await?;
        pins.remove()?;
    }
    // Before anything of its is touched: it may have been stopped, and has taken everything off the host then.
    if incumbent.as_ref().is_some_and(|incumbent| !incumbent.is_waiting()) {
        bail!("this agent was not ready in time");
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
    // A record of an earlier version was replaced when the filters were opened. One that is left is not this namespace's, although
    // this agent had pins.
    let mut filters = UnicastFilters::recover(netlink.clone(), &config.agent.control, false)?;
    Ok(filters.close_all(&interfaces).await?)
}

/// Checks the configuration against the host as a start does, for the log: it held when the reload was checked, and there are
/// roles to go on with.
pub async fn report_warnings(config: Config) {
    // A socket of its own: the kernel lists one thing at a time on each.
    let warnings = match Netlink::open() {
        Ok(netlink) => warnings(&config, &netlink).await,
        Err(error) => Err(error.into()),
    };
    match warnings {
        Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
        Err(error) => tracing::error!("{error:#}"),
    }
}

/// Checks against the host, and returns the warnings. File systems and directory services may not answer, and an agent that
/// hangs while it starts is of no use.
async fn warnings(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<String>> {
    let interfaces = netlink.interfaces().await?;
    let facts: Vec<_> = interfaces.iter().map(facts).collect();
    let surroundings = plan::surroundings(&interfaces);
    let owned = config.clone();
    let check = move || {
        let survey = host::Survey::new(&owned, &facts);
        let is_executable = |path: &Path| {
            let _asking = Asking::begin();
            path.is_file() && access(path, AccessFlags::X_OK).is_ok()
        };
        let is_user = |name: &str| matches!(User::from_name(name), Ok(Some(_)));
        host::check(&owned, &survey, is_executable, is_user)?;
        mail::check_files(&owned, fault_of_file)?;
        config::check_bpffs(&owned, Pins::obstacle)?;
        let of_host = survey.warnings(&owned).into_iter().chain(surroundings::warnings(&owned, &surroundings));
        Ok(of_host.chain(owned.warnings()).collect())
    };
    Aside::default().run(PATIENCE, check).await.unwrap_or_else(|| {
        let file = config.file.display();
        bail!(
            "{file}: the files and users that it names could not be looked up within {PATIENCE:?}; is a file system or a \
             directory service out of reach?"
        )
    })
}

/// Who may not read a file, but may look at it, has no complaint: who runs the agent may read it, perhaps.
fn fault_of_file(path: &Path, secret: bool) -> Option<String> {
    let _asking = Asking::begin();
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
