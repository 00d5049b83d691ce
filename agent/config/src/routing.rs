//! Reads routes, rules and static addresses, and checks that they do not contradict each other.

use std::collections::HashMap;
use std::hash::Hash;

use toml::de::DeValue;
use xvrrp_common::units::Family;

use super::error::{ConfigError, Problems, Reported, all};
use super::iproute::{self, HostNames};
use super::keys::{self, Key};
use super::model::{
    AgentConfig, Config, Names, Prefix, Route, RoutingConfig, Rule, RuleAction, StaticAddress, StaticConfig, Table,
    VirtualRouterConfig, Written,
};
use super::quote::quote;
use super::section::Section;

/// Reads the lists of routes and rules that these keys have.
pub(super) fn read(section: &mut Section, routes: &Key, rules: &Key) -> Result<RoutingConfig, Reported> {
    let routes = read_list(section, routes, iproute::parse_route);
    let rules = read_list(section, rules, iproute::parse_rule);
    Ok(RoutingConfig { routes: routes?, rules: rules? })
}

/// Reads what is on the host whatever the roles are.
pub(super) fn read_statics(section: &mut Section) -> Result<StaticConfig, Reported> {
    let addresses = read_list(section, &keys::STATIC_ADDRESSES, iproute::parse_address);
    let routing = read(section, &keys::STATIC_ROUTES, &keys::STATIC_RULES);
    let (addresses, routing) = (addresses?, routing?);
    check_addresses(section, &addresses);
    Ok(StaticConfig { addresses, routing })
}

/// Reads a list of entries. An entry may occur only once in a list.
fn read_list<T: Eq + Hash>(
    section: &mut Section,
    key: &Key,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<Written<T>>, Reported> {
    let Some((elements, line)) = section.list(key)? else { return Ok(Vec::new()) };
    if elements.len() > RoutingConfig::MAX_ENTRIES {
        let max = RoutingConfig::MAX_ENTRIES;
        return Err(section.report(
            key,
            line,
            format!("{} entries are too many; expected at most {max}", elements.len()),
        ));
    }
    let entries = all(elements.into_iter().map(|found| {
        let DeValue::String(text) = found.value else { return Err(section.reject_type(key, found)) };
        let value =
            parse(text).map_err(|wrong| section.report(key, found.line, format!("{}: {wrong}", quote(text))))?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Written { value, text, line: found.line })
    }))?;
    let mut first_lines = HashMap::with_capacity(entries.len());
    for Written { value, text, line } in &entries {
        if let Some(first) = first_lines.insert(value, line) {
            let message = format!("{} is listed twice, first on line {first}; remove one", quote(text));
            return Err(section.report(key, *line, message));
        }
    }
    Ok(entries)
}

/// Reports addresses that an interface would have twice.
fn check_addresses(section: &mut Section, addresses: &[Written<StaticAddress>]) {
    let mut first_lines = HashMap::new();
    for Written { value: StaticAddress { address, interface, prefix_length, .. }, line, .. } in addresses {
        // Over IPv6, the kernel ignores the prefix length.
        let length = if address.is_ipv6() { 0 } else { *prefix_length };
        if let Some(first) = first_lines.insert((address, length, interface), line) {
            let message = format!("{address} is on {} twice, first on line {first}; remove one", quote(interface));
            section.report(&keys::STATIC_ADDRESSES, *line, message);
        }
    }
}

/// Where IPv6 can have only one route: table, destination, source and metric.
type Place<'a> = (&'a Table, Prefix, Option<Prefix>, u32);

/// Reports IPv6 routes that the kernel would merge into one, and static addresses that are virtual addresses too.
pub(super) fn check(root: &mut Section, agent: &AgentConfig, routers: &[VirtualRouterConfig]) {
    let mut firsts: HashMap<Place<'_>, &Written<Route>> = HashMap::new();
    for (place, key, routing) in lists(agent, routers) {
        for route in routing.routes.iter().filter(|route| route.value.family == Family::Ipv6) {
            let Route { table, destination, source, metric, .. } = &route.value;
            let first = *firsts.entry((table, *destination, *source, *metric)).or_insert(route);
            if !is_same_route(&first.value, &route.value) {
                let message = format!(
                    "{} has the destination, table and metric of the route on line {}, and the kernel would merge the \
                     two; give one of them another metric, or write one route with nexthop for each gateway",
                    quote(&route.text),
                    first.line
                );
                root.problems.report(route.line, format!("{place}: {}: {message}", key.name));
            }
        }
    }
    let vips = routers.iter().flat_map(|router| {
        let elsewhere = router.elsewhere();
        let interface = move |address| elsewhere.get(&address).copied().unwrap_or(&router.interface);
        router.all_addresses().map(move |vip| ((interface(vip.address), vip.address), router.name.as_str()))
    });
    let vips: HashMap<_, _> = vips.collect();
    for Written { value: StaticAddress { address, interface, .. }, line, .. } in &agent.statics.addresses {
        if let Some(router) = vips.get(&(interface.as_str(), *address)) {
            let message = format!(
                "{address} on {} moves with virtual_router {}; remove it from one of them",
                quote(interface),
                quote(router)
            );
            root.problems.report(*line, format!("agent: {}: {message}", keys::STATIC_ADDRESSES.name));
        }
    }
}

