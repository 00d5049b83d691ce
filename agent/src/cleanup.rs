//! `xvrrp cleanup`: takes off the host what a crashed agent left, where none will start again.

use anyhow::Context;

use crate::config::AgentConfig;
use crate::control::{self, Server, Singleton};
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
    if pins.exist() {
        pins.remove()?;
        removed.push(format!("programs and maps in {}", pins.directory().display()));
    }
    let gone = pins.remove_of_gone_namespaces().into_iter();
    removed.extend(gone.map(|path| format!("maps in {}, of a network namespace that is gone", path.display())));
    let mut filters = UnicastFilters::recover(netlink, &config.control)?;
    removed.extend(filters.open_ones().map(|filter| format!("unicast filter {filter}")));
    filters.close_all(&interfaces).await?;
    if config.control.exists() {
        // Makes sure that nobody answers there; its file goes with it.
        drop(Server::open(&config.control).await?);
        removed.push(format!("control socket {}", config.control.display()));
    }
    Ok(removed)
}
