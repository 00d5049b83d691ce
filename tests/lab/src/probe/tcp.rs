//! A client of the TCP echo service.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::echo::PORT;
use crate::Namespace;

/// Fits into the buffers of a connection, so that all of it can be sent before it is read back.
const CHUNK: usize = 16 << 10;

/// A connection to a [`super::TcpEcho`].
#[derive(Debug)]
pub struct TcpConnection(TcpStream);

impl TcpConnection {
    /// Connects. `patience` limits how long this call and later ones wait for the service.
    pub fn open(client: &Namespace, target: Ipv4Addr, patience: Duration) -> Result<Self> {
        let target = SocketAddr::from((target, PORT));
        let stream = client.run(|| TcpStream::connect_timeout(&target, patience))?;
        let stream = stream.with_context(|| format!("no connection to {target}"))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self(stream))
    }

    /// Sends this many bytes and receives them back.
    pub fn exchange(&mut self, length: usize) -> Result<()> {
        let mut returned = vec![0; CHUNK];
        for (number, start) in (0..length).step_by(CHUNK).enumerate() {
            let chunk = vec![u8::try_from(number % 251)?; CHUNK.min(length - start)];
            let returned = &mut returned[..chunk.len()];
            self.0.write_all(&chunk).with_context(|| format!("sending from byte {start}"))?;
            self.0.read_exact(returned).with_context(|| format!("receiving from byte {start}"))?;
            ensure!(*returned == *chunk, "other bytes came back from byte {start} on");
        }
        Ok(())
    }
}
