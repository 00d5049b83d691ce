//! Parses a rule in the words of `ip rule add`.

use std::ops::RangeInclusive;

use xvrrp_common::units::Family;

use super::number::number;
use super::words::{Families, Words, family, named, of, prefix, unknown, within};
use crate::model::{Named, Names, Prefix, Realms, Rule, RuleAction};
use crate::quote::quote;

/// What an error calls the words of which a rule has exactly one.
const ACTION: &str = "the action (lookup, goto, nop, blackhole, unreachable, prohibit or l3mdev)";

/// The words about a rule that have been read.
#[derive(Default)]
struct Draft {
    families: Families,
    priority: Option<u32>,
    not: bool,
    from: Option<Prefix>,
    to: Option<Prefix>,
    iif: Option<String>,
    oif: Option<String>,
    fwmark: Option<(u32, u32)>,
    tos: Option<Named>,
    ip_protocol: Option<u8>,
    source_ports: Option<(u16, u16)>,
    destination_ports: Option<(u16, u16)>,
    users: Option<(u32, u32)>,
    tunnel: Option<u64>,
    action: Option<RuleAction>,
    realms: Option<Realms>,
    suppress_prefix_length: Option<u8>,
    suppress_group: Option<Named>,
    no_track: bool,
}

/// Parses a rule. The error says what is wrong with the text and what is expected.
pub(in super::super) fn parse(text: &str) -> Result<Rule, String> {
    let mut words = Words::new(text);
    let mut draft = Draft::default();
    while let Some(word) = words.next() {
        if let Some(family) = family(word) {
            draft.families.add(family, word)?;
        } else if !draft.selector(word, &mut words)? && !draft.action(word, &mut words)? {
            return Err(unknown(word, "ip rule"));
        }
    }
    draft.finish()
}

impl Draft {
    /// Reads a prefix. A prefix of length 0 only decides the family.
    fn prefix(&mut self, keyword: &'static str, words: &mut Words<'_>) -> Result<Option<Prefix>, String> {
        let text = words.value(keyword)?;
        let read = prefix(keyword, text)?;
        if let Some(prefix) = read {
            self.families.add(Family::of(prefix.address), text)?;
        }
        Ok(read.filter(|prefix| prefix.length > 0))
    }

