//! Passes what the kernel half shows on to `xvrrp monitor`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use xvrrp_common::abi::{Counter, Sighting};
use xvrrp_dataplane::Monitor;

use crate::control::Client;
use crate::control::monitor::{MonitorLine, hexadecimal};
use crate::plan::Plan;
use crate::process::clock::{self, unix_time};

/// How long a frame waits until it is shown.
const PERIOD: Duration = Duration::from_millis(20);

/// How long a client may leave what it is sent unread.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who may watch, and what each interface is called.
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
            let told =
                seen.iter().map(|sighting| self.told(sighting)).chain((lost > 0).then_some(MonitorLine::Lost { lost }));
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

    fn told(&self, sighting: &Sighting) -> MonitorLine {
        let ago = clock::now().as_nanos().saturating_sub(sighting.at);
        let interface = self.interfaces.get(&sighting.ifindex);
        let counter = Counter::ALL.get(sighting.counter as usize);
        MonitorLine::Frame {
            at: unix_time() - Duration::from_nanos(ago).as_secs_f64(),
            interface: interface.cloned().unwrap_or_else(|| format!("interface {}", sighting.ifindex)),
            verdict: counter.map_or("unknown", |counter| counter.name()).to_owned(),
            length: sighting.length,
            frame: hexadecimal(sighting.frame()),
        }
    }
}
