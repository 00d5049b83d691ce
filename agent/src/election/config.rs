//! The parts that a virtual router is started with.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use nix::errno::Errno;
use xvrrp_common::units::{IfIndex, Interval, MacAddress};
use xvrrp_net::{InterfaceSender, LinkState, UnicastSocket};
use xvrrp_vrrp::Checks;

use super::report::RouterProblem;
use crate::identity::RouterIndex;

/// Minimum time between two reports of problems.
pub(super) const PROBLEM_PAUSE: Interval = Interval::from_millis(10_000);

/// The parts and the initial state of a virtual router, apart from those of its state machine and its entry in the
/// maps.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its number in the election.
    pub index: RouterIndex,
    /// Numbers of its partners, the virtual routers that change role together with it.
    pub partners: Arc<[RouterIndex]>,
    /// Whether another partner is configured that cannot take part in the election.
    pub partner_absent: bool,
    /// The virtual addresses on the interface of the virtual router. Those that adverts do not list may be of the other
    /// family.
    pub addresses: Vec<IpAddr>,
    /// The other interfaces that have virtual addresses.
    pub devices: Vec<AnnouncedDevice>,
    /// Those of all addresses that adverts list, of the primary address's family.
    pub advertised: Vec<IpAddr>,
    pub sender: InterfaceSender,
    /// Unicast peers. If there are any, adverts go to them instead of to the multicast group.
    pub peers: Vec<UnicastSocket>,
    /// Whether it takes part only while the interface has a carrier.
    pub needs_carrier: bool,
    /// Whether the interface can carry frames at the start.
    pub link: LinkState,
    /// Whether it starts only with the first report about its interface.
    pub held: bool,
    /// Whether everything that it needs on this host is expected to stay there.
    pub kept: bool,
    /// The verdict of the tracked checks at the start.
    pub checks: Checks,
}

/// Another interface that has virtual addresses, which are announced there.
#[derive(Debug)]
pub struct AnnouncedDevice {
    pub ifindex: IfIndex,
    /// Its own MAC address, at which the addresses are reached.
    pub mac: MacAddress,
    pub addresses: Vec<IpAddr>,
    pub sender: InterfaceSender,
}

impl InstanceConfig {
    /// Sends an advert to the group or to every unicast peer. Fails if it cannot be sent to one of the peers, because
    /// that router would take over beside us. The other peers get it anyway.
    pub(super) fn send(&self, advert: &[Vec<u8>]) -> Result<(), RouterProblem> {
        if self.peers.is_empty() {
            return advert.iter().try_for_each(|frame| self.sender.send(frame)).map_err(cannot_send);
        }
        let sent = self.peers.iter().zip(advert).map(|(peer, packet)| {
            peer.send(packet).map_err(|error| RouterProblem::CannotSendTo { peer: peer.peer(), error: errno(&error) })
        });
        sent.fold(Ok(()), Result::and)
    }
}

pub(super) fn cannot_send(error: io::Error) -> RouterProblem {
    RouterProblem::CannotSend(errno(&error))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
