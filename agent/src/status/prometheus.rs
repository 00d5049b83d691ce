//! Writes the status as metrics in OpenMetrics' text format, which Prometheus reads. `docs/metrics.md` is the
//! reference.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use xvrrp_common::abi::Counter;
use xvrrp_common::xdp::XdpMode;
use xvrrp_vrrp::RouterState;

use crate::control::status::{AgentStatus, CheckStatus, RestoredCounts, TimerStatus, VirtualRouterStatus};
use crate::tracking::CheckState;

/// A metric of a virtual router that the kernel half counts.
struct CounterMetric {
    /// Name of the metric without `_total`.
    name: &'static str,
    help: &'static str,
    /// Name of its label; empty if it has none.
    label: &'static str,
    /// The counters whose sum is a sample, by the value of the label.
    sums: &'static [(&'static str, &'static [Counter])],
}

/// All metrics that the kernel half counts, except those for [`Counter::DISCARDS`] and [`UNATTRIBUTED`].
const COUNTER_METRICS: &[CounterMetric] = &[
    CounterMetric {
        name: "xvrrp_virtual_router_adverts_received",
        help: "Valid adverts of other routers",
        label: "",
        sums: &[("", &[Counter::AdvertAccepted])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_releases_received",
        help: "Those of them with priority 0",
        label: "",
        sums: &[("", &[Counter::AdvertRelease])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_events_lost",
        help: "Changes not reported to the agent at once, because the ring buffer was full",
        label: "",
        sums: &[("", &[Counter::EventLost])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_address_requests",
        help: "ARP requests or Neighbor Solicitations for a virtual address",
        label: "outcome",
        sums: &[
            ("answered", &[Counter::ArpAnswered, Counter::NdAnswered]),
            ("suppressed", &[Counter::ArpSuppressed, Counter::NdSuppressed]),
        ],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_rival_claims",
        help: "ARP or Neighbor Discovery in which another host claims a virtual address",
        label: "",
        sums: &[("", &[Counter::ArpConflict, Counter::NdConflict])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_virtual_mac_frames",
        help: "Frames to the virtual MAC",
        label: "outcome",
        sums: &[("admitted", &[Counter::VirtualMacAdmitted]), ("dropped", &[Counter::VirtualMacDropped])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_not_accepted_packets",
        help: "Packets to a virtual address that were dropped",
        label: "",
        sums: &[("", &[Counter::NotAccepted])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_fenced_packets",
        help: "Packets, ARP requests and Neighbor Solicitations for a virtual address that arrived on another interface and \
               were dropped because the lease had ended",
        label: "",
        sums: &[("", &[Counter::Fenced])],
    },
    CounterMetric {
        name: "xvrrp_virtual_router_egress_packets",
        help: "ARP or Neighbor Discovery of this host that named a virtual address",
        label: "outcome",
        sums: &[
            ("rewritten", &[Counter::EgressArpRewritten, Counter::EgressNdRewritten]),
            ("dropped", &[Counter::EgressArpDropped, Counter::EgressNdDropped]),
        ],
    },
];

/// What the kernel half may find about a packet before it knows its virtual router.
const UNATTRIBUTED: &[Counter] =
    &[Counter::AdvertFragment, Counter::AdvertIpHeader, Counter::AdvertLength, Counter::AdvertUnknownVrid];

/// Returns the page of metrics.
pub fn page(status: AgentStatus) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(status)));
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut page, &registry);
    page
}

#[derive(Debug)]
struct Exposition(AgentStatus);

/// The labels of a sample: those of its virtual router, if it belongs to one, and others.
#[derive(Default)]
struct Labels<'a> {
    router: Option<&'a VirtualRouterStatus>,
    others: Vec<(&'static str, &'a str)>,
}

fn of(router: &VirtualRouterStatus) -> Labels<'_> {
    Labels { router: Some(router), others: Vec::new() }
}

impl<'a> Labels<'a> {
    fn with(mut self, name: &'static str, value: &'a str) -> Self {
        self.others.push((name, value));
        self
    }

    fn is_empty(&self) -> bool {
        self.router.is_none() && self.others.is_empty()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        if let Some(VirtualRouterStatus { name, vrid, interface, family, .. }) = self.router {
            ("virtual_router", name).encode(encoder.encode_label())?;
            ("vrid", u32::from(*vrid)).encode(encoder.encode_label())?;
            ("interface", interface).encode(encoder.encode_label())?;
            ("family", family.to_string().as_str()).encode(encoder.encode_label())?;
        }
        self.others.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// A metric without its samples.
struct MetricFamily<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
    counter: bool,
}

fn gauge<'a>(name: &'a str, help: &'a str) -> MetricFamily<'a> {
    MetricFamily { name, help, unit: None, counter: false }
}

/// Returns a gauge in seconds; the encoder appends `_seconds` to its name.
fn seconds<'a>(name: &'a str, help: &'a str) -> MetricFamily<'a> {
    MetricFamily { unit: Some(Unit::Seconds), ..gauge(name, help) }
}

/// Returns a counter; the encoder appends `_total` to its name.
fn counter<'a>(name: &'a str, help: &'a str) -> MetricFamily<'a> {
    MetricFamily { counter: true, ..gauge(name, help) }
}

impl MetricFamily<'_> {
    fn encode<'s>(
        self,
        encoder: &mut DescriptorEncoder,
        samples: impl IntoIterator<Item = (Labels<'s>, f64)>,
    ) -> fmt::Result {
        let kind = if self.counter { MetricType::Counter } else { MetricType::Gauge };
        let mut family = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                encode_value(&mut family, self.counter, value)?;
            } else {
                encode_value(&mut family.encode_family(&labels)?, self.counter, value)?;
            }
        }
        Ok(())
    }
}

