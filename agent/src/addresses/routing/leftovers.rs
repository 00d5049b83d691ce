//! What is done about routes, rules and static addresses while no agent runs.

use xvrrp_common::units::Family;
use xvrrp_config::StaticConfig;
use xvrrp_net::{BATCH, Change, Insertion, Listing, NetError, Refusal, RoutingSocket};

use super::render::Links;
use super::wish::Wish;

/// Numbers of routes and rules that were removed. Displays as `2 routes and 1 rule`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Number of routes.
    pub routes: usize,
    /// Number of rules.
    pub rules: usize,
}

impl std::fmt::Display for Leftovers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let Self { routes, rules } = *self;
        write!(f, "{routes} route{} and {rules} rule{}", plural(routes), plural(rules))
    }
}

/// Why an agent's routes or rules are still there.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// Netlink does not work.
    #[error(transparent)]
    Netlink(#[from] NetError),
    /// The kernel does not remove one.
    #[error("cannot remove routes or rules: {0}")]
    Refused(Refusal),
}

/// Removes all routes and rules in this network namespace that are an agent's.
///
/// # Errors
/// The kernel does not list them, or refuses to remove one. All others are removed even then.
pub fn remove_leftovers() -> Result<Leftovers, LeftoversError> {
    let mut socket = RoutingSocket::open()?;
    let routes = remove(&mut socket, Listing::Routes)?;
    let rules = remove(&mut socket, Listing::Rules)?;
    Ok(Leftovers { routes, rules })
}

fn remove(socket: &mut RoutingSocket, listing: impl Fn(Family) -> Listing) -> Result<usize, LeftoversError> {
    let (mut removed, mut refused) = (0, None);
    for family in [Family::Ipv4, Family::Ipv6] {
        for entries in socket.list(listing(family))?.chunks(BATCH) {
            let changes: Vec<_> = entries.iter().map(Change::Remove).collect();
            for outcome in socket.change(&changes)? {
                match outcome {
                    Ok(_) => removed += 1,
                    Err(refusal) => refused = Some(refusal),
                }
            }
        }
    }
    refused.map_or(Ok(removed), |refusal| Err(LeftoversError::Refused(refusal)))
}

/// Adds the static addresses that are missing. The thread of the addresses tries those again that cannot be added now.
///
/// # Errors
/// Netlink does not work.
pub fn add_static_addresses(config: &StaticConfig) -> Result<(), NetError> {
    let mut socket = RoutingSocket::open()?;
    let links = Links::new(socket.links()?);
    let addresses = Wish::static_addresses(config).filter_map(|wish| wish.wanted.render(&links).ok());
    let addresses: Vec<_> = addresses.collect();
    for addresses in addresses.chunks(BATCH) {
        let changes: Vec<_> = addresses.iter().map(|address| Change::Add(address, Insertion::Alone)).collect();
        socket.change(&changes)?;
    }
    Ok(())
}
