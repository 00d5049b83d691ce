//! `smtp_server`, `notification_email` and `smtp_alert`.

use super::super::document::Table;
use super::super::place::Located;
use super::super::report::Report;
use super::global::Global;
use super::instance::Instance;

/// Defaults of keepalived.
const DEFAULT_SERVER: &str = "127.0.0.1";
const PLAIN: &str = "keepalived encrypts nothing; remove it where the server has STARTTLS";

impl Global {
    /// `[mail]`, if keepalived sends any.
    pub fn mail(&self, instances: &[Instance], report: &mut Report) -> Option<Table> {
        let wanted = instances.iter().filter_map(|instance| self.alert(instance)).next();
        let (Some(to), Some(wanted)) = (self.mail_to.first(), wanted) else {
            let unused =
                self.mail_to.first().map(|to| (&to.place, "notification_email", "no vrrp_instance has smtp_alert"));
            let deaf = wanted.map(|alert| (&alert.place, "smtp_alert", "there is no notification_email"));
            if let Some((place, directive, why)) = unused.or(deaf) {
                report.left(place, directive, format!("{why}, without which no mail is sent; add it, or remove this"));
            }
            return None;
        };
        let mut table = Table::new("[mail]", &to.place);
        match &self.mail_server {
            Some(server) => table.set("server", server.value.as_str(), &server.place),
            None => table.choose("server", DEFAULT_SERVER, "keepalived: no smtp_server, so its default"),
        }
        table.choose("tls", "none", PLAIN);
        match &self.mail_from {
            Some(from) => table.set("from", from.value.as_str(), &from.place),
            None => {
                let advice = "without notification_email_from keepalived takes user and host; here it is root@localhost: \
                              correct from in [mail]";
                report.left(&wanted.place, "smtp_alert", advice);
                table.choose("from", "root@localhost", "keepalived: no notification_email_from; correct it");
            }
        }
        table.set_list("to", self.mail_to.clone());
        if let Some(helo) = &self.mail_helo {
            table.set("helo", helo.value.as_str(), &helo.place);
        }
        if let Some(timeout) = &self.mail_timeout {
            table.set("timeout", format!("{}s", timeout.value), &timeout.place);
        }
        Some(table)
    }

    /// Says of one virtual router when mail is sent, if any is.
    pub fn write_alert(&self, instance: &Instance, table: &mut Table) {
        match (self.alert(instance), &self.no_faults) {
            (None, _) => table.choose("mail", false, "keepalived: no smtp_alert"),
            (Some(alert), None) => table.set("mail", true, &alert.place),
            (Some(_), Some(place)) => table.set("mail", vec!["active", "backup", "stop"], place),
        }
    }

    fn alert<'a>(&'a self, instance: &'a Instance) -> Option<&'a Located<bool>> {
        instance.alert.as_ref().or(self.alert.as_ref()).filter(|alert| alert.value)
    }

    /// Reports an `smtp_alert` of a group.
    pub fn report_alert(&self, alert: &Located<bool>, report: &mut Report) {
        let advice = if self.mail_to.is_empty() {
            "there is no notification_email, without which no mail is sent; add it, or remove this"
        } else {
            "mail is of virtual routers, not of groups: write smtp_alert into the vrrp_instances instead"
        };
        report.left(&alert.place, "smtp_alert", advice);
    }
}