fn encode_value(sample: &mut MetricEncoder, counter: bool, value: f64) -> fmt::Result {
    const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
    if counter { sample.encode_counter(&value, NO_EXEMPLAR) } else { sample.encode_gauge(&value) }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(status) = self;
        encode_agent(status, &mut encoder)?;
        encode_checks(status, &mut encoder)?;
        encode_sync_groups(status, &mut encoder)?;
        encode_roles(&status.virtual_routers, &mut encoder)?;
        encode_timers(&status.virtual_routers, &mut encoder)?;
        encode_counters(&status.virtual_routers, &mut encoder)
    }
}

fn encode_agent(status: &AgentStatus, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let version = Labels::default().with("version", env!("CARGO_PKG_VERSION"));
    gauge("xvrrp_build_info", "The agent's version; always 1").encode(encoder, [(version, 1.0)])?;
    let help = "When the agent was started or last reloaded, since 1970; its own counters began at 0 then";
    seconds("xvrrp_start_time", help).encode(encoder, [(Labels::default(), status.started)])?;
    gauge(
        "xvrrp_pinned",
        "Whether programs and maps are pinned; if they are not, a restart of the agent is a failover",
    )
    .encode(encoder, [(Labels::default(), f64::from(u8::from(status.unpinned.is_none())))])?;
    gauge("xvrrp_statics_missing", "Static addresses, routes and rules that are not on the host")
        .encode(encoder, [(Labels::default(), exact(status.missing_statics.count))])?;
    let reasons = UNATTRIBUTED
        .iter()
        .map(|reason| (Labels::default().with("reason", reason.name()), count(&status.counters, &[*reason])));
    counter("xvrrp_unattributed_adverts", "VRRP packets that belong to no virtual router of this agent, by reason")
        .encode(encoder, reasons)?;
    let defects = count(&status.counters, &[Counter::MissingSlot]);
    counter("xvrrp_missing_slots", "Frames for a virtual router that has no slot in the maps: a defect of the agent")
        .encode(encoder, [(Labels::default(), defects)])
}

fn encode_checks(status: &AgentStatus, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let up = status.checks.iter().filter_map(|check| Some((about(check), up(check.state)?)));
    gauge("xvrrp_check_up", "Whether a check is up; absent before its first look, and for a file with a number")
        .encode(encoder, up)?;
    let values = status.checks.iter().filter_map(|check| Some((about(check), f64::from(check.value?))));
    gauge("xvrrp_check_value", "The number in a check's file, which multiplies the weight").encode(encoder, values)?;
    let weights = status.virtual_routers.iter().flat_map(|router| {
        router.track.iter().map(move |track| (of(router).with("check", &track.check), f64::from(track.weight)))
    });
    gauge("xvrrp_virtual_router_track_weight", "The weight of a tracked check; 0: its failure is a fault")
        .encode(encoder, weights)
}

fn encode_sync_groups(status: &AgentStatus, encoder: &mut DescriptorEncoder) -> fmt::Result {
    let of = |name| Labels::default().with("sync_group", name);
    let failures = status.sync_groups.iter().map(|group| (of(&group.name), exact(group.notify_failures)));
    counter(
        "xvrrp_sync_group_notify_failures",
        "Notify programs and services of a sync group that failed or were killed",
    )
    .encode(encoder, failures)
}

fn about(CheckStatus { name, kind, .. }: &CheckStatus) -> Labels<'_> {
    Labels::default().with("check", name).with("kind", kind)
}

fn up(state: CheckState) -> Option<f64> {
    match state {
        CheckState::Up => Some(1.0),
        CheckState::Down => Some(0.0),
        CheckState::Pending | CheckState::Value => None,
    }
}

