//! `xvrrp status`: shows the status document in a terminal of 80 columns.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use xvrrp_common::units::Family;

use crate::control::status::{
    ActiveRouter, AddressConflict, AgentStatus, CheckStatus, MissingEntries, PeerStatus, RestoredCounts, TimerStatus,
    TrackStatus, VirtualRouterStatus,
};

/// Returns the status as text for a terminal.
pub fn text(status: &AgentStatus) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_agent(&mut text, status);
    text
}

/// Formats a duration in milliseconds with a unit that suits its length.
pub fn span(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10_000.0 => format!("{ms:.1} ms"),
        ms if ms < 600_000.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms < 36_000_000.0 => format!("{:.0} min", ms / 60_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

fn write_agent(out: &mut String, status: &AgentStatus) -> fmt::Result {
    writeln!(out, "xvrrp on {} (pid {})", status.router_id, status.pid)?;
    if let Some(failure) = &status.unpinned {
        writeln!(out, "  NOT PINNED  a restart is a failover: {failure}")?;
    }
    write_missing(out, &status.missing_statics)?;
    if status.restored_statics > 0 {
        writeln!(out, "  put back    {} static entries that were removed", status.restored_statics)?;
    }
    for router in &status.virtual_routers {
        writeln!(out)?;
        write_router(out, router)?;
    }
    if !status.checks.is_empty() {
        writeln!(out, "\nchecks")?;
    }
    for CheckStatus { name, kind, target, state, value, in_state_ms, failure } in &status.checks {
        let state = value.map_or_else(|| state.to_string(), |value| value.to_string());
        writeln!(out, "  {name}: {state} for {} ({kind} {target})", span(*in_state_ms))?;
        if let Some(failure) = failure {
            writeln!(out, "              {failure}")?;
        }
    }
    if !status.counters.is_empty() {
        writeln!(out, "\nno virtual router of ours\n  counted     {}", list(&status.counters))?;
    }
    Ok(())
}

fn write_router(out: &mut String, router: &VirtualRouterStatus) -> fmt::Result {
    let VirtualRouterStatus { name, state, reason, in_state_ms, .. } = router;
    writeln!(out, "{name}: {} for {} ({reason})", state.name().to_uppercase(), span(*in_state_ms))?;
    write_configuration(out, router)?;
    write_tracks(out, &router.track)?;
    let active = match &router.active {
        Some(ActiveRouter { this_host: true, .. }) => "this host".to_owned(),
        Some(ActiveRouter { address, priority, .. }) => format!("{address}, priority {priority}"),
        None => "not known".to_owned(),
    };
    writeln!(out, "  Active      {active}")?;
    if router.handed_over {
        writeln!(out, "  handover    stands by until `--resume`, or until nobody else is Active")?;
    }
    write_addresses(out, router)?;
    write_timers(out, &router.timers)?;
    write_events(out, router)
}

fn write_configuration(out: &mut String, router: &VirtualRouterStatus) -> fmt::Result {
    let VirtualRouterStatus { family, vrid, version, interface, xdp_mode, priority, configured_priority, .. } = router;
    writeln!(out, "  router      VRID {vrid}, version {version} over {}, priority {priority}", family_name(*family))?;
    let mode = xdp_mode.map_or_else(String::new, |mode| format!(" (XDP mode {mode})"));
    writeln!(out, "  interface   {interface}{mode}")?;
    if priority != configured_priority {
        writeln!(out, "              configured with priority {configured_priority}")?;
    }
    if let Some(group) = &router.sync_group {
        writeln!(out, "  sync group  {group}")?;
    }
    Ok(())
}

fn write_tracks(out: &mut String, tracks: &[TrackStatus]) -> fmt::Result {
    for (index, TrackStatus { check, weight, reverse, state, value }) in tracks.iter().enumerate() {
        let label = if index == 0 { "tracks" } else { "" };
        let state = value.map_or_else(|| state.to_string(), |value| value.to_string());
        let weight = if *weight == 0 { String::new() } else { format!(", weight {weight}") };
        let reverse = if *reverse { ", reverse" } else { "" };
        writeln!(out, "  {label:<11} {check}: {state}{weight}{reverse}")?;
    }
    Ok(())
}

fn write_addresses(out: &mut String, router: &VirtualRouterStatus) -> fmt::Result {
    writeln!(out, "  addresses   at {}", router.virtual_mac.as_deref().unwrap_or("the interface's MAC"))?;
    for address in &router.addresses {
        writeln!(out, "              {address}")?;
    }
    for (index, PeerStatus { address, min_ttl }) in router.unicast_peers.iter().enumerate() {
        let label = if index == 0 { "unicast to" } else { "" };
        let routed = if *min_ttl == 255 { String::new() } else { format!(", TTL {min_ttl} at least") };
        writeln!(out, "  {label:<11} {address}{routed}")?;
    }
    Ok(())
}

fn write_timers(out: &mut String, timers: &TimerStatus) -> fmt::Result {
    writeln!(
        out,
        "  intervals   ours {}, Active_Adver_Interval {}",
        span(timers.advert_interval_ms),
        span(timers.active_adver_interval_ms),
    )?;
    writeln!(
        out,
        "  timers      Active_Down_Interval {}, Skew_Time {}, next in {}",
        span(timers.active_down_interval_ms),
        span(timers.skew_ms),
        timers.next_ms.map_or("-".to_owned(), span),
    )?;
    if let Some(left) = timers.lease_ms {
        writeln!(out, "  lease       serves for {} without another advert", span(left))?;
    }
    Ok(())
}

/// Writes what has happened to a virtual router, most of which is counted.
fn write_events(out: &mut String, router: &VirtualRouterStatus) -> fmt::Result {
    writeln!(out, "  adverts     {} sent", router.adverts_sent)?;
    if let Some(failure) = &router.not_kept {
        writeln!(out, "  NOT KEPT    {failure}")?;
    }
    write_missing(out, &router.missing)?;
    let RestoredCounts { addresses, filter_entries, routes } = router.restored;
    if addresses + filter_entries + routes > 0 {
        let counts = format!("{addresses} addresses, {filter_entries} filter entries, {routes} routes");
        writeln!(out, "  put back    {counts} that were removed")?;
    }
    if router.announcements_waiting > 0 {
        writeln!(out, "  announces   {} frames wait for their turn", router.announcements_waiting)?;
    }
    if let Some(AddressConflict { address, mac, ago_ms }) = &router.conflict {
        writeln!(out, "  CONFLICT    {mac} claimed {address} {} ago", span(*ago_ms))?;
    }
    if !router.counters.is_empty() {
        writeln!(out, "  counted     {}", list(&router.counters))?;
    }
    Ok(())
}

/// Writes what is not on the host although it should be.
fn write_missing(out: &mut String, MissingEntries { count, first }: &MissingEntries) -> fmt::Result {
    match (count, first) {
        (0, _) => Ok(()),
        (1, Some(first)) => writeln!(out, "  MISSING     {first}"),
        (count, Some(first)) => writeln!(out, "  MISSING     {count} entries: {first}"),
        (count, None) => writeln!(out, "  MISSING     {count} entries, which are being installed"),
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

fn list(counters: &BTreeMap<String, u64>) -> String {
    let lines: Vec<_> = counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
    lines.join("\n              ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use xvrrp_common::xdp::XdpMode;
    use xvrrp_vrrp::{Reason, RouterState};

    use super::*;
    use crate::control::status::{HeardRouter, HistoryEntry, SCHEMA, SyncGroupStatus};
    use crate::plan::cause::Cause;
    use crate::tracking::CheckState;

    fn tracked(check: &str, weight: i16, reverse: bool, state: CheckState) -> TrackStatus {
        TrackStatus { check: check.to_owned(), weight, reverse, state, value: None }
    }

    #[expect(clippy::too_many_lines, reason = "a value for every field")]
    fn example() -> AgentStatus {
        AgentStatus {
            schema: SCHEMA,
            router_id: "gw-a".to_owned(),
            pid: 4711,
            started: 1.5,
            unpinned: Some("/sys/fs/bpf is full".to_owned()),
            missing_statics: MissingEntries { count: 2, first: None },
            restored_statics: 7,
            sync_groups: vec![SyncGroupStatus {
                name: "gw".to_owned(),
                members: vec!["lan".to_owned(), "wan".to_owned()],
                notify_failures: 0,
            }],
            virtual_routers: vec![VirtualRouterStatus {
                name: "lan".to_owned(),
                family: Family::Ipv4,
                vrid: 51,
                version: 3,
                sync_group: Some("gw".to_owned()),
                interface: "eth0".to_owned(),
                xdp_mode: Some(XdpMode::Driver),
                state: RouterState::Backup,
                reason: Cause::Election(Reason::Startup),
                since: 1.5,
                in_state_ms: 12_345.0,
                priority: 80,
                configured_priority: 100,
                track: vec![
                    tracked("nginx", 0, false, CheckState::Up),
                    tracked("uplink", -20, false, CheckState::Down),
                    tracked("maintenance", 0, true, CheckState::Down),
                ],
                active: Some(ActiveRouter { address: IpAddr::from([192, 0, 2, 2]), priority: 200, this_host: false }),
                handed_over: true,
                heard: Some(HeardRouter {
                    address: IpAddr::from([192, 0, 2, 2]),
                    priority: 200,
                    ago_ms: 40.0,
                    first_ago_ms: None,
                }),
                timers: TimerStatus {
                    advert_interval_ms: 100.0,
                    active_adver_interval_ms: 100.0,
                    skew_ms: 60.9375,
                    active_down_interval_ms: 360.9375,
                    next_ms: Some(300.0),
                    lease_ms: Some(280.0),
                },
                virtual_mac: Some("00:00:5e:00:01:33".to_owned()),
                addresses: vec!["192.0.2.1/24".to_owned()],
                unicast_peers: vec![
                    PeerStatus { address: IpAddr::from([192, 0, 2, 2]), min_ttl: 255 },
                    PeerStatus { address: IpAddr::from([203, 0, 113, 2]), min_ttl: 254 },
                ],
                adverts_sent: 0,
                announcements_waiting: 0,
                transitions: BTreeMap::from([(RouterState::Backup, 1)]),
                history: vec![HistoryEntry {
                    at: 1.5,
                    ago_ms: 12_345.0,
                    state: RouterState::Backup,
                    reason: Cause::Election(Reason::Startup),
                }],
                notify_failures: 0,
                restored: RestoredCounts { addresses: 3, filter_entries: 1, routes: 2 },
                missing: MissingEntries {
                    count: 1,
                    first: Some("route \"default dev eth1\": eth1 is down".to_owned()),
                },
                not_kept: Some("192.0.2.1 on eth0 is taken off as often as it is put back".to_owned()),
                conflict: Some(AddressConflict {
                    address: IpAddr::from([192, 0, 2, 1]),
                    mac: "02:00:00:00:00:09".to_owned(),
                    ago_ms: 1500.0,
                }),
                counters: BTreeMap::from([("advert_accepted".to_owned(), 120), ("arp_suppressed".to_owned(), 2)]),
            }],
            checks: vec![CheckStatus {
                name: "uplink".to_owned(),
                kind: "interface".to_owned(),
                target: "eth1".to_owned(),
                state: CheckState::Down,
                value: None,
                in_state_ms: 2_500.0,
                failure: Some("eth1 is down or has no carrier".to_owned()),
            }],
            counters: BTreeMap::new(),
        }
    }

    #[test]
    fn a_terminal_shows_each_virtual_router_in_a_block() {
        let expected = "\
xvrrp on gw-a (pid 4711)
  NOT PINNED  a restart is a failover: /sys/fs/bpf is full
  MISSING     2 entries, which are being installed
  put back    7 static entries that were removed

lan: BACKUP for 12 s (startup)
  router      VRID 51, version 3 over IPv4, priority 80
  interface   eth0 (XDP mode driver)
              configured with priority 100
  sync group  gw
  tracks      nginx: up
              uplink: down, weight -20
              maintenance: down, reverse
  Active      192.0.2.2, priority 200
  handover    stands by until `--resume`, or until nobody else is Active
  addresses   at 00:00:5e:00:01:33
              192.0.2.1/24
  unicast to  192.0.2.2
              203.0.113.2, TTL 254 at least
  intervals   ours 100.0 ms, Active_Adver_Interval 100.0 ms
  timers      Active_Down_Interval 360.9 ms, Skew_Time 60.9 ms, next in 300.0 ms
  lease       serves for 280.0 ms without another advert
  adverts     0 sent
  NOT KEPT    192.0.2.1 on eth0 is taken off as often as it is put back
  MISSING     route \"default dev eth1\": eth1 is down
  put back    3 addresses, 1 filter entries, 2 routes that were removed
  CONFLICT    02:00:00:00:00:09 claimed 192.0.2.1 1500.0 ms ago
  counted     advert_accepted 120
              arp_suppressed 2

checks
  uplink: down for 2500.0 ms (interface eth1)
              eth1 is down or has no carrier
";
        assert_eq!(text(&example()), expected);
    }

    #[test]
    fn no_line_is_longer_than_80_columns() {
        assert!(text(&example()).lines().all(|line| line.len() <= 80));
    }
}
