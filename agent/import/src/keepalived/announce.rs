//! Converts gratuitous ARP after a takeover. keepalived sends a number at once, and the same number again after a
//! delay.

use std::net::IpAddr;

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::super::time::{duration, seconds};
use super::table::{Directives, Handling::Read};
use super::tree::Statement;

/// keepalived's default number.
const REPEAT: u32 = 5;
/// keepalived's default delay, in seconds.
const DELAY: u32 = 5;
/// Largest `announce_count`.
const MAX_COUNT: u32 = 60;
/// Shortest `announce_interval`, in microseconds.
const MIN_INTERVAL: u64 = 10_000;
/// Longest `announce_interval`, in microseconds.
const MAX_INTERVAL: u64 = 60_000_000;

/// Longest `announce_refresh`, in seconds.
const MAX_REFRESH: u64 = 86_400;

/// Directives of a virtual router, or of `global_defs`.
#[derive(Clone, Debug, Default)]
pub(super) struct AnnounceDirectives {
    repeat: Option<Located<u32>>,
    /// In seconds. With 0, nothing is sent again.
    delay: Option<Located<u32>>,
    /// In seconds. With 0, nothing is announced again.
    refresh: Option<Located<u32>>,
    /// Line of `vrrp_min_garp`: by default, one is sent, once.
    minimum: Option<Located<()>>,
    /// How often other interfaces announce their addresses again.
    elsewhere: Option<ElsewhereRefresh>,
}

/// `garp_extra_if`, or `vmac_garp_intvl` as it was called.
#[derive(Clone, Debug)]
struct ElsewhereRefresh {
    keyword: String,
    /// In seconds.
    every: Located<u32>,
    /// Whether it also applies to interfaces without a virtual MAC.
    all: bool,
}

/// Shortest times between announcements on interfaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps {
    global: Gap,
    groups: Vec<GarpGroup>,
}

/// Shortest times between two announcements, in microseconds, with their keywords.
#[derive(Clone, Debug, Default)]
struct Gap {
    arp: Option<(String, Located<u64>)>,
    neighbor: Option<(String, Located<u64>)>,
}

/// `garp_group`.
#[derive(Clone, Debug, Default)]
pub(super) struct GarpGroup {
    interfaces: Vec<String>,
    gap: Gap,
}

/// Words in a `garp_group`.
pub(super) const GARP_GROUP: Directives<GarpGroup> = &[
    ("garp_interval", Read(|group, it, report| group.gap.arp = gap(it, report).or(group.gap.arp.take()))),
    ("gna_interval", Read(|group, it, report| group.gap.neighbor = gap(it, report).or(group.gap.neighbor.take()))),
    ("interface", Read(|group, it, report| group.interfaces.extend(it.value(report).map(str::to_owned)))),
    ("interfaces", Read(|group, it, _| group.interfaces.extend(it.listed().map(|(name, _)| name.to_owned())))),
];

fn gap(it: &Statement, report: &mut ImportReport) -> Option<(String, Located<u64>)> {
    let text = it.value(report)?;
    let micros = seconds(text);
    let micros = micros.filter(|micros| *micros > 0);
    if micros.is_none() {
        let advice = format!("{text:?} is not a time above 0 seconds, so keepalived ignores it; correct it");
        report.note(&it.location, &it.keyword, advice);
    }
    Some((it.keyword.clone(), Located::new(micros?, &it.location)))
}

impl Gaps {
    /// Reads `vrrp_garp_interval`.
    pub fn set_arp(&mut self, it: &Statement, report: &mut ImportReport) {
        self.global.arp = gap(it, report).or(self.global.arp.take());
    }

    /// Reads `vrrp_gna_interval`.
    pub fn set_neighbor(&mut self, it: &Statement, report: &mut ImportReport) {
        self.global.neighbor = gap(it, report).or(self.global.neighbor.take());
    }

    /// Reads a `garp_group`.
    pub fn add_group(&mut self, block: &Statement, report: &mut ImportReport) {
        let mut group = GarpGroup::default();
        super::table::apply(GARP_GROUP, &mut group, block, report);
        self.groups.push(group);
    }

    /// Returns the longest gap for these addresses on an interface, in microseconds. An interface in a group has no
    /// other gap.
    fn longest(&self, announced: &Announced, report: &mut ImportReport) -> u64 {
        let has = |group: &&GarpGroup| group.interfaces.iter().any(|name| name == announced.interface);
        let gap = self.groups.iter().find(has).map_or(&self.global, |group| &group.gap);
        let count = |ipv6| announced.addresses.iter().filter(|address| address.is_ipv6() == ipv6).count();
        let mut longest = 0;
        for (gap, count) in [(&gap.arp, count(false)), (&gap.neighbor, count(true))] {
            let Some((keyword, Located { value, location })) = gap else { continue };
            match count {
                0 => continue,
                1 => report.note(location, keyword, "announce_interval is at least as long"),
                _ => {
                    let advice = "announcements of one address are at least this far apart, but those of different \
                                  addresses follow each other at once, so that no client waits for the last of them";
                    report.changed(location, keyword, advice);
                }
            }
            longest = longest.max(*value);
        }
        longest
    }
}

/// What a virtual router announces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced<'a> {
    pub interface: &'a str,
    pub addresses: &'a [IpAddr],
    /// Whether one of those on other interfaces has a virtual MAC in keepalived, if there are any there.
    pub elsewhere: Option<bool>,
}

impl AnnounceDirectives {
    pub fn set_repeat(&mut self, it: &Statement, report: &mut ImportReport) {
        self.repeat = it.number(0..=u32::MAX, report).map(|count| Located::new(count.max(1), &it.location));
    }

