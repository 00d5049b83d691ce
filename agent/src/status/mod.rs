//! Gathers what `xvrrp status` shows, from those who know it.

pub mod history;
pub mod http;
pub mod prometheus;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use xvrrp_common::units::{Family, Interval, MacAddress};
use xvrrp_config::{CheckConfig, CheckKind, Config, SyncGroupConfig, Tracked, VirtualRouterConfig};
use xvrrp_dataplane::{CounterReader, XdpMode};
use xvrrp_vrrp::RouterState;

use crate::addresses;
use crate::control::status::{
    ActiveRouter, AgentStatus, CheckStatus, HeardRouter, HistoryEntry, PeerStatus, RestoredCounts, RivalClaim, SCHEMA,
    SyncGroupStatus, TimerStatus, TrackStatus, VirtualRouterStatus, counted, milliseconds,
};
use crate::election::{Command, RouterStatus};
use crate::plan::waits::Waits;
use crate::plan::{self, Plans};
use crate::process::clock::{self, unix_time};
use crate::status::history::{Entry, History};
use crate::tracking::{Account, Outcome};

/// See the module.
#[derive(Debug)]
pub struct Inspector {
    router_id: String,
    started: f64,
    /// In the order of the configuration.
    routers: Vec<Known>,
    sync_groups: Vec<KnownGroup>,
    checks: Vec<KnownCheck>,
    sources: Sources,
    election: mpsc::UnboundedSender<Command>,
}

/// Who is asked for what changes, beside the election.
#[derive(Debug)]
pub struct Sources {
    pub counters: Arc<CounterReader>,
    pub checks: watch::Receiver<Vec<Account>>,
    /// Of each virtual router, as [`Notifier::failures`](crate::notify::programs::Notifier::failures).
    pub notify_failures: Vec<Arc<AtomicU64>>,
    pub history: Arc<History>,
    /// What is kept on the host, by the virtual routers' numbers in the election.
    pub kept: Arc<[addresses::Account]>,
    /// Why the kernel half is not pinned, if it is not.
    pub unpinned: watch::Receiver<Option<String>>,
}

/// What does not change about a check.
#[derive(Debug)]
struct KnownCheck {
    name: String,
    kind: &'static str,
    target: String,
    tracked: bool,
}

#[derive(Debug)]
struct KnownGroup {
    name: String,
    members: Vec<String>,
}

/// What does not change about a virtual router while the agent runs.
#[derive(Debug)]
struct Known {
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
    standing: Standing,
}

/// Who knows the rest of it.
#[derive(Debug)]
enum Standing {
    /// The election, by its number there.
    Elected { index: usize, primary: IpAddr, slot: u32 },
    /// Nobody else: it waits.
    Waits { status: RouterStatus, reason: String, since: f64 },
}

