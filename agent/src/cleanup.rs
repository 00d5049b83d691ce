//! `xvrrp cleanup`: takes off the host what a crashed agent left, where none will start again.

use anyhow::Context;

use crate::config::AgentConfig;
use crate::control::{self, ControlError, Server, Singleton};
use crate::dataplane::Pins;
use crate::net::Netlink;
use crate::unicast_filters::UnicastFilters;

/// Removes everything of this network namespace that can be told to be an agent's, and says what that was.
pub async fn run(config: &AgentConfig) -> anyhow::Result<Vec<String>> {
    let _singleton = Singleton::claim(control::ENDING).context("nothing to clean up after")?;
    let netlink = Netlink::open()?;
    let interfaces = netlink.interfaces().await?;
    let mut removed = Vec::new();
    // First, while the kernel half still drops ARP for them.
    let (addresses, failures) = netlink.remove_stale_addresses(&Default::default()).await?;
    // With addresses left, the kernel half stays as well.
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
        // Makes sure that nobody answers there; its file goes with it.
        match Server::open(&config.control).await {
            Ok(server) => {
                drop(server);
                removed.push(format!("control socket {}", config.control.display()));
            }
            // No agent runs in this network namespace, so it is one of another.
            Err(error @ ControlError::SocketTaken(_)) => tracing::warn!("{error}: left alone"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}
