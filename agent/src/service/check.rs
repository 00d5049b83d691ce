//! Checks a configuration against the host without changing the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use nix::unistd::{AccessFlags, User, access};
use xvrrp_config::files::Asking;
use xvrrp_config::{Config, host, mail, surroundings};
use xvrrp_dataplane::{Capacity, DataplaneError, Pins, Predecessor, with_causes};
use xvrrp_net::{Interface, Netlink};

use crate::plan::{self, Plans, facts};
use crate::process::blocking_call::BlockingCall;
use crate::process::clock;

/// Longest time that lookups of files and users on the host may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks the configuration against the host without changing the host. Returns warnings for the operator about a
/// configuration that can be used.
///
/// # Errors
/// The configuration cannot be used on this host, or the host cannot be examined.
pub async fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    clock::check()?;
    warnings(config, &Netlink::open()?).await
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
        bail!("{}: agent: control: cannot be changed by a reload; {RESTART}", place(config, config.agent.control_line));
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
            let place = place(config, config.agent.bpffs_line);
            bail!("{place}: agent: bpffs: is not that of the running agent; {RESTART}")
        }
        Predecessor::Incompatible(reason) => {
            let file = config.file.display();
            bail!("{file}: cannot reuse the programs and maps of the running agent: {reason}; {RESTART}")
        }
    }
}

/// Returns the place of a key as messages show it: the file, and the line if the file has the key.
fn place(config: &Config, line: Option<usize>) -> String {
    let file = config.file.display();
    line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"))
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
        Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
        Err(error) => tracing::error!("{}", with_causes(error.as_ref())),
    }
}

/// Checks the configuration against the host and returns the warnings.
///
/// The time for this is limited: file systems and directory services may not answer, and an agent that hangs while it
/// starts is useless.
pub(super) async fn warnings(config: &Config, netlink: &Netlink) -> anyhow::Result<Vec<String>> {
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
        xvrrp_config::check_bpffs(&owned, Pins::obstacle)?;
        let of_host = survey.warnings(&owned).into_iter().chain(surroundings::warnings(&owned, &surroundings));
        Ok(of_host.chain(owned.warnings()).collect())
    };
    BlockingCall::default().run(PATIENCE, check).await.unwrap_or_else(|| {
        let file = config.file.display();
        bail!(
            "{file}: the files and users that it names could not be looked up within {PATIENCE:?}; is a file system or \
             a directory service out of reach?"
        )
    })
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
        vips: count(&mut routers.iter().map(|router| 2 * router.addresses.len()))?,
        sources: count(&mut routers.iter().map(|router| router.allowed_sources.len() + router.unicast_peers.len()))?,
    })
}