    /// Reads a word that says to which packets the rule applies. Returns false if the word is something else.
    fn selector(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, String> {
        match word {
            "not" => {
                words.once("not")?;
                self.not = true;
            }
            "from" => self.from = self.prefix("from", words)?,
            "to" => self.to = self.prefix("to", words)?,
            "priority" | "preference" | "pref" | "order" => {
                self.priority = Some(words.number("priority", 0, u32::MAX)?);
            }
            "iif" | "dev" => self.iif = Some(words.interface("iif")?),
            "oif" => self.oif = Some(words.interface("oif")?),
            "fwmark" => self.fwmark = fwmark(words.value("fwmark")?)?,
            "tos" | "dsfield" => self.tos = Some(words.tos()?),
            "ipproto" => self.ip_protocol = Some(ip_protocol(words.value("ipproto")?)?),
            "sport" => self.source_ports = Some(range("sport", words.value("sport")?, 1..=u16::MAX)?),
            "dport" => self.destination_ports = Some(range("dport", words.value("dport")?, 1..=u16::MAX)?),
            "uidrange" => self.users = Some(range("uidrange", words.value("uidrange")?, 0..=u32::MAX - 1)?),
            "tunnel-id" | "tun_id" => {
                let text = words.value("tunnel-id")?;
                let wrong = || format!("tunnel-id: {} is not a number above 0", quote(text));
                self.tunnel = Some(number(text).filter(|number| *number > 0).ok_or_else(wrong)?);
            }
            "protocol" | "proto" => words.protocol()?,
            "no_track" => {
                words.once("no_track")?;
                self.no_track = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads a word that says what the rule does. Returns false if the word is something else.
    fn action(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool, String> {
        let word = match word {
            "type" => words.value("type")?,
            word => word,
        };
        match word {
            "suppress_prefixlength" | "sup_pl" => {
                let length = words.number("suppress_prefixlength", 0, 128)?;
                self.suppress_prefix_length = u8::try_from(length).ok();
                return Ok(true);
            }
            "suppress_ifgroup" | "sup_group" => {
                let text = words.value("suppress_ifgroup")?;
                self.suppress_group = Some(named("suppress_ifgroup", text, Names::Groups, i32::MAX.unsigned_abs())?);
                return Ok(true);
            }
            "realms" => {
                self.realms = Some(words.realms()?);
                self.families.add(Family::Ipv4, word)?;
                return Ok(true);
            }
            _ => {}
        }
        let action = match word {
            "table" | "lookup" => RuleAction::Lookup(words.table("lookup")?),
            "l3mdev" => RuleAction::L3mdev,
            "goto" => RuleAction::Goto(words.number("goto", 1, u32::MAX)?),
            "nop" => RuleAction::Nop,
            "blackhole" => RuleAction::Blackhole,
            "unreachable" => RuleAction::Unreachable,
            "prohibit" => RuleAction::Prohibit,
            _ => return Ok(false),
        };
        words.once(ACTION)?;
        self.action = Some(action);
        Ok(true)
    }

    fn finish(self) -> Result<Rule, String> {
        let priority = self.priority.ok_or(
            "there is no priority, and rules are installed in any order; add one, such as priority 1000 \
             (`ip rule` shows those that are taken)",
        )?;
        let action = self.action.ok_or("there is no action; add one, such as lookup 100")?;
        match action {
            RuleAction::Goto(target) if target <= priority => {
                return Err(format!("goto: {target} is not behind the priority of this rule, {priority}"));
            }
            RuleAction::Lookup(_) | RuleAction::L3mdev => {}
            _ if self.realms.is_some() || self.suppress_prefix_length.is_some() || self.suppress_group.is_some() => {
                return Err("realms and suppress_* need a table; add lookup TABLE, or remove them".into());
            }
            _ => {}
        }
        let family = self.families.decide(None);
        let max = if family == Family::Ipv6 { 128 } else { 32 };
        if self.suppress_prefix_length.is_some_and(|length| length > max) {
            return Err(format!("suppress_prefixlength: a prefix of {} has at most {max} bits", of(family)));
        }
        Ok(Rule {
            family,
            priority,
            not: self.not,
            from: self.from,
            to: self.to,
            iif: self.iif,
            oif: self.oif,
            fwmark: self.fwmark,
            tos: self.tos.unwrap_or(Named::Number(0)),
            ip_protocol: self.ip_protocol,
            source_ports: self.source_ports,
            destination_ports: self.destination_ports,
            users: self.users,
            tunnel: self.tunnel,
            action,
            realms: self.realms,
            suppress_prefix_length: self.suppress_prefix_length,
            suppress_group: self.suppress_group,
            kept: !self.no_track,
        })
    }
}

/// Reads `MARK` or `MARK/MASK`. Without a mask, the whole mark must match. A mark of 0 without a mask is none.
fn fwmark(text: &str) -> Result<Option<(u32, u32)>, String> {
    let (mark, mask) = text.split_once('/').map_or((text, None), |(mark, mask)| (mark, Some(mask)));
    let part = |text| within("fwmark", text, 0, u32::MAX);
    let (mark, mask) = (part(mark)?, mask.map(part).transpose()?);
    let default = if mark == 0 { 0 } else { u32::MAX };
    Ok(Some((mark, mask.unwrap_or(default))).filter(|both| *both != (0, 0)))
}

/// Reads the number or the name of a protocol over IP.
fn ip_protocol(text: &str) -> Result<u8, String> {
    let number = match text.to_ascii_lowercase().as_str() {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "gre" => Some(47),
        "esp" => Some(50),
        "ah" => Some(51),
        "ipv6-icmp" | "icmpv6" => Some(58),
        "sctp" => Some(132),
        "udplite" => Some(136),
        text => number(text).filter(|number| *number > 0),
    };
    number.ok_or_else(|| {
        format!("ipproto: {} is not a protocol; expected tcp, udp, icmp, or a number to 255", quote(text))
    })
}

/// Reads `FIRST-LAST`, or a single number.
fn range<T>(keyword: &str, text: &str, valid: RangeInclusive<T>) -> Result<(T, T), String>
where
    T: Copy + PartialOrd + std::fmt::Display + TryFrom<u64>,
{
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let bound = |text| number::<T>(text).filter(|number| valid.contains(number));
    match (bound(first), bound(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => {
            let (min, max) = (valid.start(), valid.end());
            Err(format!("{keyword}: {} is not valid; expected {min} to {max}, as in FIRST-LAST", quote(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn net(text: &str) -> Option<Prefix> {
        prefix("", text).unwrap()
    }

    fn lookup(table: u32) -> RuleAction {
        RuleAction::Lookup(Named::Number(table))
    }

    #[test]
    fn a_rule_without_any_options_applies_to_all_ipv4_packets() {
        let expected = Rule {
            family: Family::Ipv4,
            priority: 7,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            tos: Named::Number(0),
            ip_protocol: None,
            source_ports: None,
            destination_ports: None,
            users: None,
            tunnel: None,
            action: lookup(100),
            realms: None,
            suppress_prefix_length: None,
            suppress_group: None,
            kept: true,
        };
        for text in
            ["priority 7 lookup 100", "from all to any table 100 pref 7", "inet from 0.0.0.0/0 lookup 0x64 order 7"]
        {
            assert_eq!(rule(text), expected, "{text}");
        }
        assert_eq!(
            rule("inet6 priority 7 lookup main"),
            Rule { family: Family::Ipv6, action: lookup(254), ..expected }
        );
    }

    // parity 99
    #[test]
    fn every_option_of_a_rule_is_read() {
        let text = "not from 192.0.2.7/24 to 198.51.100.0/24 iif eth0 oif eth1 fwmark 0x18/0xff tos 0x10 ipproto UDP \
                    sport 10-20 dport 53 uidrange 1000-1999 tunnel-id 5 lookup isp1 priority 39 realms 30/20 \
                    suppress_prefixlength 0 suppress_ifgroup 3 proto 112 no_track";
        assert_eq!(
            rule(text),
            Rule {
                family: Family::Ipv4,
                priority: 39,
                not: true,
                from: net("192.0.2.7/24"),
                to: net("198.51.100.0/24"),
                iif: Some("eth0".into()),
                oif: Some("eth1".into()),
                fwmark: Some((0x18, 0xff)),
                tos: Named::Number(0x10),
                ip_protocol: Some(17),
                source_ports: Some((10, 20)),
                destination_ports: Some((53, 53)),
                users: Some((1000, 1999)),
                tunnel: Some(5),
                action: RuleAction::Lookup(Named::Name(Names::Tables, "isp1".into())),
                realms: Some(Realms { source: Named::Number(30), destination: Named::Number(20) }),
                suppress_prefix_length: Some(0),
                suppress_group: Some(Named::Number(3)),
                kept: false,
            }
        );
    }

    // parity 100
    #[test]
    fn every_action_of_a_rule_is_read() {
        for (text, action) in [
            ("goto 40", RuleAction::Goto(40)),
            ("type nop", RuleAction::Nop),
            ("blackhole", RuleAction::Blackhole),
            ("type unreachable", RuleAction::Unreachable),
            ("prohibit", RuleAction::Prohibit),
            ("l3mdev", RuleAction::L3mdev),
        ] {
            assert_eq!(rule(&format!("priority 7 {text}")).action, action, "{text}");
        }
    }

    #[test]
    fn a_mark_without_a_mask_is_compared_as_a_whole() {
        let mark = |text: &str| rule(&format!("priority 7 lookup 1 fwmark {text}")).fwmark;
        assert_eq!(mark("5"), Some((5, u32::MAX)));
        assert_eq!(mark("0/0xff"), Some((0, 0xff)));
        assert_eq!(mark("0"), None);
    }

    #[test]
    fn a_rule_that_could_be_meant_differently_is_refused() {
        for (text, expected) in [
            ("lookup 100", "there is no priority"),
            ("priority 7", "there is no action"),
            ("priority -1 lookup 1", "expected a number from 0"),
            ("priority 7 lookup 1 blackhole", "the action (lookup, "),
            ("priority 7 lookup 1 table 2", "lookup is given twice"),
            ("priority 7 pref 8 lookup 1", "priority is given twice"),
            ("priority 40 goto 40", "40 is not behind the priority"),
            ("priority 7 blackhole suppress_prefixlength 0", "need a table"),
            ("priority 7 lookup 1 from 192.168.100./24", "\"192.168.100./24\" is not a prefix"),
            ("priority 7 lookup 1 from 192.0.2.0/24 to 2001:db8::/32", "\"2001:db8::/32\" is IPv6"),
            ("priority 7 lookup 1 inet6 realms 1", "\"realms\" is IPv4"),
            ("priority 7 lookup 1 suppress_prefixlength 33", "has at most 32 bits"),
            ("priority 7 lookup 1 dport 20-10", "dport: \"20-10\" is not valid"),
            ("priority 7 lookup 1 dport 0", "dport: \"0\" is not valid"),
            ("priority 7 lookup 1 ipproto quic", "is not a protocol"),
            ("priority 7 lookup 1 fwmark 1/", "fwmark: \"\" is not valid"),
            ("priority 7 lookup 1 proto 18", "recognizes what it has installed"),
            ("priority 7 lookup 1 via 192.0.2.1", "\"via\" is not a word of ip rule add"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
