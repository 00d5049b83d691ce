//! What can go wrong with netlink.

use xvrrp_common::units::MacAddress;

/// What can go wrong with a request to the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No netlink socket can be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    /// The kernel does not list what was asked for.
    #[error("cannot list {what}: {source}")]
    List {
        /// In the plural: `addresses`.
        what: &'static str,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// An address can be neither added nor removed.
    #[error("cannot {verb} address {place}: {source}")]
    Address {
        /// What was asked for: `add` or `remove`.
        verb: &'static str,
        /// The address with its prefix length, and the interface.
        place: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// An interface's unicast filter can be neither opened nor closed for a MAC.
    #[error("cannot {verb} the unicast filter of {interface} for {mac}: {source}")]
    UnicastFilter {
        /// What was asked for: `open` or `close`.
        verb: &'static str,
        /// The interface's name.
        interface: String,
        /// The address that the filter lets through.
        mac: MacAddress,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
}

impl NetError {
    /// Returns whether the interface in question is gone.
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
