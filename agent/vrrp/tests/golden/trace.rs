//! The trace of a scenario, in JSON lines. The first lines have the scenario and its routers. Each further line has
//! either an incident, or an event of an agent with its actions and the time when its next timer is due.
//!
//! Times are in milliseconds from the start of the scenario, with all their decimals.

use std::fmt::Write;
use std::net::IpAddr;

use xvrrp_common::units::{Instant, Interval};
use xvrrp_vrrp::{Action, Event, RouterConfig};

use super::scenarios::{Incident, Scenario};
use crate::segment::host::{Input, Step};
use crate::segment::simulator::{Segment, Weather};

pub fn of(scenario: &Scenario) -> String {
    let lateness = vec![Interval::ZERO; scenario.routers.len()];
    let mut segment = Segment::new(scenario.routers.clone(), lateness, Weather::calm(Interval::ZERO), 1);
    let mut trace = Trace { start: segment.now, written: vec![0; scenario.routers.len()], lines: String::new() };
    trace.line(&format!(r#""scenario":"{}","about":"{}""#, scenario.name, scenario.about));
    for (index, config) in scenario.routers.iter().enumerate() {
        trace.line(&format!(r#""router":"{}",{}"#, name(index), settings(config)));
    }
    for &(at, router, incident) in &scenario.incidents {
        segment.run_until(trace.start + at, |segment| trace.record_new_steps(segment));
        trace.line(&format!(
            r#""ms":{},"router":"{}","happening":"{}""#,
            millis(at),
            name(router),
            incident.to_string().to_lowercase()
        ));
        match incident {
            Incident::Fault(fault) => segment.inject(router, fault),
            Incident::Late(lateness) => segment.lateness[router] = lateness,
        }
        trace.record_new_steps(&segment);
    }
    segment.run_until(trace.start + scenario.lasts, |segment| trace.record_new_steps(segment));
    trace.lines
}

struct Trace {
    start: Instant,
    /// Number of steps of each host that are in the trace already.
    written: Vec<usize>,
    lines: String,
}

impl Trace {
    fn line(&mut self, fields: &str) {
        writeln!(self.lines, "{{{fields}}}").unwrap();
    }

    /// Adds the steps since the last call.
    fn record_new_steps(&mut self, segment: &Segment) {
        for (index, host) in segment.hosts.iter().enumerate() {
            for step in &host.steps[self.written[index]..] {
                let fields = self.step(index, step);
                self.line(&fields);
            }
            self.written[index] = host.steps.len();
        }
    }

    fn step(&self, router: usize, step: &Step) -> String {
        let actions: Vec<_> = step.actions.iter().map(|action| format!(r#""{}""#, describe(*action))).collect();
        format!(
            r#""ms":{},"router":"{}","told":{},"orders":[{}],"next_ms":{}"#,
            self.ms(step.at),
            name(router),
            match step.input {
                Input::Timeout => r#""timer""#.to_owned(),
                Input::Event(event) => self.event(event, step.at),
            },
            actions.join(","),
            step.next.map_or_else(|| "null".to_owned(), |next| self.ms(next))
        )
    }

    fn event(&self, event: Event, now: Instant) -> String {
        match event {
            Event::Startup => r#""startup""#.to_owned(),
            Event::Resume { lease_until } => format!(r#"{{"resume":{{"lease_until_ms":{}}}}}"#, self.ms(lease_until)),
            Event::Shutdown => r#""shutdown""#.to_owned(),
            Event::InterfaceUp => r#""interface up""#.to_owned(),
            Event::InterfaceDown => r#""interface down""#.to_owned(),
            Event::Checks(checks) => format!(r#""checks {checks:?}""#).to_lowercase(),
            Event::Kept(kept) => format!(r#""kept {kept}""#),
            Event::Priority(priority) => format!(r#""priority {}""#, priority.get()),
            Event::PartnerActive => r#""partner active""#.to_owned(),
            Event::PartnerBackup => r#""partner backup""#.to_owned(),
            Event::StandBy(on) => format!(r#""stand by {on}""#),
            Event::Partners(partners) => format!(r#""partners {partners:?}""#).to_lowercase(),
            Event::Advert(advert) => format!(
                r#"{{"advert":{{"from":"{}","priority":{},"interval_ms":{}{}}}}}"#,
                sender(advert.source),
                advert.priority.get(),
                millis(advert.interval),
                if advert.received_at == now {
                    String::new()
                } else {
                    format!(r#","arrived_ms":{}"#, self.ms(advert.received_at))
                }
            ),
            Event::Restarted { at, interval } => {
                format!(r#"{{"restarted":{{"arrived_ms":{},"interval_ms":{}}}}}"#, self.ms(at), millis(interval))
            }
            Event::Held { until } => format!(r#"{{"held":{{"until_ms":{}}}}}"#, self.ms(until)),
        }
    }

    fn ms(&self, at: Instant) -> String {
        millis(at.since(self.start))
    }
}

fn settings(config: &RouterConfig) -> String {
    format!(
        r#""version":{},"priority":{},"advert_interval_ms":{},"preempt":{},"preempt_delay_ms":{},"lease":{},"address":"{}""#,
        config.version as u8,
        config.priority.get(),
        millis(config.advert_interval),
        config.preempt,
        millis(config.preempt_delay),
        config.lease,
        config.primary
    )
}

fn describe(action: Action) -> String {
    match action {
        Action::SetRole(role) => format!("role {role}"),
        Action::SetPreempt(preempt) => format!("preempt {preempt}"),
        Action::SetStandBy(on) => format!("stand by {on}"),
        Action::SetPriority(priority) => format!("priority {}", priority.get()),
        Action::SendAdvert { priority } => format!("advert {}", priority.get()),
        Action::Announce => "announce".to_owned(),
        Action::InstallAddresses => "install addresses".to_owned(),
        Action::RemoveAddresses => "remove addresses".to_owned(),
        Action::Transition { from, to, reason, .. } => format!("{from} to {to}: {reason}"),
    }
}

/// Returns the name of a router: `a` for the first one.
fn name(router: usize) -> char {
    char::from(b"abc"[router])
}

/// Returns the name of the router with this address: `a` for 192.0.2.1, `b` for 192.0.2.2 and so on.
fn sender(address: IpAddr) -> char {
    match address {
        IpAddr::V4(address) => name(usize::from(address.octets()[3]) - 1),
        IpAddr::V6(_) => unreachable!("scenarios are over IPv4"),
    }
}

fn millis(interval: Interval) -> String {
    let nanos = interval.as_nanos();
    format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000)
}
