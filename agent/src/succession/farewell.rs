//! Gives up the roles of virtual routers that a predecessor had and that are no longer configured.
//!
//! An advert with priority 0 gives up each role, as a stop does (RFC 9568 6.4.3), so that another router takes over
//! within its Skew_Time. The predecessor may have crashed, and does not know the new configuration. The advert is
//! therefore assembled from the maps that the predecessor has left.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use xvrrp_common::abi::{self, Router, RouterKey};
use xvrrp_common::units::{Family, IfIndex, Interval, MacAddress, Priority, Version, Vrid};
use xvrrp_common::wire::vrrp::{ChecksumForm, IpAddress};
use xvrrp_dataplane::Retained;
use xvrrp_net::{Interface, PacketSocket, UnicastSocket};

use crate::addresses;
use crate::election::{Advertised, ElectionRequest};

/// Longest wait for the removal of addresses.
const PATIENCE: Duration = Duration::from_secs(10);

/// Virtual router that was Active, whose lease still runs, and that is no longer configured.
#[derive(Debug)]
pub struct Removed {
    pub key: RouterKey,
    pub router: Router,
    /// Virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Sources from which it accepted adverts, if they were restricted. They include the unicast peers.
    pub sources: Vec<IpAddr>,
}

/// The removal of virtual routers that are no longer configured. A start postpones it until its own virtual routers
/// run.
#[derive(Debug)]
pub struct Farewell {
    pub removed: Vec<Removed>,
    pub retained: Retained,
}

impl Farewell {
    /// Waits until the addresses are off the host, then makes the kernel half forget what is no longer configured, and
    /// gives up its roles. No other router may take over before that, because two would serve.
    pub async fn say(
        self,
        addresses: mpsc::WeakUnboundedSender<addresses::AddressRequest>,
        election: mpsc::UnboundedSender<ElectionRequest>,
        interfaces: Vec<Interface>,
        socket: Arc<PacketSocket>,
    ) {
        addresses::settle(&addresses, PATIENCE).await;
        // The election may have ended by now.
        let _ = election.send(ElectionRequest::Forget(self.retained));
        send(self.removed, &interfaces, &socket);
    }
}

/// Why the advert that gives up a role cannot be sent.
#[derive(Debug, thiserror::Error)]
enum FarewellError {
    #[error("the maps hold an unknown version of VRRP")]
    Version,
    #[error("the maps hold VRID 0")]
    Vrid,
    /// The advert cannot be built, or the kernel refuses to send it.
    #[error(transparent)]
    Send(#[from] io::Error),
}

/// Sends one advert with priority 0 for each of the virtual routers.
///
/// An advert that cannot be sent is logged. The other routers then take over after Active_Down_Interval instead of
/// Skew_Time.
fn send(removed: Vec<Removed>, interfaces: &[Interface], socket: &Arc<PacketSocket>) {
    let by_index: BTreeMap<IfIndex, &Interface> = interfaces.iter().map(|it| (it.ifindex, it)).collect();
    for removed in removed {
        // No other router can be reached through an interface that is gone.
        let Some(interface) = by_index.get(&IfIndex::new(removed.key.ifindex)) else { continue };
        let vrid = removed.key.vrid;
        match removed.send(interface, socket) {
            Ok(()) => tracing::info!(interface = %interface.name, vrid, "no longer configured: gave up the role"),
            Err(error) => tracing::warn!(
                interface = %interface.name,
                vrid,
                "no longer configured, but the advert that gives up the role cannot be sent: {error}",
            ),
        }
    }
}

impl Removed {
    fn send(mut self, interface: &Interface, socket: &Arc<PacketSocket>) -> Result<(), FarewellError> {
        let Self { key, router, .. } = self;
        // The maps do not say which of the addresses adverts list, nor in which order. Over IPv6 the first one in an
        // advert must be link-local (RFC 9568 5.2.9).
        let max = match key.family {
            // A virtual router that accepts adverts without addresses sends such adverts too.
            _ if router.tolerated & Router::TOLERATES_NO_ADDRESS != 0 => 0,
            abi::FAMILY_IPV6 => <[u8; 16]>::MAX_ADDRESSES,
            _ => <[u8; 4]>::MAX_ADDRESSES,
        };
        self.addresses.retain(|address| Family::of(*address) as u8 == key.family);
        self.addresses.sort_by_key(|address| (!is_link_local(address), *address));
        self.addresses.truncate(max);
        let unicast = router.flags & Router::UNICAST != 0;
        let advertised = Advertised {
            mac: MacAddress(router.answer_mac),
            primary: abi::ip_address(key.family, router.primary),
            version: Version::from_wire(router.version).ok_or(FarewellError::Version)?,
            vrid: Vrid::new(key.vrid).ok_or(FarewellError::Vrid)?,
            interval: Interval::from_nanos(router.advert_interval),
            password: (router.auth_type != 0).then_some(router.auth_data),
            addresses: &self.addresses,
            peers: if unicast { self.sources } else { Vec::new() },
        };
        let plain = router.checksum == Router::CHECKSUM_PLAIN || router.flags & Router::SENDS_PLAIN != 0;
        let checksum = if plain { ChecksumForm::Plain } else { ChecksumForm::PseudoHeader };
        let frames = advertised.advert(Priority::RELEASE, checksum)?;
        if !unicast {
            let sender = socket.on(interface.ifindex)?;
            return Ok(frames.iter().try_for_each(|frame| sender.send(frame))?);
        }
        for (peer, packet) in advertised.peers.iter().zip(&frames) {
            UnicastSocket::open(&interface.name, interface.ifindex, *peer)?.send(packet)?;
        }
        Ok(())
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
