//! Gathers what `xvrrp status` shows, from those who know it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use xvrrp_common::units::{Family, Interval};

use crate::clock;
use crate::config::Config;
use crate::dataplane::{CounterReader, XdpMode};
use crate::election::{Command, RouterStatus, state_name};
use crate::plan::Plan;
use crate::status::{
    ActiveRouter, AgentStatus, RivalClaim, SCHEMA, TimerStatus, VirtualRouterStatus, counted, milliseconds,
};

/// See the module.
#[derive(Debug)]
pub struct Inspector {
    router_id: String,
    started: f64,
    routers: Vec<Known>,
    counters: Arc<CounterReader>,
    election: mpsc::UnboundedSender<Command>,
}

/// What does not change about a virtual router while the agent runs.
#[derive(Debug)]
struct Known {
    name: String,
    family: Family,
    vrid: u8,
    version: u8,
    interface: String,
    xdp_mode: String,
    advert_interval: Interval,
    virtual_mac: Option<String>,
    addresses: Vec<String>,
    primary: std::net::IpAddr,
    slot: u32,
}

impl Inspector {
    /// `modes` has the XDP mode of each interface by its index.
    pub fn new(
        config: &Config,
        plans: &[Plan<'_>],
        modes: &BTreeMap<u32, XdpMode>,
        counters: Arc<CounterReader>,
        election: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let known = |plan: &Plan<'_>| Known {
            name: plan.config.name.clone(),
            family: plan.family,
            vrid: plan.config.vrid.get(),
            version: plan.config.version as u8,
            interface: plan.interface.name.clone(),
            xdp_mode: modes.get(&plan.interface.ifindex).map(XdpMode::to_string).unwrap_or_default(),
            advert_interval: plan.config.advert_interval,
            virtual_mac: plan.config.virtual_mac.then(|| plan.mac.to_string()),
            addresses: plan.addresses().map(|vip| vip.to_string()).collect(),
            primary: plan.primary,
            slot: plan.slot,
        };
        Self {
            router_id: config.agent.router_id.clone(),
            started: unix_time(),
            routers: plans.iter().map(known).collect(),
            counters,
            election,
        }
    }

    /// When the agent was started, in seconds since 1970.
    pub fn started(&self) -> f64 {
        self.started
    }

    /// Empty of virtual routers while the agent is stopping.
    pub async fn status(&self) -> AgentStatus {
        let (reply, answer) = oneshot::channel();
        let _ = self.election.send(Command::Status(reply));
        let elected = answer.await.unwrap_or_default();
        AgentStatus {
            schema: SCHEMA,
            router_id: self.router_id.clone(),
            pid: std::process::id(),
            started: self.started,
            virtual_routers: self.routers.iter().zip(&elected).map(|pair| self.virtual_router(pair)).collect(),
            counters: self.counted(CounterReader::NO_ROUTER),
        }
    }

    fn virtual_router(&self, (known, elected): (&Known, &RouterStatus)) -> VirtualRouterStatus {
        let timers = elected.timers;
        VirtualRouterStatus {
            name: known.name.clone(),
            family: known.family.to_string(),
            vrid: known.vrid,
            version: known.version,
            interface: known.interface.clone(),
            xdp_mode: known.xdp_mode.clone(),
            state: state_name(elected.state, elected.reason).to_owned(),
            reason: elected.reason.to_string(),
            since: unix_time() - milliseconds(elected.in_state_for) / 1000.0,
            in_state_ms: milliseconds(elected.in_state_for),
            priority: elected.priority.get(),
            active: elected.active.map(|(address, priority)| ActiveRouter {
                address,
                priority: priority.get(),
                this_host: address == known.primary,
            }),
            timers: TimerStatus {
                advert_interval_ms: milliseconds(known.advert_interval),
                active_adver_interval_ms: milliseconds(timers.active_adver_interval),
                skew_ms: milliseconds(timers.skew),
                active_down_interval_ms: milliseconds(timers.active_down_interval),
                next_ms: timers.next.map(milliseconds),
                lease_ms: timers.lease.map(milliseconds),
            },
            virtual_mac: known.virtual_mac.clone(),
            addresses: known.addresses.clone(),
            adverts_sent: elected.adverts_sent,
            rival: elected.rival.map(|rival| RivalClaim {
                address: rival.address,
                mac: rival.mac.to_string(),
                ago_ms: milliseconds(clock::now().since(rival.at)),
            }),
            counters: self.counted(CounterReader::router(known.slot)),
        }
    }

    fn counted(&self, index: u32) -> BTreeMap<String, u64> {
        match self.counters.read(index) {
            Ok(counters) => counted(&counters),
            Err(error) => {
                tracing::warn!("status without counters: {error}");
                BTreeMap::new()
            }
        }
    }
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
