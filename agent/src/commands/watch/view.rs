//! Draws the screen. Every state has a word and a sign; colours only emphasize them.

use std::cmp::Reverse;
use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState};
use xvrrp_vrrp::RouterState;

use super::rates::{CounterSnapshot, Rates};
use crate::commands::status::span;
use crate::control::ControlError;
use crate::control::status::{ActiveRouter, AgentStatus, HistoryEntry, VirtualRouterStatus};

/// How many virtual routers Page Up and Page Down skip.
pub const PAGE: isize = 6;

/// How many lines show the selected virtual router.
const DETAILS: u16 = 15;
/// How many changes of its state they include.
const HISTORY: usize = 4;
/// How many of its counters of drops they include.
const DROPS: usize = 4;

/// Counters of what was dropped or wrong, besides those of adverts, which begin with `advert_`.
const DROPS_BESIDE_ADVERTS: [&str; 9] = [
    "arp_suppressed",
    "arp_rival_claim",
    "nd_suppressed",
    "nd_rival_claim",
    "virtual_mac_dropped",
    "not_accepted",
    "egress_arp_dropped",
    "egress_nd_dropped",
    "event_lost",
];

/// What the screen shows.
#[derive(Debug)]
pub struct View {
    status: Option<AgentStatus>,
    /// Why the agent has not answered the latest request.
    failure: Option<String>,
    snapshot: Option<CounterSnapshot>,
    rates: Rates,
    table: TableState,
}

impl View {
    /// Creates an empty view.
    pub fn new() -> Self {
        let table = TableState::new().with_selected(0);
        Self { status: None, failure: None, snapshot: None, rates: Rates::default(), table }
    }

