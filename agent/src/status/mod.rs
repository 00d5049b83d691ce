//! Collects the status document from the configuration, the election, the kernel half and the management side.

pub mod history;
pub mod http;
pub mod prometheus;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use xvrrp_common::abi::Counters;
use xvrrp_common::units::{Family, IfIndex, Interval, MacAddress};
use xvrrp_common::xdp::XdpMode;
use xvrrp_config::{
    CheckConfig, CheckKind, Config, GroupIndex, ProcessCheck, ProcessMatch, SyncGroupConfig, Tracked, Vip,
    VirtualRouterConfig,
};
use xvrrp_dataplane::{CounterReader, DataplaneError, Slot};
use xvrrp_vrrp::RouterState;

use crate::addresses::{self, RoutingAccount};
use crate::control::status::{
    ActiveRouter, AddressConflict, AgentStatus, CheckStatus, HeardRouter, HistoryEntry, MissingEntries, PeerStatus,
    RestoredCounts, SCHEMA, SyncGroupStatus, TimerStatus, TrackStatus, VirtualRouterStatus, counted, milliseconds,
};
use crate::election::{ElectionRequest, RouterStatus, Timers};
use crate::identity::{AudienceId, PerRouter, Place, RouterIndex};
use crate::plan::cause::Cause;
use crate::plan::waits::Waits;
use crate::plan::{self, Plans};
use crate::process::clock::{self, unix_time};
use crate::status::history::{History, PastChange};
use crate::tracking::CheckResult;

/// Collects the status.
#[derive(Debug)]
pub struct Inspector {
    router_id: String,
    /// Time at which the agent was started or last reloaded, in seconds since 1970.
    started: f64,
    routers: BTreeMap<Place, RouterInfo>,
    sync_groups: Vec<GroupInfo>,
    checks: Vec<CheckInfo>,
    sources: Sources,
    election: mpsc::UnboundedSender<ElectionRequest>,
}

/// The sources of everything that changes, except the election.
#[derive(Debug)]
pub struct Sources {
    /// Counters of the kernel half.
    pub counters: Arc<CounterReader>,
    /// States of the checks, in the order of the configuration.
    pub checks: watch::Receiver<Vec<CheckResult>>,
    /// Failed notify programs of each audience, from
    /// [`Notifier::failures`](crate::notify::programs::Notifier::failures).
    pub notify_failures: BTreeMap<AudienceId, Arc<AtomicU64>>,
    /// Changes of state, by the virtual routers' places in the configuration.
    pub history: Arc<History>,
    /// What the agent keeps on the host, by the virtual routers' numbers in the election.
    pub kept: Arc<PerRouter<addresses::Account>>,
    /// The same of what is there whatever the roles are.
    pub statics: Arc<addresses::Account>,
    /// Why the kernel half is not pinned, if it is not.
    pub unpinned: watch::Receiver<Option<String>>,
}

/// The constant facts about a check.
#[derive(Debug)]
struct CheckInfo {
    name: String,
    kind: &'static str,
    target: String,
    tracked: bool,
}

#[derive(Debug)]
struct GroupInfo {
    name: String,
    members: Vec<String>,
}

/// The facts about a virtual router that are constant while the agent runs.
#[derive(Debug)]
struct RouterInfo {
    name: String,
    family: Family,
    vrid: u8,
    version: u8,
    priority: u8,
    track: Vec<Tracked>,
    sync_group: Option<String>,
    interface: String,
    xdp_mode: Option<XdpMode>,
    advert_interval: Interval,
    virtual_mac: Option<String>,
    addresses: Vec<String>,
    peers: Vec<PeerStatus>,
    source: RouterSource,
}

/// Source of the changing part of a virtual router's status.
#[derive(Debug)]
enum RouterSource {
    /// The election, where it has this number.
    Election { index: RouterIndex, primary: IpAddr, slot: Slot },
    /// Nowhere: it waits for something on the host, and its status is constant.
    Waiting { status: RouterStatus, reason: Cause, since: f64 },
}

