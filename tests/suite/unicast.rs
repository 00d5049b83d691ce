//! Unicast adverts among xvrrp routers, with keepalived, and through a router.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VIP_IPV6, VirtualRouter, Xvrrp, eventually, run};

const ADVERTS: &str = "ip proto 112 or ip6 proto 112";

fn ping(lab: &Lab, address: &str) -> Result<()> {
    let line = format!("ping -n -c 3 -i 0.05 -W 1 {address}");
    eventually(&format!("the client reaches {address}"), PATIENCE, || lab.client.sh(&line)).map(drop)
}

/// A virtual router over both families whose only peer is the lab's router with this number.
fn of_both(priority: u8, peer: usize) -> [VirtualRouter; 1] {
    let peers = format!("[\"{}\", \"fe80::{:x}\"]", Lab::address(peer), peer + 2);
    [VirtualRouter::lan_of_both(priority).with("unicast_peers", &peers)]
}

/// Waits until the virtual router is in this state in both families.
fn wait_for_both(agent: &Xvrrp, state: &str) -> Result<()> {
    eventually(&format!("both families are {state}"), PATIENCE, || {
        let status = agent.status()?;
        let routers = status["virtual_routers"].as_array().cloned().unwrap_or_default();
        ensure!(routers.len() == 2 && routers.iter().all(|router| router["state"] == state), "{status}");
        Ok(())
    })
}

