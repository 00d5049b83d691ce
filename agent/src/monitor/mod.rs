//! `xvrrp monitor`: adverts, ARP and Neighbor Discovery as XDP sees them, before it throws any away.
//!
//! The kernel half shows them in a buffer as long as somebody watches, and only one at a time does. The
//! agent passes them on through the control socket; what it is not asked for fast enough is lost, and counted.

mod client;
mod describe;
mod pcap;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};
use xvrrp_common::abi::{Counter, Sighting};

pub use client::run;

use crate::clock;
use crate::control::Client;
use crate::dataplane::Monitor;
use crate::inspector::unix_time;
use crate::plan::Plan;

/// How long a frame waits until it is shown.
const PERIOD: Duration = Duration::from_millis(20);

/// How long a client may leave what it is sent unread.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line of what the agent sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    Frame {
        /// In seconds since 1970.
        at: f64,
        interface: String,
        /// The counter that it was counted by.
        verdict: String,
        /// Of the whole frame, in bytes.
        length: u32,
        /// As much of it as there is, in hexadecimal.
        frame: String,
    },
    Lost {
        lost: u64,
    },
}

/// The agent's end.
#[derive(Debug)]
pub struct Monitors {
    interfaces: BTreeMap<u32, String>,
    monitor: Arc<Mutex<Monitor>>,
}

/// Somebody watches.
#[derive(Debug)]
pub struct Watch(OwnedMutexGuard<Monitor>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Monitors {
    pub fn new(monitor: Monitor, plans: &[Plan<'_>]) -> Self {
        let interfaces = plans.iter().map(|plan| (plan.interface.ifindex, plan.interface.name.clone())).collect();
        Self { interfaces, monitor: Arc::new(Mutex::new(monitor)) }
    }

    /// One at a time: each frame is shown once.
    pub fn open(&self) -> Result<Watch, String> {
        let monitor = Arc::clone(&self.monitor).try_lock_owned();
        let mut watch = Watch(monitor.map_err(|_| "another `xvrrp monitor` runs; end that one first".to_owned())?);
        watch.0.begin().map_err(|error| format!("cannot watch: {error}"))?;
        Ok(watch)
    }

    /// Until the client has enough.
    pub async fn stream(&self, mut watch: Watch, mut client: Client) {
        let mut pace = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                () = client.hung_up() => return,
                _ = pace.tick() => {}
            }
            let (seen, lost) = watch.0.read();
            let told = seen.iter().map(|sighting| self.told(sighting)).chain((lost > 0).then_some(Told::Lost { lost }));
            let Ok(lines) = told.map(|told| serde_json::to_string(&told)).collect::<Result<Vec<_>, _>>() else {
                return;
            };
            let lines: String = lines.into_iter().map(|line| line + "\n").collect();
            // One that was stopped makes room for another.
            let sent = tokio::time::timeout(PATIENCE, client.send(lines.as_bytes())).await;
            if !matches!(sent, Ok(Ok(_))) {
                return;
            }
        }
    }

    fn told(&self, sighting: &Sighting) -> Told {
        let ago = clock::now().as_nanos().saturating_sub(sighting.at);
        let interface = self.interfaces.get(&sighting.ifindex);
        let counter = Counter::ALL.get(sighting.counter as usize);
        Told::Frame {
            at: unix_time() - Duration::from_nanos(ago).as_secs_f64(),
            interface: interface.cloned().unwrap_or_else(|| format!("interface {}", sighting.ifindex)),
            verdict: counter.map_or("unknown", |counter| counter.name()).to_owned(),
            length: sighting.length,
            frame: hexadecimal(sighting.frame()),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hexadecimal: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<_>> = hexadecimal.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let digits: Vec<u8> = digits.ok_or(io::ErrorKind::InvalidData)?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_through_hexadecimal_unharmed() {
        let frame: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&hexadecimal(&frame)).unwrap(), frame);
        assert!(bytes("0g").is_err());
    }
}
