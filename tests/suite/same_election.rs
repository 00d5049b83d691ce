//! keepalived and an agent run the same keepalived.conf, each on a segment of its own, and differ from the RFC in the
//! same way.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xvrrp_common::units::{Interval, Priority};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::traffic::{AdvertTap, frames};
use xvrrp_lab::{
    INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, alone, eventually, ifindex, wait_until,
};
use xvrrp_net::PacketSocket;

use crate::same_file::{Imported, Running};

/// Starts a daemon with the text of a keepalived.conf.
type Start = fn(&Namespace, &str) -> Result<Running>;

const BOTH: [Start; 2] = [
    |namespace, config| Keepalived::start_with(namespace, config).map(Running::Keepalived),
    |namespace, config| Imported::start(namespace, config, None).map(Running::Xvrrp),
];

/// How soon an answer follows at most.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Returns a configuration with an instance `lan` of priority 100, with these lines in `global_defs` and in the
/// instance.
fn configuration(global: &str, lines: &str) -> String {
    format!(
        "global_defs {{
  vrrp_version 3
{global}
}}
vrrp_instance lan {{
  interface {INTERFACE}
  virtual_router_id 51
  priority 100
  advert_int 1
{lines}
  virtual_ipaddress {{
    192.0.2.1/24
  }}
}}
"
    )
}

// parity 15, 18, 61
#[test]
fn the_first_takeover_is_as_late_as_in_keepalived() -> Result<()> {
    let _alone = alone();
    let config = configuration("  vrrp_startup_delay 1.5", "  down_timer_adverts 5");
    // The delay, five intervals and Skew_Time.
    let expected = Duration::from_millis(1_500 + 5_000 + 609);
    for start in BOTH {
        let lab = Lab::new(1)?;
        let began = Instant::now();
        let daemon = start(&lab.routers[0], &config)?;
        let patience = expected + PATIENCE;
        while !daemon.look("lan", 100).is_ok_and(|(state, _)| state == "MASTER") && began.elapsed() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        let waited = began.elapsed();
        ensure!((expected..expected + Duration::from_secs(1)).contains(&waited), "{}: {waited:?}", daemon.name());
    }
    Ok(())
}

/// Returns whether a Master answers an advert of this priority at once.
fn answers(start: Start, lines: &str, priority: u8) -> Result<bool> {
    let lab = Lab::new(2)?;
    let daemon = start(&lab.routers[0], &configuration("", lines))?;
    daemon.wait_for_state("lan", "MASTER")?;
    let other =
        lab.routers[1].run(|| -> Result<_> { Ok(Arc::new(PacketSocket::open()?).on(ifindex(INTERFACE)?)?) })??;
    let advert = frames::emit(&AdvertFrame {
        source: [192, 0, 2, 99],
        priority: Priority::new(priority),
        interval: Interval::from_seconds(1),
        ..frames::advert()
    });
    let tap = AdvertTap::start(&lab.client, INTERFACE)?;
    // The periodic adverts before and after are far enough away.
    wait_until("an advert has just passed", || {
        let last = tap.last_before(Lab::address(0), Instant::now());
        Ok(last.is_ok_and(|at| at.elapsed() < Duration::from_millis(300)))
    })?;
    thread::sleep(AT_ONCE);
    let sent = Instant::now();
    other.send(&advert)?;
    thread::sleep(2 * AT_ONCE);
    Ok(tap.first_after(Lab::address(0), sent).is_ok_and(|at| at < sent + AT_ONCE))
}

// parity 16, 62
#[test]
fn a_lower_priority_is_answered_unless_lower_prio_no_advert_says_otherwise_in_both() -> Result<()> {
    for start in BOTH {
        ensure!(answers(start, "", 50)?);
        ensure!(!answers(start, "  lower_prio_no_advert", 50)?);
    }
    Ok(())
}

// parity 17, 63
#[test]
fn a_higher_priority_is_answered_only_with_higher_prio_send_advert_in_both() -> Result<()> {
    for start in BOTH {
        ensure!(!answers(start, "", 200)?);
        ensure!(answers(start, "  higher_prio_send_advert", 200)?);
    }
    Ok(())
}

#[test]
fn a_reload_during_the_delay_at_the_start_does_not_end_it() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3);
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(100)], &[], "startup_delay = \"3s\"")?;
    agent.wait_for_state("lan", "backup")?;
    let started = Instant::now();
    agent.reload()?;
    eventually("the virtual router takes over", DELAY + PATIENCE, || {
        ensure!(agent.state("lan")? == "active");
        Ok(())
    })?;
    // The agent has started a little before.
    let waited = started.elapsed();
    ensure!(waited + Duration::from_secs(1) > DELAY, "{waited:?}");
    Ok(())
}
