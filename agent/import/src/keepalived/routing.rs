//! Reads `virtual_routes`, `virtual_rules`, `static_routes`, `static_rules` and `static_ipaddress`. The result has the
//! same words, apart from those that the two programs read differently.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::report::ImportReport;
use super::tree::Statement;

/// Interface of static addresses that name none, unless `default_interface` does.
const DEFAULT_INTERFACE: &str = "eth0";
/// Priority of the first rule without one, in each family. Each further one gets one less.
const FIRST_PRIORITY: u32 = 16_384;

/// Words whose value may be any text.
const NAMING: &[&str] = &[
    "dev",
    "oif",
    "iif",
    "vrf",
    "table",
    "lookup",
    "congctl",
    "protocol",
    "fwmark",
    "realms",
    "scope",
    "tos",
    "dsfield",
    "suppress_ifgroup",
    "sup_group",
    "track_group",
];

/// Routes and rules, in the words of the result.
#[derive(Debug, Default)]
pub(super) struct Routing {
    routes: Vec<Located<String>>,
    rules: Vec<Located<String>>,
}

/// What is on the host whatever the roles are.
#[derive(Debug, Default)]
pub(super) struct Statics {
    addresses: Vec<Located<String>>,
    routing: Routing,
}

/// Removes the lines that keepalived ignores because of an address, and gives rules without a priority the one that
/// keepalived chooses when it reads the line.
pub(super) fn prepare(statements: &mut [Statement], report: &mut ImportReport) {
    let (mut next, mut next_ipv6) = (FIRST_PRIORITY, FIRST_PRIORITY);
    for statement in statements {
        let blocks = if statement.keyword == "vrrp_instance" {
            statement.block.as_deref_mut().unwrap_or_default()
        } else {
            std::slice::from_mut(statement)
        };
        for block in blocks.iter_mut().filter(|block| is_routing(&block.keyword)) {
            let Statement { keyword, location, block: Some(lines), .. } = block else { continue };
            if lines.is_empty() {
                report.note(location, keyword, "the block is empty");
            }
            if keyword == "static_ipaddress" {
                continue;
            }
            lines.retain(|line| match invalid_address(line) {
                Some(word) => {
                    let advice = format!("{word:?} is not an address, so keepalived ignores the line; correct it");
                    report.note(&line.location, keyword, advice);
                    false
                }
                None => true,
            });
            if !keyword.ends_with("_rules") {
                continue;
            }
            for line in lines.iter_mut().filter(|line| !has_priority(line)) {
                let next = if is_ipv6_rule(line) { &mut next_ipv6 } else { &mut next };
                let advice = format!("has no priority, so it gets the one that keepalived chooses, {next}; add one");
                report.note(&line.location, keyword, advice);
                line.words.extend(["priority".to_owned(), next.to_string()]);
                *next = next.saturating_sub(1);
            }
        }
    }
}

fn is_routing(keyword: &str) -> bool {
    matches!(keyword, "virtual_routes" | "virtual_rules" | "static_routes" | "static_rules" | "static_ipaddress")
}

/// Returns the words of a line.
fn words(line: &Statement) -> impl Iterator<Item = &str> {
    std::iter::once(&line.keyword).chain(&line.words).map(String::as_str)
}

/// Returns the first word of a route or rule that stands for an address, and is none.
fn invalid_address(line: &Statement) -> Option<&str> {
    let mut words = words(line);
    while let Some(word) = words.next() {
        if NAMING.contains(&word) {
            words.next();
            continue;
        }
        let (word, is_valid) = match word {
            "via" | "gw" | "src" | "or" => {
                let address = words.by_ref().find(|word| !matches!(*word, "inet" | "inet6"))?;
                (address, address.parse::<IpAddr>().is_ok())
            }
            "from" | "to" => {
                let prefix = words.next()?;
                (prefix, is_address(prefix) || matches!(prefix, "default" | "any" | "all" | "default6"))
            }
            _ => (word, is_address(word) || !word.contains(['.', ':', '/'])),
        };
        if !is_valid {
            return Some(word);
        }
    }
    None
}

