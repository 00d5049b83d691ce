//! Lists what an agent could change on a host, so that tests can compare it before and after.

use anyhow::{Result, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;

use crate::{Namespace, PATIENCE, eventually};

/// Lists everything that an agent could change on a host: addresses, routes, unicast filters, programs, qdiscs, packet
/// sockets, promiscuity, settings.
pub fn host_state(host: &Namespace) -> Result<String> {
    let shown = host.sh("
        ip -d -o link show
        ip -o address show
        ip route show table all
        ip -4 rule
        ip -6 rule
        bridge fdb show
        tc qdisc show
        tc filter show dev eth0 ingress
        tc filter show dev eth0 egress
        ss --packet --all --numeric --no-header
        ss --unix --listening --no-header
        grep . /proc/sys/net/ipv4/conf/*/promote_secondaries /proc/sys/net/ipv4/conf/*/arp_*
    ")?;
    Ok(format!("{shown}TCX: {:?}", host.run(tcx_programs)?))
}

/// Waits until the host is in the state `before`. The kernel detaches programs and frees links some time after the
/// agent has closed them.
pub fn wait_for_host_state(host: &Namespace, before: &str) -> Result<()> {
    eventually(&format!("{} is as it was before", host.name()), PATIENCE, || {
        let now = host_state(host)?;
        let only_in = |these: &str, those: &str| -> Vec<String> {
            let mut these: Vec<_> = these.lines().map(str::to_owned).collect();
            for line in those.lines() {
                if let Some(place) = these.iter().position(|one| one == line) {
                    these.remove(place);
                }
            }
            these
        };
        ensure!(now == before, "added: {:#?}, missing: {:#?}", only_in(&now, before), only_in(before, &now));
        Ok(())
    })
}

/// Lists the TCX programs of eth0, which the tc and bpftool of Debian 12 do not show. Kernels before 6.6 have none.
fn tcx_programs() -> Vec<String> {
    let directions = [TcAttachType::Ingress, TcAttachType::Egress];
    let programs = directions.map(|direction| SchedClassifier::query_tcx("eth0", direction));
    let programs = programs.into_iter().flatten().flat_map(|(_, programs)| programs);
    programs.map(|program| program.name_as_str().unwrap_or("?").to_owned()).collect()
}
