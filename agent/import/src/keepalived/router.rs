//! Makes a `[[virtual_router]]` of a `vrrp_instance`. Writes out keepalived's defaults where they differ from those of
//! xvrrp.

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::report::ImportReport;
use super::super::time::duration;
use super::address::{self, AddressLine, Chosen};
use super::announce::Announced;
use super::global::Global;
use super::instance::{CENTISECOND, DEFAULT_PRIORITY, InstanceDirectives, OWNER, SECOND};
use super::track::{ImportedChecks, Weightless};

impl InstanceDirectives {
    /// Makes the table `[[virtual_router]]`, unless a required directive is missing. `has_mail` says whether the result
    /// has a `[mail]`.
    pub fn table(
        self,
        global: &Global,
        has_mail: bool,
        checks: &mut ImportedChecks,
        report: &mut ImportReport,
    ) -> Option<Table> {
        let Self { location, .. } = &self;
        let missing = match (&self.interface, &self.vrid) {
            (None, _) => Some("it has no interface to send adverts on; add one"),
            (_, None) => Some("it has no valid virtual_router_id; add one"),
            _ => None,
        };
        if let Some(missing) = missing {
            report.add(location, "vrrp_instance", format!("{:?}: {missing}", self.original_name));
        }
        let (None, Some(interface), Some(vrid)) = (missing, &self.interface, &self.vrid) else { return None };

        let mut table = Table::new("[[virtual_router]]", location);
        table.set("name", self.name.as_str(), location);
        table.set("interface", interface.value.as_str(), &interface.location);
        table.set("vrid", vrid.value, &vrid.location);
        let version = self.write_version(global, &mut table, report);
        let owner = self.write_priority(&mut table, report);
        self.write_interval(version, &mut table, report);
        self.write_addresses(&interface.value, &mut table, report);
        self.write_preemption(global, owner, &mut table, report);
        if let Some(location) = &self.ignores_carrier {
            table.set("carrier_fault", false, location);
        }
        self.election.write(&global.election, self.strict_mode(global), &mut table, report);
        self.write_accept(global, owner, &mut table);
        match &self.vmac {
            Some(location) => table.set("virtual_mac", true, location),
            None => {
                table.choose(
                    "virtual_mac",
                    false,
                    "keepalived: no use_vmac; set it to true once all routers run xvrrp",
                );
            }
        }
        self.write_password(version, global, &mut table, report);
        if let Some((_, source)) = &self.source {
            let element = Located::new(source.value.to_string(), &source.location);
            table.set_list("source_addresses", vec![element]);
        }
        table.set_list("unicast_peers", self.peers.iter().map(|peer| peer.element.clone()).collect());
        if let Some(location) = &self.fault_without_peers {
            if self.peers.is_empty() {
                let advice = "without a peer, adverts are sent by multicast, where keepalived has a fault; list the \
                              other routers in unicast_peer";
                report.add(location, "unicast_fault_no_peer", advice);
            } else {
                report.note(location, "unicast_fault_no_peer", "there are peers, so it has no effect");
            }
        }
        let addresses: Vec<_> = self.addresses.iter().filter_map(AddressLine::parsed).collect();
        let elsewhere = self.addresses.iter().filter_map(|address| address.elsewhere(&interface.value)).max();
        let announced = Announced { interface: &interface.value, addresses: &addresses, elsewhere };
        self.announcements.write(&global.announcements, &global.gaps, &announced, &mut table, report);
        let mut tracked = self.tracked.clone();
        if owner {
            for tracked in &mut tracked {
                tracked.weightless = Some(Weightless::Owner);
            }
        }
        checks.write(&tracked, &mut table, report);
        if has_mail {
            global.write_alert(self.alert.as_ref(), &mut table);
        }
        self.programs.write(&mut table);
        global.write_priority_changes(self.priority_changes.as_ref(), &mut table, report);
        self.routing.write(&mut table);
        Some(table)
    }

    /// Whether the adverts are over IPv6. Without anything that has a family, keepalived sends them over IPv4.
    fn is_ipv6(&self) -> bool {
        self.ipv6.unwrap_or(false)
    }