impl Inspector {
    /// Creates an inspector for the virtual routers in `plans`. `modes` has the XDP mode of each interface, by
    /// interface index.
    pub fn new(
        config: &Config,
        plans: &Plans<'_>,
        waits: &[Waits],
        modes: &BTreeMap<IfIndex, XdpMode>,
        sources: Sources,
        election: mpsc::UnboundedSender<ElectionRequest>,
    ) -> Self {
        let ready = plans.ready.iter().map(|plan| {
            let xdp_mode = modes.get(&plan.interface.ifindex).copied();
            let source = RouterSource::Election { index: plan.index, primary: plan.primary, slot: plan.slot };
            (plan.place, RouterInfo::new(plan.config, plan.family, xdp_mode, source))
        });
        let waiting = plans.waiting.iter().zip(waits).map(|(waiting, Waits { reason, since, .. })| {
            let status = RouterStatus::in_fault(plan::machine(waiting.config, Ipv4Addr::UNSPECIFIED.into()));
            let source = RouterSource::Waiting { status, reason: reason.clone(), since: *since };
            (waiting.place, RouterInfo::new(waiting.config, waiting.family, None, source))
        });
        let mut routers: BTreeMap<Place, RouterInfo> = ready.chain(waiting).collect();
        let sync_groups: Vec<_> = config.sync_groups.iter().map(GroupInfo::new).collect();
        for info in routers.values_mut() {
            let group = sync_groups.iter().find(|group| group.members.contains(&info.name));
            info.sync_group = group.map(|group| group.name.clone());
        }
        Self {
            router_id: config.agent.router_id.clone(),
            started: unix_time(),
            routers,
            sync_groups,
            checks: config
                .numbered_checks()
                .map(|(index, check)| CheckInfo::new(check, config.is_tracked(index)))
                .collect(),
            sources,
            election,
        }
    }

    /// Returns when the agent was started or last reloaded, in seconds since 1970.
    pub fn started(&self) -> f64 {
        self.started
    }

    /// Returns the current status. It includes no virtual routers of the election while the agent is stopping.
    pub async fn status(&self) -> AgentStatus {
        let (reply, answer) = oneshot::channel();
        let _ = self.election.send(ElectionRequest::Status(reply));
        let elected = answer.await.unwrap_or_default();
        let checks = self.sources.checks.borrow().clone();
        AgentStatus {
            schema: SCHEMA,
            router_id: self.router_id.clone(),
            pid: std::process::id(),
            started: self.started,
            unpinned: self.sources.unpinned.borrow().clone(),
            missing_statics: missing(&self.sources.statics),
            restored_statics: self.sources.statics.routes.load(Ordering::Relaxed),
            sync_groups: self.sync_groups(),
            virtual_routers: self
                .routers
                .iter()
                .filter_map(|(place, info)| self.virtual_router(*place, info, &elected, &checks))
                .collect(),
            checks: self.checks.iter().zip(&checks).filter(|(info, _)| info.tracked).map(check_status).collect(),
            counters: counted_by_name(self.sources.counters.of_no_router()),
        }
    }

    /// Returns the status of the sync groups.
    fn sync_groups(&self) -> Vec<SyncGroupStatus> {
        let groups = self.sync_groups.iter().enumerate();
        let status = groups.map(|(index, GroupInfo { name, members })| SyncGroupStatus {
            name: name.clone(),
            members: members.clone(),
            notify_failures: self.notify_failures(AudienceId::Group(GroupIndex::new(index))),
        });
        status.collect()
    }

