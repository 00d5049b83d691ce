//! Errors of netlink.

use xvrrp_common::units::MacAddress;

/// A netlink request has failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No netlink socket can be opened.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    /// The kernel refused to list something.
    #[error("cannot list {what}: {source}")]
    List {
        /// What was to be listed, in the plural: `addresses`.
        what: &'static str,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The socket for routes and rules does not work.
    #[error("{what} cannot be listed or changed by netlink: {source}")]
    Socket {
        /// In the plural: `routes`.
        what: &'static str,
        /// The error of the system call, or the kernel's answer.
        source: std::io::Error,
    },
    /// The kernel refused to add or to remove an address.
    #[error("cannot {verb} address {place}: {source}")]
    Address {
        /// The request: `add` or `remove`.
        verb: &'static str,
        /// The address with its prefix length, and the interface.
        place: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// The kernel refused to open or to close an interface's unicast filter for a MAC address.
    #[error("cannot {verb} the unicast filter of {interface} for {mac}: {source}")]
    UnicastFilter {
        /// The request: `open` or `close`.
        verb: &'static str,
        /// The interface's name.
        interface: String,
        /// The MAC address that the filter lets through.
        mac: MacAddress,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
}

impl NetError {
    /// Returns whether the request failed because its interface is gone.
    pub fn is_without_interface(&self) -> bool {
        match self {
            Self::Address { source, .. } | Self::UnicastFilter { source, .. } => has_errno(source, libc::ENODEV),
            Self::Open(_) | Self::List { .. } | Self::Socket { .. } => false,
        }
    }
}

pub(super) fn has_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}
