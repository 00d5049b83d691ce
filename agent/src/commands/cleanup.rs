//! `xvrrp cleanup`: removes from the host what a crashed agent has left, if no agent will be started again.

use std::collections::BTreeSet;

use anyhow::bail;
use xvrrp_config::AgentConfig;
use xvrrp_dataplane::{GoneNamespace, Pins};
use xvrrp_net::Netlink;

use crate::addresses;
use crate::addresses::unicast_filters::{self, UnicastFilters};
use crate::control::{self, ControlError, Server, Singleton};

/// Removes everything in this network namespace that is recognizably an agent's. Returns a description of each thing
/// that it removed.
///
/// # Errors
/// An agent runs, or the kernel refuses to remove something.
pub async fn run(config: &AgentConfig) -> anyhow::Result<Vec<String>> {
    let _singleton = match Singleton::claim(control::ENDING) {
        Err(ControlError::AgentRuns) => bail!(
            "an xvrrp agent runs in this network namespace: nothing was removed; stop it, and it removes what it has \
             installed"
        ),
        claimed => claimed?,
    };
    let netlink = Netlink::open()?;
    let interfaces = netlink.interfaces().await?;
    let mut removed = Vec::new();
    let routing = addresses::remove_leftovers()?;
    if routing != addresses::Leftovers::default() {
        removed.push(format!("{routing} with protocol 112"));
    }
    // Addresses go next, while the kernel half still drops ARP for them.
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
    for GoneNamespace { cookie, directory } in pins.remove_of_gone_namespaces() {
        removed.push(format!("maps in {}, of a network namespace that is gone", directory.display()));
        if let Some(record) = unicast_filters::remove_record_of_gone(&config.control, cookie)? {
            removed.push(format!("record {}, of a network namespace that is gone", record.display()));
        }
    }
    let mut filters = UnicastFilters::recover(netlink, &config.control, has_pins)?;
    removed.extend(filters.open_ones().map(|filter| format!("unicast filter {filter}")));
    filters.close_all(&interfaces).await?;
    for record in filters.records_of_others() {
        tracing::warn!(
            "{} is another network namespace's: left alone; if that namespace is gone, remove the file",
            record.display()
        );
    }
    if config.control.exists() {
        // Opening the socket makes sure that no agent answers there. Dropping it removes the file.
        match Server::open(&config.control).await {
            Ok(server) => {
                drop(server);
                removed.push(format!("control socket {}", config.control.display()));
            }
            // No agent runs in this network namespace, so the socket belongs to another one.
            Err(ControlError::SocketTaken(path)) => {
                tracing::warn!(
                    "{} is the control socket of an agent in another network namespace: left alone",
                    path.display()
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(removed)
}
