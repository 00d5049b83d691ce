//! Lists and changes interfaces, addresses and unicast filters by rtnetlink.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::net::IpAddr;
use std::sync::LazyLock;

use futures_util::{StreamExt, TryStreamExt, stream};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use xvrrp_common::units::{IfIndex, MacAddress};

use super::address::{ADDRESS_PROTOCOL, Placed, has_flag, interface_address, is_ours, placed};
use super::error::{NetError, has_errno};
use super::interface::{Interface, interface};
use super::promote;
use super::routing::HostAddress;

/// Whether the kernel stores the mark of our addresses. If it does not, an equal address of another owner looks like
/// ours.
pub static MARKS_LAST: LazyLock<bool> = LazyLock::new(|| {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let mut numbers =
        release.iter().flat_map(|release| release.split(['.', '-'])).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5_u32, 18_u32)
});

/// An address as the kernel lists it.
#[derive(Debug)]
pub struct FoundAddress {
    /// The address and its interface.
    pub placed: Placed,
    /// Whether an xvrrp agent has added it.
    pub ours: bool,
    /// Whether duplicate address detection found it on another host (RFC 4862 5.4.5). This host does not answer for it.
    pub failed: bool,
    /// Whether it is a secondary address: one of the same IPv4 subnet was added before it.
    pub secondary: bool,
    message: AddressMessage,
}

/// An address to add.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    /// The address and its interface.
    pub placed: Placed,
    /// Name of the interface, for messages.
    pub interface: &'a str,
    /// The address with its options, if it has any.
    pub options: Option<&'a HostAddress>,
}

/// Number of requests that are sent before the answers are read. The socket has room for this number of answers.
const IN_FLIGHT: usize = 64;

/// Result of adding an address. One that existed before must not be removed by this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOutcome {
    /// The address was added.
    Added,
    /// The address existed before.
    Existed,
}