/// Returns whether this is an address. keepalived ignores a prefix length that is not valid.
fn is_address(word: &str) -> bool {
    word.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn has_priority(rule: &Statement) -> bool {
    words(rule).any(|word| matches!(word, "priority" | "preference" | "order"))
}

/// Returns the family that the first word with a family decides.
fn is_ipv6_rule(rule: &Statement) -> bool {
    let family = words(rule).find_map(|word| match word {
        "inet6" | "default6" => Some(true),
        "inet" | "realms" => Some(false),
        word => word.split('/').next()?.parse().ok().map(|address: IpAddr| address.is_ipv6()),
    });
    family.unwrap_or(false)
}

impl Routing {
    /// Reads a block of routes.
    pub fn add_routes(&mut self, block: &Statement, report: &mut ImportReport) {
        add(&mut self.routes, block, report);
    }

    /// Reads a block of rules.
    pub fn add_rules(&mut self, block: &Statement, report: &mut ImportReport) {
        add(&mut self.rules, block, report);
    }

    /// Adds the keys of a virtual router.
    pub fn write(self, table: &mut Table) {
        table.set_list("routes", self.routes);
        table.set_list("rules", self.rules);
    }
}

impl Statics {
    /// Reads a block outside any other. Returns false if it is another one than those with static entries.
    pub fn read(&mut self, block: &Statement, default_interface: Option<&str>, report: &mut ImportReport) -> bool {
        match block.keyword.as_str() {
            "static_routes" => self.routing.add_routes(block, report),
            "static_rules" => self.routing.add_rules(block, report),
            "static_ipaddress" => {
                let interface = default_interface.unwrap_or(DEFAULT_INTERFACE);
                let addresses = block.statements().iter().filter_map(|line| address(line, interface, report));
                self.addresses.extend(addresses);
            }
            _ => return false,
        }
        true
    }

    /// Returns the first line of each list.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        let lists = [&self.addresses, &self.routing.routes, &self.routing.rules];
        lists.into_iter().filter_map(|list| list.first()).map(|entry| &entry.location)
    }

    /// Adds the keys of the agent.
    pub fn write(self, table: &mut Table) {
        table.set_list("static_addresses", self.addresses);
        table.set_list("static_routes", self.routing.routes);
        table.set_list("static_rules", self.routing.rules);
    }
}

/// Adds the routes or rules of a block to a list.
fn add(list: &mut Vec<Located<String>>, block: &Statement, report: &mut ImportReport) {
    let mut seen: HashSet<String> = list.iter().map(|entry| entry.value.clone()).collect();
    for line in block.statements() {
        let text = translate(line, &block.keyword, report);
        if seen.insert(text.clone()) {
            list.push(Located::new(text, &line.location));
        } else {
            report.note(&line.location, &block.keyword, format!("{text:?} is listed twice; remove one"));
        }
    }
}

/// Returns a route or rule in the words of the result.
fn translate(line: &Statement, directive: &str, report: &mut ImportReport) -> String {
    let mut result: Vec<String> = Vec::new();
    let is_tracked = !words(line).any(|word| word == "no_track");
    let mut words = words(line);
    while let Some(word) = words.next() {
        match word {
            "protocol" => {
                words.next();
                if is_tracked {
                    report.note(&line.location, word, "keepalived uses its own, and so does xvrrp: 112");
                } else {
                    let advice = "is always 112, by which xvrrp recognizes what it has installed; remove it";
                    report.changed(&line.location, word, advice);
                }
            }
            "tos" | "dsfield" => {
                result.push(word.to_owned());
                result.extend(words.next().map(hexadecimal));
            }
            "track_group" if directive.starts_with("static_") => {
                words.next();
                drop_track_group(line, report);
            }
            "default6" => result.push("::/0".to_owned()),
            word => result.push(word.to_owned()),
        }
    }
    result.join(" ")
}

