//! heartbeat's ha.cf and haresources, of its versions 1 to 3 without a cluster resource manager.

mod ha_cf;
mod haresources;
mod resource;

use std::path::Path;

use toml::Value as Toml;

use self::ha_cf::Cluster;
use self::haresources::Group;
use self::resource::{Address, Resource};
use super::document::Table;
use super::names::{Names, valid};
use super::place::{Located, SourceLine};
use super::report::Report;
use super::time::duration;
use super::{ImportError, Options, beside};

/// Priorities of the node that a line of haresources names, and of the others: a weight between them lets the other take
/// over.
const PREFERRED: u32 = 120;
const OTHER: u32 = 100;
const PING_WEIGHT: i64 = -25;
const FIRST_VRID: u32 = 51;
const LAST_VRID: u32 = 255;
/// heartbeat's default.
const DEADTIME: u64 = 30_000_000;
/// What version 3 can say of an interval.
const STEP: u64 = 10_000;
const MAX_INTERVAL: u64 = 4095 * STEP;

/// The tables that the files make, not checked yet. Either is given; the other lies beside it.
pub(super) fn import(path: &Path, options: &Options, report: &mut Report) -> Result<Vec<Table>, ImportError> {
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
        let place = SourceLine::new(&authkeys, 2);
        report.left(
            &place,
            "auth",
            "version 3 has no authentication (RFC 5798): list the other router in \
                                     allowed_sources, see docs/security.md",
        );
    }
    let node = cluster.own_node(options)?;

    let mut routers =
        Routers { cluster: &cluster, node, names: Names::default(), next_vrid: FIRST_VRID, tables: Vec::new() };
    let mut tables = vec![agent(node)];
    for group in &groups {
        routers.add(group, report);
    }
    tables.extend(cluster.checks(report));
    tables.extend(routers.tables);
    Ok(tables)
}

fn agent(node: &Located<String>) -> Table {
    let mut table = Table::new("[agent]", &node.place);
    table.set("router_id", valid(&node.value), &node.place);
    table
}

struct Routers<'a> {
    cluster: &'a Cluster,
    node: &'a Located<String>,
    names: Names,
    next_vrid: u32,
    tables: Vec<Table>,
}

impl Routers<'_> {
    /// One for each interface of a line of haresources.
    fn add(&mut self, group: &Group, report: &mut Report) {
        let Group { node, resources } = group;
        let resources: Vec<Located<Resource>> =
            resources.iter().filter_map(|it| Some(Located::new(resource::read(it, report)?, &it.place))).collect();
        let addresses = |it: &'_ Located<Resource>| match &it.value {
            Resource::Address(address) => Some(Located::new(address.clone(), &it.place)),
            Resource::Service(_) => None,
        };
        let addresses: Vec<Located<Address>> = resources.iter().filter_map(addresses).collect();
        let services: Vec<Located<&str>> = resources
            .iter()
            .filter_map(|it| match &it.value {
                Resource::Service(name) => Some(Located::new(name.as_str(), &it.place)),
                Resource::Address(_) => None,
            })
            .collect();
        if addresses.is_empty() {
            report.left(
                &node.place,
                "haresources",
                "this line has no address, and so no virtual router; start its services by systemd",
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

    fn add_router(
        &mut self,
        preferred: &Located<String>,
        addresses: &[Located<Address>],
        services: &[Located<&str>],
        report: &mut Report,
    ) -> Option<Located<String>> {
        let first = addresses.first()?;
        let place = &first.place;
        if self.next_vrid > LAST_VRID {
            report.left(place, "haresources", "more virtual routers than VRIDs; left out");
            return None;
        }
        let vrid = self.next_vrid;
        self.next_vrid += 1;
        let name = self.names.claim(first.value.address.split('/').next().unwrap_or_default());

        let mut table = Table::new("[[virtual_router]]", place);
        table.set("name", name.as_str(), place);
        match &first.value.interface {
            Some(interface) => table.set("interface", interface.as_str(), place),
            None => {
                let device = self.cluster.device.as_ref().map_or("eth0", |device| device.value.as_str());
                let advice = format!(
                    "no interface is named, {device} is chosen; heartbeat asked the routing table: take the \
                     interface of this network"
                );
                report.left(place, "interface", advice.as_str());
                table.choose("interface", device, advice);
            }
        }
        let advice = format!(
            "heartbeat has no VRID, {vrid} is chosen; it must be free on the segment, and the same on all routers"
        );
        report.left(place, "vrid", advice.as_str());
        table.choose("vrid", vrid, advice);
        let (priority, why) = if preferred.value == self.node.value {
            (PREFERRED, format!("this host is preferred: {}", preferred.value))
        } else {
            (OTHER, format!("another host is preferred: {}", preferred.value))
        };
        table.set_with_note("priority", priority, &preferred.place, why);
        self.write_interval(&mut table);
        let bare = addresses.iter().find(|address| !address.value.address.contains('/'));
        if let Some(bare) = bare {
            let advice = "no prefix length, so a single address; heartbeat took that of the network's route: add it \
                          if it matters";
            report.left(&bare.place, "addresses", advice);
        }
        let note = bare.map(|_| "an address without prefix length stands alone (/32)");
        let list = addresses.iter().map(|it| Located::new(it.value.address.clone(), &it.place)).collect();
        table.set_list_with_note("addresses", list, note);
        match &self.cluster.failback {
            Some(failback) => table.set("preempt", failback.value, &failback.place),
            None => table.choose("preempt", true, "heartbeat: no auto_failback, so legacy, which is on"),
        }
        table.set_list("track", self.cluster.tracked());
        let units: Vec<_> =
            services.iter().map(|it| Located::new(format!("{}.service", it.value), &it.place)).collect();
        table.set_list("services", units);
        self.tables.push(table);
        Some(Located::new(name, place))
    }

    /// So that a dead host is replaced after `deadtime` at the latest: Active_Down_Interval is less than four intervals.
    fn write_interval(&self, table: &mut Table) {
        let deadtime = self.cluster.deadtime.as_ref();
        let micros = deadtime.map_or(DEADTIME, |it| it.value);
        let interval = duration((micros / 4 / STEP * STEP).clamp(STEP, MAX_INTERVAL));
        let dead = duration(micros);
        match deadtime {
            Some(it) => {
                let note = format!("a dead host is replaced after three to four of these, within deadtime = {dead}");
                table.set_with_note("advert_interval", interval, &it.place, note);
            }
            None => {
                let note =
                    format!("heartbeat: no deadtime, so its default, {dead}, within which a dead host is replaced");
                table.choose("advert_interval", interval, note);
            }
        }
    }

    /// What stands on one line goes together.
    fn group(&mut self, names: Vec<Located<String>>) {
        let Some(first) = names.first() else { return };
        let place = first.place.clone();
        let mut table = Table::new("[[sync_group]]", &place);
        table.set("name", format!("group-{}", first.value), &place);
        let names = names.into_iter().map(|it| Located { value: Toml::String(it.value), place: it.place }).collect();
        table.set_list("members", names);
        self.tables.push(table);
    }
}
