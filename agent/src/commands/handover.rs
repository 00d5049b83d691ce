//! `xvrrp handover`: asks the agent to hand a role over to another host, or to take it back, and waits until that is
//! done.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use xvrrp_vrrp::RouterState;

use super::status::span;
use crate::control::status::{ActiveRouter, VirtualRouterStatus};
use crate::control::{self, Request};

/// How long the other router may take, in addition to this router's Active_Down_Interval.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the agent is asked whether the other router is Active.
const LOOK: Duration = Duration::from_millis(5);

/// Hands the role over to another host and waits until that host is Active. Returns the text to print.
///
/// # Errors
/// The agent does not answer or refuses, there is no role to hand over, or no other router takes over.
pub fn hand_over(control: &Path, name: &str, force: bool) -> anyhow::Result<String> {
    let before = look(control, name)?;
    if before.iter().all(|router| router.handed_over) {
        return Ok(format!("{name} has been handed over already; {}", who_is_active(&before)));
    }
    if !before.iter().any(|router| router.state == RouterState::Active) {
        bail!("{name} is {} here: there is no role to hand over; {}", before[0].state, who_is_active(&before));
    }
    if !force && before.iter().all(|router| router.heard.is_none()) {
        bail!(
            "{name}: no other router has been heard yet, so there may be none. A Backup sends nothing until it becomes \
             Active. If you know that there is one, use --force. If there is none, this host is Active again after {}",
            span(before[0].timers.active_down_interval_ms)
        );
    }
    control::ask_for(control, &Request::StandBy { name: name.to_owned(), on: true })?;
    let deadline = Instant::now() + patience(&before);
    loop {
        let now = look(control, name)?;
        if now.iter().any(|router| router.state == RouterState::Active) {
            bail!("{name}: nobody else took over, and this host is Active again");
        }
        if now.iter().all(|router| other(router).is_some()) {
            // Computed from the times that the agent and the kernel half recorded, not from the times of these looks.
            let handed_over = now.iter().filter(|router| before.iter().any(|before| was_active(before, router)));
            let took = handed_over.filter_map(|router| Some(router.in_state_ms - router.heard.as_ref()?.first_ago_ms?));
            let heard = took.reduce(f64::max).map(|took| format!(", heard {} after the handover", span(took)));
            return Ok(format!("{name} is handed over; {}{}", who_is_active(&now), heard.unwrap_or_default()));
        }
        if Instant::now() >= deadline {
            bail!("{name} is {} here now, but not taken over completely; {}", now[0].state, who_is_active(&now));
        }
        thread::sleep(LOOK);
    }
}

/// Ends a handover. If this host is going to take the role back, waits until it is Active. Returns the text to print.
///
/// # Errors
/// The agent does not answer or refuses, or this host does not become Active although it should.
pub fn resume(control: &Path, name: &str) -> anyhow::Result<String> {
    let before = look(control, name)?;
    if !before.iter().any(|router| router.handed_over) {
        return Ok(format!("{name} is not handed over; {}", who_is_active(&before)));
    }
    let start = Instant::now();
    let answer = control::ask_for(control, &Request::StandBy { name: name.to_owned(), on: false })?;
    if answer["preempts"] != true {
        return Ok(format!("the handover of {name} has ended; preempt is off: {}", who_is_active(&before)));
    }
    let deadline = start + patience(&before);
    loop {
        let now = look(control, name)?;
        if now.iter().all(|router| router.state == RouterState::Active) {
            let took = span(start.elapsed().as_secs_f64() * 1000.0);
            return Ok(format!("{name} is Active here again, {took} after the end of the handover"));
        }
        if let Some(router) =
            now.iter().find(|router| other(router).is_some_and(|other| other.priority >= router.priority))
        {
            let ours = router.priority;
            return Ok(format!("the handover of {name} has ended; our priority is {ours}: {}", who_is_active(&now)));
        }
        if Instant::now() >= deadline {
            bail!("the handover of {name} has ended, but it is {} here; {}", now[0].state, who_is_active(&now));
        }
        thread::sleep(LOOK);
    }
}

/// Returns the status of the virtual router and of all members of its sync group: those that take part in an election,
/// or all of them if none does. Returns at least one; the virtual router itself comes first.
fn look(control: &Path, name: &str) -> anyhow::Result<Vec<VirtualRouterStatus>> {
    let routers = control::status(control)?.virtual_routers;
    // The status lists a virtual router of both families twice.
    let names: BTreeSet<_> = routers.iter().map(|router| router.name.clone()).collect();
    let group = routers.iter().find(|router| router.name == name).and_then(|router| router.sync_group.clone());
    let (mut found, faulty): (Vec<_>, Vec<_>) = routers
        .into_iter()
        .filter(|router| router.name == name || group.is_some() && router.sync_group == group)
        .partition(|router| router.state != RouterState::Fault);
    if found.is_empty() {
        found = faulty;
    }
    if found.is_empty() {
        bail!("the agent has no virtual router \"{name}\"; it has {}", Vec::from_iter(names).join(", "));
    }
    found.sort_by_key(|router| router.name != name);
    Ok(found)
}

fn patience(routers: &[VirtualRouterStatus]) -> Duration {
    let longest = routers.iter().map(|router| router.timers.active_down_interval_ms).fold(0.0, f64::max);
    PATIENCE + Duration::try_from_secs_f64(longest / 1000.0).unwrap_or_default()
}

/// Returns whether `before` is the same virtual router as `now`, and was Active.
fn was_active(before: &VirtualRouterStatus, now: &VirtualRouterStatus) -> bool {
    before.state == RouterState::Active && (&before.name, before.family) == (&now.name, now.family)
}

/// Returns the Active router if it is another host.
fn other(router: &VirtualRouterStatus) -> Option<&ActiveRouter> {
    router.active.as_ref().filter(|active| !active.this_host)
}

fn who_is_active(routers: &[VirtualRouterStatus]) -> String {
    let others: Vec<_> = routers.iter().filter_map(other).collect();
    match others.as_slice() {
        _ if routers.iter().any(|router| router.state == RouterState::Active) => "this host is Active".to_owned(),
        [] => "nobody is known to be Active".to_owned(),
        [ActiveRouter { address, priority, .. }, ..] => format!("{address} is Active with priority {priority}"),
    }
}
