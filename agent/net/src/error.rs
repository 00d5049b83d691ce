//! What can go wrong with netlink.

use xvrrp_common::units::MacAddress;

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    #[error("cannot list {what}: {source}")]
    List { what: &'static str, source: rtnetlink::Error },
    /// `place` is the address with its prefix length, and the interface.
    #[error("cannot {verb} address {place}: {source}")]
    Address { verb: &'static str, place: String, source: rtnetlink::Error },
    #[error("cannot {verb} the unicast filter of {interface} for {mac}: {source}")]
    UnicastFilter { verb: &'static str, interface: String, mac: MacAddress, source: rtnetlink::Error },
}

impl NetError {
    /// Whether the interface in question is gone.
    pub fn is_without_interface(&self) -> bool {
        match self {
            Self::Address { source, .. } | Self::UnicastFilter { source, .. } => has_errno(source, libc::ENODEV),
            Self::Open(_) | Self::List { .. } => false,
        }
    }
}

pub(super) fn has_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}