    fn write_addresses(&self, interface: &str, table: &mut Table, report: &mut ImportReport) {
        let Chosen { advertised, unadvertised, first } =
            address::choose(&self.addresses, interface, self.is_ipv6(), report);
        if advertised.is_empty() && self.is_ipv6() {
            table.set("family", "ipv6", &self.location);
        }
        if let Some(first) = first.filter(|first| self.is_ipv6() && !first.value.is_unicast_link_local()) {
            let advice = format!(
                "{} is the first address, which routers that follow RFC 9568 5.2.9 want to be link-local: they discard \
                 such adverts; put a link-local address before it on all routers",
                first.value
            );
            report.changed(&first.location, "virtual_ipaddress", advice);
            table.set_with_note("link_local_first", false, &first.location, "keepalived: any address may be the first");
        }
        table.set_list("addresses", advertised);
        table.set_list("unadvertised_addresses", unadvertised);
    }

    /// Returns the line that turns on strict mode, if it is on.
    fn strict_mode<'a>(&'a self, global: &'a Global) -> Option<&'a Location> {
        let strict = self.strict.as_ref().or(global.strict.as_ref()).filter(|strict| strict.value);
        strict.map(|strict| &strict.location)
    }

    /// Returns the version.
    fn write_version(&self, global: &Global, table: &mut Table, report: &mut ImportReport) -> u8 {
        // Only version 3 has IPv6.
        match (&self.version, &global.version) {
            (Some(Located { value: 2, location }), _) if self.is_ipv6() && self.strict_mode(global).is_none() => {
                let advice = "becomes 3: version 2 has no IPv6 (RFC 3768), but keepalived sends such adverts with this \
                              file; set version 3 on all routers";
                report.changed(location, "version", advice);
                table.set_with_note("version", 3, location, "keepalived: version 2 over IPv6, which is in no RFC");
                3
            }
            _ if self.is_ipv6() => {
                table.choose("version", 3, "keepalived: IPv6 always uses version 3");
                3
            }
            (Some(version), _) | (None, Some(version)) => {
                table.set("version", i64::from(version.value), &version.location);
                version.value
            }
            (None, None) => {
                table.choose("version", 2, "keepalived: no vrrp_version, so its default");
                2
            }
        }
    }

    /// Returns whether keepalived treats the virtual router as the owner of the addresses: a MASTER without a priority
    /// has 255.
    pub fn is_owner(&self) -> bool {
        self.priority.as_ref().map_or(self.master.is_some(), |priority| priority.value == OWNER)
    }

    /// Returns [`Self::is_owner`].
    fn write_priority(&self, table: &mut Table, report: &mut ImportReport) -> bool {
        // In keepalived, a MASTER without a priority has 255.
        match (&self.priority, &self.master) {
            (Some(priority), _) if priority.value < OWNER => {
                table.set("priority", priority.value, &priority.location);
                false
            }
            (None, None) => {
                table.choose("priority", DEFAULT_PRIORITY, "keepalived: no priority, so its default");
                false
            }
            (Some(Located { location, .. }), _) | (None, Some(location)) => {
                let advice = "becomes 254: keepalived puts the addresses of an owner (priority 255, or MASTER without \
                              a priority) on the interface, but xvrrp expects them there already; to use 255, add them \
                              to the host";
                report.changed(location, "priority", advice);
                table.set_with_note("priority", OWNER - 1, location, "keepalived: 255, the owner of the addresses");
                true
            }
        }
    }

    fn write_interval(&self, version: u8, table: &mut Table, report: &mut ImportReport) {
        let Some(Located { value, location }) = &self.advert_interval else {
            table.choose("advert_interval", "1s", "keepalived: no advert_int, so its default");
            return;
        };
        let (step, max) = if version == 2 { (SECOND, 255 * SECOND) } else { (CENTISECOND, 4095 * CENTISECOND) };
        // keepalived rounds in the same way.
        let rounded = ((value + step / 2) / step * step).clamp(step, max);
        if rounded == *value {
            table.set("advert_interval", duration(rounded), location);
        } else {
            let advice = format!("becomes {}, as keepalived rounds it in version {version}", duration(rounded));
            report.note(location, "advert_int", advice.as_str());
            table.set_with_note("advert_interval", duration(rounded), location, advice);
        }
    }