fn encode_roles(routers: &[VirtualRouterStatus], encoder: &mut DescriptorEncoder) -> fmt::Result {
    let info = routers.iter().map(|router| {
        let version = if router.version == 2 { "2" } else { "3" };
        let group = router.sync_group.as_deref().unwrap_or_default();
        (
            of(router)
                .with("version", version)
                .with("xdp_mode", router.xdp_mode.map_or("", XdpMode::name))
                .with("sync_group", group),
            1.0,
        )
    });
    gauge("xvrrp_virtual_router_info", "VRRP version, XDP mode and sync group; always 1").encode(encoder, info)?;
    let each_state = |router| RouterState::ALL.into_iter().map(move |state| (router, state));
    let states = routers.iter().flat_map(each_state).map(|(router, state): (&VirtualRouterStatus, _)| {
        (of(router).with("state", state.name()), f64::from(u8::from(router.state == state)))
    });
    gauge("xvrrp_virtual_router_state", "1 for the current state, 0 for the others").encode(encoder, states)?;
    let transitions = routers.iter().flat_map(each_state).map(|(router, state): (&VirtualRouterStatus, _)| {
        (of(router).with("to", state.name()), exact(router.transitions.get(&state).copied().unwrap_or(0)))
    });
    counter("xvrrp_virtual_router_transitions", "Changes of state, by the new state").encode(encoder, transitions)?;
    seconds("xvrrp_virtual_router_state_start_time", "When it entered its state, since 1970")
        .encode(encoder, routers.iter().map(|router| (of(router), router.since)))?;
    gauge("xvrrp_virtual_router_priority", "The advertised priority")
        .encode(encoder, routers.iter().map(|router| (of(router), f64::from(router.priority))))?;
    gauge("xvrrp_virtual_router_configured_priority", "The priority before any check changes it")
        .encode(encoder, routers.iter().map(|router| (of(router), f64::from(router.configured_priority))))
}

fn encode_timers(routers: &[VirtualRouterStatus], encoder: &mut DescriptorEncoder) -> fmt::Result {
    let mut each = |name, help, time: fn(&TimerStatus) -> Option<f64>| {
        let samples = routers.iter().filter_map(|router| Some((of(router), time(&router.timers)? / 1000.0)));
        seconds(name, help).encode(encoder, samples)
    };
    each("xvrrp_virtual_router_advert_interval", "Time between this router's adverts, as configured", |timers| {
        Some(timers.advert_interval_ms)
    })?;
    let help = "The interval in force: this router's own, or as learned from the Active router";
    each("xvrrp_virtual_router_active_adver_interval", help, |timers| Some(timers.active_adver_interval_ms))?;
    each("xvrrp_virtual_router_skew", "Skew_Time", |timers| Some(timers.skew_ms))?;
    let help = "Active_Down_Interval: a Backup that hears no advert for this long takes over";
    each("xvrrp_virtual_router_active_down_interval", help, |timers| Some(timers.active_down_interval_ms))?;
    let help = "How long an Active router may still serve without another advert of its own; absent without a lease";
    each("xvrrp_virtual_router_lease_remaining", help, |timers| timers.lease_ms)
}

fn encode_counters(routers: &[VirtualRouterStatus], encoder: &mut DescriptorEncoder) -> fmt::Result {
    counter("xvrrp_virtual_router_adverts_sent", "Adverts sent")
        .encode(encoder, routers.iter().map(|router| (of(router), exact(router.adverts_sent))))?;
    counter("xvrrp_virtual_router_notify_failures", "Notify programs and services that failed or were killed")
        .encode(encoder, routers.iter().map(|router| (of(router), exact(router.notify_failures))))?;
    let restored = routers.iter().flat_map(|router| {
        let RestoredCounts { addresses, filter_entries, routes } = router.restored;
        [("address", addresses), ("filter_entry", filter_entries), ("route", routes)]
            .map(|(what, count)| (of(router).with("what", what), exact(count)))
    });
    let help = "Virtual addresses, entries of the card's unicast filter, and routes with rules, put back after something \
                else had removed them";
    counter("xvrrp_virtual_router_restored", help).encode(encoder, restored)?;
    gauge("xvrrp_virtual_router_routes_missing", "Routes and rules that are not on the host of an Active router")
        .encode(encoder, routers.iter().map(|router| (of(router), exact(router.missing.count))))?;
    let discards = routers
        .iter()
        .flat_map(|router| Counter::DISCARDS.iter().map(move |reason| (router, reason)))
        .map(|(router, reason)| (of(router).with("reason", reason.name()), count(&router.counters, &[*reason])));
    counter("xvrrp_virtual_router_adverts_discarded", "Discarded adverts, by reason (RFC 9568 7.1)")
        .encode(encoder, discards)?;
    for CounterMetric { name, help, label, sums } in COUNTER_METRICS {
        let samples = routers.iter().flat_map(|router| {
            sums.iter().map(move |(value, counters)| {
                let labels = if label.is_empty() { of(router) } else { of(router).with(label, value) };
                (labels, count(&router.counters, counters))
            })
        });
        counter(name, help).encode(encoder, samples)?;
    }
    Ok(())
}

fn count(counters: &BTreeMap<String, u64>, of: &[Counter]) -> f64 {
    exact(of.iter().filter_map(|counter| counters.get(counter.name())).sum())
}

/// Converts a count, exactly up to 2^53.
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_part_of_one_metric() {
        let counted = COUNTER_METRICS.iter().flat_map(|metric| metric.sums).flat_map(|(_, counters)| *counters);
        let mut placed: Vec<_> = counted.chain(Counter::DISCARDS).chain(&[Counter::MissingSlot]).collect();
        placed.extend(UNATTRIBUTED.iter().filter(|counter| !Counter::DISCARDS.contains(counter)));
        placed.sort();
        assert_eq!(placed, Counter::ALL.iter().collect::<Vec<_>>());
    }
}
