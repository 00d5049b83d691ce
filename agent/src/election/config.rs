//! What a virtual router is started with.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use nix::errno::Errno;
use xvrrp_common::abi::{self, RouterKey};
use xvrrp_common::units::{Instant, Interval};
use xvrrp_net::{InterfaceSender, UnicastSocket};
use xvrrp_vrrp::{Checks, Config};

use super::Problem;
use crate::identity::RouterIndex;

/// How long after a problem with others' adverts the next one is told at the earliest.
pub(super) const PROBLEM_PAUSE: Interval = Interval::from_millis(10_000);

/// What a virtual router of ours is made of.
#[derive(Debug)]
pub struct InstanceConfig {
    /// Its number in the election.
    pub index: RouterIndex,
    /// The numbers of all others that change role together with it.
    pub partners: Arc<[RouterIndex]>,
    /// One more should, which is not here as it has no interface.
    pub partner_absent: bool,
    pub key: RouterKey,
    /// As the kernel half sees it, in the role [`abi::Router::ROLE_INITIALIZE`], or with [`Self::resume`] Active.
    pub kernel: abi::Router,
    pub machine: Config,
    /// The virtual addresses, of the primary address's family.
    pub addresses: Vec<IpAddr>,
    pub sender: InterfaceSender,
    /// Where adverts go, instead of to the group, if there are any.
    pub peers: Vec<UnicastSocket>,
    /// Go on as Active, on a lease that ends then.
    pub resume: Option<Instant>,
    /// Leave the role to others from the start.
    pub stands_by: bool,
    /// Whether the interface is up and has a carrier at the start.
    pub running: bool,
    /// Start only once something is told of the interface.
    pub held: bool,
    /// Whether what has to be on this host is expected to stay there.
    pub kept: bool,
    /// What the tracked checks say at the start.
    pub checks: Checks,
}

impl InstanceConfig {
    /// Sends an advert to the group or to every unicast peer, whatever becomes of it at the others. A failure at one is a
    /// failure: that router would take over beside us.
    pub(super) fn send(&self, advert: &[Vec<u8>]) -> Result<(), Problem> {
        if self.peers.is_empty() {
            return advert.iter().try_for_each(|frame| self.sender.send(frame)).map_err(cannot_send);
        }
        let sent = self.peers.iter().zip(advert).map(|(peer, packet)| {
            peer.send(packet).map_err(|error| Problem::CannotSendTo { peer: peer.peer(), error: errno(&error) })
        });
        sent.fold(Ok(()), Result::and)
    }
}

pub(super) fn cannot_send(error: io::Error) -> Problem {
    Problem::CannotSend(errno(&error))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