    /// Returns how many notify programs have failed. The families of a virtual router share one audience, so all but
    /// one of them have none.
    fn notify_failures(&self, audience: AudienceId) -> u64 {
        self.sources.notify_failures.get(&audience).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn virtual_router(
        &self,
        place: Place,
        info: &RouterInfo,
        elected: &PerRouter<RouterStatus>,
        checks: &[CheckResult],
    ) -> Option<VirtualRouterStatus> {
        match &info.source {
            RouterSource::Election { index, primary, slot } => Some(VirtualRouterStatus {
                counters: counted_by_name(self.sources.counters.of_router(*slot)),
                restored: self.sources.kept.get(*index).map(restored).unwrap_or_default(),
                not_kept: self.sources.kept.get(*index).and_then(not_kept),
                missing: self.sources.kept.get(*index).map(missing).unwrap_or_default(),
                ..self.described(place, info, (elected.get(*index)?, Some(*primary)), checks)
            }),
            RouterSource::Waiting { status, reason, since } => Some(VirtualRouterStatus {
                reason: reason.clone(),
                since: *since,
                in_state_ms: (unix_time() - since).max(0.0) * 1000.0,
                ..self.described(place, info, (status, None), checks)
            }),
        }
    }

    /// Returns the status without the counters of the kernel half and what the agent keeps on the host.
    fn described(
        &self,
        place: Place,
        info: &RouterInfo,
        (elected, primary): (&RouterStatus, Option<IpAddr>),
        checks: &[CheckResult],
    ) -> VirtualRouterStatus {
        VirtualRouterStatus {
            name: info.name.clone(),
            family: info.family,
            vrid: info.vrid,
            version: info.version,
            sync_group: info.sync_group.clone(),
            interface: info.interface.clone(),
            xdp_mode: info.xdp_mode,
            state: RouterState::new(elected.state, elected.reason),
            reason: Cause::Election(elected.reason),
            since: unix_time() - milliseconds(elected.in_state_for) / 1000.0,
            in_state_ms: milliseconds(elected.in_state_for),
            priority: elected.priority.get(),
            configured_priority: info.priority,
            track: info.track.iter().filter_map(|tracked| self.track(*tracked, checks)).collect(),
            active: elected.active.map(|(address, priority)| ActiveRouter {
                address,
                priority: priority.get(),
                this_host: Some(address) == primary,
            }),
            handed_over: elected.stands_by,
            heard: elected.heard.map(|heard| HeardRouter {
                address: heard.address,
                priority: heard.priority.get(),
                ago_ms: milliseconds(clock::now().since(heard.at)),
                first_ago_ms: elected.first_heard_ago.map(milliseconds),
            }),
            timers: timer_status(info.advert_interval, &elected.timers),
            virtual_mac: info.virtual_mac.clone(),
            addresses: info.addresses.clone(),
            unicast_peers: info.peers.clone(),
            adverts_sent: elected.adverts_sent,
            announcements_waiting: elected.announcements_waiting,
            transitions: self.sources.history.counts(place),
            history: self.sources.history.latest(place).into_iter().map(history_entry).collect(),
            notify_failures: self.notify_failures(AudienceId::Router(place)),
            restored: RestoredCounts::default(),
            not_kept: None,
            missing: MissingEntries::default(),
            conflict: elected.conflict.map(|conflict| AddressConflict {
                address: conflict.address,
                mac: conflict.mac.to_string(),
                ago_ms: milliseconds(clock::now().since(conflict.at)),
            }),
            counters: BTreeMap::new(),
        }
    }

    fn track(&self, Tracked { check, weight, reverse }: Tracked, checks: &[CheckResult]) -> Option<TrackStatus> {
        let outcome = check.of(checks)?.outcome;
        let name = check.of(&self.checks)?.name.clone();
        Some(TrackStatus { check: name, weight, reverse, state: outcome.state(), value: outcome.value() })
    }
}

/// Returns the addresses as the status shows them.
fn addresses(config: &VirtualRouterConfig, family: Family) -> Vec<String> {
    let elsewhere = config.elsewhere();
    let show = |vip: Vip| match elsewhere.get(&vip.address) {
        Some(interface) => format!("{vip} dev {interface}"),
        None => vip.to_string(),
    };
    config.addresses_of(family).map(show).collect()
}

impl RouterInfo {
    fn new(config: &VirtualRouterConfig, family: Family, xdp_mode: Option<XdpMode>, source: RouterSource) -> Self {
        Self {
            name: config.name.clone(),
            family,
            vrid: config.vrid.get(),
            version: config.version as u8,
            priority: config.priority.get(),
            track: config.track.clone(),
            sync_group: None,
            interface: config.interface.clone(),
            xdp_mode,
            advert_interval: config.advert_interval,
            virtual_mac: config.virtual_mac.then(|| MacAddress::of_virtual_router(family, config.vrid).to_string()),
            addresses: addresses(config, family),
            peers: config
                .peers_of(family)
                .map(|peer| PeerStatus { address: peer.address, min_ttl: peer.min_ttl })
                .collect(),
            source,
        }
    }
}

impl GroupInfo {
    fn new(SyncGroupConfig { name, members, .. }: &SyncGroupConfig) -> Self {
        Self { name: name.clone(), members: members.clone() }
    }
}

impl CheckInfo {
    fn new(check: &CheckConfig, tracked: bool) -> Self {
        let (kind, target) = match &check.kind {
            CheckKind::Script(program) => ("script", program.command.to_string()),
            CheckKind::Interface(name) => ("interface", name.clone()),
            CheckKind::Process(check) => ("process", processes(check)),
            CheckKind::PidFile(path) => ("pid_file", path.display().to_string()),
            CheckKind::File { path, .. } => ("file", path.display().to_string()),
            CheckKind::Ping(targets) => ("ping", targets.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")),
        };
        Self { name: check.name.clone(), kind, target, tracked }
    }
}

/// Returns the name or the command line of the processes that a check counts.
fn processes(check: &ProcessCheck) -> String {
    match &check.processes {
        ProcessMatch::Name(name) => name.clone(),
        ProcessMatch::Command { program, arguments, .. } => {
            [program].into_iter().chain(arguments).map(String::as_str).collect::<Vec<_>>().join(" ")
        }
    }
}

fn counted_by_name(counters: Result<Counters, DataplaneError>) -> BTreeMap<String, u64> {
    match counters {
        Ok(counters) => counted(&counters),
        Err(error) => {
            tracing::warn!("status without counters: {error}");
            BTreeMap::new()
        }
    }
}

fn timer_status(advert_interval: Interval, timers: &Timers) -> TimerStatus {
    TimerStatus {
        advert_interval_ms: milliseconds(advert_interval),
        active_adver_interval_ms: milliseconds(timers.active_adver_interval),
        skew_ms: milliseconds(timers.skew),
        active_down_interval_ms: milliseconds(timers.active_down_interval),
        next_ms: timers.next.map(milliseconds),
        lease_ms: timers.lease.map(milliseconds),
    }
}

fn check_status((info, check): (&CheckInfo, &CheckResult)) -> CheckStatus {
    CheckStatus {
        name: info.name.clone(),
        kind: info.kind.to_owned(),
        target: info.target.clone(),
        state: check.outcome.state(),
        value: check.outcome.value(),
        in_state_ms: milliseconds(clock::now().since(check.since)),
        failure: check.failure.clone(),
    }
}

fn restored(account: &addresses::Account) -> RestoredCounts {
    RestoredCounts {
        addresses: account.addresses.load(Ordering::Relaxed),
        filter_entries: account.filters.load(Ordering::Relaxed),
        routes: account.routes.load(Ordering::Relaxed),
    }
}

fn missing(account: &addresses::Account) -> MissingEntries {
    let RoutingAccount { missing, problem } = account.routing();
    MissingEntries { count: missing as u64, first: problem }
}

fn not_kept(account: &addresses::Account) -> Option<String> {
    account.rest().failure
}

fn history_entry(PastChange { at, state, reason }: PastChange) -> HistoryEntry {
    HistoryEntry { at, ago_ms: (unix_time() - at) * 1000.0, state, reason }
}
