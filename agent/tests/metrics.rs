//! Checks the page of metrics, and that the dashboard, the alerts and the reference name the metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;
use xvrrp::control::status::AgentStatus;
use xvrrp::status::prometheus;

/// Returns the page for a status with something in every field.
fn page() -> String {
    let status: AgentStatus = serde_json::from_value(json!({
        "schema": 1,
        "router_id": "gw-a",
        "pid": 4711,
        "started": 1000.5,
        "missing_statics": { "count": 3, "first": null },
        "virtual_routers": [{
            "name": "lan",
            "family": "ipv4",
            "vrid": 51,
            "version": 3,
            "sync_group": "gw",
            "interface": "eth0",
            "xdp_mode": "driver",
            "state": "active",
            "reason": "active_down",
            "since": 2000.25,
            "in_state_ms": 12_345.0,
            "priority": 180,
            "configured_priority": 200,
            "track": [{ "check": "uplink", "weight": -20, "state": "down", "value": null }],
            "active": null,
            "timers": {
                "advert_interval_ms": 100.0,
                "active_adver_interval_ms": 100.0,
                "skew_ms": 29.6875,
                "active_down_interval_ms": 329.6875,
                "next_ms": 50.0,
                "lease_ms": 250.0
            },
            "virtual_mac": "00:00:5e:00:01:33",
            "addresses": ["192.0.2.1/24"],
            "adverts_sent": 12,
            "transitions": { "active": 2, "backup": 3 },
            "notify_failures": 1,
            "restored": { "addresses": 6, "filter_entries": 5, "routes": 4 },
            "missing": { "count": 2, "first": null },
            "rival": null,
            "counters": { "advert_accepted": 7, "advert_checksum": 4, "arp_answered": 3, "nd_answered": 2 }
        }],
        "sync_groups": [{ "name": "gw", "members": ["lan", "wan"], "notify_failures": 2 }],
        "checks": [
            {
                "name": "uplink", "kind": "interface", "target": "eth1", "state": "down", "value": null,
                "in_state_ms": 1.0, "failure": "eth1 is down"
            },
            {
                "name": "load", "kind": "file", "target": "/run/load", "state": "value", "value": -7,
                "in_state_ms": 1.0, "failure": null
            },
            {
                "name": "new", "kind": "ping", "target": "192.0.2.9", "state": "pending", "value": null,
                "in_state_ms": 1.0, "failure": null
            }
        ],
        "counters": { "advert_unknown_vrid": 9 }
    }))
    .unwrap();
    prometheus::page(status)
}

/// Returns the names of all samples, as queries use them.
fn metrics(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// Returns every word that looks like a metric of xvrrp.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("xvrrp_")).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn the_page_has_the_values_of_the_status_in_base_units() {
    const LAN: &str = r#"virtual_router="lan",vrid="51",interface="eth0",family="ipv4""#;
    let page = page();
    let router = |name: &str, labels: &str, value: &str| {
        let separator = if labels.is_empty() { "" } else { "," };
        format!("xvrrp_virtual_router_{name}{{{LAN}{separator}{labels}}} {value}")
    };
    for line in [
        format!("xvrrp_build_info{{version=\"{}\"}} 1.0", env!("CARGO_PKG_VERSION")),
        "xvrrp_start_time_seconds 1000.5".to_owned(),
        "xvrrp_pinned 1.0".to_owned(),
        r#"xvrrp_unattributed_adverts_total{reason="advert_unknown_vrid"} 9.0"#.to_owned(),
        r#"xvrrp_unattributed_adverts_total{reason="advert_length"} 0.0"#.to_owned(),
        r#"xvrrp_check_up{check="uplink",kind="interface"} 0.0"#.to_owned(),
        r#"xvrrp_check_value{check="load",kind="file"} -7.0"#.to_owned(),
        r#"xvrrp_sync_group_notify_failures_total{sync_group="gw"} 2.0"#.to_owned(),
        router("info", r#"version="3",xdp_mode="driver",sync_group="gw""#, "1.0"),
        router("state", r#"state="active""#, "1.0"),
        router("state", r#"state="backup""#, "0.0"),
        router("transitions_total", r#"to="backup""#, "3.0"),
        router("transitions_total", r#"to="fault""#, "0.0"),
        router("state_start_time_seconds", "", "2000.25"),
        router("priority", "", "180.0"),
        router("configured_priority", "", "200.0"),
        router("track_weight", r#"check="uplink""#, "-20.0"),
        router("advert_interval_seconds", "", "0.1"),
        router("active_down_interval_seconds", "", "0.3296875"),
        router("lease_remaining_seconds", "", "0.25"),
        router("adverts_sent_total", "", "12.0"),
        router("adverts_received_total", "", "7.0"),
        router("adverts_discarded_total", r#"reason="advert_checksum""#, "4.0"),
        router("adverts_discarded_total", r#"reason="advert_own_source""#, "0.0"),
        router("address_requests_total", r#"outcome="answered""#, "5.0"),
        router("notify_failures_total", "", "1.0"),
        router("restored_total", r#"what="address""#, "6.0"),
        router("restored_total", r#"what="filter_entry""#, "5.0"),
        router("restored_total", r#"what="route""#, "4.0"),
        router("routes_missing", "", "2.0"),
        "xvrrp_statics_missing 3.0".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
    assert!(!page.contains("check=\"new\""), "a pending check is neither up nor down:\n{page}");
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_exist() {
    let metrics = metrics(&page());
    for path in ["dashboard.json", "alerts.yml", "alerts-test.yml"] {
        let named = named(&read(&format!("scripts/monitoring/{path}")));
        assert!(!named.is_empty(), "{path}");
        for name in named {
            assert!(metrics.contains(&name), "{path}: there is no {name}");
        }
    }
}

#[test]
fn the_reference_has_every_metric_and_no_other() {
    assert_eq!(named(&read("docs/metrics.md")), metrics(&page()));
}
