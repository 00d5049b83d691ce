//! Reads from the kernel's process connector, which reports processes that start, end or change their names.
//!
//! There is one for the whole machine (linux/cn_proc.h). It can be used only in the initial network namespace, with
//! `CAP_NET_ADMIN`, by processes in the initial PID namespace.

use std::io;

use rtnetlink::sys::protocols::NETLINK_CONNECTOR;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

/// `CN_IDX_PROC` and `CN_VAL_PROC`; the multicast group has the same number.
const CONNECTOR: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`
const LISTEN: u32 = 1;
const NETLINK_HEADER: usize = 16;
const CONNECTOR_HEADER: usize = 20;
/// Length of `what`, the processor and the time, which come before the fields of each kind of event.
const EVENT_HEADER: usize = 16;
/// `NLMSG_DONE`: the type of all messages of the connector.
const DONE: u16 = 3;

/// An event in the life of a process. Threads are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The subscription is active. All later events are delivered.
    Listening,
    /// A process has a new child, which is a copy of it for now.
    Forked {
        /// Id of the process.
        parent: u32,
        /// Id of the child.
        child: u32,
    },
    /// The process with this id runs another program or has another name.
    Changed(u32),
    /// A process with this id has ended.
    Ended(u32),
    /// The kernel dropped events, because the socket had no room for them.
    Missed,
}

/// Subscription to the events of all processes.
pub struct ProcessEvents {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl ProcessEvents {
    /// Subscribes. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The process lacks `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_CONNECTOR)?;
        socket.socket_mut().bind(&SocketAddr::new(0, CONNECTOR))?;
        socket.socket_ref().send(&listen(), 0)?;
        Ok(Self { socket, buffer: Vec::with_capacity(4096) })
    }

    /// Waits for the next event. An error ends the subscription.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub async fn next(&mut self) -> io::Result<ProcessEvent> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(ProcessEvent::Missed),
                Err(error) => return Err(error),
            }
            if let Some(event) = self.buffer.get(NETLINK_HEADER + CONNECTOR_HEADER..).and_then(decode) {
                return Ok(event);
            }
        }
    }
}

impl std::fmt::Debug for ProcessEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessEvents").finish_non_exhaustive()
    }
}

/// `struct nlmsghdr`, `struct cn_msg` and `enum proc_cn_mcast_op`.
fn listen() -> Vec<u8> {
    let length = NETLINK_HEADER + CONNECTOR_HEADER + 4;
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    message.extend(DONE.to_ne_bytes());
    message.extend([0; 2 + 4 + 4]);
    message.extend(CONNECTOR.to_ne_bytes());
    message.extend(CONNECTOR.to_ne_bytes());
    message.extend([0; 4 + 4]);
    message.extend(4_u16.to_ne_bytes());
    message.extend([0; 2]);
    message.extend(LISTEN.to_ne_bytes());
    message
}

/// `struct proc_event`
fn decode(event: &[u8]) -> Option<ProcessEvent> {
    let word = |at: usize| Some(u32::from_ne_bytes(*event.get(at..)?.first_chunk()?));
    // The id of a process is that of its first thread.
    let process = |at: usize| word(at).filter(|pid| word(at + 4) == Some(*pid));
    match word(0)? {
        0 => Some(ProcessEvent::Listening),
        // PROC_EVENT_FORK: first the parent's thread and process, then the child's
        0x1 => Some(ProcessEvent::Forked { parent: word(EVENT_HEADER + 4)?, child: process(EVENT_HEADER + 8)? }),
        // PROC_EVENT_EXEC, PROC_EVENT_COMM
        0x2 | 0x200 => process(EVENT_HEADER).map(ProcessEvent::Changed),
        // PROC_EVENT_EXIT
        0x8000_0000 => process(EVENT_HEADER).map(ProcessEvent::Ended),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: u32, words: &[u32]) -> Option<ProcessEvent> {
        let all = [&[what, 0, 0, 0], words].concat();
        decode(&all.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn events_are_distinguished_and_threads_are_left_out() {
        assert_eq!(event(0, &[0]), Some(ProcessEvent::Listening));
        let forked = Some(ProcessEvent::Forked { parent: 7, child: 8 });
        assert_eq!(event(1, &[7, 7, 8, 8]), forked);
        assert_eq!(event(1, &[9, 7, 8, 8]), forked, "by a thread");
        assert_eq!(event(1, &[7, 7, 9, 7]), None, "a thread");
        assert_eq!(event(2, &[8, 8]), Some(ProcessEvent::Changed(8)));
        assert_eq!(event(0x200, &[8, 8, 0, 0, 0, 0]), Some(ProcessEvent::Changed(8)));
        assert_eq!(event(0x8000_0000, &[8, 8, 0, 0]), Some(ProcessEvent::Ended(8)));
        assert_eq!(event(0x8000_0000, &[9, 8, 0, 0]), None, "a thread");
        assert_eq!(event(0x4, &[8, 8]), None, "another user");
        assert_eq!(decode(&[1, 0, 0]), None);
    }

    #[test]
    fn the_length_in_the_request_is_its_length() {
        assert_eq!(listen().len(), 40);
        assert_eq!(listen()[..4], 40_u32.to_ne_bytes());
    }
}
