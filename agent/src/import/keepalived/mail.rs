//! `smtp_server`, `notification_email` and `smtp_alert`.

use super::super::document::Table;
use super::super::has_key;
use super::super::place::Located;
use super::super::report::Report;
use super::global::Global;
use crate::config::keys;

impl Global {
    /// `[mail]`, if keepalived would ever send any.
    pub fn mail(&self, report: &mut Report) -> Option<Table> {
        if has_key(keys::TOP_LEVEL, "mail") {
            let place = self.mail_server.as_ref().map(|server| &server.place);
            let mut table = Table::new("[mail]", place.or(self.mail_to.first().map(|to| &to.place))?);
            if let Some(server) = &self.mail_server {
                table.set("server", server.value.as_str(), &server.place);
            }
            if let Some(from) = &self.mail_from {
                table.set("from", from.value.as_str(), &from.place);
            }
            table.set_list("to", self.mail_to.clone());
            return Some(table);
        }
        let from = [("smtp_server", &self.mail_server), ("notification_email_from", &self.mail_from)];
        let from = from.into_iter().filter_map(|(directive, it)| Some((directive, &it.as_ref()?.place)));
        let to = self.mail_to.first().map(|to| ("notification_email", &to.place));
        let alert = self.alert.as_ref().filter(|alert| alert.value).map(|alert| ("smtp_alert", &alert.place));
        for (directive, place) in from.chain(to).chain(alert) {
            report.left(
                place,
                directive,
                "this version of xvrrp sends no mail; let a notify program call \
                                           sendmail(8)",
            );
        }
        None
    }

    /// What one virtual router or group wants to be told of.
    #[expect(clippy::unused_self, reason = "mail is global")]
    pub fn report_alert(&self, alert: &Located<bool>, report: &mut Report) {
        if !has_key(keys::TOP_LEVEL, "mail") {
            let advice = "this version of xvrrp sends no mail; let a notify program call sendmail(8)";
            report.left(&alert.place, "smtp_alert", advice);
        }
    }
}