#[test]
fn a_pair_without_multicast_fails_over_and_back() -> Result<()> {
    let lab = Lab::with_ipv6(2)?;
    let mut capture = Capture::start(lab.switch(), "br0", ADVERTS)?;
    let mut first = Xvrrp::start(&lab.routers[0], &of_both(200, 1))?;
    wait_for_both(&first, "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &of_both(100, 0))?;
    eventually("the Backup hears the Active router", PATIENCE, || {
        let status = second.virtual_router("lan")?;
        ensure!(status["state"] == "backup" && status["active"]["address"] == "192.0.2.2", "{status}");
        Ok(())
    })?;
    let status = second.virtual_router("lan")?;
    ensure!(status["unicast_peers"][0]["address"] == "192.0.2.2", "{status}");
    let groups = lab.routers[1].ip(&format!("maddr show dev {INTERFACE}"))?;
    ensure!(!groups.contains("224.0.0.18") && !groups.contains("ff02::12"), "{groups}");
    let reach = || ping(&lab, "192.0.2.1").and_then(|()| ping(&lab, &VIP_IPV6.to_string()));
    reach()?;

    ensure!(first.stop()?.success(), "the agent failed");
    second.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
    wait_for_both(&second, "active")?;
    reach()?;
    let mut first = first.restart(&lab.routers[0], &of_both(200, 1))?;
    wait_for_both(&first, "active")?;
    wait_for_both(&second, "backup")?;
    reach()?;
    first.kill()?;
    second.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
    wait_for_both(&second, "active")?;
    reach()?;

    capture.finish()?;
    capture.check_adverts()?;
    let macs = [lab.routers[0].mac(INTERFACE)?.to_string(), lab.routers[1].mac(INTERFACE)?.to_string()];
    for packet in capture.read("vrrp", &["eth.src", "eth.dst", "ip.dst", "ipv6.dst", "ip.ttl", "ipv6.hlim"])? {
        let [source, destination, ..] = &packet[..] else { anyhow::bail!("{packet:?}") };
        ensure!(macs.contains(source) && macs.contains(destination), "{packet:?} is not between {macs:?}");
        ensure!(packet[4..].concat() == "255", "{packet:?}");
    }
    Ok(())
}

#[test]
fn a_router_whose_peers_are_gone_continues_to_serve() -> Result<()> {
    // At this interval, many adverts wait in the kernel for the MAC of a peer.
    let lan = |priority, peer| {
        let peers = format!("[\"{}\", \"192.0.2.77\"]", Lab::address(peer));
        VirtualRouter::lan(priority).with("unicast_peers", &peers).with("advert_interval", "\"10ms\"")
    };
    let lab = Lab::new(2)?;
    let mut first = Xvrrp::start(&lab.routers[0], &[lan(200, 1)])?;
    first.wait_for_state("lan", "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &[lan(100, 0)])?;
    second.wait_for_state("lan", "backup")?;
    lab.isolate(1)?;
    lab.routers[0].ip(&format!("neigh flush dev {INTERFACE}"))?;
    // Longer than the kernel tries to resolve the MAC of the peer.
    thread::sleep(Duration::from_secs(5));
    first.wait_for_state("lan", "active")?;
    ensure!(first.daemon.count_lines(&["cannot send"]) == 0, "{}", first.daemon.log());
    ping(&lab, "192.0.2.1")?;
    second.wait_for_state("lan", "active")?;
    lab.rejoin(1)?;
    second.wait_for_state("lan", "backup")
}

#[test]
fn a_router_that_cannot_send_to_one_of_its_peers_does_not_serve() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let (router, elsewhere) = (&lab.routers[0], "2001:db8:b::9");
    let add_route = || router.ip(&format!("-6 route add {elsewhere}/128 via 2001:db8::64 dev {INTERFACE}"));
    add_route()?;
    let peers = format!("[\"2001:db8::3\", \"{elsewhere}\"]");
    let mut agent = Xvrrp::start(router, &[VirtualRouter::lan_ipv6(200).with("unicast_peers", &peers)])?;
    agent.wait_for_state("lan", "active")?;
    ping(&lab, &VIP_IPV6.to_string())?;
    router.ip(&format!("-6 route del {elsewhere}/128"))?;
    agent.daemon.wait_for_line(&["WARN", "virtual_router=lan", &format!("cannot send to {elsewhere}")], PATIENCE)?;
    agent.daemon.wait_for_line(&["reason=lease_expired"], PATIENCE)?;
    // It does not serve while it tries again either.
    let line = format!("ping -n -c 10 -i 0.1 -W 1 {VIP_IPV6}");
    ensure!(lab.client.sh(&line).is_err(), "the router serves the client");
    add_route()?;
    ping(&lab, &VIP_IPV6.to_string())
}

/// A pair of keepalived on the first router and xvrrp on the second.
struct Mixed {
    /// Lines of keepalived's `vrrp_instance`.
    keepalived: &'static str,
    /// The version of VRRP.
    version: u8,
    xvrrp: VirtualRouter,
    /// A virtual address.
    address: &'static str,
    /// The address from which keepalived sends.
    own: &'static str,
}

impl Mixed {
    fn v3() -> Self {
        Self {
            keepalived: "advert_int 0.1\n unicast_src_ip 192.0.2.2\n unicast_peer {\n 192.0.2.3\n }\n\
                         virtual_ipaddress {\n 192.0.2.1/24\n }",
            version: 3,
            xvrrp: VirtualRouter::lan(100).with("unicast_peers", "[\"192.0.2.2\"]"),
            address: "192.0.2.1",
            own: "192.0.2.2",
        }
    }

    fn v2_with_a_password() -> Self {
        let Self { xvrrp, address, own, .. } = Self::v3();
        Self {
            keepalived: "advert_int 1\n unicast_src_ip 192.0.2.2\n unicast_peer {\n 192.0.2.3\n }\n\
                         authentication {\n auth_type PASS\n auth_pass s3cret\n }\n\
                         virtual_ipaddress {\n 192.0.2.1/24\n }",
            version: 2,
            xvrrp: xvrrp.with("version", "2").with("advert_interval", "\"1s\"").with("password", "\"s3cret\""),
            address,
            own,
        }
    }

    fn ipv6() -> Self {
        Self {
            keepalived: "advert_int 0.1\n unicast_ttl 255\n unicast_src_ip fe80::2\n unicast_peer {\n fe80::3\n }\n\
                         virtual_ipaddress {\n fe80::33/64\n 2001:db8::1/64\n }",
            version: 3,
            xvrrp: VirtualRouter::lan_ipv6(100).with("unicast_peers", "[\"fe80::2\"]"),
            address: "2001:db8::1",
            own: "fe80::2",
        }
    }

    fn keepalived(&self, lab: &Lab, priority: u8) -> Result<Keepalived> {
        let Self { version, keepalived, .. } = self;
        let text = format!(
            "global_defs {{\n vrrp_version {version}\n vrrp_garp_master_refresh 0\n}}\nvrrp_instance lab {{\n state BACKUP\n \
             interface {INTERFACE}\n virtual_router_id 51\n priority {priority}\n {keepalived}\n}}\n"
        );
        Keepalived::start_with(&lab.routers[0], &text)
    }

    /// Tests a keepalived with the higher priority, which starts, stops, starts again and dies.
    fn better(&self) -> Result<()> {
        let lab = Lab::with_ipv6(2)?;
        let mut ours = Xvrrp::start(&lab.routers[1], &[self.xvrrp.clone().with("priority", "100")])?;
        ours.wait_for_state("lan", "active")?;
        ping(&lab, self.address)?;
        let mut theirs = self.keepalived(&lab, 200)?;
        theirs.wait_for_state("MASTER")?;
        ours.wait_for_state("lan", "backup")?;
        eventually("the Active router is known", PATIENCE, || {
            let active = ours.virtual_router("lan")?["active"].clone();
            ensure!(active["address"] == self.own && active["priority"] == 200, "{active}");
            Ok(())
        })?;
        ping(&lab, self.address)?;
        theirs.stop()?;
        ours.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
        ping(&lab, self.address)?;
        theirs.ensure_understood()?;
        let mut theirs = self.keepalived(&lab, 200)?;
        theirs.wait_for_state("MASTER")?;
        ours.wait_for_state("lan", "backup")?;
        lab.pull(0)?;
        ours.daemon.wait_for_line(&["state=active ", "reason=active_down"], PATIENCE)?;
        ping(&lab, self.address)?;
        theirs.ensure_understood()?;
        ours.ensure_understood("lan")
    }

    /// Tests a keepalived with the lower priority: xvrrp starts, stops, starts again and dies.
    fn worse(&self) -> Result<()> {
        let lab = Lab::with_ipv6(2)?;
        let xvrrp = [self.xvrrp.clone().with("priority", "200")];
        let mut theirs = self.keepalived(&lab, 100)?;
        theirs.wait_for_state("MASTER")?;
        let mut ours = Xvrrp::start(&lab.routers[1], &xvrrp)?;
        ours.daemon.wait_for_line(&["state=active ", "reason=preempted"], PATIENCE)?;
        theirs.wait_for_state("BACKUP")?;
        ping(&lab, self.address)?;
        ours.ensure_understood("lan")?;
        ensure!(ours.stop()?.success(), "the agent failed");
        theirs.wait_for_state("MASTER")?;
        ping(&lab, self.address)?;
        let mut ours = ours.restart(&lab.routers[1], &xvrrp)?;
        ours.wait_for_state("lan", "active")?;
        theirs.wait_for_state("BACKUP")?;
        lab.pull(1)?;
        theirs.wait_for_state("MASTER")?;
        theirs.ensure_understood()
    }
}

// parity 46, 47
#[test]
fn roles_move_between_version_3_and_a_better_keepalived() -> Result<()> {
    Mixed::v3().better()
}

#[test]
fn roles_move_between_version_3_and_a_worse_keepalived() -> Result<()> {
    Mixed::v3().worse()
}

// parity 42, 65, 66
#[test]
fn roles_move_between_version_2_with_a_password_and_a_better_keepalived() -> Result<()> {
    // RFC 2338 5.3.6
    Mixed::v2_with_a_password().better()
}

#[test]
fn roles_move_between_version_2_with_a_password_and_a_worse_keepalived() -> Result<()> {
    // RFC 2338 5.3.6
    Mixed::v2_with_a_password().worse()
}

#[test]
fn roles_move_over_ipv6_between_xvrrp_and_a_better_keepalived() -> Result<()> {
    Mixed::ipv6().better()
}

#[test]
fn roles_move_over_ipv6_between_xvrrp_and_a_worse_keepalived() -> Result<()> {
    Mixed::ipv6().worse()
}

/// Two hosts in different networks, and the gateway between these.
struct Apart {
    hosts: [Namespace; 2],
    _gateway: Namespace,
}

impl Apart {
    fn new() -> Result<Self> {
        let gateway = Namespace::new("gateway")?;
        let hosts = [Namespace::new("left")?, Namespace::new("right")?];
        gateway.sysctl("net.ipv4.ip_forward", "1")?;
        for (host, port, network) in [(&hosts[0], "g0", "a"), (&hosts[1], "g1", "b")] {
            let ipv4 = if network == "a" { "192.0.2" } else { "203.0.113" };
            gateway.ip(&format!("link add {port} type veth peer name {INTERFACE} netns {}", host.name()))?;
            for (place, device, number) in [(&gateway, port, 1), (host, INTERFACE, 2)] {
                place.sysctl("net.ipv6.conf.all.disable_ipv6", "0")?;
                place.sysctl(&format!("net.ipv6.conf.{device}.addr_gen_mode"), "1")?;
                place.ip(&format!("link set {device} up"))?;
                place.ip(&format!("addr add {ipv4}.{number}/24 dev {device}"))?;
                for address in [format!("2001:db8:{network}::{number}"), format!("fe80::{number}")] {
                    place.ip(&format!("addr add {address}/64 dev {device} nodad"))?;
                }
            }
            host.ip(&format!("route add default via {ipv4}.1"))?;
            host.ip(&format!("-6 route add default via 2001:db8:{network}::1"))?;
        }
        gateway.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        let apart = Self { hosts, _gateway: gateway };
        for address in ["203.0.113.2", "2001:db8:b::2"] {
            let line = format!("ping -n -c 1 -W 1 {address}");
            eventually(&format!("{address} is reached"), PATIENCE, || apart.hosts[0].sh(&line))?;
        }
        Ok(apart)
    }

    fn start(&self, host: usize, priority: u8, min_ttl: &str) -> Result<Xvrrp> {
        let peers = [["203.0.113.2", "2001:db8:b::2"], ["192.0.2.2", "2001:db8:a::2"]][host];
        let peers = peers.map(|peer| format!("{{ address = \"{peer}\"{min_ttl} }}")).join(", ");
        let router = VirtualRouter::lan(priority)
            .with("addresses", "[\"198.51.100.1/32\", \"fe80::33/64\", \"2001:db8:c::1/128\"]")
            .with("unicast_peers", &format!("[{peers}]"));
        Xvrrp::start(&self.hosts[host], &[router])
    }
}

#[test]
fn routers_in_different_networks_hear_each_other_if_min_ttl_allows_it() -> Result<()> {
    // RFC 9568 5.1.1.3, 5.1.2.3
    let apart = Apart::new()?;
    let mut first = apart.start(0, 200, ", min_ttl = 254")?;
    wait_for_both(&first, "active")?;
    let mut second = apart.start(1, 100, ", min_ttl = 254")?;
    wait_for_both(&second, "backup")?;
    eventually("the Active router is known in both families", PATIENCE, || {
        let status = second.status()?;
        for (router, address) in [(0, "192.0.2.2"), (1, "2001:db8:a::2")] {
            ensure!(status["virtual_routers"][router]["active"]["address"] == address, "{status}");
        }
        Ok(())
    })?;
    ensure!(first.stop()?.success(), "the agent failed");
    second.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
    let first = apart.start(0, 200, ", min_ttl = 254")?;
    wait_for_both(&first, "active")?;
    wait_for_both(&second, "backup")?;
    drop(second);

    // Without `min_ttl`, a router discards adverts that were routed.
    let deaf = apart.start(1, 100, "")?;
    wait_for_both(&deaf, "active")?;
    deaf.wait_for_counter("lan", "advert_time_to_live", 1)
}

#[test]
fn a_router_receives_and_sends_adverts_at_its_new_primary_address() -> Result<()> {
    let lan = |priority, peers| [VirtualRouter::lan(priority).with("unicast_peers", peers)];
    let lab = Lab::new(2)?;
    let mut first = Xvrrp::start(&lab.routers[0], &lan(200, "[\"192.0.2.3\", \"192.0.2.30\"]"))?;
    first.wait_for_state("lan", "active")?;
    let mut second = Xvrrp::start(&lab.routers[1], &lan(100, "[\"192.0.2.2\", \"192.0.2.20\"]"))?;
    let hears = |agent: &Xvrrp, address: &str| {
        eventually(&format!("the Backup hears {address}"), PATIENCE, || {
            let status = agent.virtual_router("lan")?;
            ensure!(status["state"] == "backup" && status["active"]["address"] == address, "{status}");
            Ok(())
        })
    };
    hears(&second, "192.0.2.2")?;
    let renumber = |router: usize, old: &str, new: &str| {
        lab.routers[router].ip(&format!("addr del {old}/24 dev {INTERFACE}"))?;
        lab.routers[router].ip(&format!("addr add {new}/24 dev {INTERFACE}"))
    };
    renumber(1, "192.0.2.3", "192.0.2.30")?;
    second.daemon.wait_for_line(&["the primary address of eth0 is 192.0.2.30"], PATIENCE)?;
    // A router that no longer receives adverts would stay Backup for a fraction of this time.
    thread::sleep(Duration::from_secs(3));
    hears(&second, "192.0.2.2")?;
    renumber(0, "192.0.2.2", "192.0.2.20")?;
    hears(&second, "192.0.2.20")
}

#[test]
fn status_shows_the_peers_of_a_virtual_router() -> Result<()> {
    let lab = Lab::new(1)?;
    let peers = "[\"192.0.2.3\", { address = \"203.0.113.2\", min_ttl = 254 }]";
    let agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200).with("unicast_peers", peers)])?;
    let mut status = std::process::Command::new(xvrrp_lab::agent_binary()?);
    status.args(["status", "--control"]).arg(agent.control());
    eventually("status names both peers", PATIENCE, || {
        let shown = run(&mut status)?;
        ensure!(
            shown.contains("unicast to  192.0.2.3\n") && shown.contains("203.0.113.2, TTL 254 at least"),
            "{shown}"
        );
        Ok(())
    })
}

