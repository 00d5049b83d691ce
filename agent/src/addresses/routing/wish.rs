//! Routes, rules and addresses of a configuration, as the virtual routers and the agent itself want them.

use xvrrp_config::{
    HostNames, Insertion as Place, Names, Route, RoutingConfig, Rule, StaticAddress, StaticConfig, Written,
};
use xvrrp_net::Insertion;

/// Something that should be on the host. Names of tables and the like are replaced by their numbers.
///
/// Two that are equal are the same thing on the host. That is why nothing in it says how it is installed and kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Address(StaticAddress),
    Rule(Rule),
    Route(Route),
}

/// Entry of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    /// Where a route is put among others.
    pub(super) insertion: Insertion,
    /// Whether it is put back when something else removes it.
    pub(super) kept: bool,
    /// What the log calls it: `route "default via 192.0.2.254"`.
    pub(super) text: String,
}

impl Wish {
    /// Returns what a virtual router wants while it is Active.
    pub(super) fn of_router(config: &RoutingConfig) -> Vec<Self> {
        let names = host_names(config);
        let rules = config.rules.iter().filter_map(|written| Self::rule(written, &names));
        rules.chain(config.routes.iter().filter_map(|written| Self::route(written, &names))).collect()
    }

    /// Returns what the agent itself wants.
    pub(super) fn statics(config: &StaticConfig) -> Vec<Self> {
        Self::static_addresses(config).chain(Self::of_router(&config.routing)).collect()
    }

    /// Returns the addresses that the agent itself wants.
    pub(super) fn static_addresses(config: &StaticConfig) -> impl Iterator<Item = Self> {
        config.addresses.iter().map(Self::address)
    }

    fn address(written: &Written<StaticAddress>) -> Self {
        let StaticAddress { kept, .. } = written.value;
        Self {
            wanted: Wanted::Address(StaticAddress { kept: true, ..written.value.clone() }),
            insertion: Insertion::Alone,
            kept,
            text: format!("address \"{}\"", written.text),
        }
    }

    fn rule(written: &Written<Rule>, names: &HostNames) -> Option<Self> {
        let text = format!("rule \"{}\"", written.text);
        let kept = written.value.kept;
        let mut rule = Rule { kept: true, ..written.value.clone() };
        rule.resolve(names).map_err(|unknown| log_unknown(&text, unknown)).ok()?;
        Some(Self { wanted: Wanted::Rule(rule), insertion: Insertion::Alone, kept, text })
    }

    fn route(written: &Written<Route>, names: &HostNames) -> Option<Self> {
        let text = format!("route \"{}\"", written.text);
        let Route { kept, insertion, .. } = written.value;
        let mut route = Route { kept: true, insertion: Place::default(), ..written.value.clone() };
        route.resolve(names).map_err(|unknown| log_unknown(&text, unknown)).ok()?;
        let insertion = match insertion {
            Place::Prepend => Insertion::First,
            Place::Append => Insertion::Last,
            Place::Add => Insertion::Alone,
        };
        Some(Self { wanted: Wanted::Route(route), insertion, kept, text })
    }
}

/// Reads the names that the host has for numbers, if any are needed.
fn host_names(config: &RoutingConfig) -> HostNames {
    if config.has_names() { HostNames::read() } else { HostNames::default() }
}

/// Logs that the host no longer has a name that it had when the configuration was checked.
fn log_unknown(text: &str, (kind, name): (Names, String)) {
    tracing::error!("{text} is left out: this host no longer has a {kind} named \"{name}\"");
}
