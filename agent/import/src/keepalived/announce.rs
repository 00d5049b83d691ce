//! Gratuitous ARP after a takeover: keepalived sends some at once, and as many again after a delay.

use super::super::document::Table;
use super::super::place::Located;
use super::super::report::Report;
use super::super::time::duration;
use super::tree::Statement;

/// keepalived's defaults.
const REPEAT: u32 = 5;
const DELAY: u32 = 5;
/// What the configuration takes.
const MAX_COUNT: u32 = 60;
const MIN_INTERVAL: u64 = 10_000;
const MAX_INTERVAL: u64 = 60_000_000;

/// What a virtual router says, or `global_defs`.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcements {
    repeat: Option<Located<u32>>,
    /// Seconds; 0: no second time.
    delay: Option<Located<u32>>,
    /// `vrrp_min_garp`: one, once.
    minimum: Option<Located<()>>,
}

impl Announcements {
    pub fn set_repeat(&mut self, it: &Statement, report: &mut Report) {
        self.repeat = it.number(0..=u32::MAX, report).map(|count| Located::new(count.max(1), &it.place));
    }

    pub fn set_delay(&mut self, it: &Statement, report: &mut Report) {
        self.delay = it.number(0..=u32::MAX, report).map(|seconds| Located::new(seconds, &it.place));
    }

    pub fn set_minimum(&mut self, it: &Statement, report: &mut Report) {
        self.minimum = it.switch(report).filter(|on| *on).map(|_| Located::new((), &it.place));
    }

    /// Without it keepalived does not refresh, as we do not.
    #[expect(clippy::unused_self, reason = "the others have it")]
    pub fn set_refresh(&mut self, it: &Statement, report: &mut Report) {
        if it.number(0..=u32::MAX, report).is_some_and(|seconds| seconds > 0) {
            let advice = "announcements are not repeated for ever: the kernel half answers every ARP request, and a \
                          rival's claim at once; remove it";
            report.left(&it.place, &it.keyword, advice);
        }
    }

    /// Into the keys of a virtual router: as many announcements, of which the last comes when keepalived's last one does.
    pub fn write(&self, global: &Self, table: &mut Table) {
        let repeat = self.repeat.as_ref().or(global.repeat.as_ref());
        let delay = self.delay.as_ref().or(global.delay.as_ref());
        let minimum = global.minimum.as_ref();
        let (default_repeat, default_delay) = if minimum.is_some() { (1, 0) } else { (REPEAT, DELAY) };
        let seconds = delay.map_or(default_delay, |delay| delay.value);
        let repeats = repeat.map_or(default_repeat, |repeat| repeat.value);

        let count = repeats.max(if seconds > 0 { 2 } else { 1 }).min(MAX_COUNT);
        let interval = u64::from(seconds) * 1_000_000 / u64::from(count - 1).max(1);
        // Whole milliseconds.
        let interval = (interval - interval % 1_000).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let note = match seconds {
            0 => format!("keepalived: {repeats} at once"),
            seconds => format!("keepalived: {repeats} at once, and again {seconds} s later"),
        };
        let place = repeat.map(|it| &it.place).or(delay.map(|it| &it.place)).or(minimum.map(|it| &it.place));
        match place {
            Some(place) => table.set_with_note("announce_count", count, place, note),
            None => table.choose("announce_count", count, format!("{note}, its default")),
        }
        if count > 1 {
            let interval = duration(interval);
            match delay.map(|it| &it.place).or(place) {
                Some(place) => table.set("announce_interval", interval, place),
                None => table.unplaced("announce_interval", interval),
            }
        }
    }
}
