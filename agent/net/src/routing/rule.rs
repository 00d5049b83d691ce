//! A rule, as the kernel has it.

use netlink_packet_route::route::{RouteProtocol, RouteRealm};
use netlink_packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage, RulePortRange, RuleUidRange};
use xvrrp_common::units::Family;

use super::numbers::{PROTOCOL, Prefix, family, number, table};

/// A rule. Numbers are those of linux/fib_rules.h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The family of the packets.
    pub family: Family,
    /// Rules are tried from the lowest priority to the highest.
    pub priority: u32,
    /// `FR_ACT_*`
    pub action: u8,
    /// The table to look packets up in; 0 if there is none.
    pub table: u32,
    /// The rule to go on with.
    pub goto: Option<u32>,
    /// Whether the table is that of the packets' VRF.
    pub l3mdev: bool,
    /// Whether it applies to the packets that do not match.
    pub invert: bool,
    /// Where packets come from.
    pub from: Option<Prefix>,
    /// Where packets go.
    pub to: Option<Prefix>,
    /// The field DS; 0 for any.
    pub tos: u8,
    /// Interface that packets arrive on, by name.
    pub iif: Option<String>,
    /// Interface that sockets are bound to, by name.
    pub oif: Option<String>,
    /// Mark and mask.
    pub fwmark: Option<(u32, u32)>,
    /// Protocol over IP.
    pub ip_protocol: Option<u8>,
    /// First and last port.
    pub source_ports: Option<(u16, u16)>,
    /// First and last port.
    pub destination_ports: Option<(u16, u16)>,
    /// First and last user.
    pub users: Option<(u32, u32)>,
    /// Tunnel that packets come from.
    pub tunnel: Option<u64>,
    /// IPv4 only: realms of the source and of the destination.
    pub realms: Option<(u16, u16)>,
    /// Routes with prefixes of at most this length do not count.
    pub suppress_prefix_length: Option<u32>,
    /// Routes by interfaces of this group do not count.
    pub suppress_group: Option<u32>,
}

impl Rule {
    /// Looks packets up in a table.
    pub const TO_TABLE: u8 = 1;
    /// Goes on with the rule of a certain priority.
    pub const GOTO: u8 = 2;
    /// Goes on with the next rule.
    pub const NOP: u8 = 3;
    /// Discards packets silently.
    pub const BLACKHOLE: u8 = 6;
    /// Discards packets, and reports that the host is unreachable.
    pub const UNREACHABLE: u8 = 7;
    /// Discards packets, and reports that this is prohibited.
    pub const PROHIBIT: u8 = 8;

    /// Returns a rule that looks up all packets of a family in a table.
    pub fn lookup(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            action: Self::TO_TABLE,
            table,
            goto: None,
            l3mdev: false,
            invert: false,
            from: None,
            to: None,
            tos: 0,
            iif: None,
            oif: None,
            fwmark: None,
            ip_protocol: None,
            source_ports: None,
            destination_ports: None,
            users: None,
            tunnel: None,
            realms: None,
            suppress_prefix_length: None,
            suppress_group: None,
        }
    }

    /// Reads a message; `None` if the rule is not ours.
    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        if !is_ours(message) {
            return None;
        }
        let header = &message.header;
        let mut rule = Self::lookup(family(header.family)?, 0, header.table.into());
        rule.action = header.action.into();
        (rule.invert, rule.tos) = (header.flags.contains(RuleFlags::Invert), header.tos);
        let (mut mark, mut mask) = (0, 0);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Source(address) => rule.from = Some((*address, header.src_len)),
                RuleAttribute::Destination(address) => rule.to = Some((*address, header.dst_len)),
                RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
                RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
                RuleAttribute::Goto(priority) => rule.goto = Some(*priority),
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::FwMark(number) => mark = *number,
                RuleAttribute::FwMask(number) => mask = *number,
                RuleAttribute::Realm(realm) => rule.realms = Some((realm.source, realm.destination)),
                RuleAttribute::TunId(id) => rule.tunnel = Some(*id),
                RuleAttribute::SuppressIfGroup(group) => rule.suppress_group = Some(*group),
                // The kernel shows -1 if there is none.
                RuleAttribute::SuppressPrefixLen(length) if *length <= 128 => {
                    rule.suppress_prefix_length = Some(*length);
                }
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::L3MDev(is_set) => rule.l3mdev = *is_set,
                RuleAttribute::UidRange(RuleUidRange { start, end }) => rule.users = Some((*start, *end)),
                RuleAttribute::IpProtocol(protocol) => rule.ip_protocol = Some((*protocol).into()),
                RuleAttribute::SourcePortRange(RulePortRange { start, end }) => {
                    rule.source_ports = Some((*start, *end));
                }
                RuleAttribute::DestinationPortRange(RulePortRange { start, end }) => {
                    rule.destination_ports = Some((*start, *end));
                }
                _ => {}
            }
        }
        rule.fwmark = Some((mark, mask)).filter(|both| *both != (0, 0));
        Some(rule)
    }

    /// Returns the message that adds or removes the rule.
    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let (table, large_table) = table(self.table);
        let header = &mut message.header;
        header.family = number(self.family);
        header.src_len = self.from.map_or(0, |(_, length)| length);
        header.dst_len = self.to.map_or(0, |(_, length)| length);
        (header.tos, header.table) = (self.tos, table);
        header.action = self.action.into();
        if self.invert {
            header.flags = RuleFlags::Invert;
        }
        let ports = |(start, end)| RulePortRange { start, end };
        let optional = [
            large_table.map(RuleAttribute::Table),
            self.goto.map(RuleAttribute::Goto),
            self.l3mdev.then_some(RuleAttribute::L3MDev(true)),
            self.from.map(|(address, _)| RuleAttribute::Source(address)),
            self.to.map(|(address, _)| RuleAttribute::Destination(address)),
            self.iif.clone().map(RuleAttribute::Iifname),
            self.oif.clone().map(RuleAttribute::Oifname),
            self.fwmark.map(|(mark, _)| RuleAttribute::FwMark(mark)),
            self.fwmark.map(|(_, mask)| RuleAttribute::FwMask(mask)),
            self.ip_protocol.map(|protocol| RuleAttribute::IpProtocol(protocol.into())),
            self.source_ports.map(|range| RuleAttribute::SourcePortRange(ports(range))),
            self.destination_ports.map(|range| RuleAttribute::DestinationPortRange(ports(range))),
            self.users.map(|(start, end)| RuleAttribute::UidRange(RuleUidRange { start, end })),
            self.tunnel.map(RuleAttribute::TunId),
            self.realms.map(|(source, destination)| RuleAttribute::Realm(RouteRealm { source, destination })),
            self.suppress_prefix_length.map(RuleAttribute::SuppressPrefixLen),
            self.suppress_group.map(RuleAttribute::SuppressIfGroup),
        ];
        let always = [RuleAttribute::Priority(self.priority), RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL))];
        message.attributes = always.into_iter().chain(optional.into_iter().flatten()).collect();
        message
    }
}

/// Returns whether an agent has added the rule.
pub(super) fn is_ours(message: &RuleMessage) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}
