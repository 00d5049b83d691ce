//! Opens what each virtual router needs on its interface: sockets to send with and multicast groups to receive from.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use xvrrp_common::units::{Family, IfIndex};
use xvrrp_net::{Interface, InterfaceSender, Memberships, PacketSocket, UnicastSocket};

use crate::election::{AnnouncedDevice, Instance, InstanceConfig, MapEntry};
use crate::identity::{PerRouter, RouterIndex};
use crate::plan::{Plan, Plans};

/// The kernel refuses what a virtual router needs. Displays with the kernel's error, because it is also the reason, in
/// one line, why the virtual router waits.
#[derive(Debug, thiserror::Error)]
pub enum EquipmentError {
    #[error("cannot send on {interface}: {error}")]
    Send { interface: String, error: io::Error },
    #[error("cannot send to {peer} on {interface}: {error}")]
    SendTo { peer: IpAddr, interface: String, error: io::Error },
    #[error("cannot join multicast groups on {interface}: {error}")]
    Join { interface: String, error: io::Error },
}

/// Sockets that one virtual router sends with.
#[derive(Debug)]
pub struct Sockets {
    frames: InterfaceSender,
    /// For announcements on the other interfaces that have addresses, in the order of the plan.
    devices: Vec<InterfaceSender>,
    /// One socket for each peer, so that packets that wait for one peer take no room from the adverts for another.
    peers: Vec<UnicastSocket>,
}

impl Sockets {
    /// Opens the sockets of one virtual router.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses a socket.
    pub fn open(plan: &Plan<'_>, socket: &Arc<PacketSocket>) -> Result<Self, EquipmentError> {
        let Interface { name, ifindex, .. } = plan.interface;
        let on = |interface: &Interface| {
            let failed = |error| EquipmentError::Send { interface: interface.name.clone(), error };
            socket.on(interface.ifindex).map_err(failed)
        };
        let frames = on(plan.interface)?;
        let devices = plan.announced_devices().map(|device| on(device.interface)).collect::<Result<_, _>>()?;
        let peers = plan.unicast_peers.iter().map(|peer| {
            let peer = peer.address;
            let failed = |error| EquipmentError::SendTo { peer, interface: name.clone(), error };
            UnicastSocket::open(name, *ifindex, peer).map_err(failed)
        });
        Ok(Self { frames, devices, peers: peers.collect::<Result<_, _>>()? })
    }
}

/// Returns how many files the virtual routers need at most. All of them send frames by one socket.
pub fn files(plans: &[Plan<'_>]) -> usize {
    let mut joined_by = BTreeSet::new();
    let sockets = plans.iter().map(|plan| {
        let joins = [joins_ipv4(plan, &joined_by), joins_ipv6(plan)];
        if joins_ipv4(plan, &joined_by) {
            joined_by.insert(plan.interface.ifindex);
        }
        // During a reload, the memberships of the previous agent end after ours have begun.
        plan.unicast_peers.len() + 2 * joins.into_iter().filter(|joins| *joins).count()
    });
    let interfaces: BTreeSet<IfIndex> = plans.iter().map(|plan| plan.interface.ifindex).collect();
    // Each interface has the links of both programs.
    sockets.sum::<usize>() + 2 * interfaces.len()
}

/// Whether a virtual router has a socket that joins the group of adverts over IPv4: the first one of an interface joins
/// for all.
fn joins_ipv4(plan: &Plan<'_>, joined_by: &BTreeSet<IfIndex>) -> bool {
    let multicast = plan.family == Family::Ipv4 && plan.unicast_peers.is_empty();
    multicast && !joined_by.contains(&plan.interface.ifindex)
}

/// Whether a virtual router has a socket that joins groups over IPv6: that of adverts, and those of its addresses.
fn joins_ipv6(plan: &Plan<'_>) -> bool {
    plan.family == Family::Ipv6 || plan.addresses_here().any(|address| address.is_ipv6())
}

/// Joins the multicast groups of one virtual router, for as long as the returned value exists.
///
/// Over IPv4 the first virtual router of an interface joins for all of them. `joined_by` holds the interfaces that have
/// joined.
///
/// # Errors
/// The kernel refuses to join a group.
pub fn memberships(plan: &Plan<'_>, joined_by: &mut BTreeSet<IfIndex>) -> Result<Vec<Memberships>, EquipmentError> {
    let Interface { name, ifindex, .. } = plan.interface;
    let failed = |error| EquipmentError::Join { interface: name.clone(), error };
    let mut memberships = Vec::new();
    if joins_ipv4(plan, joined_by) {
        memberships.push(Memberships::ipv4(*ifindex).map_err(failed)?);
        joined_by.insert(*ifindex);
    }
    if joins_ipv6(plan) {
        let adverts = plan.family == Family::Ipv6 && plan.unicast_peers.is_empty();
        memberships.push(Memberships::ipv6(*ifindex, adverts, plan.addresses_here()).map_err(failed)?);
    }
    Ok(memberships)
}

/// Creates the state machines with their sockets.
///
/// The virtual routers on `held` interfaces start once the state of their interface is reported to them. Those in
/// `resting`, given by their numbers, do not take the role yet.
///
/// # Errors
/// The advert of a virtual router cannot be built.
pub fn instances(
    plans: &Plans<'_>,
    sockets: Vec<Sockets>,
    held: &BTreeSet<IfIndex>,
    resting: &BTreeSet<RouterIndex>,
) -> anyhow::Result<PerRouter<Instance>> {
    let instance = |((plan, partners), Sockets { frames, devices, peers }): ((&Plan<'_>, _), Sockets)| {
        let devices = plan.announced_devices().zip(devices).map(|(device, sender)| AnnouncedDevice {
            ifindex: device.interface.ifindex,
            mac: device.interface.mac,
            addresses: device.addresses.clone(),
            sender,
        });
        let Interface { ifindex, link, .. } = plan.interface;
        let config = InstanceConfig {
            index: plan.index,
            partners,
            partner_absent: plans.lacks_partner(plan),
            addresses: plan.addresses_here().collect(),
            devices: devices.collect(),
            advertised: plan.config.advertised_of(plan.family).map(|vip| vip.address).collect(),
            sender: frames,
            peers,
            needs_carrier: plan.config.carrier_fault,
            link: *link,
            held: held.contains(ifindex),
            kept: !resting.contains(&plan.index),
            checks: plan.verdict.checks,
        };
        let entry = MapEntry::new(plan.key, plan.kernel(), plan.resume);
        let machine = xvrrp_vrrp::RouterConfig { delayed_until: plans.delayed_until, ..plan.machine() };
        let instance = Instance::new(config, machine, entry);
        instance.with_context(|| format!("virtual_router \"{}\": cannot build its advert", plan.config.name))
    };
    plans.ready.iter().zip(plans.partners()).zip(sockets).map(instance).collect()
}
