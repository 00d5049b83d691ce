//! A netlink socket that carries many requests in one system call.
//!
//! The kernel carries out a request while it is being sent, so nothing is gained by waiting for the answer elsewhere. A
//! batch is sent as a whole, and the kernel answers the requests that fail, and the last one.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::{fmt, io};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{InfoData, InfoVrf, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use nix::net::if_::if_indextoname;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout};
use nix::sys::time::TimeVal;
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use xvrrp_common::units::{Family, IfIndex};

use super::entry::{HostEntry, Insertion, LinkFacts, Listing};
use super::numbers::{PROTOCOL, number};
use crate::NetError;
use crate::promote::Secondaries;

/// Maximum number of requests in one system call: as many as keep the kernel busy for a millisecond or two.
pub const BATCH: usize = 256;

/// Room for the answers to a whole batch, each of which the kernel counts with its overhead of about a kilobyte.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Room for one message of a listing, which the kernel limits to this.
const MESSAGE_BUFFER: usize = 64 << 10;
/// How long an answer may take. The kernel has answered when the request has been sent.
const PATIENCE: TimeVal = TimeVal::new(2, 0);
/// How often a listing is repeated that something has changed meanwhile.
const REPETITIONS: usize = 5;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the reason in words.
const REASON: u16 = 1;
/// Length of the header of the refused request, in an answer.
const REQUEST_HEADER: usize = 16;

/// A request for a change.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Add this entry, a route at this place.
    Add(&'a HostEntry, Insertion),
    /// Remove this entry. Only ours are removed.
    Remove(&'a HostEntry),
}

/// What has become of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The entry was added or removed, or it was not there.
    Done,
    /// The entry was there already, or another one with the same key.
    Existed,
}

/// Why the kernel refuses a [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    errno: i32,
    reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        if self.reason.is_empty() { write!(f, "{error}") } else { write!(f, "{} ({error})", self.reason) }
    }
}

/// The socket, in the namespace of the thread that opened it.
pub struct RoutingSocket {
    socket: Socket,
    /// Its address, with which the kernel marks the notifications of what was requested here.
    port: u32,
    sequence: u32,
    received: Vec<u8>,
}

impl fmt::Debug for RoutingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingSocket").field("port", &self.port).finish_non_exhaustive()
    }
}

