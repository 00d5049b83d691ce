//! Checks a configuration against the host without changing the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::Uid;
use xvrrp_config::files::Asking;
use xvrrp_config::host::{self, HostLookup};
use xvrrp_config::{Config, HostNames, NotifyFifo, ScriptUser, mail, surroundings};
use xvrrp_dataplane::{Capacity, DataplaneError, Pins, Predecessor, with_causes};
use xvrrp_net::{Interface, Netlink};

use crate::notify::fifo;
use crate::plan::{self, Plans, facts};
use crate::process::blocking_call::BlockingCall;
use crate::process::program::UserAccount;
use crate::process::{access, clock, command, script_security};

/// Longest time that lookups of files and users on the host may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks the configuration against the host without changing the host. Returns warnings for the operator about a
/// configuration that can be used.
///
/// # Errors
/// The configuration cannot be used on this host, or the host cannot be examined.
pub async fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    clock::check()?;
    let warnings = warnings(config, &Netlink::open()?).await?;
    Ok(warnings.into_iter().chain(unusable_programs(config).await).collect())
}

/// Disables what this host cannot run, or should not, if the configuration was made from that of another program.
///
/// # Errors
/// The host cannot be examined.
pub async fn disable_unusable(mut config: Config) -> anyhow::Result<Config> {
    if config.text.original.is_none() {
        return Ok(config);
    }
    let file = config.file.clone();
    let disable = move || {
        let control = config.agent.control.clone();
        host::disable(&mut config, &ThisHost { control: &control });
        config
    };
    BlockingCall::default().run(PATIENCE, disable).await.with_context(|| out_of_reach(&file))
}

fn out_of_reach(file: &Path) -> String {
    format!(
        "{}: the files and users that it names could not be looked up within {PATIENCE:?}; is a file system or a \
         directory service out of reach?",
        file.display()
    )
}

/// Checks whether an agent with this configuration can continue, without a failover, with what the running agent
/// leaves.
///
/// `control` is the control socket of the running agent. With `same_configuration`, the hooks of the interfaces are not
/// checked: the agent then continues wherever it can, whatever has become of the interfaces.
///
/// # Errors
/// A restart of the agent would be needed, or the host cannot be examined.
pub async fn check_succession(config: &Config, control: &Path, same_configuration: bool) -> anyhow::Result<()> {
    if config.agent.control != control {
        let message = format!("agent: control: cannot be changed by a reload; {RESTART}");
        bail!(config.show(config.agent.control_line, &message));
    }
    if same_configuration { check_remains(config) } else { check_replacement(config, &Netlink::open()?).await }
}

/// Advice for a change that only a restart can apply.
const RESTART: &str = "stop the agent and start it again, which is a failover";

/// Checks whether an agent with this configuration can take the place of the running agent.
pub(super) async fn check_replacement(config: &Config, netlink: &Netlink) -> anyhow::Result<()> {
    check_remains(config)?;
    check_hooks(config, netlink).await
}

/// Checks whether an agent with this configuration can reuse the programs and maps of the running agent.
fn check_remains(config: &Config) -> anyhow::Result<()> {
    match Pins::below(&config.agent.bpffs)?.predecessor(capacity(config)?) {
        Predecessor::Compatible(_) => Ok(()),
        Predecessor::None => {
            let message = format!("agent: bpffs: is not that of the running agent; {RESTART}");
            bail!(config.show(config.agent.bpffs_line, &message))
        }
        Predecessor::Incompatible(reason) => {
            let file = config.file.display();
            bail!("{file}: cannot reuse the programs and maps of the running agent: {reason}; {RESTART}")
        }
    }
}

/// Checks whether the XDP hooks are free, except those that an agent's programs are attached to already.
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

/// Checks the configuration against the host as a start does, and only logs the result.
///
/// The configuration was valid when the reload was checked, and there are roles to continue, so a failure does not end
/// the agent.
pub async fn report_warnings(config: Config) {
    // This uses its own socket, because the kernel performs only one listing at a time on each socket.
    let warnings = match Netlink::open() {
        Ok(netlink) => warnings(&config, &netlink).await,
        Err(error) => Err(error.into()),
    };
    match warnings {
        Ok(warnings) => log_warnings(&config, &warnings),
        Err(error) => tracing::error!("{}", with_causes(error.as_ref())),
    }
    report_unusable_programs(config).await;
}

/// Logs a warning about each program that its user may not run. This starts programs, so it is done after the first
/// adverts.
pub(super) async fn report_unusable_programs(config: Config) {
    for warning in unusable_programs(&config).await {
        tracing::warn!("{warning}");
    }
}

/// Returns a warning about each program that its user may not run, with the capabilities that this process has. Another
/// user than root cannot find that out.
async fn unusable_programs(config: &Config) -> Vec<String> {
    if !Uid::effective().is_root() {
        return Vec::new();
    }
    let owned = config.clone();
    let ask = move || {
        xvrrp_config::unusable_programs(&owned, |user, programs| {
            let account = match user {
                None => None,
                Some(user) => Some(UserAccount::of(user).ok().flatten()?),
            };
            access::obstacles(account, programs)
        })
    };
    BlockingCall::default().run(PATIENCE, ask).await.unwrap_or_default()
}

