//! Formats messages: subject, headers and body.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::fmt_http_date;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use xvrrp_config::{Config, MailConfig, Occasion, VirtualRouterConfig};

use super::batch::{Digest, TimedChange};
use super::error::MailError;
use crate::notify::audience::StateChange;

/// The parts that all messages about one virtual router share.
#[derive(Clone, Debug)]
pub(super) struct MessageTemplate {
    router_id: String,
    name: String,
    /// Interface, VRID, addresses and peers, each with its label.
    facts: Vec<(&'static str, String)>,
    /// Hint where to find more information.
    more: String,
}

impl MessageTemplate {
    pub fn new(config: &Config, router: &VirtualRouterConfig) -> Self {
        let list = |addresses: &mut dyn Iterator<Item = String>| addresses.collect::<Vec<_>>().join(", ");
        let mut facts = vec![
            ("interface", format!("{}, VRID {}", router.interface, router.vrid.get())),
            ("addresses", list(&mut router.addresses.iter().map(ToString::to_string))),
        ];
        if !router.allowed_sources.is_empty() {
            facts.push(("peers", list(&mut router.allowed_sources.iter().map(ToString::to_string))));
        }
        let agent = &config.agent;
        let mut more = format!("xvrrp status --control {}", agent.control.display());
        if let Some(metrics) = agent.metrics {
            let _ = write!(more, "\nhttp://{metrics}/metrics");
        }
        Self { router_id: agent.router_id.clone(), name: router.name.clone(), facts, more }
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
        let Self { router_id, name, .. } = self;
        let what = match digest.changes.as_slice() {
            [TimedChange { change, .. }] if digest.left_out == 0 => match change.on {
                Occasion::Active => "Entering ACTIVE state".to_owned(),
                Occasion::Backup => "Entering BACKUP state".to_owned(),
                Occasion::Fault => "Entering FAULT state".to_owned(),
                Occasion::Stop | Occasion::Any => "Stopping".to_owned(),
            },
            changes => {
                let now = changes.last().map_or("", |last| last.change.state.name()).to_uppercase();
                format!("{} changes in the last {}, now {now}", changes.len() + digest.left_out, span(changes))
            }
        };
        format!("[{router_id}] VRRP Instance {name} - {what}")
    }

    fn body(&self, digest: &Digest) -> String {
        let Self { router_id, name, facts, more } = self;
        let mut body = String::new();
        let Some(TimedChange { at, from, change: StateChange { state, reason, priority, .. } }) = digest.changes.last()
        else {
            return body;
        };
        let _ = writeln!(body, "{name} on {router_id} is now {state} ({reason}).\n");
        let latest = [("time", fmt_http_date(*at)), ("priority", priority.to_string())];
        let before = from.map(|from| ("before", from.to_string()));
        for (key, value) in latest.iter().chain(&before).chain(facts) {
            let _ = writeln!(body, "{key:<10} {value}");
        }
        if digest.changes.len() > 1 {
            let _ = writeln!(body, "\nAll changes:\n");
            if digest.left_out > 0 {
                let _ = writeln!(body, "({} earlier ones are left out)", digest.left_out);
            }
            for TimedChange { at, from, change: StateChange { state, reason, priority, .. } } in &digest.changes {
                let from = from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
                let _ = writeln!(body, "{}  {from}{state} ({reason}), priority {priority}", fmt_http_date(*at));
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