impl RoutingSocket {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel gives no netlink socket.
    pub fn open() -> Result<Self, NetError> {
        let open = || -> io::Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            let port = socket.bind_auto()?.port_number();
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel lists only what is ours, gives reasons in words, and does not repeat the requests.
            socket.set_netlink_get_strict_chk(true)?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // SAFETY: the descriptor belongs to `socket`, which outlives this borrow.
            let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            // Without CAP_NET_ADMIN there is less room, but then the kernel refuses all changes anyway.
            let _ = setsockopt(&descriptor, RcvBufForce, &RECEIVE_BUFFER);
            setsockopt(&descriptor, ReceiveTimeout, &PATIENCE)?;
            Ok(Self { socket, port, sequence: 0, received: Vec::with_capacity(MESSAGE_BUFFER) })
        };
        open().map_err(NetError::Open)
    }

    /// Returns the address of the socket, for [`RoutingMonitor`](super::RoutingMonitor).
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Makes changes in this order, at most [`BATCH`] of them. Goes on after a refusal; returns the outcomes in the
    /// same order.
    ///
    /// # Errors
    /// The requests cannot be sent, or the kernel does not answer.
    pub fn change(&mut self, changes: &[Change<'_>]) -> Result<Vec<Result<Outcome, Refusal>>, NetError> {
        let mut outcomes = vec![Ok(Outcome::Done); changes.len()];
        let Some(last) = changes.len().checked_sub(1) else { return Ok(outcomes) };
        let _promote = promote_secondaries(changes);
        let first = self.sequence;
        let mut requests = Vec::with_capacity(changes.len() * 96);
        for (index, change) in changes.iter().enumerate() {
            let ack = if index == last { NLM_F_ACK } else { 0 };
            self.write(&mut requests, change.message(), change.flags() | ack);
        }
        let failed = |source| NetError::Socket { what: "routes and rules", source };
        self.socket.send(&requests, 0).map_err(failed)?;
        loop {
            for answer in self.receive().map_err(failed)? {
                let NetlinkPayload::Error(error) = answer.payload else { continue };
                let index = usize::try_from(answer.header.sequence_number.wrapping_sub(first)).unwrap_or(usize::MAX);
                let (Some(outcome), Some(change)) = (outcomes.get_mut(index), changes.get(index)) else { continue };
                *outcome = change.outcome(&error);
                if index == last {
                    return Ok(outcomes);
                }
            }
        }
    }

    /// Lists what is ours.
    ///
    /// # Errors
    /// The kernel does not list it, or it changes all the time.
    pub fn list(&mut self, listing: Listing) -> Result<Vec<HostEntry>, NetError> {
        let (what, request) = match listing {
            Listing::Addresses(family) => {
                let mut message = AddressMessage::default();
                message.header.family = number(family);
                ("addresses", RouteNetlinkMessage::GetAddress(message))
            }
            Listing::Rules(family) => {
                let mut message = RuleMessage::default();
                message.header.family = number(family);
                ("rules", RouteNetlinkMessage::GetRule(message))
            }
            Listing::Routes(family) => {
                let mut message = RouteMessage::default();
                message.header.address_family = number(family);
                message.header.protocol = RouteProtocol::Other(PROTOCOL);
                ("routes", RouteNetlinkMessage::GetRoute(message))
            }
        };
        // A kernel without IPv6 would list the other family.
        let is_wanted = |entry: &HostEntry| listing.family() == entry.family();
        let found = self.dump(what, &request, HostEntry::read)?;
        Ok(found.into_iter().filter(is_wanted).collect())
    }

    /// Lists all interfaces.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn links(&mut self) -> Result<Vec<LinkFacts>, NetError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.dump("interfaces", &RouteNetlinkMessage::GetLink(message), |message| match message {
            RouteNetlinkMessage::NewLink(link) => LinkFacts::read(link),
            _ => None,
        })
    }

    /// Lists something, again if it has changed meanwhile.
    fn dump<T>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetError> {
        let failed = |source| NetError::Socket { what, source };
        for _ in 0..REPETITIONS {
            if let Some(found) = self.dump_once(request, &read).map_err(failed)? {
                return Ok(found);
            }
        }
        Err(failed(io::Error::new(io::ErrorKind::WouldBlock, "they change all the time")))
    }

    /// Lists something. Returns `None` if it has changed meanwhile.
    fn dump_once<T>(
        &mut self,
        request: &RouteNetlinkMessage,
        read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        self.write(&mut bytes, request.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&bytes, 0)?;
        let (mut found, mut interrupted) = (Vec::new(), false);
        loop {
            for answer in self.receive()?.into_iter().filter(|answer| answer.header.sequence_number == sequence) {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.extend(read(&message)),
                    NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(found)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Appends a request, with the next number.
    fn write(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        request.header.sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        request.finalize();
        let begin = bytes.len();
        // The kernel expects each request at a multiple of four.
        bytes.resize(begin + request.buffer_len().next_multiple_of(4), 0);
        if let Some(room) = bytes.get_mut(begin..begin + request.buffer_len()) {
            request.serialize(room);
        }
    }

    /// Receives what the kernel sends at once. A message that cannot be parsed is left out.
    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        /// Where a message has its length.
        const LENGTH: usize = 4;
        self.received.clear();
        self.received.reserve(MESSAGE_BUFFER);
        self.socket.recv(&mut self.received, 0)?;
        let (mut messages, mut rest) = (Vec::new(), &self.received[..]);
        while let Some(length) = rest.first_chunk::<LENGTH>() {
            let length = u32::from_ne_bytes(*length) as usize;
            let Some(message) = rest.get(..length).filter(|message| message.len() >= REQUEST_HEADER) else { break };
            messages.extend(NetlinkMessage::deserialize(message).ok());
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Lets the kernel keep the other addresses of a subnet when one of ours is removed, for as long as the result exists.
fn promote_secondaries(changes: &[Change<'_>]) -> Vec<Secondaries> {
    let mut interfaces: Vec<IfIndex> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Remove(HostEntry::Address(address)) => Some(address.interface),
            _ => None,
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    let names = interfaces.into_iter().filter_map(|interface| if_indextoname(interface.get()).ok());
    names.map(|name| Secondaries::on(&name.to_string_lossy())).collect()
}

impl Change<'_> {
    fn message(&self) -> RouteNetlinkMessage {
        match self {
            Self::Add(HostEntry::Address(address), _) => RouteNetlinkMessage::NewAddress(address.message()),
            Self::Add(HostEntry::Rule(rule), _) => RouteNetlinkMessage::NewRule(rule.message()),
            Self::Add(HostEntry::Route(route), _) => RouteNetlinkMessage::NewRoute(route.message()),
            Self::Remove(HostEntry::Address(address)) => RouteNetlinkMessage::DelAddress(address.message()),
            Self::Remove(HostEntry::Rule(rule)) => RouteNetlinkMessage::DelRule(rule.message()),
            Self::Remove(HostEntry::Route(route)) => RouteNetlinkMessage::DelRoute(route.message()),
        }
    }

    fn flags(&self) -> u16 {
        NLM_F_REQUEST
            | match self {
                Self::Remove(_) => 0,
                // IPv6 would merge the route with others of its key, of whatever protocol.
                Self::Add(HostEntry::Route(route), _) if route.key.family() == Family::Ipv6 => {
                    NLM_F_CREATE | NLM_F_EXCL
                }
                Self::Add(HostEntry::Route(_), Insertion::First) => NLM_F_CREATE,
                Self::Add(HostEntry::Route(_), Insertion::Last) => NLM_F_CREATE | NLM_F_APPEND,
                Self::Add(..) => NLM_F_CREATE | NLM_F_EXCL,
            }
    }

    fn outcome(&self, error: &ErrorMessage) -> Result<Outcome, Refusal> {
        let errno = -error.raw_code();
        match (self, errno) {
            (_, 0) => Ok(Outcome::Done),
            (Self::Add(..), libc::EEXIST) => Ok(Outcome::Existed),
            (Self::Remove(_), libc::ESRCH | libc::ENOENT | libc::ENODEV | libc::EADDRNOTAVAIL) => Ok(Outcome::Done),
            _ => Err(Refusal { errno, reason: reason(&error.header).unwrap_or_default() }),
        }
    }
}

/// Returns the reason in words that an answer has behind the header of the request.
fn reason(answer: &[u8]) -> Option<String> {
    let mut rest = answer.get(REQUEST_HEADER..)?;
    loop {
        let ([length, kind], _) = rest.as_chunks::<2>().0.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes(*kind) == REASON {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

impl LinkFacts {
    fn read(message: &LinkMessage) -> Option<Self> {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
        let information = message.attributes.iter().filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(information) => Some(information),
            _ => None,
        });
        let vrf_table = information.flatten().find_map(|information| match information {
            LinkInfo::Data(InfoData::Vrf(data)) => data.iter().find_map(|data| match data {
                InfoVrf::TableId(table) => Some(*table),
                _ => None,
            }),
            _ => None,
        });
        let up = message.header.flags.contains(LinkFlags::Up);
        Some(Self { name, ifindex: IfIndex::new(message.header.index), up, vrf_table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_in_words_is_found_behind_the_header_of_the_request() {
        let mut answer = vec![0; REQUEST_HEADER];
        let attribute = |kind: u16, text: &[u8]| {
            let length = u16::try_from(4 + text.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(text);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        answer.extend(attribute(2, &[1, 2, 3]));
        assert_eq!(reason(&answer), None);
        answer.extend(attribute(REASON, b"Nexthop has invalid gateway\0"));
        assert_eq!(reason(&answer).as_deref(), Some("Nexthop has invalid gateway"));
        answer.truncate(30);
        assert_eq!(reason(&answer), None, "a message that is cut short");
        assert_eq!(reason(&[]), None);
    }

    #[test]
    fn a_refusal_says_why_in_the_words_of_the_kernel() {
        let refusal = Refusal { errno: libc::ENETUNREACH, reason: "Nexthop has invalid gateway".to_owned() };
        let expected = "Nexthop has invalid gateway (Network is unreachable (os error 101))";
        assert_eq!(refusal.to_string(), expected);
        let refusal = Refusal { errno: libc::ENODEV, reason: String::new() };
        assert_eq!(refusal.to_string(), "No such device (os error 19)");
    }
}