/// Logs the warnings about a configuration, and what it has changed if it was made from one of another program.
pub(super) fn log_warnings(config: &Config, warnings: &[String]) {
    if let Some(original) = &config.text.original {
        let counts = Some(original.counts.as_str()).filter(|counts| !counts.is_empty()).unwrap_or("all is taken over");
        tracing::info!("{}: a configuration of another program: {counts}", config.file.display());
        for changed in &original.changed {
            tracing::info!("{changed}");
        }
        for unusable in &original.unusable {
            tracing::warn!("{unusable}");
        }
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Checks the configuration against the host and returns the warnings.
///
/// The time for this is limited: file systems and directory services may not answer, and an agent that hangs while it
/// starts is useless.
pub(super) async fn warnings(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<String>> {
    let interfaces = netlink.interfaces().await?;
    let facts: Vec<_> = interfaces.iter().map(|interface| with_statics(config, facts(config, interface))).collect();
    let surroundings = plan::surroundings(config, &interfaces);
    let owned = config.clone();
    let check = move || {
        let survey = host::Survey::new(&owned, &facts);
        host::check(&owned, &survey, &ThisHost { control: &owned.agent.control })?;
        mail::check_files(&owned, fault_of_file)?;
        xvrrp_config::check_bpffs(&owned, Pins::obstacle)?;
        xvrrp_config::check_names(&owned, &host_names())?;
        let of_host = survey.warnings(&owned).into_iter().chain(surroundings::warnings(&owned, &surroundings));
        let exists = |name: &str| facts.iter().any(|interface| interface.name == name);
        let missing = xvrrp_config::missing_interfaces(&owned, exists);
        Ok(of_host.chain(missing).chain(owned.warnings()).collect())
    };
    BlockingCall::default().run(PATIENCE, check).await.unwrap_or_else(|| bail!(out_of_reach(&config.file)))
}

/// The host that the agent runs on.
struct ThisHost<'a> {
    control: &'a Path,
}

impl HostLookup for ThisHost<'_> {
    fn is_executable(&self, path: &Path) -> bool {
        command::is_executable(path)
    }

    fn has_user(&self, user: &ScriptUser) -> bool {
        matches!(UserAccount::of(user), Ok(Some(_)))
    }

    fn is_root(&self, user: Option<&ScriptUser>) -> bool {
        match user {
            None => Uid::effective().is_root(),
            Some(user) => matches!(UserAccount::of(user), Ok(Some(account)) if account.is_root()),
        }
    }

    fn becomes_root(&self, program: &Path) -> bool {
        script_security::becomes_root(program)
    }

    fn fault_of_fifo(&self, NotifyFifo { path, owner, .. }: &NotifyFifo) -> Option<String> {
        let owner = owner.as_ref().and_then(|owner| UserAccount::of(owner).ok().flatten());
        fifo::fault(path, owner.map(|owner| owner.ids().0), self.control.parent())
    }

    fn replaceable(&self, program: &Path) -> Option<String> {
        script_security::replaceable(program)
    }
}

/// Adds the static addresses of an interface, which a start installs.
fn with_statics(config: &Config, mut interface: host::HostInterface) -> host::HostInterface {
    let statics = config.agent.statics.addresses.iter().map(|it| &it.value);
    interface.addresses.extend(statics.filter(|it| it.interface == interface.name).map(|it| it.address));
    interface
}

/// Returns the names of routing tables and the like that this host has.
fn host_names() -> HostNames {
    let _asking = Asking::begin();
    HostNames::read()
}

/// Returns what is wrong with a file that the configuration names.
///
/// A file that the caller can examine but not read is accepted, because the user that runs the agent may be able to
/// read it.
fn fault_of_file(path: &Path, secret: bool) -> Option<String> {
    let _asking = Asking::begin();
    match fs::metadata(path) {
        Err(error) => Some(format!("cannot be accessed: {error}; give the path of a file")),
        Ok(metadata) if !metadata.is_file() => Some("is not a file; give the path of a file".into()),
        Ok(metadata) if secret && metadata.permissions().mode() & 0o007 != 0 => {
            Some(format!("can be read or changed by every user; run chmod o= {}", path.display()))
        }
        Ok(_) => None,
    }
}

/// Returns how many entries the maps need for this configuration.
pub(super) fn capacity(config: &Config) -> anyhow::Result<Capacity> {
    let routers = &config.virtual_routers;
    let count = |numbers: &mut dyn Iterator<Item = usize>| u32::try_from(numbers.sum::<usize>());
    Ok(Capacity {
        routers: count(&mut routers.iter().map(|router| router.families().count()))?,
        // Each address has one entry for its own interface and one for all other interfaces.
        vips: count(&mut routers.iter().map(|router| 2 * router.all_addresses().count()))?,
        sources: count(&mut routers.iter().map(|router| router.allowed_sources.len() + router.unicast_peers.len()))?,
    })
}
