//! `xvrrp cleanup`: removes from the host what a crashed agent has left, if no agent will be started again.

use anyhow::Context;
use std::collections::BTreeSet;
use xvrrp_config::AgentConfig;
use xvrrp_dataplane::Pins;
use xvrrp_net::Netlink;

use crate::addresses::unicast_filters::UnicastFilters;
use crate::control::{self, ControlError, Server, Singleton};

/// Removes everything in this network namespace that is recognizably an agent's. Returns a description of each thing
/// that it removed.
///
/// # Errors
/// An agent runs, or the kernel refuses to remove something.
pub async fn run(config: &AgentConfig) -> anyhow::Result<Vec<String>> {
    let _singleton = Singleton::claim(control::ENDING).context("nothing to clean up after")?;
    let netlink = Netlink::open()?;
    let interfaces = netlink.interfaces().await?;
    let mut removed = Vec::new();
    // Addresses go first, while the kernel half still drops ARP for them.
    let (addresses, failures) = netlink.remove_stale_addresses(&BTreeSet::default()).await?;
    // If addresses remain, the kernel half stays as well.
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.into());
    }
    removed.extend(addresses.into_iter().map(|address| format!("address {address}")));
    let pins = Pins::below(&config.bpffs)?;
    let has_pins = pins.exist();
    if has_pins {
        pins.remove()?;
        removed.push(format!("programs and maps in {}", pins.directory().display()));
    }
    let gone = pins.remove_of_gone_namespaces().into_iter();
    removed.extend(gone.map(|path| format!("maps in {}, of a network namespace that is gone", path.display())));
    let mut filters = UnicastFilters::recover(netlink, &config.control, has_pins)?;
    removed.extend(filters.open_ones().map(|filter| format!("unicast filter {filter}")));
    filters.close_all(&interfaces).await?;
    for record in filters.records_of_others() {
        tracing::warn!("{} is another network namespace's: left alone", record.display());
    }
    if config.control.exists() {
        // Opening the socket makes sure that no agent answers there. Dropping it removes the file.
        match Server::open(&config.control).await {
            Ok(server) => {
                drop(server);
                removed.push(format!("control socket {}", config.control.display()));
            }
            // No agent runs in this network namespace, so the socket belongs to another one.
            Err(error @ ControlError::SocketTaken(_)) => tracing::warn!("{error}: left alone"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}