impl Inspector {
    /// `modes` has the XDP mode of each interface by its index.
    pub fn new(
        config: &Config,
        plans: &Plans<'_>,
        waits: &[Waits],
        modes: &BTreeMap<u32, XdpMode>,
        sources: Sources,
        election: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let ready = plans.ready.iter().map(|plan| {
            let xdp_mode = modes.get(&plan.interface.ifindex).copied();
            let standing = Standing::Elected { index: plan.index, primary: plan.primary, slot: plan.slot };
            (plan.place, Known::new(plan.config, plan.family, xdp_mode, standing))
        });
        let waiting = plans.waiting.iter().zip(waits).map(|(waiting, Waits { reason, since, .. })| {
            let status = RouterStatus::in_fault(plan::machine(waiting.config, Ipv4Addr::UNSPECIFIED.into()));
            let standing = Standing::Waits { status, reason: reason.clone(), since: *since };
            (waiting.place, Known::new(waiting.config, waiting.family, None, standing))
        });
        let mut routers: Vec<_> = ready.chain(waiting).collect();
        routers.sort_by_key(|(place, _)| *place);
        let sync_groups: Vec<_> = config.sync_groups.iter().map(|group| KnownGroup::new(group, config)).collect();
        for (_, known) in &mut routers {
            let group = sync_groups.iter().find(|group| group.members.contains(&known.name));
            known.sync_group = group.map(|group| group.name.clone());
        }
        Self {
            router_id: config.agent.router_id.clone(),
            started: unix_time(),
            routers: routers.into_iter().map(|(_, known)| known).collect(),
            sync_groups,
            checks: config
                .checks
                .iter()
                .enumerate()
                .map(|(index, check)| KnownCheck::new(check, config.is_tracked(index)))
                .collect(),
            sources,
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
        let accounts = self.sources.checks.borrow().clone();
        AgentStatus {
            schema: SCHEMA,
            router_id: self.router_id.clone(),
            pid: std::process::id(),
            started: self.started,
            unpinned: self.sources.unpinned.borrow().clone(),
            sync_groups: self.sync_groups(),
            virtual_routers: self
                .routers
                .iter()
                .enumerate()
                .filter_map(|(place, known)| self.virtual_router(place, known, &elected, &accounts))
                .collect(),
            checks: self.checks.iter().zip(&accounts).filter(|(known, _)| known.tracked).map(check_status).collect(),
            counters: self.counted(CounterReader::NO_ROUTER),
        }
    }

    /// Their notify programs come after those of all virtual routers.
    fn sync_groups(&self) -> Vec<SyncGroupStatus> {
        let failures = self.sources.notify_failures.iter().skip(self.routers.len());
        let groups = self.sync_groups.iter().zip(failures);
        let status = groups.map(|(KnownGroup { name, members }, failures)| SyncGroupStatus {
            name: name.clone(),
            members: members.clone(),
            notify_failures: failures.load(Ordering::Relaxed),
        });
        status.collect()
    }

    fn virtual_router(
        &self,
        place: usize,
        known: &Known,
        elected: &[RouterStatus],
        accounts: &[Account],
    ) -> Option<VirtualRouterStatus> {
        match &known.standing {
            Standing::Elected { index, primary, slot } => Some(VirtualRouterStatus {
                counters: self.counted(CounterReader::router(*slot)),
                restored: self.sources.kept.get(*index).map(restored).unwrap_or_default(),
                not_kept: self.sources.kept.get(*index).and_then(not_kept),
                ..self.described(place, known, (elected.get(*index)?, Some(*primary)), accounts)
            }),
            Standing::Waits { status, reason, since } => Some(VirtualRouterStatus {
                reason: reason.clone(),
                since: *since,
                in_state_ms: (unix_time() - since).max(0.0) * 1000.0,
                ..self.described(place, known, (status, None), accounts)
            }),
        }
    }

    /// Without what the kernel half has counted.
    fn described(
        &self,
        place: usize,
        known: &Known,
        (elected, primary): (&RouterStatus, Option<IpAddr>),
        accounts: &[Account],
    ) -> VirtualRouterStatus {
        let timers = elected.timers;
        VirtualRouterStatus {
            name: known.name.clone(),
            family: known.family,
            vrid: known.vrid,
            version: known.version,
            sync_group: known.sync_group.clone(),
            interface: known.interface.clone(),
            xdp_mode: known.xdp_mode,
            state: RouterState::new(elected.state, elected.reason),
            reason: elected.reason.to_string(),
            since: unix_time() - milliseconds(elected.in_state_for) / 1000.0,
            in_state_ms: milliseconds(elected.in_state_for),
            priority: elected.priority.get(),
            configured_priority: known.priority,
            track: known.track.iter().filter_map(|tracked| self.track(*tracked, accounts)).collect(),
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
            unicast_peers: known.peers.clone(),
            adverts_sent: elected.adverts_sent,
            announcements_waiting: elected.announcements_waiting,
            transitions: self.sources.history.counts(place),
            history: self.sources.history.latest(place).into_iter().map(history_entry).collect(),
            notify_failures: self.sources.notify_failures.get(place).map_or(0, |count| count.load(Ordering::Relaxed)),
            restored: RestoredCounts::default(),
            not_kept: None,
            rival: elected.rival.map(|rival| RivalClaim {
                address: rival.address,
                mac: rival.mac.to_string(),
                ago_ms: milliseconds(clock::now().since(rival.at)),
            }),
            counters: BTreeMap::new(),
        }
    }

    fn track(&self, Tracked { check, weight }: Tracked, accounts: &[Account]) -> Option<TrackStatus> {
        let (state, value) = outcome(accounts.get(check)?.outcome);
        Some(TrackStatus { check: self.checks.get(check)?.name.clone(), weight, state: state.to_owned(), value })
    }

    fn counted(&self, index: u32) -> BTreeMap<String, u64> {
        match self.sources.counters.read(index) {
            Ok(counters) => counted(&counters),
            Err(error) => {
                tracing::warn!("status without counters: {error}");
                BTreeMap::new()
            }
        }
    }
}

impl Known {
    fn new(config: &VirtualRouterConfig, family: Family, xdp_mode: Option<XdpMode>, standing: Standing) -> Self {
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
            addresses: config.addresses_of(family).map(|vip| vip.to_string()).collect(),
            peers: config
                .peers_of(family)
                .map(|peer| PeerStatus { address: peer.address, min_ttl: peer.min_ttl })
                .collect(),
            standing,
        }
    }
}

impl KnownGroup {
    fn new(group: &SyncGroupConfig, config: &Config) -> Self {
        let members = group.members.iter().filter_map(|place| config.virtual_routers.get(*place));
        Self { name: group.name.clone(), members: members.map(|member| member.name.clone()).collect() }
    }
}

impl KnownCheck {
    fn new(check: &CheckConfig, tracked: bool) -> Self {
        let (kind, target) = match &check.kind {
            CheckKind::Script { command, .. } => ("script", command.join(" ")),
            CheckKind::Interface(name) => ("interface", name.clone()),
            CheckKind::Process(name) => ("process", name.clone()),
            CheckKind::PidFile(path) => ("pid_file", path.display().to_string()),
            CheckKind::File(path) => ("file", path.display().to_string()),
            CheckKind::Ping(target) => ("ping", target.to_string()),
        };
        Self { name: check.name.clone(), kind, target, tracked }
    }
}

fn check_status((known, account): (&KnownCheck, &Account)) -> CheckStatus {
    let (state, value) = outcome(account.outcome);
    CheckStatus {
        name: known.name.clone(),
        kind: known.kind.to_owned(),
        target: known.target.clone(),
        state: state.to_owned(),
        value,
        in_state_ms: milliseconds(clock::now().since(account.since)),
        failure: account.failure.clone(),
    }
}

fn outcome(outcome: Outcome) -> (&'static str, Option<i32>) {
    match outcome {
        Outcome::Pending => ("pending", None),
        Outcome::Up => ("up", None),
        Outcome::Down => ("down", None),
        Outcome::Value(value) => ("value", Some(value)),
    }
}

fn restored(account: &addresses::Account) -> RestoredCounts {
    RestoredCounts {
        addresses: account.addresses.load(Ordering::Relaxed),
        filter_entries: account.filters.load(Ordering::Relaxed),
    }
}

fn not_kept(account: &addresses::Account) -> Option<String> {
    account.rest().failure
}

fn history_entry(Entry { at, state, reason }: Entry) -> HistoryEntry {
    HistoryEntry { at, ago_ms: (unix_time() - at) * 1000.0, state, reason }
}
