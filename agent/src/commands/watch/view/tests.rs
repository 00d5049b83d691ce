use std::collections::BTreeMap;
use std::net::IpAddr;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use xvrrp_common::units::Family;
use xvrrp_vrrp::Reason;

use super::*;
use crate::control::status::{MissingEntries, RestoredCounts, SCHEMA, TimerStatus};
use crate::plan::cause::Cause;

fn router(name: &str, state: RouterState) -> VirtualRouterStatus {
    let history = |ago_ms, state, reason| HistoryEntry { at: 1.5, ago_ms, state, reason: Cause::Election(reason) };
    VirtualRouterStatus {
        name: name.to_owned(),
        family: Family::Ipv4,
        vrid: 51,
        version: 3,
        interface: "eth0".to_owned(),
        state,
        reason: Cause::Election(Reason::Preempted),
        in_state_ms: 65_000.0,
        priority: 200,
        active: Some(ActiveRouter {
            address: IpAddr::from([192, 0, 2, 2]),
            priority: 200,
            this_host: state == RouterState::Active,
        }),
        sync_group: Some("gw".to_owned()),
        handed_over: true,
        timers: TimerStatus {
            advert_interval_ms: 100.0,
            active_adver_interval_ms: 100.0,
            skew_ms: 60.9375,
            active_down_interval_ms: 360.9375,
            next_ms: Some(300.0),
            lease_ms: Some(280.0),
        },
        addresses: (1..=3).map(|last| format!("192.0.2.{last}/24")).collect(),
        adverts_sent: 100,
        history: vec![
            history(900_000.0, RouterState::Backup, Reason::Startup),
            history(65_000.0, RouterState::Active, Reason::Preempted),
        ],
        counters: BTreeMap::from([
            ("advert_accepted".to_owned(), 120),
            ("advert_checksum".to_owned(), 7),
            ("arp_answered".to_owned(), 9),
            ("arp_suppressed".to_owned(), 2),
        ]),
        xdp_mode: None,
        since: 1.5,
        configured_priority: 200,
        track: Vec::new(),
        heard: None,
        virtual_mac: None,
        unicast_peers: Vec::new(),
        announcements_waiting: 0,
        transitions: BTreeMap::new(),
        notify_failures: 0,
        restored: RestoredCounts::default(),
        not_kept: None,
        missing: MissingEntries::default(),
        conflict: None,
    }
}

fn status(routers: Vec<VirtualRouterStatus>) -> AgentStatus {
    AgentStatus {
        unpinned: None,
        missing_statics: MissingEntries::default(),
        restored_statics: 0,
        schema: SCHEMA,
        router_id: "gw-a".to_owned(),
        pid: 4711,
        started: 1.5,
        virtual_routers: routers,
        sync_groups: Vec::new(),
        checks: Vec::new(),
        counters: BTreeMap::new(),
    }
}

fn view(routers: Vec<VirtualRouterStatus>) -> View {
    let mut view = View::new();
    view.update(Ok(status(routers)));
    view
}

/// Returns the lines of a screen of 80 by 24.
fn screen(view: &mut View) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |row| (0..80).map(|column| buffer[(column, row)].symbol()).collect::<String>().trim_end().to_owned();
    (0..24).map(line).collect()
}

