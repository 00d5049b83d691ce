//! What a letter looks like.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::fmt_http_date;
use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use xvrrp_config::{Config, MailConfig, Occasion, VirtualRouterConfig};

use super::MailError;
use super::gather::{Digest, Event};
use crate::notify::audience::Change;

/// What stays the same about the letters of one virtual router.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    router_id: String,
    name: String,
    /// `VRID 51 on eth0`, addresses and whatever helps to find one's way.
    facts: Vec<(&'static str, String)>,
    /// Where there is more to see.
    more: String,
}

impl Subject {
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

    /// As it goes over the wire (RFC 5322).
    pub fn letter(&self, config: &MailConfig, digest: &Digest) -> Result<Vec<u8>, MailError> {
        let now = SystemTime::now();
        let domain = config.from.rsplit('@').next().unwrap_or_default();
        let unique = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut message = Message::builder()
            .from(Mailbox::new(Some(format!("xvrrp on {}", self.router_id)), config.from.parse()?))
            .subject(self.line(digest))
            .date(now)
            .message_id(Some(format!("<xvrrp.{unique}.{}@{domain}>", std::process::id())))
            // RFC 3834 5: nobody's holiday is answered to us.
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()))
            .header(ContentType::TEXT_PLAIN);
        for to in &config.to {
            message = message.to(Mailbox::new(None, to.parse()?));
        }
        Ok(message.body(self.body(digest))?.formatted())
    }

    /// keepalived's words.
    fn line(&self, digest: &Digest) -> String {
        let Self { router_id, name, .. } = self;
        let what = match digest.events.as_slice() {
            [Event { change, .. }] if digest.left_out == 0 => match change.on {
                Occasion::Active => "Entering ACTIVE state".to_owned(),
                Occasion::Backup => "Entering BACKUP state".to_owned(),
                Occasion::Fault => "Entering FAULT state".to_owned(),
                Occasion::Stop | Occasion::Any => "Stopping".to_owned(),
            },
            events => {
                let now = events.last().map_or("", |event| event.change.state.name()).to_uppercase();
                format!("{} changes in the last {}, now {now}", events.len() + digest.left_out, span(events))
            }
        };
        format!("[{router_id}] VRRP Instance {name} - {what}")
    }

    fn body(&self, digest: &Digest) -> String {
        let Self { router_id, name, facts, more } = self;
        let mut body = String::new();
        let Some(Event { at, from, change: Change { state, reason, priority, .. } }) = digest.events.last() else {
            return body;
        };
        let _ = writeln!(body, "{name} on {router_id} is now {state} ({reason}).\n");
        let news = [("time", fmt_http_date(*at)), ("priority", priority.to_string())];
        let before = from.map(|from| ("before", from.to_string()));
        for (key, value) in news.iter().chain(&before).chain(facts) {
            let _ = writeln!(body, "{key:<10} {value}");
        }
        if digest.events.len() > 1 {
            let _ = writeln!(body, "\nAll changes:\n");
            if digest.left_out > 0 {
                let _ = writeln!(body, "({} earlier ones are left out)", digest.left_out);
            }
            for Event { at, from, change: Change { state, reason, priority, .. } } in &digest.events {
                let from = from.as_ref().map_or(String::new(), |from| format!("{from} -> "));
                let _ = writeln!(body, "{}  {from}{state} ({reason}), priority {priority}", fmt_http_date(*at));
            }
        }
        let _ = writeln!(body, "\nMore on {router_id}:\n{more}");
        body
    }
}

/// How long ago the first one was when the letter is written: `5 minutes`.
fn span(events: &[Event]) -> String {
    let first = events.first().map_or(UNIX_EPOCH, |event| event.at);
    let seconds = SystemTime::now().duration_since(first).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0 | 1 => "second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}
