//! Converts `smtp_server`, `notification_email` and `smtp_alert`.

use super::super::document::Table;
use super::super::location::Located;
use super::super::report::ImportReport;
use super::global::Global;
use super::instance::InstanceDirectives;

/// keepalived's default.
const DEFAULT_SERVER: &str = "127.0.0.1";
const PLAIN: &str = "keepalived does not encrypt mail; remove this if the server has STARTTLS";

impl Global {
    /// Makes the table `[mail]`, if keepalived sends mail.
    pub fn mail(&self, instances: &[InstanceDirectives], report: &mut ImportReport) -> Option<Table> {
        let wanted = instances.iter().find_map(|instance| self.alert(instance));
        let (Some(to), Some(wanted)) = (self.mail_to.first(), wanted) else {
            let unused =
                self.mail_to.first().map(|to| (&to.location, "notification_email", "no vrrp_instance has smtp_alert"));
            let unsent = wanted.map(|alert| (&alert.location, "smtp_alert", "there is no notification_email"));
            if let Some((location, directive, why)) = unused.or(unsent) {
                report.add(location, directive, format!("{why}, so no mail is sent; add it, or remove this"));
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
                report.add(&wanted.location, "smtp_alert", advice);
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

    /// Adds `mail` of a virtual router.
    pub fn write_alert(&self, instance: &InstanceDirectives, table: &mut Table) {
        match (self.alert(instance), &self.no_faults) {
            (None, _) => table.choose("mail", false, "keepalived: no smtp_alert"),
            (Some(alert), None) => table.set("mail", true, &alert.location),
            (Some(_), Some(location)) => table.set("mail", vec!["active", "backup", "stop"], location),
        }
    }

    /// Returns the `smtp_alert` that applies to a virtual router, if it is on.
    fn alert<'a>(&'a self, instance: &'a InstanceDirectives) -> Option<&'a Located<bool>> {
        instance.alert.as_ref().or(self.alert.as_ref()).filter(|alert| alert.value)
    }

    /// Reports an `smtp_alert` of a group.
    pub fn report_alert(&self, alert: &Located<bool>, report: &mut ImportReport) {
        let advice = if self.mail_to.is_empty() {
            "there is no notification_email, so no mail is sent; add it, or remove this"
        } else {
            "mail is sent for virtual routers, not for groups; write smtp_alert into the vrrp_instances instead"
        };
        report.add(&alert.location, "smtp_alert", advice);
    }
}