/// Connection to the kernel's rtnetlink, in the network namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens the connection. A task of the current tokio runtime serves it.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Lists all interfaces with their addresses.
    ///
    /// # Errors
    /// The kernel refuses to list interfaces or addresses.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetError> {
        let links: Vec<LinkMessage> = (self.handle.link().get().execute().try_collect().await)
            .map_err(|source| NetError::List { what: "interfaces", source })?;
        let mut interfaces: Vec<Interface> = links.iter().filter_map(interface).collect();
        for message in self.address_messages().await? {
            let Some(address) = interface_address(&message) else {
                continue;
            };
            if let Some(interface) =
                interfaces.iter_mut().find(|known| known.ifindex == IfIndex::new(message.header.index))
            {
                interface.addresses.push(address);
            }
        }
        Ok(interfaces)
    }

    /// Adds addresses in this order and marks them as ours. Continues after
    /// a failure. Returns the results in the same order.
    pub async fn add_addresses(
        &self,
        addresses: impl IntoIterator<Item = Addition<'_>>,
    ) -> Vec<Result<AddressOutcome, NetError>> {
        let additions = addresses.into_iter().map(|addition| self.add_address(addition));
        stream::iter(additions).buffered(IN_FLIGHT).collect().await
    }

    async fn add_address(
        &self,
        Addition { placed: (ifindex, address, prefix_length), interface, options }: Addition<'_>,
    ) -> Result<AddressOutcome, NetError> {
        let mut request = self.handle.address().add(ifindex.get(), address, prefix_length);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(ADDRESS_PROTOCOL));
        if let Some(options) = options {
            *request.message_mut() = options.message();
        } else if address.is_ipv6() {
            // Another host has the address, or had it until now. Duplicate address detection (RFC 4862 5.4) would find
            // that host, and would take a second in any case. RFC 9568 8.2 (conformance 57): a virtual address is
            // installed without it.
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            // The address stays valid but is deprecated, so this host does not choose it as the source of its own
            // connections (RFC 6724 5, rule 3).
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_valid, lifetimes.ifa_preferred) = (u32::MAX, 0);
            attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        match request.execute().await {
            Ok(()) => Ok(AddressOutcome::Added),
            Err(source) if has_errno(&source, libc::EEXIST) => Ok(AddressOutcome::Existed),
            Err(source) => {
                let place = format!("{address}/{prefix_length} on {interface}");
                Err(NetError::Address { verb: "add", place, source })
            }
        }
    }

    /// Lists the addresses of all interfaces, in the kernel's order.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn addresses(&self) -> Result<Vec<FoundAddress>, NetError> {
        let found = |message: AddressMessage| {
            Some(FoundAddress {
                placed: placed(&message)?,
                ours: is_ours(&message),
                failed: has_flag(&message, AddressFlags::Dadfailed),
                secondary: has_flag(&message, AddressFlags::Secondary),
                message,
            })
        };
        Ok(self.address_messages().await?.into_iter().filter_map(found).collect())
    }

    /// Removes these addresses in this order, whoever has added them. Returns the results in the same order. An address
    /// that is already gone counts as removed.
    pub async fn take_off(&self, found: Vec<(FoundAddress, &str)>) -> Vec<Result<(), NetError>> {
        let interfaces: BTreeSet<&str> = found.iter().map(|(_, interface)| *interface).collect();
        let _promote: Vec<_> = interfaces.into_iter().map(promote::Secondaries::on).collect();
        let removals = found.into_iter().map(|(found, interface)| {
            let (_, address, prefix_length) = found.placed;
            self.delete(interface, found.message, address, prefix_length)
        });
        stream::iter(removals).buffered(IN_FLIGHT).collect().await
    }

    /// Removes addresses that [`Self::add_addresses`] has added, each given with the name of its interface. An address
    /// that is gone, or that something else has added again meanwhile, is left alone. Continues after a failure.
    /// Returns the addresses that could not be removed, with the reasons.
    ///
    /// # Errors
    /// The kernel refuses to list addresses.
    pub async fn remove_addresses(
        &self,
        added: &BTreeMap<Placed, &str>,
    ) -> Result<BTreeMap<Placed, NetError>, NetError> {
        let messages = self.address_messages().await?;
        let interfaces: BTreeSet<&str> = added.values().copied().collect();
        let _promote: Vec<_> = interfaces.into_iter().map(promote::Secondaries::on).collect();
        // Secondary addresses go before their primary one. Otherwise the kernel would promote a secondary address at
        // each removal, and look at all others for that.
        let removals = messages.into_iter().rev().filter_map(|message| {
            let found = interface_address(&message).filter(|found| found.ours || !*MARKS_LAST)?;
            let placed = (IfIndex::new(message.header.index), found.address, found.prefix_length);
            let interface = *added.get(&placed)?;
            Some(async move {
                let outcome = self.delete(interface, message, found.address, found.prefix_length).await;
                outcome.err().map(|error| (placed, error))
            })
        });
        Ok(stream::iter(removals).buffered(IN_FLIGHT).filter_map(ready).collect().await)
    }

    /// Removes every address that an agent has left on any interface, except those in `keep` (interface index,
    /// address). Continues after a failure. Returns what was removed, as `address/prefix on
    /// interface`, and every failure.
    ///
    /// # Errors
    /// The kernel refuses to list addresses or interfaces.
    pub async fn remove_stale_addresses(
        &self,
        keep: &BTreeSet<(IfIndex, IpAddr)>,
    ) -> Result<(Vec<String>, Vec<NetError>), NetError> {
        let stale: Vec<FoundAddress> = (self.addresses().await?.into_iter())
            .filter(|found| found.ours && !keep.contains(&(found.placed.0, found.placed.1)))
            .rev()
            .collect();
        if stale.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let interfaces = self.interfaces().await?;
        let names: BTreeMap<IfIndex, &str> =
            interfaces.iter().map(|known| (known.ifindex, known.name.as_str())).collect();
        let named = |found: FoundAddress| {
            let name = names.get(&found.placed.0).copied().unwrap_or("?");
            (found, name)
        };
        let places: Vec<String> = stale
            .iter()
            .map(|found| {
                let (ifindex, address, prefix_length) = found.placed;
                format!("{address}/{prefix_length} on {}", names.get(&ifindex).unwrap_or(&"?"))
            })
            .collect();
        let outcomes = self.take_off(stale.into_iter().map(named).collect()).await;
        let (mut removed, mut failures) = (Vec::new(), Vec::new());
        for (place, outcome) in places.into_iter().zip(outcomes).rev() {
            match outcome {
                Ok(()) => removed.push(place),
                Err(error) => failures.push(error),
            }
        }
        Ok((removed, failures))
    }

    /// Opens the interface's unicast filter for frames to `mac`. It stays open when this process ends. Returns false if
    /// something else has opened it already.
    ///
    /// # Errors
    /// The kernel refuses the entry.
    pub async fn open_unicast_filter(
        &self,
        interface: &str,
        ifindex: IfIndex,
        mac: MacAddress,
    ) -> Result<bool, NetError> {
        let request = self
            .handle
            .neighbours()
            .add_bridge(ifindex.get(), &mac.0)
            .flags(NeighbourFlags::Own)
            .state(NeighbourState::Permanent);
        match request.execute().await {
            Ok(()) => Ok(true),
            Err(source) if has_errno(&source, libc::EEXIST) => Ok(false),
            Err(source) => Err(NetError::UnicastFilter { verb: "open", interface: interface.to_owned(), mac, source }),
        }
    }

    /// Opens several filters, each given as (interface name, index, MAC address). Returns the results in the same
    /// order.
    pub async fn open_unicast_filters(
        &self,
        filters: impl IntoIterator<Item = (&str, IfIndex, MacAddress)>,
    ) -> Vec<Result<bool, NetError>> {
        let openings =
            filters.into_iter().map(|(interface, ifindex, mac)| self.open_unicast_filter(interface, ifindex, mac));
        stream::iter(openings).buffered(IN_FLIGHT).collect().await
    }

    /// Undoes [`Self::open_unicast_filter`]. Succeeds if the filter is closed already, or if the interface is gone.
    ///
    /// # Errors
    /// The kernel refuses to remove the entry.
    pub async fn close_unicast_filter(
        &self,
        interface: &str,
        ifindex: IfIndex,
        mac: MacAddress,
    ) -> Result<(), NetError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = ifindex.get();
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        match self.handle.neighbours().del(message).execute().await {
            Err(source) if !has_errno(&source, libc::ENOENT) && !has_errno(&source, libc::ENODEV) => {
                Err(NetError::UnicastFilter { verb: "close", interface: interface.to_owned(), mac, source })
            }
            _ => Ok(()),
        }
    }

    async fn address_messages(&self) -> Result<Vec<AddressMessage>, NetError> {
        (self.handle.address().get().execute().try_collect().await)
            .map_err(|source| NetError::List { what: "addresses", source })
    }

    /// Removes one address, while the caller keeps a [`promote::Secondaries`]. Otherwise the kernel would remove the
    /// operator's addresses of the same subnet together with ours.
    async fn delete(
        &self,
        interface: &str,
        message: AddressMessage,
        address: IpAddr,
        prefix_length: u8,
    ) -> Result<(), NetError> {
        match self.handle.address().del(message).execute().await {
            Err(source) if !has_errno(&source, libc::EADDRNOTAVAIL) && !has_errno(&source, libc::ENODEV) => {
                let place = format!("{address}/{prefix_length} on {interface}");
                Err(NetError::Address { verb: "remove", place, source })
            }
            _ => Ok(()),
        }
    }
}
