//! Echo services on a host of the lab. The answers over UDP say which host served.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt,
};

use super::service::Service;
use crate::Namespace;

/// The port that the services listen on.
pub const PORT: u16 = 7007;
/// Time between two looks of a service at whether it should end.
const TICK: Duration = Duration::from_millis(50);
/// How long a client may be silent; longer than any failover.
const IDLE: Duration = Duration::from_secs(20);

/// Receive buffer of a service and its client, in bytes.
pub(super) const BUFFER: usize = 8 << 20;

/// Answers each datagram with the datagram followed by this host's number. The answer comes from the address that was
/// asked.
#[derive(Debug)]
pub struct UdpEcho(#[expect(dead_code, reason = "held, not used")] Service);

impl UdpEcho {
    /// Starts to answer datagrams in the namespace. Each answer contains the number `host`.
    pub fn start(namespace: &Namespace, host: u8) -> Result<Self> {
        // Both families are served (ipv6(7)).
        let socket = namespace.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
        socket.set_read_timeout(Some(TICK))?;
        // The default has room for 170 datagrams: fewer than arrive while a busy machine does not run this thread.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        // The answer must leave from the address that was asked, which is not the primary address of the host.
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(Self(Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                // An error is a pause without packets, or affects a single packet.
                let _ = answer(&socket, host);
            }
        })))
    }
}

fn answer(socket: &UdpSocket, host: u8) -> Result<()> {
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::AsRawFd;

    let mut buffer = [0; 64];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let (length, sender, info) = {
        let mut parts = [IoSliceMut::new(&mut buffer[..63])];
        let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
        let info = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        });
        (message.bytes, message.address.context("a datagram without a sender")?, info)
    };
    let mut info = info.context("a datagram without a destination")?;
    info.ipi6_ifindex = 0;
    buffer[length] = host;
    let parts = [IoSlice::new(&buffer[..=length])];
    sendmsg(socket.as_raw_fd(), &parts, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&sender))?;
    Ok(())
}

/// Sends back what it receives over TCP, one connection after the other. It waits for its client, so drop that first.
#[derive(Debug)]
pub struct TcpEcho(#[expect(dead_code, reason = "held, not used")] Service);

impl TcpEcho {
    /// Starts to accept connections in the namespace.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
        listener.set_nonblocking(true)?;
        Ok(Self(Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    // An error means that the client has gone.
                    Ok((stream, _)) => drop(echo(stream)),
                    Err(_) => thread::sleep(TICK),
                }
            }
        })))
    }
}

fn echo(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}
