//! Imports ha.cf and haresources of heartbeat 1 to 3 without a cluster resource manager.

mod ha_cf;
mod haresources;
mod resource;

use std::path::Path;

use toml::Value as Toml;

use self::ha_cf::Cluster;
use self::haresources::ResourceGroup;
use self::resource::{HeartbeatAddress, Resource};
use super::document::Table;
use super::error::ImportError;
use super::input::beside;
use super::location::{Located, Location};
use super::names::{TakenNames, sanitize};
use super::options::Options;
use super::report::ImportReport;
use super::time::duration;

/// Priority of the node that a line of haresources names.
const PREFERRED: u32 = 120;
/// Priority of other nodes. [`PING_WEIGHT`](ha_cf::PING_WEIGHT) exceeds the difference, so that they can take over.
const OTHER: u32 = 100;
const FIRST_VRID: u32 = 51;
const LAST_VRID: u32 = 255;
/// heartbeat's default, in microseconds.
const DEADTIME: u64 = 30_000_000;
/// Unit of intervals in adverts of version 3, in microseconds.
const STEP: u64 = 10_000;
/// Longest interval in adverts of version 3, in microseconds.
const MAX_INTERVAL: u64 = 4095 * STEP;

/// Returns the tables of the result, which are not checked yet. `path` is that of one file; the other file is in the
/// same directory.
pub(super) fn import(path: &Path, options: &Options, report: &mut ImportReport) -> Result<Vec<Table>, ImportError> {
    let given_resources = path.file_name().is_some_and(|name| name == "haresources");
    let (ha_cf, haresources) = if given_resources {
        (beside(path, "ha.cf"), path.to_owned())
    } else {
        (path.to_owned(), beside(path, "haresources"))
    };
    let cluster = ha_cf::read(&ha_cf, report)?;
    let groups = haresources::read(&haresources, &cluster)?;
    let authkeys = beside(path, "authkeys");
    if authkeys.exists() {
        let location = Location::new(&authkeys, 2);
        report.add(
            &location,
            "auth",
            "VRRP version 3 has no authentication (RFC 5798); list the other router in allowed_sources \
             (docs/security.md)",
        );
    }
    let node = cluster.own_node(options)?;

    let mut routers =
        Routers { cluster: &cluster, node, names: TakenNames::default(), next_vrid: FIRST_VRID, tables: Vec::new() };
    let mut tables = vec![agent(node)];
    for group in &groups {
        routers.add(group, report);
    }
    tables.extend(cluster.checks(report));
    tables.extend(routers.tables);
    Ok(tables)
}

/// Makes the table `[agent]`.
fn agent(node: &Located<String>) -> Table {
    let mut table = Table::new("[agent]", &node.location);
    table.set("router_id", sanitize(&node.value), &node.location);
    table
}

/// The virtual routers and sync groups made so far.
struct Routers<'a> {
    cluster: &'a Cluster,
    node: &'a Located<String>,
    names: TakenNames,
    next_vrid: u32,
    tables: Vec<Table>,
}