/// Returns a number with 0x. ip(8) and xvrrp read one without as hexadecimal, but keepalived as C does.
fn hexadecimal(text: &str) -> String {
    let number = match text.strip_prefix('0') {
        _ if text.starts_with("0x") => None,
        Some(octal) if !octal.is_empty() => u8::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    number.map_or_else(|| text.to_owned(), |number| format!("{number:#x}"))
}

fn drop_track_group(line: &Statement, report: &mut ImportReport) {
    let advice = "what something else removes is put back, and no virtual router waits for it; to make them wait for the \
                  interface, add it to their track_interface";
    report.changed(&line.location, "track_group", advice);
}

/// Returns a static address in the words of the result, or `None` if keepalived ignores it.
fn address(line: &Statement, default_interface: &str, report: &mut ImportReport) -> Option<Located<String>> {
    let directive = "static_ipaddress";
    let Statement { keyword: own, location, .. } = line;
    let Some(parsed) = own.split('/').next().and_then(|own| own.parse::<IpAddr>().ok()) else {
        let advice = format!("{own:?} is not an IP address, so keepalived ignores the line; correct it");
        report.note(location, directive, advice);
        return None;
    };
    let ipv6 = parsed.is_ipv6();
    let has = |option: &str| line.words.iter().any(|word| word == option);
    let mut result = vec![own.clone()];
    let mut words = line.words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let value = takes_value(word).then(|| words.next().unwrap_or_default());
        match word {
            "track_group" => drop_track_group(line, report),
            "-nodad" if ipv6 => {}
            "brd" | "broadcast" if matches!(value, Some("+" | "-")) && has_no_hosts(own) => {
                report.note(location, directive, format!("{own} has no broadcast address; remove {word}"));
            }
            _ => match why_ignored(word, value.unwrap_or_default(), ipv6, has("peer")) {
                Some(why) => {
                    let advice = format!("{word:?} {why}, so keepalived ignores it; remove it");
                    report.note(location, directive, advice);
                }
                None => result.extend([word].into_iter().chain(value).map(str::to_owned)),
            },
        }
    }
    if !has("dev") {
        let advice = format!("names no interface, so it is on keepalived's default, {default_interface}; add dev");
        report.note(location, directive, advice);
        result.extend(["dev".to_owned(), default_interface.to_owned()]);
    }
    // Without these words, keepalived does so by itself.
    if ipv6 && !has("-nodad") {
        result.push("nodad".to_owned());
    }
    if ipv6 && !has("preferred_lft") && own.split_once('/').is_none_or(|(_, length)| length == "128") {
        result.extend(["preferred_lft".to_owned(), "0".to_owned()]);
    }
    Some(Located::new(result.join(" "), location))
}

/// Returns whether an IPv4 address has a prefix that is too long for a broadcast address.
fn has_no_hosts(address: &str) -> bool {
    address.split_once('/').is_none_or(|(_, length)| length.parse().is_ok_and(|length: u8| length > 30))
}

/// Returns whether a value follows this option of an address.
fn takes_value(option: &str) -> bool {
    matches!(option, "dev" | "preferred_lft" | "scope" | "label" | "brd" | "broadcast" | "peer" | "track_group")
}

/// Returns why keepalived ignores this option of an address.
fn why_ignored(option: &str, value: &str, ipv6: bool, has_peer: bool) -> Option<&'static str> {
    match option {
        "scope" | "label" if ipv6 => Some("is for IPv4 only"),
        "brd" | "broadcast" if has_peer => Some("does not go with peer"),
        "peer" if !value.parse().is_ok_and(|peer: IpAddr| peer.is_ipv6() == ipv6) => {
            Some("is not an address of this family without a prefix length")
        }
        "-nodad" => Some("is for IPv6 only"),
        "home" | "mngtmpaddr" | "noprefixroute" | "autojoin" | "no_track" => None,
        option if takes_value(option) => None,
        _ => Some("is not one of its options"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_tos_are_read_as_in_c() {
        let read = ["16", "020", "0x10", "0", "throughput"].map(hexadecimal);
        assert_eq!(read, ["0x10", "0x10", "0x10", "0x0", "throughput"]);
    }
}
