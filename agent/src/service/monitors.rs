//! Passes the frames that the kernel half captures on to `xvrrp monitor`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use xvrrp_common::abi::{CapturedFrame, Counter};
use xvrrp_common::units::IfIndex;
use xvrrp_dataplane::{DataplaneError, Monitor};

use crate::control::Client;
use crate::control::monitor::{MonitorLine, hexadecimal};
use crate::plan::Plan;
use crate::process::clock::{self, unix_time};

/// Longest time that a frame waits before it is sent to the client.
const PERIOD: Duration = Duration::from_millis(20);

/// How long a client may leave unread what it was sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Access to the monitor of the kernel half, with the names of the interfaces.
#[derive(Debug)]
pub struct Monitors {
    interfaces: BTreeMap<IfIndex, String>,
    monitor: Arc<Mutex<Monitor>>,
}

/// Exclusive use of the monitor. The kernel half captures frames as long as this exists.
#[derive(Debug)]
pub struct Watch(OwnedMutexGuard<Monitor>);

/// Why a client cannot monitor. Displays as the client reads it.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Another client monitors already.
    #[error("another `xvrrp monitor` runs; end that one first")]
    Taken,
    /// The kernel half cannot start capturing.
    #[error("cannot start monitoring: {0}")]
    Begin(#[source] DataplaneError),
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Monitors {
    /// Creates the access to `monitor`.
    pub fn new(monitor: Monitor, plans: &[Plan<'_>]) -> Self {
        let interfaces = plans.iter().map(|plan| (plan.interface.ifindex, plan.interface.name.clone())).collect();
        Self { interfaces, monitor: Arc::new(Mutex::new(monitor)) }
    }

    /// Starts capturing. Only one client can do so at a time, because each frame can be read only once.
    ///
    /// # Errors
    /// Another client monitors already, or the kernel half cannot start capturing.
    pub fn open(&self) -> Result<Watch, WatchError> {
        let monitor = Arc::clone(&self.monitor).try_lock_owned();
        let mut watch = Watch(monitor.map_err(|_| WatchError::Taken)?);
        watch.0.begin().map_err(WatchError::Begin)?;
        Ok(watch)
    }

    /// Sends the captured frames to the client until the client hangs up.
    pub async fn stream(&self, mut watch: Watch, mut client: Client) {
        let mut pace = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                () = client.hung_up() => return,
                _ = pace.tick() => {}
            }
            let (seen, lost) = watch.0.read();
            let lost = (lost > 0).then_some(MonitorLine::Lost { lost });
            let lines = seen.iter().map(|frame| self.line(frame)).chain(lost);
            let Ok(lines) = lines.map(|line| serde_json::to_string(&line)).collect::<Result<Vec<_>, _>>() else {
                return;
            };
            let lines: String = lines.into_iter().map(|line| line + "\n").collect();
            // A client that was stopped (SIGSTOP) loses the monitor after a while, so that another one can have it.
            let sent = tokio::time::timeout(PATIENCE, client.send(lines.as_bytes())).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn line(&self, frame: &CapturedFrame) -> MonitorLine {
        let ago = clock::now().as_nanos().saturating_sub(frame.at);
        let interface = self.interfaces.get(&IfIndex::new(frame.ifindex));
        let counter = Counter::ALL.get(frame.counter as usize);
        MonitorLine::Frame {
            at: unix_time() - Duration::from_nanos(ago).as_secs_f64(),
            interface: interface.cloned().unwrap_or_else(|| format!("interface {}", frame.ifindex)),
            verdict: counter.map_or("unknown", |counter| counter.name()).to_owned(),
            length: frame.length,
            frame: hexadecimal(frame.frame()),
        }
    }
}