impl Routers<'_> {
    /// Makes a virtual router for each interface of a line of haresources, and a sync group if there are several.
    fn add(&mut self, group: &ResourceGroup, report: &mut ImportReport) {
        let ResourceGroup { node, resources } = group;
        let resources: Vec<Located<Resource>> =
            resources.iter().filter_map(|it| Some(Located::new(resource::read(it, report)?, &it.location))).collect();
        let addresses = |it: &'_ Located<Resource>| match &it.value {
            Resource::Address(address) => Some(Located::new(address.clone(), &it.location)),
            Resource::Service(_) => None,
        };
        let addresses: Vec<Located<HeartbeatAddress>> = resources.iter().filter_map(addresses).collect();
        let services: Vec<Located<&str>> = resources
            .iter()
            .filter_map(|it| match &it.value {
                Resource::Service(name) => Some(Located::new(name.as_str(), &it.location)),
                Resource::Address(_) => None,
            })
            .collect();
        if addresses.is_empty() {
            report.add(
                &node.location,
                "haresources",
                "this line has no address, so no virtual router is made of it; start its services with systemd",
            );
            return;
        }
        let mut interfaces: Vec<Option<&str>> = Vec::new();
        for address in &addresses {
            let interface = address.value.interface.as_deref();
            if !interfaces.contains(&interface) {
                interfaces.push(interface);
            }
        }
        let mut names = Vec::new();
        for (index, interface) in interfaces.into_iter().enumerate() {
            let of_interface = addresses.iter().filter(|address| address.value.interface.as_deref() == interface);
            let of_interface: Vec<_> = of_interface.cloned().collect();
            let services: &[_] = if index == 0 { &services } else { &[] };
            names.extend(self.add_router(node, &of_interface, services, report));
        }
        if names.len() > 1 {
            self.group(names);
        }
    }

    /// Makes a virtual router. Returns its name.
    fn add_router(
        &mut self,
        preferred: &Located<String>,
        addresses: &[Located<HeartbeatAddress>],
        services: &[Located<&str>],
        report: &mut ImportReport,
    ) -> Option<Located<String>> {
        let first = addresses.first()?;
        let location = &first.location;
        if self.next_vrid > LAST_VRID {
            report.add(location, "haresources", "there are more virtual routers than VRIDs");
            return None;
        }
        let vrid = self.next_vrid;
        self.next_vrid += 1;
        let name = self.names.claim(first.value.address.split('/').next().unwrap_or_default());

        let mut table = Table::new("[[virtual_router]]", location);
        table.set("name", name.as_str(), location);
        match &first.value.interface {
            Some(interface) => table.set("interface", interface.as_str(), location),
            None => {
                let device = self.cluster.device.as_ref().map_or("eth0", |device| device.value.as_str());
                let advice = format!(
                    "no interface is given, so {device} was chosen; heartbeat looks it up in the routing table: set \
                     the interface of this network"
                );
                report.changed(location, "interface", advice.as_str());
                table.choose("interface", device, advice);
            }
        }
        let advice = format!(
            "heartbeat has no VRID, so {vrid} was chosen; it must be free on the segment, and the same on all routers"
        );
        report.changed(location, "vrid", advice.as_str());
        table.choose("vrid", vrid, advice);
        let (priority, why) = if preferred.value == self.node.value {
            (PREFERRED, format!("the preferred node is this host, {}", preferred.value))
        } else {
            (OTHER, format!("the preferred node is another host, {}", preferred.value))
        };
        table.set_with_note("priority", priority, &preferred.location, why);
        self.write_interval(&mut table);
        let bare = addresses.iter().find(|address| !address.value.address.contains('/'));
        if let Some(bare) = bare {
            let advice = format!(
                "{} has no prefix length, so it becomes a single address; heartbeat takes the prefix length of the route \
                 to the network: add it if it matters",
                bare.value.address
            );
            report.changed(&bare.location, "addresses", advice);
        }
        let note = bare.map(|_| "an address without a prefix length is a single address (/32)");
        let list = addresses.iter().map(|it| Located::new(it.value.address.clone(), &it.location)).collect();
        table.set_list_with_note("addresses", list, note);
        match &self.cluster.failback {
            Some(failback) => table.set("preempt", failback.value, &failback.location),
            None => table.choose("preempt", true, "heartbeat: no auto_failback, so legacy, which means on"),
        }
        table.set_list("track", self.cluster.tracked());
        let units: Vec<_> =
            services.iter().map(|it| Located::new(format!("{}.service", it.value), &it.location)).collect();
        table.set_list("services", units);
        self.tables.push(table);
        Some(Located::new(name, location))
    }

    /// Chooses the interval so that a dead host is replaced within `deadtime`: Active_Down_Interval is less than four
    /// intervals.
    fn write_interval(&self, table: &mut Table) {
        let deadtime = self.cluster.deadtime.as_ref();
        let micros = deadtime.map_or(DEADTIME, |it| it.value);
        let interval = duration((micros / 4 / STEP * STEP).clamp(STEP, MAX_INTERVAL));
        let dead = duration(micros);
        match deadtime {
            Some(it) => {
                let note = format!("a dead host is replaced after three to four intervals, within deadtime = {dead}");
                table.set_with_note("advert_interval", interval, &it.location, note);
            }
            None => {
                let note =
                    format!("heartbeat: no deadtime, so its default, {dead}, within which a dead host is replaced");
                table.choose("advert_interval", interval, note);
            }
        }
    }

    /// Makes a sync group of the virtual routers of one line, which change role together.
    fn group(&mut self, names: Vec<Located<String>>) {
        let Some(first) = names.first() else { return };
        let location = first.location.clone();
        let mut table = Table::new("[[sync_group]]", &location);
        table.set("name", format!("group-{}", first.value), &location);
        let names =
            names.into_iter().map(|it| Located { value: Toml::String(it.value), location: it.location }).collect();
        table.set_list("members", names);
        self.tables.push(table);
    }
}
