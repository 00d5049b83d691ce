//! Converts gratuitous ARP after a takeover. keepalived sends a number at once, and the same number again after a
//! delay.

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::super::time::duration;
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
    pub fn write(&self, global: &Self, table: &mut Table) {
        let repeat = self.repeat.as_ref().or(global.repeat.as_ref());
        let delay = self.delay.as_ref().or(global.delay.as_ref());
        let minimum = global.minimum.as_ref();
        let (default_repeat, default_delay) = if minimum.is_some() { (1, 0) } else { (REPEAT, DELAY) };
        let seconds = delay.map_or(default_delay, |delay| delay.value);
        let repeats = repeat.map_or(default_repeat, |repeat| repeat.value);

        let count = repeats.max(if seconds > 0 { 2 } else { 1 }).min(MAX_COUNT);
        let interval = u64::from(seconds) * 1_000_000 / u64::from(count - 1).max(1);
        // Rounded down to milliseconds.
        let interval = (interval - interval % 1_000).clamp(MIN_INTERVAL, MAX_INTERVAL);
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
        let refresh = self.refresh.as_ref().or(global.refresh.as_ref()).filter(|refresh| refresh.value > 0);
        if let Some(Located { value: seconds, location }) = refresh {
            let seconds = u64::from(*seconds).min(MAX_REFRESH);
            table.set("announce_refresh", duration(seconds * 1_000_000), location);
        }
    }
}