// parity 47
#[test]
fn adverts_leave_from_the_source_address_and_the_virtual_router_waits_while_the_host_lacks_it() -> Result<()> {
    const SOURCE: &str = "192.0.2.77";
    let lab = Lab::new(2)?;
    let host = &lab.routers[0];
    let router = |priority, source: &str, peer: &str| {
        VirtualRouter::lan(priority)
            .with("source_addresses", &format!("[\"{source}\"]"))
            .with("unicast_peers", &format!("[\"{peer}\"]"))
    };
    let second = Lab::address(1).to_string();
    let mut agent = Xvrrp::start(host, &[router(200, SOURCE, &second)])?;
    let reason = format!("this host does not have {SOURCE}, which adverts are to be sent from");
    let wait = |agent: &Xvrrp| {
        eventually("the virtual router waits", PATIENCE, || {
            let router = agent.virtual_router("lan")?;
            ensure!(router["state"] == "fault" && router["reason"] == reason, "{router}");
            Ok(())
        })
    };
    wait(&agent)?;
    // Any interface may have the address.
    host.ip(&format!("address add {SOURCE}/32 dev lo"))?;
    agent.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router(100, &second, SOURCE)])?;
    backup.wait_for_state("lan", "backup")?;
    eventually("the Backup hears adverts from the address", PATIENCE, || {
        let router = backup.virtual_router("lan")?;
        ensure!(router["heard"]["address"] == SOURCE, "{router}");
        Ok(())
    })?;
    host.ip(&format!("address del {SOURCE}/32 dev lo"))?;
    wait(&agent)?;
    backup.wait_for_state("lan", "active")
}
