//! Converts `smtp_server`, `notification_email` and `smtp_alert`.

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::global::Global;

/// keepalived's default.
const DEFAULT_SERVER: &str = "127.0.0.1";
const PLAIN: &str = "keepalived does not encrypt mail; remove this if the server has STARTTLS";

impl Global {
    /// Makes the table `[mail]`, if keepalived sends mail. `alerts` are those of the virtual routers and groups.
    pub fn mail<'a>(
        &'a self,
        mut alerts: impl Iterator<Item = Option<&'a Located<bool>>>,
        report: &mut ImportReport,
    ) -> Option<Table> {
        let wanted = alerts.find_map(|own| self.alert(own));
        let (Some(to), Some(wanted)) = (self.mail_to.first(), wanted) else {
            let unused = self.mail_to.first().map(|to| (&to.location, "notification_email", "nothing has smtp_alert"));
            let unsent = wanted.map(|alert| (&alert.location, "smtp_alert", "there is no notification_email"));
            if let Some((location, directive, why)) = unused.or(unsent) {
                report.note(location, directive, format!("{why}, so keepalived sends no mail either"));
            }
            return None;
        };
        let mut table = Table::new("[mail]", &to.location);
        match &self.mail_server {
            Some(server) => table.set("server", server.value.as_str(), &server.location),
            None => table.choose("server", DEFAULT_SERVER, "keepalived: no smtp_server, so its default"),
        }
        table.choose("tls", "none", PLAIN);
        match &self.mail_from {
            Some(from) => table.set("from", from.value.as_str(), &from.location),
            None => {
                let advice = "without notification_email_from, keepalived uses the names of user and host, and the \
                              import root@localhost: correct from in [mail]";
                report.changed(&wanted.location, "smtp_alert", advice);
                table.choose("from", "root@localhost", "keepalived: no notification_email_from; correct it");
            }
        }
        table.set_list("to", self.mail_to.clone());
        if let Some(helo) = &self.mail_helo {
            table.set("helo", helo.value.as_str(), &helo.location);
        }
        if let Some(timeout) = &self.mail_timeout {
            table.set("timeout", format!("{}s", timeout.value), &timeout.location);
        }
        Some(table)
    }

    /// Adds `mail` of a virtual router, whose `smtp_alert` is `own`.
    pub fn write_alert(&self, own: Option<&Located<bool>>, table: &mut Table) {
        match self.alert(own) {
            None => table.choose("mail", false, "keepalived: no smtp_alert"),
            Some(alert) => self.write_occasions(alert, table),
        }
    }

    /// Adds `mail` of a group, whose `smtp_alert` is `own`. Without the key, no mail is sent for a group.
    pub fn write_group_alert(&self, own: Option<&Located<bool>>, table: &mut Table) {
        if let Some(alert) = self.alert(own) {
            self.write_occasions(alert, table);
        }
    }

    fn write_occasions(&self, alert: &Located<bool>, table: &mut Table) {
        match &self.no_faults {
            None => table.set("mail", true, &alert.location),
            Some(location) => table.set("mail", vec!["active", "backup", "stop"], location),
        }
    }

    /// Returns the `smtp_alert` that applies to a virtual router or a group with this one of its own, if it is on.
    fn alert<'a>(&'a self, own: Option<&'a Located<bool>>) -> Option<&'a Located<bool>> {
        own.or(self.alert.as_ref()).filter(|alert| alert.value)
    }
}
