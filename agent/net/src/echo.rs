//! Asks by ICMP or ICMPv6 echo whether a host answers (RFC 792, RFC 4443 4).

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use xvrrp_common::wire::checksum::Sum;

/// Number of the next [`Echo`]. Each has its own, so that none takes an answer that another one waits for.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Sends echo requests to one host.
#[derive(Debug)]
pub struct Echo {
    socket: AsyncFd<Socket>,
    v6: bool,
    identifier: u16,
    sequence: u16,
}

impl Echo {
    /// Opens a socket to the host. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// No ICMP socket to the target can be opened.
    pub fn open(target: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        // A connected socket receives only what its peer sends.
        socket.connect(&SocketAddr::new(target, 0).into())?;
        // Agents in different network namespaces of one host have different process ids.
        let process = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
        let identifier = process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the `Socket` owns its descriptor until it is dropped.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
        Ok(Self { socket, v6: target.is_ipv6(), identifier, sequence: 0 })
    }

    /// Sends a request and waits for its answer, without a time limit.
    ///
    /// # Errors
    /// The request cannot be sent or the socket cannot be read.
    pub async fn ask(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.message(if self.v6 { 128 } else { 8 });
        // An ICMP error about an earlier request. The kernel stores it and reports it once.
        let _ = self.socket.get_ref().take_error();
        self.socket.get_ref().send(&request)?;
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(received) = ready.try_io(|socket| receive(socket.get_ref()))
                && self.is_answer(&received?)
            {
                return Ok(());
            }
        }
    }

    /// Builds a request. For ICMPv6 the kernel fills in the checksum, which covers a pseudo-header (RFC 3542 3.1).
    fn message(&self, kind: u8) -> [u8; 8] {
        let ([i, j], [s, t]) = (self.identifier.to_be_bytes(), self.sequence.to_be_bytes());
        let [c, d] = if self.v6 { [0; 2] } else { (!Sum::of(&[kind, 0, 0, 0, i, j, s, t]).get()).to_be_bytes() };
        [kind, 0, c, d, i, j, s, t]
    }

    fn is_answer(&self, packet: &[u8]) -> bool {
        // A raw socket of IPv4 receives the IP header too (raw(7)).
        let header = if self.v6 { 0 } else { packet.first().map_or(0, |first| usize::from(first & 0xf) * 4) };
        let answer = self.message(if self.v6 { 129 } else { 0 });
        let message = packet.get(header..).unwrap_or_default();
        // Compares everything but the checksum, which the kernel has verified.
        message.get(..2) == answer.get(..2) && message.get(4..8) == answer.get(4..8)
    }
}

fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 128];
    let length = socket.recv(&mut buffer)?;
    // SAFETY: `recv` has filled in this number of bytes.
    Ok(buffer.iter().take(length).map(|byte| unsafe { byte.assume_init() }).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn this_host_answers_itself() {
        for target in ["127.0.0.1", "::1"] {
            // Who runs the tests may lack the right to open a raw socket, and the host may lack IPv6.
            let Ok(mut echo) = Echo::open(target.parse().unwrap()) else { continue };
            for _ in 0..3 {
                tokio::time::timeout(Duration::from_secs(20), echo.ask()).await.expect(target).expect(target);
            }
        }
    }
}