    /// Takes the agent's latest status, or the reason why there is none.
    pub fn update(&mut self, answer: Result<AgentStatus, ControlError>) {
        match answer {
            Ok(status) => {
                let snapshot = CounterSnapshot::new(&status, Instant::now());
                self.rates = self.snapshot.as_ref().map(|earlier| snapshot.rates_since(earlier)).unwrap_or_default();
                self.snapshot = Some(snapshot);
                self.status = Some(status);
                self.failure = None;
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
        self.select(0);
    }

    /// Moves the selection down the list by so many virtual routers, or up if negative, within the list.
    pub fn select(&mut self, by: isize) {
        let last = self.routers().len().saturating_sub(1);
        let selected = self.table.selected().unwrap_or(0);
        self.table.select(Some(selected.saturating_add_signed(by).min(last)));
    }

    fn routers(&self) -> &[VirtualRouterStatus] {
        self.status.as_ref().map_or(&[], |status| &status.virtual_routers)
    }

    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let areas = [Constraint::Length(1), Constraint::Min(3), Constraint::Length(DETAILS), Constraint::Length(1)];
        let [head, list, details, foot] = Layout::vertical(areas).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()).style(Style::new().bold()), head);
        self.draw_list(frame, list);
        let selected = self.table.selected().and_then(|selected| self.routers().get(selected));
        if let Some(router) = selected {
            frame.render_widget(Paragraph::new(self.details(router)), details);
        }
        frame.render_widget(Paragraph::new("q quit   Up Down PgUp PgDn Home End choose"), foot);
    }

    fn head(&self) -> String {
        if let Some(failure) = &self.failure {
            return format!("! THE AGENT IS SILENT, showing its last status: {failure}");
        }
        let Some(AgentStatus { router_id, pid, .. }) = &self.status else { return String::new() };
        let routers = self.routers();
        let mut head = format!("xvrrp on {router_id} (pid {pid}): ");
        let counts = RouterState::ALL.map(|state| {
            let count = routers.iter().filter(|router| router.state == state).count();
            (count > 0).then(|| format!("{count} {}", state.name().to_uppercase()))
        });
        head += &counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let place = self.table.selected().map_or(0, |selected| selected + 1);
        head + &format!("   [{place}/{}]", routers.len())
    }

    fn draw_list(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let widths = [
            Constraint::Length(8),
            Constraint::Min(14),
            Constraint::Length(4),
            Constraint::Length(9),
            Constraint::Length(4),
            Constraint::Length(16),
            Constraint::Length(6),
            Constraint::Length(7),
        ];
        let rows: Vec<_> = self.routers().iter().map(|router| self.row(router)).collect();
        let titles = Row::new(["STATE", "NAME", "FAM", "FOR", "PRIO", "ACTIVE ROUTER", "SENT/s", "HEARD/s"]);
        let table = Table::new(rows, widths)
            .header(titles.style(Style::new().add_modifier(Modifier::UNDERLINED)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn row(&self, router: &VirtualRouterStatus) -> Row<'static> {
        let active = match &router.active {
            Some(ActiveRouter { this_host: true, .. }) => "this host".to_owned(),
            Some(ActiveRouter { address, .. }) => address.to_string(),
            None => "not known".to_owned(),
        };
        let cells = [
            format!("{} {}", sign(router.state), router.state.name().to_uppercase()),
            router.name.clone(),
            router.family.to_string(),
            span(router.in_state_ms),
            router.priority.to_string(),
            active,
            rate(self.rates.sent(router)),
            rate(self.rates.counter(router, "advert_accepted")),
        ];
        let style = match router.state {
            RouterState::Active => Style::new().bold(),
            RouterState::Fault => Style::new().red().bold(),
            RouterState::Backup | RouterState::Init => Style::new(),
        };
        Row::new(cells).style(style)
    }

    fn details(&self, router: &VirtualRouterStatus) -> Vec<Line<'static>> {
        let VirtualRouterStatus { name, family, vrid, version, interface, state, reason, timers, .. } = router;
        let mut lines =
            vec![format!("{:-<80}", format!("-- {name} ({family}): {} ({reason}) ", state.name().to_uppercase()))];
        let addresses = match router.addresses.as_slice() {
            [first, .., last] if router.addresses.len() > 2 => format!("{first} to {last}"),
            few => few.join(", "),
        };
        lines.push(format!("VRID {vrid}, version {version}, on {interface}: {addresses}"));
        let active = match &router.active {
            Some(active) if active.this_host => "Active router: this host".to_owned(),
            Some(active) => format!("Active router: {} with priority {}", active.address, active.priority),
            None => "Active router: not known".to_owned(),
        };
        let group = router.sync_group.as_ref().map_or_else(String::new, |group| format!("   sync group: {group}"));
        lines.push(active + &group);
        let lease = timers.lease_ms.map_or_else(|| "none".to_owned(), span);
        lines.push(format!(
            "adverts every {}, Active_Down_Interval {}, lease {lease}",
            span(timers.active_adver_interval_ms),
            span(timers.active_down_interval_ms),
        ));
        if router.handed_over {
            lines.push("handed over: stands by until `--resume`, or until nobody else is Active".to_owned());
        }
        lines.push(
            if router.history.is_empty() { "history    none since the agent's start" } else { "history" }.to_owned(),
        );
        for HistoryEntry { ago_ms, state, reason, .. } in router.history.iter().rev().take(HISTORY) {
            lines.push(format!(
                "  {:>9} ago  {} {:<7} {reason}",
                span(*ago_ms),
                sign(*state),
                state.name().to_uppercase()
            ));
        }
        let mut drops: Vec<_> = router.counters.iter().filter(|(counter, _)| is_drop(counter)).collect();
        // The sort is stable: equal counts stay in the order of their names.
        drops.sort_by_key(|(_, count)| Reverse(**count));
        lines.push(if drops.is_empty() { "drops      none" } else { "drops" }.to_owned());
        for (counter, count) in drops.iter().take(DROPS) {
            let rate = rate(self.rates.counter(router, counter));
            lines.push(format!("  {counter:<26} {count:>12}   {rate:>7}/s"));
        }
        if let Some(more) = drops.len().checked_sub(DROPS).filter(|more| *more > 0)
            && let Some(last) = lines.last_mut()
        {
            last.push_str(&format!("   and {more} more"));
        }
        lines.into_iter().map(Line::from).collect()
    }
}

/// Returns the sign of a state, which distinguishes it without colours.
fn sign(state: RouterState) -> char {
    match state {
        RouterState::Active => '*',
        RouterState::Backup => '-',
        RouterState::Fault => '!',
        RouterState::Init => '?',
    }
}

fn is_drop(counter: &str) -> bool {
    let advert = counter.starts_with("advert_") && !["advert_accepted", "advert_release"].contains(&counter);
    advert || DROPS_BESIDE_ADVERTS.contains(&counter)
}

fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

#[cfg(test)]
mod tests;
