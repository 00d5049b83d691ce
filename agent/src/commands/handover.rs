//! `xvrrp handover`: an operator gives a role to another host, and gets it back.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use xvrrp_vrrp::RouterState;

use crate::control::status::{ActiveRouter, VirtualRouterStatus, span};
use crate::control::{self, Request};

/// How long the other router may take beyond our Active_Down_Interval, after which nobody else can be on the way.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// Gives the role to another host, and waits until it has it: the command. Returns what there is to say.
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
            "{name}: no other router has been heard yet, so perhaps there is none. A Backup that was never Active is silent: if \
             you know that one is there, use --force. If there is none, this host is Active again after {}",
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
            // The moments that the agent and the kernel half noted, not those at which we looked.
            let took = now.iter().filter_map(|router| Some(router.in_state_ms - router.heard.as_ref()?.ago_ms));
            let took = span(took.fold(0.0, f64::max));
            return Ok(format!("{name} is handed over; {}, heard {took} after the handover", who_is_active(&now)));
        }
        if Instant::now() >= deadline {
            bail!("{name} is {} here now, but not everything is taken over; {}", now[0].state, who_is_active(&now));
        }
        thread::sleep(LOOK);
    }
}

/// Ends a handover, and waits until this host is Active again if it is going to be: the command. Returns what there is to say.
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

/// The virtual router, and all of its sync group, in those of their families that take part; at least one.
fn look(control: &Path, name: &str) -> anyhow::Result<Vec<VirtualRouterStatus>> {
    let routers = control::status(control)?.virtual_routers;
    let names: Vec<_> = routers.iter().map(|router| router.name.clone()).collect();
    let group = routers.iter().find(|router| router.name == name).and_then(|router| router.sync_group.clone());
    let (mut found, faulty): (Vec<_>, Vec<_>) = routers
        .into_iter()
        .filter(|router| router.name == name || group.is_some() && router.sync_group == group)
        .partition(|router| router.state != RouterState::Fault);
    if found.is_empty() {
        found = faulty;
    }
    if found.is_empty() {
        bail!("the agent has no virtual router \"{name}\"; it has {}", names.join(", "));
    }
    Ok(found)
}

fn patience(routers: &[VirtualRouterStatus]) -> Duration {
    let longest = routers.iter().map(|router| router.timers.active_down_interval_ms).fold(0.0, f64::max);
    PATIENCE + Duration::try_from_secs_f64(longest / 1000.0).unwrap_or_default()
}

/// Another host that is Active.
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