/// Returns whether two routes are the same, apart from how they are installed and kept.
fn is_same_route(one: &Route, other: &Route) -> bool {
    *one == Route { insertion: one.insertion, kept: one.kept, ..other.clone() }
}

/// Returns all lists of routes and rules, each with the name of its table and the key of its routes.
fn lists<'a>(
    agent: &'a AgentConfig,
    routers: &'a [VirtualRouterConfig],
) -> impl Iterator<Item = (String, Key, &'a RoutingConfig)> {
    let statics = ("agent".to_owned(), keys::STATIC_ROUTES, &agent.statics.routing);
    let of_router = |router: &'a VirtualRouterConfig| {
        (format!("virtual_router {}", quote(&router.name)), keys::ROUTES, &*router.routing)
    };
    std::iter::once(statics).chain(routers.iter().map(of_router))
}

/// Checks that this host has all names of tables, realms, groups of interfaces and values of the field DS that a
/// configuration uses.
///
/// # Errors
/// This host lacks a name. The error lists everything that needs a change of the configuration.
pub fn check_names(config: &Config, names: &HostNames) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    for (place, key, routing) in lists(&config.agent, &config.virtual_routers) {
        let routes = routing.routes.iter().map(|it| (key, it.line, &it.text, it.value.clone().resolve(names)));
        let rules = routing.rules.iter().map(|it| (rules_of(key), it.line, &it.text, it.value.clone().resolve(names)));
        for (key, line, text, resolved) in routes.chain(rules) {
            let Err((kind, name)) = resolved else { continue };
            let message = format!(
                "{}: this host has no {kind} {}; give its number, or add it to /etc/iproute2/{}",
                quote(text),
                quote(&name),
                kind.file()
            );
            outcome = Err(problems.report(line, format!("{place}: {}: {message}", key.name)));
        }
    }
    problems.conclude_check(config, outcome)
}

/// Returns a warning for each entry that needs an interface that does not exist, as `FILE:LINE: ...`.
pub fn missing_interfaces(config: &Config, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |place: &str, key: Key, line: usize, text: &str, interface: &str| {
        if !exists(interface) {
            let (text, interface) = (quote(text), quote(interface));
            let message = format!(
                "{place}: {}: {text}: there is no interface {interface} yet; until then, it is not installed",
                key.name
            );
            warnings.push(config.show(line, &message));
        }
    };
    for (place, key, routing) in lists(&config.agent, &config.virtual_routers) {
        for Written { value, text, line } in &routing.routes {
            value.interfaces().for_each(|interface| warn(&place, key, *line, text, interface));
        }
    }
    for Written { value, text, line } in &config.agent.statics.addresses {
        warn("agent", keys::STATIC_ADDRESSES, *line, text, &value.interface);
    }
    warnings
}

/// Returns the key of the rules in the table that has this key for routes.
fn rules_of(routes: Key) -> Key {
    if routes == keys::ROUTES { keys::RULES } else { keys::STATIC_RULES }
}

impl StaticConfig {
    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.routing.is_empty()
    }
}

impl RoutingConfig {
    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.rules.is_empty()
    }

    /// Returns whether a name stands for the number of a table, a realm, a group of interfaces or a value of the field
    /// DS.
    pub fn has_names(&self) -> bool {
        let none = HostNames::default();
        self.routes.iter().any(|route| route.value.clone().resolve(&none).is_err())
            || self.rules.iter().any(|rule| rule.value.clone().resolve(&none).is_err())
    }
}

impl Route {
    /// Returns the names of the interfaces that it needs.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        let vrf = match &self.table {
            Table::Vrf(name) => Some(name.as_str()),
            Table::Listed(_) => None,
        };
        self.next_hops.iter().filter_map(|next_hop| next_hop.interface.as_deref()).chain(vrf)
    }

    /// Replaces all names of the host by their numbers.
    ///
    /// # Errors
    /// The host does not have the name that is the error.
    pub fn resolve(&mut self, names: &HostNames) -> Result<(), (Names, String)> {
        if let Table::Listed(table) = &mut self.table {
            names.resolve(table)?;
        }
        let realms = self.next_hops.iter_mut().filter_map(|next_hop| next_hop.realms.as_mut());
        let realms = realms.flat_map(|realms| [&mut realms.source, &mut realms.destination]);
        realms.chain([&mut self.tos]).try_for_each(|named| names.resolve(named))
    }
}

impl Rule {
    /// Replaces all names of the host by their numbers.
    ///
    /// # Errors
    /// The host does not have the name that is the error.
    pub fn resolve(&mut self, names: &HostNames) -> Result<(), (Names, String)> {
        let table = match &mut self.action {
            RuleAction::Lookup(table) => Some(table),
            _ => None,
        };
        let realms = self.realms.iter_mut().flat_map(|realms| [&mut realms.source, &mut realms.destination]);
        let all = realms.chain([&mut self.tos]).chain(table).chain(&mut self.suppress_group);
        { all }.try_for_each(|named| names.resolve(named))
    }
}