#[test]
fn everything_fits_a_screen_of_80_by_24() {
    let lines = screen(&mut view(vec![
        router("lan", RouterState::Active),
        router("a-name-of-thirty-two-characters-", RouterState::Fault),
    ]));
    let expected = "\
xvrrp on gw-a (pid 4711): 1 ACTIVE, 1 FAULT   [1/2]
STATE    NAME                FAM  FOR       PRIO ACTIVE ROUTER    SENT/s HEARD/s
* ACTIVE lan                 ipv4 65 s      200  this host        -      -
! FAULT  a-name-of-thirty-tw ipv4 65 s      200  192.0.2.2        -      -




-- lan (ipv4): ACTIVE (preempted) ----------------------------------------------
VRID 51, version 3, on eth0: 192.0.2.1/24 to 192.0.2.3/24
Active router: this host   sync group: gw
adverts every 100.0 ms, Active_Down_Interval 360.9 ms, lease 280.0 ms
handed over: stands by until `--resume`, or until nobody else is Active
history
       65 s ago  * ACTIVE  preempted
     15 min ago  - BACKUP  startup
drops
  advert_checksum                       7         -/s
  arp_suppressed                        2         -/s




q quit   Up Down PgUp PgDn Home End choose";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn the_busiest_router_fits_too() {
    let mut busiest = router("lan", RouterState::Backup);
    busiest.history = busiest.history.iter().cycle().take(16).cloned().collect();
    let reasons = ["checksum", "length", "ttl", "type", "version", "own_source"];
    busiest.counters = (1..).zip(reasons).map(|(count, reason)| (format!("advert_{reason}"), count)).collect();
    let lines = screen(&mut view(vec![busiest]));
    assert!(lines[10].starts_with("Active router: 192.0.2.2 with priority 200"), "{lines:?}");
    assert!(lines[19].contains("advert_own_source "), "the most frequent first: {lines:?}");
    assert!(lines[22].contains("advert_ttl ") && lines[22].ends_with("and 2 more"), "{lines:?}");
    assert!(lines[23].starts_with("q quit"), "{lines:?}");
}

#[test]
fn states_have_words_and_signs() {
    let states = RouterState::ALL;
    let lines = screen(&mut view(states.map(|state| router("lan", state)).into()));
    for (line, expected) in lines[2..].iter().zip(["* ACTIVE", "- BACKUP", "! FAULT", "? INIT"]) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn a_list_of_hundreds_scrolls() {
    let mut view = view((0..300).map(|number| router(&format!("lan-{number}"), RouterState::Backup)).collect());
    for (by, selected) in
        [(0, 0), (-1, 0), (1, 1), (PAGE, 7), (isize::MAX, 299), (1, 299), (-PAGE, 293), (isize::MIN, 0)]
    {
        view.select(by);
        let lines = screen(&mut view);
        let name = format!("lan-{selected} ");
        assert!(lines[2..8].iter().any(|line| line.contains(&name)), "{name}: {lines:?}");
        assert!(lines.iter().any(|line| line.starts_with(&format!("-- {name}"))), "{name}: {lines:?}");
        assert!(lines[0].ends_with(&format!("[{}/300]", selected + 1)), "{lines:?}");
    }
    // The next configuration has fewer.
    view.select(isize::MAX);
    view.update(Ok(status(vec![router("lan", RouterState::Backup)])));
    assert!(screen(&mut view).iter().any(|line| line.starts_with("-- lan ")));
}

#[test]
fn if_the_agent_is_silent_the_screen_says_so_and_shows_the_last_status() {
    let mut view = view(vec![router("lan", RouterState::Active)]);
    view.update(Err(ControlError::HungUp("/run/xvrrp/xvrrp.sock".into())));
    let lines = screen(&mut view);
    assert!(lines[0].starts_with("! THE AGENT IS SILENT") && lines[2].contains("ACTIVE"), "{lines:?}");
}

#[test]
fn drawing_on_a_small_screen_does_not_fail() {
    let mut view = view(vec![router("lan", RouterState::Active)]);
    for (width, height) in [(1, 1), (20, 5), (80, 10)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
    }
}

#[test]
fn rates_refer_to_the_time_between_two_answers_of_the_same_agent() {
    let before = status(vec![router("lan", RouterState::Active)]);
    let mut after = before.clone();
    after.virtual_routers[0].adverts_sent += 20;
    after.virtual_routers[0].counters.insert("advert_checksum".to_owned(), 8);
    let start = Instant::now();
    let later = start + std::time::Duration::from_secs(2);
    let rates = CounterSnapshot::new(&after, later).rates_since(&CounterSnapshot::new(&before, start));
    let router = &after.virtual_routers[0];
    assert_eq!(rates.sent(router), Some(10.0));
    assert_eq!(rates.counter(router, "advert_checksum"), Some(0.5));
    assert_eq!(rates.counter(router, "advert_ttl"), Some(0.0));
    after.started = 2.5;
    let rates = CounterSnapshot::new(&after, later).rates_since(&CounterSnapshot::new(&before, start));
    assert_eq!(rates.sent(&after.virtual_routers[0]), None);
}
