//! Formats messages: subject, headers and body.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::fmt_http_date;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use xvrrp_config::{Config, MailConfig, Occasion, SyncGroupConfig, VirtualRouterConfig};

use super::batch::{Digest, TimedChange};
use super::error::MailError;
use crate::notify::audience::StateChange;

/// The parts that all messages about one virtual router or group share.
#[derive(Clone, Debug)]
pub(super) struct MessageTemplate {
    router_id: String,
    /// keepalived's word for a virtual router or a group in subjects.
    kind: &'static str,
    name: String,
    /// Whether a message has the priority: that of a group's members differs.
    has_priority: bool,
    /// Interface, VRID, addresses and peers, or the members, each with its label.
    facts: Vec<(&'static str, String)>,
    /// Hint where to find more information.
    more: String,
}

impl MessageTemplate {
    pub fn of_router(config: &Config, router: &VirtualRouterConfig) -> Self {
        let list = |addresses: &mut dyn Iterator<Item = String>| addresses.collect::<Vec<_>>().join(", ");
        let mut facts = vec![
            ("interface", format!("{}, VRID {}", router.interface, router.vrid.get())),
            ("addresses", list(&mut router.all_addresses().map(|vip| vip.to_string()))),
        ];
        if !router.allowed_sources.is_empty() {
            facts.push(("peers", list(&mut router.allowed_sources.iter().map(ToString::to_string))));
        }
        Self::new(config, "Instance", &router.name, facts)
    }

    pub fn of_group(config: &Config, group: &SyncGroupConfig) -> Self {
        Self::new(config, "Group", &group.name, vec![("members", group.members.join(", "))])
    }

    fn new(config: &Config, kind: &'static str, name: &str, facts: Vec<(&'static str, String)>) -> Self {
        let agent = &config.agent;
        let mut more = format!("xvrrp status --control {}", agent.control.display());
        if let Some(metrics) = agent.metrics {
            let _ = write!(more, "\nhttp://{metrics}/metrics");
        }
        let has_priority = kind == "Instance";
        Self { router_id: agent.router_id.clone(), kind, name: name.to_owned(), has_priority, facts, more }
    }

    /// Returns a message with headers, as it is transmitted (RFC 5322).
    pub fn message(&self, config: &MailConfig, digest: &Digest) -> Result<Vec<u8>, MailError> {
        let now = SystemTime::now();
        let domain = config.from.rsplit('@').next().unwrap_or_default();
        let unique = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut message = Message::builder()
            .from(Mailbox::new(Some(format!("xvrrp on {}", self.router_id)), config.from.parse()?))
            .subject(self.subject(digest))
            .date(now)
            .message_id(Some(format!("<xvrrp.{unique}.{}@{domain}>", std::process::id())))
            // RFC 3834 5: keeps automatic responders, such as those for holidays, from answering.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()))
            .header(ContentType::TEXT_PLAIN);
        for to in &config.to {
            message = message.to(Mailbox::new(None, to.parse()?));
        }
        Ok(message.body(self.body(digest))?.formatted())
    }

    /// Returns the subject, in keepalived's words.
    fn subject(&self, digest: &Digest) -> String {
        let Self { router_id, kind, name, .. } = self;
        let what = match digest.changes.as_slice() {
            [TimedChange { change, .. }] if digest.left_out == 0 => match change.on {
                Occasion::Active => "Entering ACTIVE state".to_owned(),
                Occasion::Backup => "Entering BACKUP state".to_owned(),
                Occasion::Fault => "Entering FAULT state".to_owned(),
                Occasion::Deleted => "Deleted".to_owned(),
                Occasion::Stop | Occasion::LowerPriority | Occasion::Any => "Stopping".to_owned(),
            },
            changes => {
                let now = changes.last().map_or("", |last| last.change.state.name()).to_uppercase();
                format!("{} changes in the last {}, now {now}", changes.len() + digest.left_out, span(changes))
            }
        };
        format!("[{router_id}] VRRP {kind} {name} - {what}")
    }

    fn body(&self, digest: &Digest) -> String {
        let Self { router_id, name, facts, more, .. } = self;
        let mut body = String::new();
        let Some(TimedChange { at, from, change: StateChange { state, reason, priority, .. } }) = digest.changes.last()
        else {
            return body;
        };
        let _ = writeln!(body, "{name} on {router_id} is now {state} ({reason}).\n");
        let time = [("time", fmt_http_date(*at))];
        let priority = self.has_priority.then(|| ("priority", priority.to_string()));
        let before = from.map(|from| ("before", from.to_string()));
        for (key, value) in time.iter().chain(&priority).chain(&before).chain(facts) {
            let _ = writeln!(body, "{key:<10} {value}");
        }
        if digest.changes.len() > 1 {
            let _ = writeln!(body, "\nAll changes:\n");
            if digest.left_out > 0 {
                let _ = writeln!(body, "({} earlier ones are left out)", digest.left_out);
            }
            for TimedChange { at, from, change: StateChange { state, reason, priority, .. } } in &digest.changes {
                let from = from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
                let priority = if self.has_priority { format!(", priority {priority}") } else { String::new() };
                let _ = writeln!(body, "{}  {from}{state} ({reason}){priority}", fmt_http_date(*at));
            }
        }
        let _ = writeln!(body, "\nMore on {router_id}:\n{more}");
        body
    }
}

/// Returns how long ago the first change was, such as `5 minutes`.
fn span(changes: &[TimedChange]) -> String {
    let first = changes.first().map_or(UNIX_EPOCH, |first| first.at);
    let seconds = SystemTime::now().duration_since(first).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0 | 1 => "second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}