    pub fn set_delay(&mut self, it: &Statement, report: &mut ImportReport) {
        self.delay = it.number(0..=u32::MAX, report).map(|seconds| Located::new(seconds, &it.location));
    }

    pub fn set_minimum(&mut self, it: &Statement, report: &mut ImportReport) {
        self.minimum = it.switch(report).filter(|on| *on).map(|_| Located::new((), &it.location));
    }

    pub fn set_refresh(&mut self, it: &Statement, report: &mut ImportReport) {
        self.refresh = it.number(0..=u32::MAX, report).map(|seconds| Located::new(seconds, &it.location));
    }

    /// Reports how often a refresh is repeated. xvrrp does not repeat it, and keepalived does not by default.
    #[expect(clippy::unused_self, reason = "the other directives need it")]
    pub fn set_refresh_repeat(&mut self, it: &Statement, report: &mut ImportReport) {
        match it.number(0..=u32::MAX, report) {
            Some(0 | 1) => report.note(&it.location, &it.keyword, "it is the default"),
            Some(_) => {
                let advice = "each refresh is sent once; it comes again after garp_master_refresh";
                report.changed(&it.location, &it.keyword, advice);
            }
            None => {}
        }
    }

    /// Reads `garp_extra_if`.
    pub fn set_elsewhere(&mut self, it: &Statement, report: &mut ImportReport) {
        let mut every = None;
        for word in it.words.iter().filter(|word| *word != "all") {
            match word.parse().ok().filter(|seconds| *seconds <= 86_400) {
                Some(seconds) => every = Some(seconds),
                None => {
                    let advice =
                        format!("{word:?} is not a number from 0 to 86400, so keepalived ignores it; correct it");
                    return report.note(&it.location, &it.keyword, advice);
                }
            }
        }
        match every {
            Some(every) => {
                let (keyword, all) = (it.keyword.clone(), it.words.iter().any(|word| word == "all"));
                self.elsewhere = Some(ElsewhereRefresh { keyword, every: Located::new(every, &it.location), all });
            }
            None => report.note(&it.location, &it.keyword, "has no time, so keepalived ignores it; add one"),
        }
    }

    /// Reports announcements after an advert of a lower priority.
    #[expect(clippy::unused_self, reason = "the other directives need it")]
    pub fn set_lower_priority(&mut self, it: &Statement, report: &mut ImportReport) {
        if it.number(0..=u32::MAX, report).is_some() {
            let advice = "after an advert of a lower priority, the addresses are announced as after a takeover: \
                          announce_count times, every announce_interval";
            report.changed(&it.location, &it.keyword, advice);
        }
    }

    /// Adds the keys of a virtual router. It sends the number once, spread so that the last announcement is sent when
    /// keepalived sends its last one.
    pub fn write(
        &self,
        global: &Self,
        gaps: &Gaps,
        announced: &Announced,
        table: &mut Table,
        report: &mut ImportReport,
    ) {
        let repeat = self.repeat.as_ref().or(global.repeat.as_ref());
        let delay = self.delay.as_ref().or(global.delay.as_ref());
        let minimum = global.minimum.as_ref();
        let (default_repeat, default_delay) = if minimum.is_some() { (1, 0) } else { (REPEAT, DELAY) };
        let seconds = delay.map_or(default_delay, |delay| delay.value);
        let repeats = repeat.map_or(default_repeat, |repeat| repeat.value);

        let count = repeats.max(if seconds > 0 { 2 } else { 1 }).min(MAX_COUNT);
        let interval = u64::from(seconds) * 1_000_000 / u64::from(count - 1).max(1);
        // Rounded down to milliseconds.
        let interval = interval - interval % 1_000;
        let interval = interval.max(gaps.longest(announced, report)).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let note = match seconds {
            0 => format!("keepalived: {repeats} at once"),
            seconds => format!("keepalived: {repeats} at once, and {repeats} more {seconds} s later"),
        };
        let location =
            repeat.map(|it| &it.location).or(delay.map(|it| &it.location)).or(minimum.map(|it| &it.location));
        match location {
            Some(location) => table.set_with_note("announce_count", count, location, note),
            None => table.choose("announce_count", count, format!("{note}, its default")),
        }
        if count > 1 {
            let interval = duration(interval);
            match delay.map(|it| &it.location).or(location) {
                Some(location) => table.set("announce_interval", interval, location),
                None => table.choose_without_note("announce_interval", interval),
            }
        }
        self.write_refresh(global, announced, table, report);
    }

    fn write_refresh(&self, global: &Self, announced: &Announced, table: &mut Table, report: &mut ImportReport) {
        let refresh = self.refresh.as_ref().or(global.refresh.as_ref()).filter(|refresh| refresh.value > 0);
        let mut refresh = refresh.map(|refresh| (refresh, None));
        if let Some(ElsewhereRefresh { keyword, every, all }) = self.elsewhere.as_ref().or(global.elsewhere.as_ref()) {
            let location = &every.location;
            if every.value == 0 || !announced.elsewhere.is_some_and(|virtual_mac| virtual_mac || *all) {
                let why = "it counts only for addresses on other interfaces, and without `all` only for those with a virtual MAC";
                report.note(location, keyword, why);
            } else if refresh.is_some_and(|(refresh, _)| refresh.value <= every.value) {
                report.note(location, keyword, "garp_master_refresh repeats the announcements as often");
            } else {
                refresh = Some((every, Some("keepalived: only on other interfaces than that of the adverts")));
            }
        }
        let Some((Located { value, location }, note)) = refresh else { return };
        let every = duration(u64::from(*value).min(MAX_REFRESH) * 1_000_000);
        match note {
            Some(note) => table.set_with_note("announce_refresh", every, location, note),
            None => table.set("announce_refresh", every, location),
        }
    }
}
