//! Reads what differs from the RFC in an election.

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::report::ImportReport;
use super::tree::Statement;

const STRICT: &str = "has no effect in strict mode, as in keepalived";

/// Directives of `global_defs` or of an instance.
#[derive(Debug, Default)]
pub(super) struct ElectionRules {
    /// How many missing adverts make a Backup take over, with the keyword.
    down_timer_adverts: Option<(String, Located<u32>)>,
    /// Whether an Active router sends no advert when it hears a lower priority.
    lower_no_advert: Option<(String, Located<bool>)>,
    /// Whether an Active router sends one more advert when it hears a higher priority.
    higher_send_advert: Option<(String, Located<bool>)>,
}

impl ElectionRules {
    /// Reads `down_timer_adverts`.
    pub fn set_down_timer_adverts(&mut self, it: &Statement, report: &mut ImportReport) {
        let adverts = it.number(1..=100, report);
        let adverts = adverts.map(|adverts| (it.keyword.clone(), Located::new(adverts, &it.location)));
        self.down_timer_adverts = adverts.or(self.down_timer_adverts.take());
    }

    /// Reads `lower_prio_no_advert`.
    pub fn set_lower_no_advert(&mut self, it: &Statement, report: &mut ImportReport) {
        self.lower_no_advert = switch(it, report).or(self.lower_no_advert.take());
    }

    /// Reads `higher_prio_send_advert`.
    pub fn set_higher_send_advert(&mut self, it: &Statement, report: &mut ImportReport) {
        self.higher_send_advert = switch(it, report).or(self.higher_send_advert.take());
    }

    /// Adds the keys of a virtual router. `strict` is the line of its strict mode, which keepalived applies instead of
    /// these directives.
    pub fn write(&self, global: &Self, strict: Option<&Location>, table: &mut Table, report: &mut ImportReport) {
        if let Some(strict) = strict {
            table.set_with_note("answer_lower_priority", false, strict, "keepalived: strict mode");
            if let Some((keyword, it)) = self.down_timer_adverts.as_ref().filter(|(_, it)| it.value != 3) {
                report.note(&it.location, keyword, STRICT);
            }
            if let Some((keyword, it)) = self.lower_no_advert.as_ref().filter(|(_, it)| !it.value) {
                report.note(&it.location, keyword, STRICT);
            }
            if let Some((keyword, it)) = self.higher_send_advert.as_ref().filter(|(_, it)| it.value) {
                report.note(&it.location, keyword, STRICT);
            }
            return;
        }
        match self.down_timer_adverts.as_ref().or(global.down_timer_adverts.as_ref()) {
            Some((keyword, Located { value: 1, location })) => {
                let advice = "becomes 2: a router that serves only while its adverts are sent would stop serving \
                              before each advert; choose 2 on all routers";
                report.changed(location, keyword, advice);
                table.set("down_timer_adverts", 2, location);
            }
            Some((_, Located { value, location })) => table.set("down_timer_adverts", *value, location),
            None => {}
        }
        if let Some((_, it)) = self.lower_no_advert.as_ref().or(global.lower_no_advert.as_ref()) {
            table.set("answer_lower_priority", !it.value, &it.location);
        }
        if let Some((_, it)) = self.higher_send_advert.as_ref().or(global.higher_send_advert.as_ref()) {
            table.set("answer_higher_priority", it.value, &it.location);
        }
    }
}

fn switch(it: &Statement, report: &mut ImportReport) -> Option<(String, Located<bool>)> {
    it.switch(report).map(|on| (it.keyword.clone(), Located::new(on, &it.location)))
}