    fn write_preemption(&self, global: &Global, owner: bool, table: &mut Table, report: &mut ImportReport) {
        let strict = self.strict_mode(global).is_some();
        let why_not = match (&self.master, owner) {
            (Some(_), _) => Some("keepalived ignores it with state MASTER; if xvrrp should apply it, add it by hand"),
            (None, true) => Some("an owner always preempts, in keepalived too"),
            (None, false) => None,
        };
        if let Some(why_not) = why_not {
            for (location, directive) in [
                (self.nopreempt.as_ref(), "nopreempt"),
                (self.preempt_delay.as_ref().map(|it| &it.location), "preempt_delay"),
            ] {
                if let Some(location) = location {
                    report.note(location, directive, why_not);
                }
            }
            return;
        }
        match (&self.nopreempt, &self.preempt_delay) {
            (Some(location), delay) => {
                table.set("preempt", false, location);
                if let Some(delay) = delay {
                    report.note(&delay.location, "preempt_delay", "has no effect with nopreempt, as in keepalived");
                }
            }
            (None, Some(delay)) if strict => {
                report.note(&delay.location, "preempt_delay", "has no effect in strict mode, as in keepalived");
            }
            (None, Some(delay)) => table.set("preempt_delay", duration(delay.value), &delay.location),
            (None, None) => {}
        }
    }

    fn write_accept(&self, global: &Global, owner: bool, table: &mut Table) {
        match (&self.accept, self.strict_mode(global)) {
            (Some(accept), None) if !accept.value => table.set("accept", false, &accept.location),
            (None, Some(strict)) if !owner => {
                table.set_with_note("accept", false, strict, "keepalived: strict mode");
            }
            // An owner always accepts, and in strict mode `accept` needs version 3.
            (Some(accept), Some(_)) => table.set("accept", accept.value, &accept.location),
            _ => {}
        }
    }

    fn write_password(&self, version: u8, global: &Global, table: &mut Table, report: &mut ImportReport) {
        let strict = self.strict_mode(global).is_some();
        let (kind, password) = match (&self.password_type, &self.password) {
            (None, None) => return,
            (None, Some(password)) => {
                let advice = "keepalived ignores it without auth_type PASS; add that on all routers, or remove this";
                return report.note(&password.location, "auth_pass", advice);
            }
            (Some(kind), None) => {
                return report.note(&kind.location, "auth_type", "keepalived ignores it without auth_pass; remove it");
            }
            (Some(kind), Some(password)) => (kind, password),
        };
        if version == 3 || strict {
            let advice = "version 3 and strict mode have no authentication, so keepalived ignores it; remove it, and \
                          use allowed_sources";
            return report.note(&kind.location, "auth_type", advice);
        }
        match kind.value.as_str() {
            "PASS" => {
                // keepalived sends the first 8 bytes.
                let sent = &password.value[..password.value.floor_char_boundary(8)];
                if sent.len() < 8 && sent.len() < password.value.len() {
                    let advice = "its first 8 bytes, which keepalived sends, end within a character; choose another one \
                                  on all routers";
                    return report.add(&password.location, "auth_pass", advice);
                }
                if sent == password.value {
                    table.set("password", sent, &password.location);
                } else {
                    table.set_with_note("password", sent, &password.location, "keepalived: only 8 bytes are sent");
                }
            }
            "AH" => report.add(
                &kind.location,
                "auth_type",
                "there is no AH, and a router with AH ignores one without; use PASS, or no authentication, on all of \
                 them",
            ),
            _ => {
                report.note(
                    &kind.location,
                    "auth_type",
                    "is neither PASS nor AH, so keepalived ignores it; correct it",
                );
            }
        }
    }
}
