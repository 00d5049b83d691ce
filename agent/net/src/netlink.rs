//! Interfaces, addresses and unicast filters, by rtnetlink.

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

/// Whether the kernel keeps that mark. If it does not, an equal address of another owner looks like ours.
pub static MARKS_LAST: LazyLock<bool> = LazyLock::new(|| {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let mut numbers =
        release.iter().flat_map(|release| release.split(['.', '-'])).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5_u32, 18_u32)
});

/// An address as the kernel lists it.
#[derive(Debug)]
pub struct FoundAddress {
    /// The address, and where it is.
    pub placed: Placed,
    /// Put there by an xvrrp agent.
    pub ours: bool,
    /// Duplicate detection found another host that has it (RFC 4862 5.4.5): this one does not answer at it.
    pub failed: bool,
    /// IPv4: another one of its subnet came before it.
    pub secondary: bool,
    message: AddressMessage,
}

/// How many requests the kernel gets before its answers are read: few enough for all answers to have room.
const IN_FLIGHT: usize = 64;

/// Whether an address was added, or existed before and must not be removed by this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOutcome {
    /// It was added.
    Added,
    /// It existed before.
    Existed,
}

/// A connection to the kernel's routing netlink, in the namespace of the thread that opened it.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens the connection and drives it on the current tokio runtime.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Lists all interfaces with their addresses.
    ///
    /// # Errors
    /// The kernel does not list interfaces or addresses.
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

    /// Adds addresses to interfaces (with their names), in this order, and marks them as ours. Continues
    /// after a failure. Returns the outcomes in the same order.
    pub async fn add_addresses(
        &self,
        addresses: impl IntoIterator<Item = (Placed, &str)>,
    ) -> Vec<Result<AddressOutcome, NetError>> {
        let additions = addresses.into_iter().map(|(placed, interface)| self.add_address(interface, placed));
        stream::iter(additions).buffered(IN_FLIGHT).collect().await
    }

    async fn add_address(
        &self,
        interface: &str,
        (ifindex, address, prefix_length): Placed,
    ) -> Result<AddressOutcome, NetError> {
        let mut request = self.handle.address().add(ifindex.get(), address, prefix_length);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(ADDRESS_PROTOCOL));
        if address.is_ipv6() {
            // Another host has the address, or had it until now. Duplicate address detection (RFC 4862 5.4) would find
            // that host, or take a second. RFC 9568 8.2 (conformance 57): a virtual address is installed without it.
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            // Always valid, but deprecated: this host does not choose it as the source of its own connections (RFC 6724
            // 5, rule 3).
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

    /// Lists all addresses that are on interfaces, in the kernel's order.
    ///
    /// # Errors
    /// The kernel does not list them.
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

    /// Removes these addresses, in this order, whoever has added them. Returns the outcomes in the same order; an
    /// address that is gone by then counts as removed.
    pub async fn take_off(&self, found: Vec<(FoundAddress, &str)>) -> Vec<Result<(), NetError>> {
        let interfaces: BTreeSet<&str> = found.iter().map(|(_, interface)| *interface).collect();
        let _promote: Vec<_> = interfaces.into_iter().map(promote::Secondaries::on).collect();
        let removals = found.into_iter().map(|(found, interface)| {
            let (_, address, prefix_length) = found.placed;
            self.delete(interface, found.message, address, prefix_length)
        });
        stream::iter(removals).buffered(IN_FLIGHT).collect().await
    }

    /// Removes addresses that [`Self::add_addresses`] has added to interfaces (with their names). An address that is
    /// gone, or that something else has added again in the meantime, is left alone. Continues after a failure. Returns
    /// the addresses that could not be removed, with the reasons.
    ///
    /// # Errors
    /// The kernel does not list addresses.
    pub async fn remove_addresses(
        &self,
        added: &BTreeMap<Placed, &str>,
    ) -> Result<BTreeMap<Placed, NetError>, NetError> {
        let messages = self.address_messages().await?;
        let interfaces: BTreeSet<&str> = added.values().copied().collect();
        let _promote: Vec<_> = interfaces.into_iter().map(promote::Secondaries::on).collect();
        // Secondary addresses before their primary one: each removal of a primary one makes the kernel promote the
        // next, which goes over all others.
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

    /// Removes every address that an agent added to any interface and did not remove before it ended, except those in
    /// `keep` (interface index, address). Continues after a failure. Returns what was removed, as `address/prefix`, and
    /// every failure.
    ///
    /// # Errors
    /// The kernel does not list addresses or interfaces.
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

    /// Lets frames for `mac` through the interface's unicast filter, beyond the life of this process. False if somebody
    /// else lets them through already.
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

    /// Opens many filters, each given as (interface, index, MAC), and returns the outcomes in the same order.
    pub async fn open_unicast_filters(
        &self,
        filters: impl IntoIterator<Item = (&str, IfIndex, MacAddress)>,
    ) -> Vec<Result<bool, NetError>> {
        let openings =
            filters.into_iter().map(|(interface, ifindex, mac)| self.open_unicast_filter(interface, ifindex, mac));
        stream::iter(openings).buffered(IN_FLIGHT).collect().await
    }

    /// Undoes [`Self::open_unicast_filter`]. It is not an error if the filter is closed or the interface is gone.
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

    /// With [`promote::Secondaries`]: without, the kernel would take the operator's addresses of the same subnet away
    /// with ours.
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
