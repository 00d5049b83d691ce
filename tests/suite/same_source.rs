//! The source address of adverts: keepalived and an agent that run the same keepalived.conf send from the same address,
//! and it decides ties.

use std::thread;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{INTERFACE, Keepalived, Lab, Namespace};

use crate::same_file::{Imported, Running};

/// Starts a daemon with the text of a keepalived.conf.
type Start = fn(&Namespace, &str) -> Result<Running>;

const KEEPALIVED: Start = |namespace, config| Keepalived::start_with(namespace, config).map(Running::Keepalived);
const XVRRP: Start = |namespace, config| Imported::start(namespace, config, None).map(Running::Xvrrp);

/// The sources of the first and the second router. Without them, the second one would win a tie.
const SOURCES: [&str; 2] = ["192.0.2.202", "192.0.2.201"];

fn configuration(source: &str) -> String {
    format!(
        "global_defs {{
  vrrp_version 3
}}
vrrp_instance lan {{
  interface {INTERFACE}
  virtual_router_id 51
  priority 100
  advert_int 0.2
  {source}
  virtual_ipaddress {{
    192.0.2.1/24
  }}
}}
"
    )
}

/// Lets two routers of the same priority become Master apart from each other, and meet.
fn meet(starts: [Start; 2], device: &str, source: impl Fn(usize) -> String) -> Result<()> {
    let lab = Lab::new(2)?;
    for (router, source) in lab.routers.iter().zip(SOURCES) {
        router.ip(&format!("addr add {source}/32 dev {device}"))?;
    }
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    lab.isolate(1)?;
    let [first, second] = [0, 1].map(|host| starts[host](&lab.routers[host], &configuration(&source(host))));
    let (first, second) = (first?, second?);
    first.wait_for_state("lan", "MASTER")?;
    second.wait_for_state("lan", "MASTER")?;
    lab.rejoin(1)?;
    second.wait_for_state("lan", "BACKUP").with_context(|| second.log())?;
    capture.wait_for("vrrp", 10)?;
    let (state, _) = first.look("lan", 0)?;
    ensure!(state == "MASTER", "{}", first.log());
    capture.finish()?;
    for source in capture.read("vrrp", &["ip.src"])?.concat() {
        ensure!(SOURCES.contains(&source.as_str()), "an advert comes from {source}");
    }
    Ok(())
}

/// Runs a meeting of each daemon with each.
fn with_all(device: &str, source: impl Fn(usize) -> String + Sync) -> Result<()> {
    thread::scope(|scope| {
        let source = &source;
        let pairs = [[KEEPALIVED, KEEPALIVED], [XVRRP, XVRRP], [KEEPALIVED, XVRRP], [XVRRP, KEEPALIVED]];
        let runs: Vec<_> = pairs.into_iter().map(|starts| scope.spawn(move || meet(starts, device, source))).collect();
        for (number, run) in runs.into_iter().enumerate() {
            let outcome = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.with_context(|| format!("pair {number}"))?;
        }
        Ok(())
    })
}

// parity 47
#[test]
fn multicast_adverts_leave_from_mcast_src_ip_which_decides_ties() -> Result<()> {
    with_all(INTERFACE, |host| format!("mcast_src_ip {}", SOURCES[host]))
}

// parity 47
#[test]
fn unicast_adverts_leave_from_unicast_src_ip_which_may_be_on_another_interface_and_in_the_list_of_peers() -> Result<()>
{
    let [first, second] = SOURCES;
    with_all("lo", |host| {
        format!("unicast_src_ip {}\n  unicast_peer {{\n    {first}\n    {second}\n  }}", SOURCES[host])
    })
}
